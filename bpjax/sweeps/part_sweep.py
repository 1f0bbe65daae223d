"""Compute one part of a sweep, in a store that other processes write at the same time.

The runs of the store's grid lie in blocks, the chunks of the Zarr arrays. Of the blocks that a sweep needs, part
(index, count) owns those numbered index, index + count, ... A process opens a few of its blocks at a time, under a lock
(`chunk_locks`), runs what is missing in them, writes each as whole chunks, and forgets it. Blocks are fixed when the
store is made, so that a second pass may have another count.
"""

import contextlib
import queue
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bpjax.sweeps.chunk_locks import ChunkLocks
from bpjax.sweeps.device_kind import device_kind
from bpjax.sweeps.holder import SILENCE, described, lives, read_holder
from bpjax.sweeps.part import Part
from bpjax.sweeps.part_results import PartResults
from bpjax.sweeps.plan import Plan, union
from bpjax.sweeps.progress import Report, progress_report
from bpjax.sweeps.record_file import plan_of, read_record
from bpjax.sweeps.result import RUN, dataset_of_runs
from bpjax.sweeps.skeleton import is_sound
from bpjax.sweeps.store import SweepStore, check_folder, check_same, prepare_folder
from bpjax.sweeps.workers import Job, blocks_of, run_waiting, workers_of
from bpjax.sweeps.writer import only_writer

MOST_RUNS = 2**31 - 1
"""Runs of a sweep in parts, whose numbers are int32 on the device."""
PREPARE_SECONDS = 30.0
"""How long a part waits for another one that makes the store."""


def sweep_part(job: Job, record: dict, store: Path, part: Part, devices: list, progress):
    """The runs of one part of a sweep, with the dimension "run"."""
    if RUN in job.points.coords or job.points.runs > MOST_RUNS:
        raise ValueError(
            f"`sweep` expected at most {MOST_RUNS} runs and no axis called {RUN!r} for a sweep in parts, got "
            f"{job.points.runs} runs along {', '.join(job.points.coords)}."
        )
    with open_part(store, record, job.points, part, device_kind(devices[0])) as results:
        nothing = np.zeros(0, np.int8)
        try:
            with progress_report(progress, results.runs, nothing, job.computation) as report:
                run_part(job._replace(points=results.store.points), results, devices, report)
        except KeyboardInterrupt:
            where = f"what part {part} has computed is stored in {store}: start it again, and it continues there"
            raise KeyboardInterrupt(where) from None
    numbers, values = results.collected()
    return dataset_of_runs(results.store.points, numbers, values, record, {"part": str(part)})


@contextlib.contextmanager
def open_part(folder: Path, new: dict, points: Plan, part: Part, device: str) -> Iterator[PartResults]:
    """The results of a part, whose store is created or grown so that it contains the runs of `points`.

    Args:
        folder: of the store.
        new: the record of the sweep, see `new_record`.
        points: all runs of the sweep.
        part: which this process computes.
        device: the kind of device on which runs will be computed.

    Raises:
        ValueError: the folder holds another sweep or something else, cannot be written, or another process writes the
            whole store.
    """
    folder = folder.absolute()
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store = SweepStore(folder, prepared(folder, new, points, part.count), device)
    except OSError as error:
        raise ValueError(
            f"A sweep cannot be written to {folder} ({error.strerror or error}): choose another folder."
        ) from None
    with ChunkLocks(folder, {"part": str(part)}) as locks:
        results = PartResults(store, locks, part, points)
        try:
            yield results
        finally:
            results.flush()


def prepared(folder: Path, new: dict, points: Plan, parts: int) -> dict:
    """The record of a store that contains the runs of `points`; the first part to arrive makes it, the others wait."""
    deadline = time.monotonic() + PREPARE_SECONDS
    while True:
        record = read_record(folder)
        if record is not None and contains(folder, record, new, points):
            return record
        try:
            with only_writer(folder):
                return prepare_folder(folder, new, points, parts)
        except ValueError:
            record = read_record(folder)
            if record is not None:
                check_same(folder, record, new)
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def contains(folder: Path, record: dict, new: dict, points: Plan) -> bool:
    """Whether a store is complete, and of this computation, and contains the runs of `points`."""
    check_same(folder, record, new)
    if not is_sound(record, folder):
        return False
    there = plan_of(record["axes"], folder, points)
    return union(there, points).dims == there.dims


class Feed:
    """The blocks of runs that the workers of a part take, chunk after chunk."""

    def __init__(self, results: PartResults, job: Job, workers: int, report: Report):
        """Nothing is taken yet.

        Args:
            results: which open the chunks.
            job: whose layout says how many runs are prepared together.
            workers: how many share a chunk.
            report: called with runs that are there already.
        """
        self.results, self.layout, self.workers, self.report = results, job.layout, workers, report
        self.blocks: deque[np.ndarray] = deque()

    def is_empty(self) -> bool:
        """Whether no run is left; opens the next chunk."""
        with self.results.lock:
            if not self.blocks:
                missing = self.results.next_missing(self.report)
                self.blocks.extend([] if missing is None else blocks_of(missing, self.layout, self.workers))
            return not self.blocks

    def get_nowait(self) -> np.ndarray:
        """The next block; `queue.Empty` after the last."""
        with self.results.lock:
            if self.is_empty():
                raise queue.Empty
            return self.blocks.popleft()


def run_part(job: Job, results: PartResults, devices: list, report: Report) -> None:
    """Train the runs of a part that have no result yet.

    Args:
        job: what to run; its points are those of the store.
        results: of the part.
        devices: where to run.
        report: called with the results of runs that have stopped.

    Raises:
        ValueError: other processes hold some of the part's chunks; everything else has been done.
    """
    workers = workers_of(devices)
    feed = Feed(results, job, workers, report)
    while not feed.is_empty():
        run_waiting(job, feed, workers, results, devices, report)
        released = [box for box, path in results.refused.items() if not is_held(path)]
        for box in released:
            del results.refused[box]
        results.ahead.extend(released)
    if results.refused:
        path = next(iter(results.refused.values()))
        raise ValueError(
            f"{len(results.refused)} of the {len(results.mine)} blocks of this part of {results.store.folder} are "
            f"being written by {described(read_holder(path) or {}, path)} or others; the rest of the part is done. "
            "Start the part again when they have ended, and it runs what is missing then; a process that was killed "
            f"holds nothing, and one on another machine counts as dead after {SILENCE:g} s without a sign of life."
        )


def is_held(path: Path) -> bool:
    """Whether the process that has created a lock file lives."""
    holder = read_holder(path)
    return holder is not None and lives(holder, path)
