"""The results of one part of a sweep: a few chunks of the store at a time in memory, each locked while it is open."""

import functools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bpjax.sweeps.chunk_locks import ChunkLocks
from bpjax.sweeps.grid import Grid, Region
from bpjax.sweeps.part import Part
from bpjax.sweeps.plan import Plan, places_in
from bpjax.sweeps.record_file import read_record
from bpjax.sweeps.result import FLUSH_SECONDS
from bpjax.sweeps.steps import Axis, Steps
from bpjax.sweeps.store import SweepStore
from bpjax.sweeps.writer import HOLDER, held_by, is_written

log = logging.getLogger("bpjax.sweeps")

WRITING_SHARE = 0.05
"""Share of the time that writing incomplete chunks may take."""


class OpenChunk:
    """A chunk of the store in memory."""

    def __init__(self, store: SweepStore, box: int, wanted: np.ndarray):
        """As it is stored.

        Args:
            store: which this process writes.
            box: the number of the chunk.
            wanted: which of its runs the sweep needs (n,).
        """
        self.box, self.region, self.wanted = box, store.grid.region(box), wanted
        self.numbers = store.grid.numbers(self.region)
        self.values, self.done, _ = store.read_box(box)
        self.left, self.is_saved = int((wanted & ~self.done).sum()), True


class PartResults:
    """The results of a part; several threads may add at once."""

    def __init__(self, store: SweepStore, locks: ChunkLocks, part: Part, points: Plan):
        """Nothing is open yet.

        Args:
            store: whose grid contains `points`.
            locks: of the store.
            part: which this process computes.
            points: the runs of the sweep.
        """
        self.store, self.locks = store, locks
        self.places = list(places_in(store.points, points).values())
        self.mine = boxes_with(store.grid, self.places)[part.index :: part.count].tolist()
        self.ahead, self.refused = deque(self.mine), dict[int, Path]()
        self.open, self.finished = dict[int, OpenChunk](), dict[int, OpenChunk]()
        self.lock, self.flushed, self.interval = threading.RLock(), time.monotonic(), FLUSH_SECONDS

    @property
    def runs(self) -> int:
        """The number of the part's runs."""
        regions = map(self.store.grid.region, self.mine)
        return sum(math.prod(int(side.sum()) for side in self.sides(region)) for region in regions)

    def sides(self, region: Region) -> list[np.ndarray]:
        """For each dimension, which places of a region the sweep needs."""
        return [wanted_along(places, side) for places, side in zip(self.places, region, strict=True)]

    def next_missing(self, report: Callable[[dict[str, np.ndarray]], None]) -> np.ndarray | None:
        """Open the next chunk with missing runs; their numbers, or None after the last chunk.

        Args:
            report: called with `reason` of runs that are there already.

        Raises:
            ValueError: another process writes the whole store, or has changed its grid.
        """
        with self.lock:
            while self.ahead:
                box = self.ahead.popleft()
                holder = self.locks.claim(self.name_of(box))
                if holder is not None:
                    self.refused[box] = holder
                    continue
                self.check_unchanged()
                wanted = functools.reduce(np.logical_and.outer, self.sides(self.store.grid.region(box)), np.True_)
                chunk = self.open[box] = OpenChunk(self.store, box, np.ravel(wanted))
                report({"reason": chunk.values["reason"][chunk.done & chunk.wanted]})
                if chunk.left:
                    return chunk.numbers[chunk.wanted & ~chunk.done]
                self.close(chunk)
        return None

    def name_of(self, box: int) -> str:
        """The name of a chunk, as in the files of Zarr."""
        return ".".join(map(str, self.store.grid.place_of(box))) or "0"

    def check_unchanged(self) -> None:
        """Raise a `ValueError` where a process writes the whole store, or has changed its grid; call with a lock."""
        folder = self.store.folder
        if is_written(folder):
            raise ValueError(held_by(folder, folder / HOLDER))
        if (read_record(folder) or {}).get("files") != self.store.record["files"]:
            raise ValueError(f"the sweep in {folder} has grown meanwhile: start the part again.")

    def add(self, new: dict[str, np.ndarray]) -> None:
        """Results of runs that have stopped; a complete chunk is written to the store and forgotten."""
        with self.lock:
            boxes = self.store.grid.boxes_of(new["number"])
            for box in set(boxes.tolist()) & set(self.open):
                chunk, picked = self.open[box], boxes == box
                at = self.store.grid.positions(new["number"][picked], chunk.region)
                for name, array in chunk.values.items():
                    array[at] = new[name][picked]
                chunk.done[at], chunk.is_saved = True, False
                chunk.left -= len(at)
                if not chunk.left:
                    self.save([chunk])
                    self.close(chunk)
            if time.monotonic() - self.flushed > self.interval:
                self.flush()

    def flush(self) -> None:
        """Write what is not in the store yet."""
        with self.lock:
            began = time.monotonic()
            self.save([chunk for chunk in self.open.values() if not chunk.is_saved])
            self.flushed = time.monotonic()
            self.interval = max(FLUSH_SECONDS, (self.flushed - began) / WRITING_SHARE)

    def save(self, chunks: list[OpenChunk]) -> None:
        """Write chunks; one whose lock another process has taken is left to it."""
        for chunk in chunks:
            if not self.locks.is_mine(self.name_of(chunk.box)):
                log.warning("%s: another process has taken over chunk %s", self.store.folder, self.name_of(chunk.box))
                self.refused[chunk.box] = self.locks.path(self.name_of(chunk.box), 0)
                self.open.pop(chunk.box).left = -1
                continue
            try:
                self.store.write(chunk.box, chunk.values, chunk.done)
            except OSError as error:
                raise ValueError(
                    f"{self.store.folder} could not be written ({error.strerror or error}): runs written before are "
                    "kept. Free some space and start the part again."
                ) from None
            chunk.is_saved = True

    def close(self, chunk: OpenChunk) -> None:
        """Release a complete chunk."""
        if self.open.pop(chunk.box, None) is not None:
            self.locks.release(self.name_of(chunk.box))
            self.finished[chunk.box] = chunk

    def collected(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The numbers (n,) of the part's runs that are done, and their results."""
        chunks = [self.finished[box] for box in self.mine if box in self.finished]
        numbers = [chunk.numbers[chunk.wanted] for chunk in chunks]
        values = {
            name: np.concatenate([chunk.values[name][chunk.wanted] for chunk in chunks])
            for name in (chunks[0].values if chunks else ())
        }
        return np.concatenate([np.zeros(0, int), *numbers]), values


def wanted_along(places: Axis, side: slice) -> np.ndarray:
    """Which places between the ends of `side` are among `places`."""
    along = np.arange(side.start, side.stop)
    return along < len(places) if isinstance(places, Steps) else np.isin(along, places)


def boxes_with(grid: Grid, places: list[Axis]) -> np.ndarray:
    """The numbers of the chunks in which runs lie that stand at `places` along each dimension, ascending."""
    if not places:
        return np.zeros(1, int)
    along = [
        np.arange(-(-len(one) // chunk)) if isinstance(one, Steps) else np.unique(np.asarray(one) // chunk)
        for one, chunk in zip(places, grid.chunks, strict=True)
    ]
    return np.asarray(np.ravel_multi_index(tuple(np.broadcast_arrays(*np.ix_(*along))), grid.counts)).ravel()
