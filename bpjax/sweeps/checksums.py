"""A checksum of every run, which binds its results to its coordinates and to the names of the variables.

A run of a store is valid exactly if its checksum is right. A chunk may therefore be written again with more runs at any
time: whatever mixture of old and new files a kill leaves, the earlier runs are valid and the new ones are run again.
"""

import zlib

import numpy as np

from bpjax.sweeps.plan import Plan

MISSING = -1
"""The checksum of a run that is not stored."""


def checksums(points: Plan, numbers: np.ndarray, values: dict[str, np.ndarray]) -> np.ndarray:
    """CRC-32 (n,) int64 of coordinates and results of each run.

    Args:
        points: the grid.
        numbers: of the runs (n,).
        values: the results, each (n, ...).
    """
    if not numbers.size:
        return np.zeros(0, np.int64)
    places = points.values(numbers)
    columns = [*sorted(places.items()), *sorted(values.items())]
    header = zlib.crc32(repr([(name, str(a.dtype), a.shape[1:]) for name, a in columns]).encode())
    rows = np.concatenate([as_bytes(a, len(numbers)) for _, a in columns], axis=1)
    step, flat = rows.shape[1], memoryview(rows.tobytes())
    sums = (zlib.crc32(flat[k * step : (k + 1) * step], header) for k in range(len(numbers)))
    return np.fromiter(sums, np.int64, len(numbers))


def as_bytes(array: np.ndarray, count: int) -> np.ndarray:
    """The bytes of each run (n, bytes)."""
    flat = np.ascontiguousarray(array).reshape(count, -1)
    return flat.view(np.uint8).reshape(count, -1) if flat.size else np.zeros((count, 0), np.uint8)
