"""The results of a sweep: gathered run by run, handed to the store block by block, shaped into a dataset at the end."""

import json
import threading
from collections.abc import Iterator

import jax
import numpy as np

from bpjax.results.record import environment, plain
from bpjax.sweeps.axes import Plan
from bpjax.util.extras import require_extra

FAILURES = ("running", "diverged", "epoch limit")
"""Reasons that are no success."""


class Results:
    """What became of the runs so far, by their numbers. Several threads may add at once."""

    def __init__(self, runs: int, block: int, kinds: dict[str, jax.ShapeDtypeStruct], store=None):
        """Empty, or with what `store` already holds."""
        self.runs, self.block, self.store = runs, block, store
        self.values = {name: np.zeros((runs, *kind.shape), kind.dtype) for name, kind in kinds.items()}
        self.done = np.zeros(runs, bool)
        self.lock = threading.Lock()
        for numbers, values in store.blocks() if store is not None else ():
            self._set(numbers, values)

    @property
    def finished(self) -> int:
        """How many runs have ended."""
        return int(self.done.sum())

    def missing(self) -> Iterator[np.ndarray]:
        """The numbers of runs without a result, by blocks."""
        for first in range(0, self.runs, self.block):
            numbers = np.arange(first, min(first + self.block, self.runs))
            left = numbers[~self.done[numbers]]
            if left.size:
                yield left

    def add(self, log: dict[str, np.ndarray]) -> None:
        """Results of runs that have ended; a block that is complete goes to the store."""
        with self.lock:
            numbers = log["number"]
            self._set(numbers, log)
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


def dataset(points: Plan, results: Results, reasons: tuple[str, ...], steps: tuple[int, ...], record, config, receipt):
    """The `xarray.Dataset` of a finished sweep; see `sweep`."""
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
    if steps:
        coords["epoch"] = ("epoch", np.array(steps))
        variables["curve"] = ((*dims, "epoch"), values.pop("curve"), {"long_name": "error; NaN after the run's end"})
    names = {"epochs": "passes made, the last one included", "error": "error of the last epoch"}
    for name, array in values.items():
        extra = tuple(f"{name}_{axis}" for axis in range(array.ndim - len(dims)))
        variables[name] = ((*dims, *extra), array, {"long_name": names[name]} if name in names else {})
    attributes = {
        "record": json.dumps({**record, **environment(), "config": plain(config)}, default=str),
        "receipt": str(receipt) if receipt is not None else "none was given",
    }
    return xr.Dataset(variables, coords, attributes)


def import_xarray():
    """The module xarray, or a `ModuleNotFoundError` that says what to install."""
    with require_extra("A sweep's result is a Dataset of xarray"):
        import xarray
    return xarray
