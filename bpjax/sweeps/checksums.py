"""Checksums, which bind the results of runs to their coordinates and to the names of the variables.

In a store of moderate size every run has one, in a large one every group of about a thousand neighbours. Runs of a
store are valid exactly if their checksum is right. A chunk may therefore be written again with more runs at any time:
whatever mixture of old and new files a kill leaves, the groups that were complete are valid, and the others run again.
"""

import zlib

import numpy as np

from bpjax.sweeps.plan import Plan

MISSING = -1
"""The checksum of a group without runs."""


def checksums(points: Plan, numbers: np.ndarray, values: dict[str, np.ndarray], groups: np.ndarray) -> np.ndarray:
    """CRC-32 (n,) int64 of coordinates and results of the runs of each group.

    Args:
        points: the grid.
        numbers: of the runs that are there (n,), ascending within a group.
        values: their results, each (n, ...).
        groups: the number of each run's group (n,).

    Returns:
        The checksum of each group that occurs, in ascending order of their numbers.
    """
    if not numbers.size:
        return np.zeros(0, np.int64)
    columns = [*sorted(points.values(numbers).items()), *sorted(values.items())]
    header = zlib.crc32(repr([(name, str(a.dtype), a.shape[1:]) for name, a in columns]).encode())
    rows = np.concatenate([as_bytes(a, len(numbers)) for _, a in columns], axis=1)
    order = np.argsort(groups, kind="stable")
    ends = np.flatnonzero(np.diff(groups[order], append=groups.max() + 1)) + 1
    step, flat = rows.shape[1], memoryview(rows[order].tobytes())
    begins = [0, *ends[:-1].tolist()]
    sums = (zlib.crc32(flat[a * step : b * step], header) for a, b in zip(begins, ends.tolist(), strict=True))
    return np.fromiter(sums, np.int64, len(ends))


def as_bytes(array: np.ndarray, count: int) -> np.ndarray:
    """The bytes of each run (n, bytes)."""
    flat = np.ascontiguousarray(array).reshape(count, -1)
    return flat.view(np.uint8).reshape(count, -1) if flat.size else np.zeros((count, 0), np.uint8)
