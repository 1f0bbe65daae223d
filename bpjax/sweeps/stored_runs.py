"""Read the runs of a store, each held against its checksum."""

import itertools
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpjax.sweeps.checksums import MISSING, checksums
from bpjax.sweeps.device_kind import DEVICE_BYTES, decoded
from bpjax.sweeps.grid import Region
from bpjax.sweeps.plan import Plan
from bpjax.sweeps.record_file import plan_of
from bpjax.sweeps.result import derived
from bpjax.sweeps.skeleton import CHECK, DERIVED, DEVICE, arrays_in, fill_of, grid_of
from bpjax.sweeps.workers import cores

RUNS_AT_ONCE = 2**22
"""Runs of a store that are read at once."""
log = logging.getLogger("bpjax.sweeps")


class Stored(NamedTuple):
    """The runs of a region of a store that are valid."""

    values: dict[str, np.ndarray]  # (runs, ...) of each variable; fill values where a run is missing
    done: np.ndarray  # (runs,) booleans
    damaged: int  # runs whose results do not match their checksum


class Reader:
    """A store that is read, also while another process writes it."""

    def __init__(self, folder: Path, record: dict):
        """The store in a folder, whose skeleton is in place."""
        self.folder, self.record = folder, record
        self.points = plan_of(record["axes"], folder)
        self.grid, self.arrays = grid_of(record, self.points), arrays_in(folder, "r")

    def all(self) -> Stored:
        """The valid runs."""
        return read_region(self.arrays, self.record, self.points, self.grid.everything)

    def box(self, box: int) -> Stored:
        """The valid runs of a chunk."""
        return read_region(self.arrays, self.record, self.points, self.grid.region(box))

    def counts(self) -> tuple[int, int]:
        """How many runs are valid and how many are damaged; a large store is read chunk by chunk."""
        if self.points.runs <= RUNS_AT_ONCE:
            stored = self.all()
            return int(stored.done.sum()), stored.damaged

        def counted(box: int) -> tuple[int, int]:
            sums, lost = read_array(self.arrays[CHECK], self.grid.group_region(self.grid.region(box)), (), MISSING)
            if not lost.any() and (sums == MISSING).all():
                return 0, 0
            stored = self.box(box)
            return int(stored.done.sum()), stored.damaged

        with ThreadPoolExecutor(cores()) as threads:
            valid, damaged = zip(*threads.map(counted, range(self.grid.boxes)), strict=True)
        return sum(valid), sum(damaged)

    def devices(self) -> list[str]:
        """The kinds of devices on which runs were computed."""
        if DEVICE not in self.arrays:  # a store of version 2
            return []
        texts = np.unique(device_texts(self.arrays, tuple(slice(0, count) for count in self.grid.counts)), axis=0)
        return sorted({kind for text in texts for kind in decoded(text).split("; ") if kind})


def device_texts(arrays: Mapping, places: Region) -> np.ndarray:
    """The kinds of devices of chunks (n, DEVICE_BYTES); empty texts where they cannot be read.

    Args:
        arrays: of the store.
        places: of the chunks in the grid of chunks.
    """
    return read_array(arrays[DEVICE], places, (DEVICE_BYTES,), 0)[0].reshape(-1, DEVICE_BYTES)


def read_region(arrays: Mapping, record: dict, points: Plan, region: Region) -> Stored:
    """The valid runs of a region of whole groups; checksums are read before the results.

    Args:
        arrays: of the store.
        record: of the store.
        points: its runs.
        region: the whole grid, or a chunk.
    """
    grid = grid_of(record, points)
    groups, numbers = grid.groups_in(region), grid.numbers(region)
    shapes = {name: (tuple(shape), dtype) for name, (shape, dtype) in record["variables"].items()}
    sums, lost = (a.ravel() for a in read_array(arrays[CHECK], grid.group_region(region), (), MISSING))
    has_sum, lost = (sums != MISSING)[groups], lost[groups]
    values = {}
    for name in (*DERIVED, *shapes):
        shape, dtype = shapes.get(name, ((), "bool"))
        array, is_lost = read_array(arrays[name], region, shape, fill_of(dtype, name))
        values[name], lost = array.reshape((len(numbers), *shape)), lost | is_lost.ravel()
    given = {name: values.pop(name) for name in DERIVED}
    expected = has_sum & ~lost
    there = np.flatnonzero(expected & (values["reason"] != fill_of("int8", "reason")))
    is_right = np.zeros(sums.size, bool)
    occurring = np.unique(groups[there])
    found = checksums(points, numbers[there], {name: array[there] for name, array in values.items()}, groups[there])
    is_right[occurring] = found == sums[occurring]
    right = is_right[groups[there]]
    for name, array in derived(values["reason"][there], record).items():
        right &= array == given[name][there]
    done = np.zeros(len(numbers), bool)
    done[there[right]] = True
    for name, array in values.items():
        array[~done] = fill_of(array.dtype, name)
    is_empty = ~np.isin(groups, occurring)
    return Stored(values, done, int(lost.sum() + (~right).sum() + (expected & is_empty).sum()))


def read_array(array, region: Region, shape: tuple, fill) -> tuple[np.ndarray, np.ndarray]:
    """The values of a region of an array, and which of its places lie in chunks that cannot be read.

    Args:
        array: of Zarr.
        region: along the first dimensions, beginning at a chunk.
        shape: of the other dimensions.
        fill: the value of what cannot be read.
    """
    sides = tuple(side.stop - side.start for side in region)
    try:
        return np.array(array[region] if region else array[...]), np.zeros(sides, bool)
    except Exception as error:  # whatever a codec raises on bytes that it did not write
        log.debug("%s: %r", array, error)
    values, lost = np.full((*sides, *shape), fill, array.dtype), np.zeros(sides, bool)
    corners = [range(0, length, chunk) for length, chunk in zip(sides, array.chunks, strict=False)]
    for corner in itertools.product(*corners):
        ends = [min(a + chunk, length) for a, chunk, length in zip(corner, array.chunks, sides, strict=False)]
        inside = tuple(slice(a, b) for a, b in zip(corner, ends, strict=True))
        there = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(region, inside, strict=True))
        try:
            values[inside] = array[there]
        except Exception:
            lost[inside] = True
    return values, lost
