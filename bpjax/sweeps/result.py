"""The results of a sweep: collected run by run, passed to the store block by block, returned as a dataset."""

import json
import threading
from collections.abc import Iterator

import jax
import numpy as np

from bpjax.results.record import config_data, environment
from bpjax.sweeps.axes import Plan
from bpjax.util.extras import require_extra

FAILURES = ("running", "diverged", "epoch limit")
"""Reasons that are not success."""


class Results:
    """The results so far, by run number. Several threads may add at once."""

    def __init__(self, runs: int, block: int, shapes: dict[str, jax.ShapeDtypeStruct], store=None):
        """Empty, or with what `store` already holds.

        Args:
            runs: all runs.
            block: runs that are stored together.
            shapes: shape and dtype of each variable of a run.
            store: a `SweepStore`, or None.
        """
        self.runs, self.block, self.store = runs, block, store
        self.values = {name: np.zeros((runs, *shape.shape), shape.dtype) for name, shape in shapes.items()}
        self.done = np.zeros(runs, bool)
        self.lock = threading.Lock()
        for numbers, values in store.blocks() if store is not None else ():
            self._set(numbers, values)

    @property
    def finished(self) -> int:
        """The number of runs that have stopped."""
        return int(self.done.sum())

    def missing(self) -> Iterator[np.ndarray]:
        """The numbers of runs without a result, by blocks."""
        for first in range(0, self.runs, self.block):
            numbers = np.arange(first, min(first + self.block, self.runs))
            left = numbers[~self.done[numbers]]
            if left.size:
                yield left

    def add(self, new: dict[str, np.ndarray]) -> None:
        """Results of runs that have stopped; a complete block is written to the store."""
        with self.lock:
            numbers = new["number"]
            self._set(numbers, new)
            if self.store is None:
                return
            for index in np.unique(numbers // self.block):
                block = slice(index * self.block, min((index + 1) * self.block, self.runs))
                if self.done[block].all():
                    self.store.write(int(index), {name: array[block] for name, array in self.values.items()})

    def _set(self, numbers, values) -> None:
        for name, array in self.values.items():
            array[numbers] = values[name]
        self.done[numbers] = True


def dataset(
    points: Plan, results: Results, reasons: tuple[str, ...], curve_epochs: tuple[int, ...], record, config, receipt
):
    """The `xarray.Dataset` of a finished sweep.

    Args:
        points: the runs.
        results: of every run.
        reasons: the words for the values of `reason`.
        curve_epochs: at which the error was stored.
        record: what identifies the sweep.
        config: of the caller.
        receipt: the gradient receipt, or None.
    """
    xr = import_xarray()
    dims, shape = tuple(points.dims), tuple(points.dims.values())
    values = {name: array.reshape(*shape, *array.shape[1:]) for name, array in results.values.items()}
    reason = values.pop("reason")
    meanings = " ".join(word.replace(" ", "_") for word in reasons)
    flags = {"flag_values": list(range(len(reasons))), "flag_meanings": meanings, "long_name": "why the run stopped"}
    failures = [index for index, word in enumerate(reasons) if word in FAILURES]
    variables = {
        "reason": (dims, reason, flags),
        "solved": (dims, ~np.isin(reason, failures)),
        "diverged": (dims, reason == reasons.index("diverged") if "diverged" in reasons else np.zeros(shape, bool)),
    }
    coords = {name: (dim, array) for name, (dim, array) in points.coords.items()}
    if curve_epochs:
        coords["epoch"] = ("epoch", np.array(curve_epochs))
        variables["curve"] = ((*dims, "epoch"), values.pop("curve"), {"long_name": "error; NaN after the run's end"})
    long_names = {"epochs": "epochs done, including the last", "error": "error of the last epoch"}
    for name, array in values.items():
        extra = tuple(f"{name}_{axis}" for axis in range(array.ndim - len(dims)))
        variables[name] = ((*dims, *extra), array, {"long_name": long_names[name]} if name in long_names else {})
    attributes = {
        "record": json.dumps({**record, **environment(), "config": config_data(config)}, default=str),
        "receipt": str(receipt) if receipt is not None else "none was given",
    }
    return xr.Dataset(variables, coords, attributes)


def import_xarray():
    """The module xarray, or a `ModuleNotFoundError` that names the extra to install."""
    with require_extra("A sweep's result is a Dataset of xarray"):
        import xarray
    return xarray
