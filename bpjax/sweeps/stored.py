"""Stored sweeps: open one at any time, merge several, delete runs to do them again."""

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bpjax.sweeps.identity import differences
from bpjax.sweeps.join import complete
from bpjax.sweeps.plan import Plan, numbers_in, union
from bpjax.sweeps.record_file import STORE, plan_of, read_record
from bpjax.sweeps.result import coordinate, dataset, import_xarray
from bpjax.sweeps.skeleton import fill_of, is_sound
from bpjax.sweeps.steps import ascends
from bpjax.sweeps.store import merged, open_store
from bpjax.sweeps.stored_runs import Reader, Stored, log
from bpjax.sweeps.structure_folder import combinations_in, dimensions
from bpjax.util.call_text import shown
from bpjax.util.checks import as_real_numbers
from bpjax.util.files import as_path


def open_sweep(store: str | Path):
    """The `xarray.Dataset` of a stored sweep, also while another process writes it.

    Every run is held against its checksum first; then the values are read when they are used. Where a run is missing,
    because it has not ended yet, was deleted, is damaged, or lies between grids that were stored one after the other,
    `reason` is −1 ("missing"), `solved` False, and numbers are NaN or 0. The axes of grids ascend.

    The folder of a sweep over structure (`bp.sweep_over`, `bp.compare_optimizers`) gives one dataset of all its
    combinations, which is read at once; what some of them do not have is NaN, or −1 in integers.

    Args:
        store: the folder.

    Returns:
        The dataset as `bp.sweep` returns it, with all runs of the store. Its attribute `missing` is the number of those
        that are not there, and `devices` names what the others were computed on.

    Raises:
        ValueError: the folder holds no sweep, or its record or metadata are damaged.
        ModuleNotFoundError: xarray or zarr is missing; the message names the extra to install.
    """
    store = as_path("open_sweep", store, STORE)
    if dimensions(store) is not None:
        return open_combinations(store)
    while True:
        folder, record = record_of("open_sweep", store)
        reader = Reader(folder, record)
        valid, damaged = reader.counts()
        lazy = import_xarray().open_zarr(folder, chunks=None, consolidated=True)
        if (read_record(folder) or record)["files"] == record["files"]:
            break  # otherwise the grid has grown meanwhile
    points = reader.points
    if damaged:
        log.warning("%s: %d runs are damaged, and missing here; sweep again to replace them", folder, damaged)
        stored = reader.all()
        lazy, valid = dataset(points, stored.values, record), int(stored.done.sum())
    names = dict.fromkeys(("reason", "solved", "diverged", *record["variables"]))
    coords = {name: (dim, coordinate(axis)) for name, (dim, axis) in points.coords.items() if name not in lazy.coords}
    attributes = {"missing": points.runs - valid, "devices": "; ".join(reader.devices())}
    return ascending(lazy[list(names)].assign_coords(coords).assign_attrs(attributes), points)


def open_combinations(parent: Path):
    """The joined dataset of a folder of `bp.sweep_over`: every combination that has been stored so far."""
    found = {}
    for labels, folder in combinations_in(parent):
        if read_record(folder) is not None:
            found[labels] = open_sweep(folder)
    if not found:
        raise ValueError(f"`open_sweep` expected stored sweeps in {parent}, got none so far.")
    names = dimensions(parent) or {}
    return complete(
        {name: sorted(set(column)) for name, column in zip(names, zip(*found, strict=True), strict=True)}, found
    )


def record_of(who: str, store: str | Path) -> tuple[Path, dict]:
    """The folder of a store and its record, with the metadata in place, or a `ValueError`."""
    folder = as_path(who, store, STORE).absolute()
    record = read_record(folder)
    if record is None:
        raise ValueError(f"`{who}` expected the folder of a stored sweep, got {folder}. Sweep with `store=` first.")
    for _ in range(20):
        if is_sound(record, folder):
            return folder, record
        time.sleep(0.1)  # a writer is just extending the grid
        record = read_record(folder) or record
    damaged = next(name for name in record["files"] if not is_sound({"files": {name: record["files"][name]}}, folder))
    raise ValueError(
        f"{folder / damaged} is damaged; no results are lost: the same `bp.sweep(..., store=...)` restores it."
    )


