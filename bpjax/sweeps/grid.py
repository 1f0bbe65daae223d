"""The geometry of a store: chunks of a grid of runs, and the groups of runs inside a chunk that share a checksum.

A chunk, with all its variables, is what one process writes at a time: a box in the grid, at multiples of its lengths.
"""

import math
from typing import NamedTuple

import numpy as np

Region = tuple[slice, ...]
"""A box in the grid."""
RUNS_A_CHUNK = 4096
"""Runs of a chunk, in a store of up to `RUNS_A_CHUNK` · `CHUNKS` runs."""
MOST_RUNS_A_CHUNK = 2**20
CHUNKS = 1024
"""Chunks of a large store: the files of a store are this many times its variables."""
CHUNKS_A_PART = 4
"""Chunks of a part, if the sweep is large enough."""
RUNS_A_GROUP = 1024
"""Runs that share a checksum, in stores with chunks of more than `RUNS_A_CHUNK` runs."""
BYTES_A_CHUNK, MOST_BYTES_A_CHUNK = 2**23, 2**26
"""Bytes of a chunk, at most: in a store of moderate size, and in a large one."""


class Grid(NamedTuple):
    """A grid of runs, in chunks, in groups; each length of a chunk is a multiple of that of a group."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    groups: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of chunks along each dimension."""
        return tuple(-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def boxes(self) -> int:
        """The number of chunks."""
        return math.prod(self.counts)

    @property
    def everything(self) -> Region:
        """The whole grid."""
        return tuple(slice(0, length) for length in self.shape)

    def boxes_of(self, numbers: np.ndarray) -> np.ndarray:
        """The chunk (n,) in which each run lies."""
        if not self.shape:
            return np.zeros(len(numbers), int)
        places = np.unravel_index(numbers, self.shape)
        inside = tuple(place // chunk for place, chunk in zip(places, self.chunks, strict=True))
        return np.asarray(np.ravel_multi_index(inside, self.counts))

    def place_of(self, box: int) -> tuple[int, ...]:
        """The place of a chunk among the chunks."""
        return tuple(int(place) for place in np.unravel_index(box, self.counts)) if self.shape else ()

    def region(self, box: int) -> Region:
        """The places in the grid that lie in a chunk."""
        sides = zip(self.place_of(box), self.chunks, self.shape, strict=True)
        return tuple(slice(k * chunk, min((k + 1) * chunk, length)) for k, chunk, length in sides)

    def numbers(self, region: Region) -> np.ndarray:
        """The numbers (n,) of the runs in a region, ascending."""
        if not self.shape:
            return np.zeros(1, int)
        axes = np.ix_(*(np.arange(side.start, side.stop) for side in region))
        return np.asarray(np.ravel_multi_index(tuple(np.broadcast_arrays(*axes)), self.shape)).ravel()

    def positions(self, numbers: np.ndarray, region: Region) -> np.ndarray:
        """Where runs (n,) that lie in a region stand in `numbers(region)`."""
        if not self.shape:
            return np.zeros(len(numbers), int)
        places = zip(np.unravel_index(numbers, self.shape), region, strict=True)
        inside = tuple(place - side.start for place, side in places)
        return np.asarray(np.ravel_multi_index(inside, [side.stop - side.start for side in region]))

    def group_region(self, region: Region) -> Region:
        """The groups that lie in a region which begins at one."""
        sides = zip(region, self.groups, strict=True)
        return tuple(slice(side.start // group, -(-side.stop // group)) for side, group in sides)

    def group_counts(self, region: Region) -> tuple[int, ...]:
        """The number of groups along each dimension of a region."""
        return tuple(side.stop - side.start for side in self.group_region(region))

    def groups_in(self, region: Region) -> np.ndarray:
        """The group (n,) of each run of a region, numbered within the region."""
        if not self.shape:
            return np.zeros(1, int)
        sides = zip(region, self.groups, strict=True)
        axes = np.ix_(*(np.arange(side.stop - side.start) // group for side, group in sides))
        return np.asarray(np.ravel_multi_index(tuple(np.broadcast_arrays(*axes)), self.group_counts(region))).ravel()


def chunks_of(shape: tuple[int, ...], nbytes: int, parts: int) -> tuple[list[int], list[int]]:
    """The lengths of a chunk and of a group along each dimension.

    A chunk has a few thousand runs, or more in a large store, so that there are not too many files, and fewer where a
    sweep in parts needs more chunks. There is room to grow along the last dimension.

    Args:
        shape: of the grid.
        nbytes: of a run's results.
        parts: into how many the sweep is divided.
    """
    total = math.prod(shape)
    runs = max(RUNS_A_CHUNK, min(MOST_RUNS_A_CHUNK, total // CHUNKS))
    most = min(MOST_BYTES_A_CHUNK, BYTES_A_CHUNK * (runs // RUNS_A_CHUNK))
    runs = max(1, min(runs, most // max(1, nbytes)))
    if parts > 1:
        runs = max(1, min(runs, total // (CHUNKS_A_PART * parts)))
    chunks = lengths(shape, runs)
    is_large = math.prod(chunks) > RUNS_A_CHUNK
    return chunks, lengths(shape, min(RUNS_A_GROUP, runs)) if is_large else [1] * len(chunks)


def lengths(shape: tuple[int, ...], runs: int) -> list[int]:
    """Powers of two with a product of at most `runs`, the last dimensions first."""
    found, left = [], runs
    for place, length in enumerate(reversed(shape)):
        wanted = max(256, length) if place == 0 else length
        found.append(min(1 << (wanted - 1).bit_length(), 1 << (left.bit_length() - 1)))
        left = max(1, left // found[-1])
    return found[::-1]
