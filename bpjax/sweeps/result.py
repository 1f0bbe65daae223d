"""The results of a sweep: collected run by run, passed to the store chunk by chunk, returned as a dataset."""

import threading
import time

import jax
import numpy as np

from bpjax.sweeps.plan import Plan
from bpjax.sweeps.skeleton import DERIVED, LONG_NAMES, LONGEST_COORDINATE, fill_of, flags, inner_dims
from bpjax.sweeps.steps import Axis, Steps
from bpjax.util.extras import require_extra

FLUSH_SECONDS = 5.0
"""How long results of incomplete chunks stay in memory before they are written."""


RUN = "run"
"""The dimension of the result of a part of a sweep."""


class Results:
    """The results so far, by run number. Several threads may add at once."""

    def __init__(self, runs: int, wanted: np.ndarray, variables: dict[str, jax.ShapeDtypeStruct], store=None):
        """Empty, or with what `store` already holds.

        Args:
            runs: all runs of the grid; with a store, of the store's grid.
            wanted: the numbers of the runs that the sweep needs.
            variables: shape and dtype of each variable of a run.
            store: a `SweepStore`, or None.
        """
        self.store, self.lock, self.flushed = store, threading.Lock(), time.monotonic()
        if store is None:
            self.values = {name: np.full((runs, *one.shape), fill_of(one.dtype, name), one.dtype)
                           for name, one in variables.items()}  # fmt: skip
            self.done = np.zeros(runs, bool)
        else:
            self.values, self.done, _ = store.read()
        self.wanted = wanted.ravel() if store is None else in_chunk_order(wanted.ravel(), store)
        self.boxes = None if store is None else store.grid.boxes_of(np.arange(runs))
        self.unsaved: set[int] = set()
        self.failure: OSError | None = None

    @property
    def finished(self) -> int:
        """The number of wanted runs that have stopped."""
        return int(self.done[self.wanted].sum())

    def earlier(self) -> np.ndarray:
        """`reason` of the wanted runs that have results."""
        return self.values["reason"][self.wanted[self.done[self.wanted]]]

    def missing(self) -> np.ndarray:
        """The numbers of wanted runs without a result, those of a chunk together."""
        return self.wanted[~self.done[self.wanted]]

    def add(self, new: dict[str, np.ndarray]) -> None:
        """Results of runs that have stopped; a complete chunk is written to the store."""
        with self.lock:
            numbers = new["number"]
            for name, array in self.values.items():
                array[numbers] = new[name]
            self.done[numbers] = True
            if self.boxes is None or not len(numbers):
                return
            self.unsaved |= set(np.unique(self.boxes[numbers]).tolist())
            if time.monotonic() - self.flushed > FLUSH_SECONDS:
                self._write(self.unsaved)
            elif self.failure is None:
                left = set(np.unique(self.boxes[self.missing()]).tolist())
                self._write(self.unsaved - left)

    def flush(self) -> None:
        """Write what is not in the store yet, if there is one; `failure` says why it could not be written."""
        with self.lock:
            self._write(self.unsaved)

    def _write(self, boxes) -> None:
        """Write chunks; what cannot be written stays in memory and is tried again later."""
        try:
            for box in sorted(boxes):  # a copy: `unsaved` shrinks
                inside = self.store.grid.numbers(self.store.grid.region(box))  # type: ignore[union-attr]
                self.store.write(box, {name: a[inside] for name, a in self.values.items()}, self.done[inside])  # type: ignore[union-attr]
                self.unsaved.discard(box)
            self.failure = None if not self.unsaved else self.failure
        except OSError as error:
            self.failure = error
        if not self.unsaved or self.failure:
            self.flushed = time.monotonic()


def in_chunk_order(numbers: np.ndarray, store) -> np.ndarray:
    """Run numbers sorted so that those of a chunk of the store are together."""
    return numbers[np.argsort(store.grid.boxes_of(numbers), kind="stable")]


def success_of(reasons: tuple[str, ...], failures: tuple[str, ...]) -> list[int]:
    """The values of `reason` that are success."""
    return [index for index, word in enumerate(reasons) if word not in ("running", *failures)]


def dataset(points: Plan, values: dict[str, np.ndarray], record: dict):
    """Results as an `xarray.Dataset`.

    Args:
        points: the runs.
        values: of each variable, (runs, ...).
        record: of the sweep, see `bpjax.sweeps.store.new_record`.
    """
    xr = import_xarray()
    dims, variables = tuple(points.dims), {}
    values = values | derived(values["reason"], record)
    for name in ("reason", *DERIVED, *record["variables"]):
        array = values[name].reshape((*points.shape, *values[name].shape[1:]))
        inner = inner_dims(name, array.ndim - len(dims), name in record["curved"])
        attributes = flags(record["reasons"], bool((array < 0).any())) if name == "reason" else {}
        attributes |= {"long_name": LONG_NAMES[name]} if name in LONG_NAMES else {}
        variables[name] = ((*dims, *inner), array, attributes)
    coords = {name: (dim, coordinate(axis)) for name, (dim, axis) in points.coords.items()}
    if record["curved"]:
        coords["epoch"] = ("epoch", np.array(record["identity"]["curves"]))
    return xr.Dataset(variables, coords, record["attributes"])


def dataset_of_runs(points: Plan, numbers: np.ndarray, values: dict[str, np.ndarray], record: dict, attributes: dict):
    """Results of some runs of a grid as an `xarray.Dataset` with the single dimension "run".

    Args:
        points: the grid.
        numbers: of the runs (n,).
        values: of each variable, (n, ...).
        record: of the sweep.
        attributes: more of them.
    """
    found = dataset(Plan({RUN: len(numbers)}, {}, (), {}), values, record)
    places = points.values(numbers)
    return found.assign_coords({name: (RUN, array) for name, array in places.items()}).assign_attrs(attributes)


def coordinate(axis: Axis):
    """The values of a coordinate, for xarray; as an index of pandas where they are many and evenly spaced."""
    if isinstance(axis, Steps) and len(axis) > LONGEST_COORDINATE:
        import pandas

        return pandas.RangeIndex(axis.start, axis.last + axis.step, axis.step)
    return np.asarray(axis)


def derived(reason: np.ndarray, record: dict) -> dict[str, np.ndarray]:
    """`solved` and `diverged`."""
    reasons = record["reasons"]
    code = reasons.index("diverged") if "diverged" in reasons else None
    return {"solved": np.isin(reason, record["success"]), "diverged": reason == (-2 if code is None else code)}


def curves_of(computation, curve_epochs) -> list[str]:
    """The variables with the dimension "epoch"."""
    return ["curve", *computation.shapes["watch"]] if curve_epochs else []


def import_xarray():
    """The module xarray, or a `ModuleNotFoundError` that names the extra to install."""
    with require_extra("A sweep's result is a Dataset of xarray"):
        import xarray
    return xarray