def merge_sweeps(stores: Iterable[str | Path], store: str | Path | None = None):
    """The runs of several stores of one computation as one `xarray.Dataset`, as `open_sweep` returns it.

    The parts may overlap: a run that several of them hold must be the same bit for bit. Places of the common grid that
    no part holds are missing.

    Args:
        stores: the folders.
        store: a folder to write the merged sweep to, which may exist and be one of the parts; None writes nothing.

    Raises:
        ValueError: no folder, a folder without a sweep, sweeps of different computations (the message says in what they
            differ), or a run with different results.
    """
    if isinstance(stores, str | bytes | Path):
        raise ValueError(f"`merge_sweeps` expected a list of folders, got the single one {str(stores)!r}.")
    if not np.iterable(stores):
        raise ValueError(f"`merge_sweeps` expected a list of folders, got {shown(stores)}.")
    store = None if store is None else as_path("merge_sweeps", store, STORE)
    parts = [record_of("merge_sweeps", one) for one in stores]
    if not parts:
        raise ValueError("`merge_sweeps` expected at least one folder, got none.")
    (first_folder, first), *others = parts
    whole = plan_of(first["axes"], first_folder)
    for folder, record in others:
        different = differences(first["identity"], record["identity"])
        if different:
            raise ValueError(
                f"`merge_sweeps` expected sweeps of one computation, but {first_folder} (there) and {folder} (here) "
                f"differ in {'; '.join(different)}."
            )
        whole = union(whole, plan_of(record["axes"], folder))
    found = empty(whole, first)
    for folder, record in parts:
        take_over(found, whole, folder, record)
    if store is None:
        result = dataset(whole, found.values, first).assign_attrs(missing=int((~found.done).sum()))
        return ascending(result, whole)
    with open_store(store, without_axes([record for _, record in parts]), whole) as target:
        place = numbers_in(target.points, whole).ravel()
        values, done, _ = target.read()
        for name, array in values.items():
            array[place[found.done]] = found.values[name][found.done]
        done[place[found.done]] = True
        target.write_runs(place[found.done], values, done)
    return open_sweep(store)


def empty(points: Plan, record: dict) -> Stored:
    """No runs of a grid."""
    values = {
        name: np.full((points.runs, *shape), fill_of(dtype, name), dtype)
        for name, (shape, dtype) in record["variables"].items()
    }
    return Stored(values, np.zeros(points.runs, bool), 0)


def take_over(merged: Stored, whole: Plan, folder: Path, record: dict) -> None:
    """Copy the runs of a store, or raise a `ValueError` where one differs from what is there."""
    reader = Reader(folder, record)
    part, place = reader.all(), numbers_in(whole, reader.points).ravel()
    both = part.done & merged.done[place]
    for name, array in part.values.items():
        old, new = merged.values[name][place[both]], array[both]
        if old.tobytes() != new.tobytes():
            differ = [k for k in range(len(old)) if old[k].tobytes() != new[k].tobytes()]
            point = whole.values(place[both][differ[:1]])
            where = ", ".join(f"{axis}={values[0]}" for axis, values in point.items())
            raise ValueError(
                f"`merge_sweeps` expected a run to have one result, but `{name}` at {where} in {folder} is another "
                f"than in a store before it ({len(differ)} runs differ). Delete one of the two by `delete_runs`."
            )
    for name, array in part.values.items():
        merged.values[name][place[part.done]] = array[part.done]
    merged.done[place[part.done]] = True


def without_axes(records: list[dict]) -> dict:
    """The record to write the merged sweep of stores with these records."""
    kept = {name: value for name, value in records[0].items() if name not in ("axes", "chunks", "files", "aside")}
    return {**kept, "configs": merged([config for record in records for config in record["configs"]])}


def ascending(result, points: Plan):
    """A dataset with the axes of grids in ascending order."""
    axes = [dim for dim in points.dims if dim in points.coords and not ascends(points.coords[dim][1])]
    return result.sortby(axes) if axes else result


def delete_runs(store: str | Path, **chosen) -> int:
    """Delete runs of a stored sweep, so that the next sweep with this store runs them again.

        bp.sweeps.delete_runs("results/xor", learning_rate=0.5, seed=[3, 4])

    Args:
        store: the folder.
        **chosen: for some coordinates a value or a list of values; runs that match all of them are deleted.

    Returns:
        How many runs were deleted.

    Raises:
        ValueError: the folder holds no sweep, another process is writing it, nothing is chosen, or a coordinate or
            value is not one of the sweep's.
    """
    folder, record = record_of("delete_runs", store)
    points = plan_of(record["axes"], folder)
    if not chosen:
        raise ValueError(f"`delete_runs` expected values of {', '.join(points.coords)}, got none: delete the folder.")
    picked = np.ones(points.runs, bool)
    values = points.values(np.arange(points.runs))
    for name, wanted in chosen.items():
        if name not in values:
            raise ValueError(f"`delete_runs` expected one of {', '.join(values)}, got {name!r}.")
        wanted = np.atleast_1d(as_real_numbers("delete_runs", name, wanted))
        if wanted.ndim != 1 or not wanted.size:
            raise ValueError(f"`delete_runs` expected a value or a list of values of `{name}`, got {shown(wanted)}.")
        for value in wanted:
            if not np.isclose(values[name], value, rtol=1e-6, atol=0).any():
                raise ValueError(f"`delete_runs` expected values that `{name}` has in the sweep, got {value!r}.")
        picked &= np.isclose(values[name][:, None], wanted[None, :], rtol=1e-6, atol=0).any(axis=1)
    with open_store(folder, without_axes([record]), points) as target:
        values, done, _ = target.read()
        deleted = done & picked
        for name, array in values.items():
            array[picked] = fill_of(array.dtype, name)
        target.write_runs(np.flatnonzero(picked), values, done & ~picked)
    return int(deleted.sum())
