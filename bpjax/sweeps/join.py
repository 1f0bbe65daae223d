"""Join the results of several sweeps, one for each combination of labels, in one dataset with dimensions in front."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bpjax.sweeps.result import import_xarray
from bpjax.sweeps.skeleton import DERIVED, flags

MISSING = "missing"
"""The word for the value −1 of `reason`."""


def join(labels: Mapping[str, Sequence], results: Mapping[tuple, Any]):
    """One `xarray.Dataset` of the results of sweeps, with the dimensions of `labels` in front.

    `reason` counts the joined list of reasons. Entries that a result does not have are NaN; in integers −1; booleans
    with such entries become floats. Runs that none has are missing as in `bp.open_sweep`: `reason` is −1, `solved` and
    `diverged` are False.

    Args:
        labels: of each new dimension.
        results: for each combination of labels that there is, a dataset as `bp.sweep` returns it.
    """
    xr = import_xarray()
    results = dict(results)
    reasons = joined_reasons(results.values())
    axes = {dim: joined_axis(dim, results.values()) for dim in all_dims(results.values())}
    sizes = {
        dim: max(len(axis) if axis is not None else 0, largest(dim, results.values())) for dim, axis in axes.items()
    }
    variables = {}
    for name in ordered(result.data_vars for result in results.values()):
        first = next(result[name] for result in results.values() if name in result)
        parts = {
            place: (recoded(result[name], reasons) if name == "reason" else result[name].values, result)
            for place, result in results.items()
            if name in result
        }
        shape = (*map(len, labels.values()), *(sizes[dim] for dim in first.dims))
        values = assemble(shape, labels, parts, first.dims, axes, keeps_bool=name in DERIVED)
        attributes = dict(first.attrs)
        if name == "reason":
            attributes |= flags(reasons, bool((values < 0).any()))
        variables[name] = ((*labels, *first.dims), values, attributes)
    coords = {dim: (dim, np.asarray(list(values))) for dim, values in labels.items()}
    coords |= {dim: (dim, axis) for dim, axis in axes.items() if axis is not None}
    for result in sorted(results.values(), key=lambda result: sum(result.sizes.values())):  # of the largest, at last
        coords |= {name: (c.dims, c.values) for name, c in result.coords.items() if name not in axes and fits(c, sizes)}
    return xr.Dataset(variables, coords, joined_attributes(labels, results))


def all_dims(results) -> list[str]:
    """The dimensions of all results, in the order of their first use."""
    return ordered([str(dim) for v in result.data_vars.values() for dim in v.dims] for result in results)


def ordered(names) -> list[str]:
    """The different names of several lists, in the order of their first use."""
    return list(dict.fromkeys(str(name) for one in names for name in one))


def joined_axis(dim: str, results) -> np.ndarray | None:
    """The values along a dimension in any of the results; None for one without values."""
    found = [result[dim].values for result in results if dim in result.coords]
    if not found:
        return None
    if all(np.array_equal(found[0], values) for values in found):
        return found[0]
    return np.unique(np.concatenate(found))


def largest(dim: str, results) -> int:
    """The largest size of a dimension."""
    return max(result.sizes.get(dim, 0) for result in results)


def fits(coordinate, sizes: Mapping[str, int]) -> bool:
    """Whether a coordinate has the joined sizes."""
    return all(sizes.get(dim) == size for dim, size in coordinate.sizes.items())


def assemble(
    shape, labels: Mapping[str, Sequence], parts: Mapping[tuple, tuple], dims, axes, keeps_bool: bool
) -> np.ndarray:
    """The values of one variable for all combinations.

    Args:
        shape: of the joined variable.
        labels: of each new dimension.
        parts: for each combination that has the variable, (values, its dataset).
        dims: of the variable in a single result.
        axes: the joined values of each dimension, or None.
        keeps_bool: whether a missing boolean is False; otherwise it is NaN.
    """
    where = {}
    for place, (values, result) in parts.items():
        rows = [
            np.arange(size) if axes[dim] is None else positions(axes[dim], result[dim].values)
            for dim, size in zip(dims, values.shape, strict=True)
        ]
        front = (list(values).index(label) for values, label in zip(labels.values(), place, strict=True))
        where[place] = np.ix_(*([index] for index in front), *rows)
    dtype = np.result_type(*(values for values, _ in parts.values()))
    is_complete = sum(values.size for values, _ in parts.values()) == np.prod(shape, dtype=int)
    if not is_complete and dtype.kind == "b" and not keeps_bool:
        dtype = np.dtype(float)
    joined = np.full(shape, empty_value(dtype), dtype)
    for place, (values, _) in parts.items():
        joined[where[place]] = values
    return joined


def positions(axis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The place of each of `values` in `axis`, which contains them."""
    order = np.argsort(axis)
    return order[np.searchsorted(axis, values, sorter=order)]


def empty_value(dtype: np.dtype):
    """What stands for an entry that a result does not have."""
    if dtype.kind in "fc":
        return np.nan
    return {"b": False, "i": -1, "u": np.iinfo(dtype).max if dtype.kind == "u" else 0}.get(dtype.kind, "")


def joined_reasons(results) -> list[str]:
    """The words of all results for the values of `reason`, in the order of their first use."""
    return ordered(list(meanings(result["reason"]).values()) for result in results)


def meanings(reason) -> dict[int, str]:
    """The word for each value of `reason` from 0 on."""
    pairs = zip(np.atleast_1d(reason.attrs["flag_values"]), str(reason.attrs["flag_meanings"]).split(), strict=True)
    return {int(value): word for value, word in pairs if value >= 0}


def recoded(reason, words: list[str]) -> np.ndarray:
    """The values of `reason` as numbers of the joined words; −1 stays."""
    values, new = reason.values, reason.values.copy()
    for value, word in meanings(reason).items():
        new[values == value] = words.index(word)
    return new


def joined_attributes(labels: Mapping[str, Sequence], results: Mapping[tuple, Any]) -> dict:
    """The attributes of the joined dataset: in the record what all have in common, and per combination what differs."""
    records = [json.loads(result.attrs.get("record", "{}")) for result in results.values()]
    common = {name: value for name, value in records[0].items() if all(one.get(name) == value for one in records)}
    different = [
        {**dict(zip(labels, place, strict=True)), **{n: v for n, v in one.items() if n not in common}}
        for place, one in zip(results, records, strict=True)
    ]
    record = {**common, "structure": {dim: list(values) for dim, values in labels.items()}, "combinations": different}
    receipts = {str(result.attrs.get("receipt", "none was given")) for result in results.values()}
    return {"record": json.dumps(record, default=str), "receipt": "; ".join(sorted(receipts))}


def complete(labels: Mapping[str, Sequence], results: Mapping[tuple, Any]):
    """`join` with the number of missing runs as the attribute `missing`."""
    joined = join(labels, results)
    return joined.assign_attrs({MISSING: int((joined.reason < 0).sum())})
