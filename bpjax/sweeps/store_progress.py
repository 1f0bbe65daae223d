"""How far a stored sweep is: which blocks are complete, which process computes which, and what is left of each part."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpjax.sweeps.checksums import MISSING
from bpjax.sweeps.holder import described, lives, read_holder
from bpjax.sweeps.record_file import STORE
from bpjax.sweeps.skeleton import CHECK
from bpjax.sweeps.stored import record_of
from bpjax.sweeps.stored_runs import Reader
from bpjax.sweeps.writer import chunk_locks
from bpjax.util.checks import check_count
from bpjax.util.files import as_path


class StoreProgress(NamedTuple):
    """How far a stored sweep is, as its files say; `bp.open_sweep` holds every run against its checksum."""

    runs: int  # of the grid
    done: int  # runs that are stored
    complete: np.ndarray  # (blocks,) booleans
    parts: int  # into how many the sweep is divided
    writing: list[str]  # the processes that are computing blocks, for people

    def left(self) -> dict[int, int]:
        """The parts that are not complete, and how many of their blocks are not."""
        counts = {index: int((~self.complete[index :: self.parts]).sum()) for index in range(self.parts)}
        return {index: count for index, count in counts.items() if count}

    def __str__(self) -> str:
        lines = [
            f"{self.done:,} of {self.runs:,} runs are stored, "
            f"{int(self.complete.sum()):,} of {self.complete.size:,} blocks are complete"
        ]
        lines += [f"{who} computes block {name}" for name, who in (text.split("\t") for text in self.writing)]
        if self.parts > 1:
            lines += [f"part {index}/{self.parts}: {count:,} blocks left" for index, count in self.left().items()]
        return "\n".join(lines)


def store_progress(store: str | Path, parts: int = 1) -> StoreProgress:
    """How far a stored sweep is.

    Args:
        store: the folder.
        parts: into how many the sweep is divided.

    Raises:
        ValueError: the folder holds no sweep, or `parts` is not a positive integer.
    """
    check_count("store_progress", "parts", parts)
    folder, record = record_of("store_progress", as_path("store_progress", store, STORE))
    reader = Reader(folder, record)
    done, complete = 0, np.zeros(reader.grid.boxes, bool)
    for box in range(reader.grid.boxes):
        region = reader.grid.region(box)
        if (np.asarray(reader.arrays[CHECK][reader.grid.group_region(region)]) == MISSING).all():
            continue
        reason = np.asarray(reader.arrays["reason"][region])
        done, complete[box] = done + int((reason >= 0).sum()), bool((reason >= 0).all())
    writing = []
    for path in chunk_locks(folder):
        holder = read_holder(path)
        if holder and lives(holder, path):
            name = path.name.removeprefix(".lock-").rpartition("-")[0]
            writing.append(f"{name}\tpart {holder.get('part')}: {described(holder, path).rstrip(',')}")
    return StoreProgress(reader.points.runs, done, complete, parts, writing)
