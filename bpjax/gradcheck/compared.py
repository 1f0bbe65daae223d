"""The entries of a gradient that an explanation is fitted to, as weighted vectors."""

import math
from collections.abc import Sequence

import numpy as np

ENTRIES = 2048
"""Entries of each leaf that are compared, at most."""


class Compared:
    """A gradient under test and the truth, over all cotangents and leaves.

    Each leaf has weight 1 / (its largest entry √ its size). Leaves of another shape than the truth are left out.
    """

    def __init__(self, computed: Sequence[Sequence], truth: Sequence[Sequence], noise: Sequence[Sequence] | None):
        """By cotangent, then by leaf; None for a leaf without gradient."""
        self.leaves: list[int] = []
        self.shapes: list[tuple[int, ...]] = []
        self.chosen: list[np.ndarray] = []  # positions of the entries in the flat leaf
        self.spans: list[slice] = []  # of each leaf in the vectors
        columns: list[list] = []
        start = 0
        for k in range(len(truth[0])):
            column = _column(k, computed, truth, noise)
            if column is None:
                continue
            shape, entries, rows = column
            self.leaves.append(k)
            self.shapes.append(shape)
            self.chosen.append(entries)
            self.spans.append(slice(start, start + rows[0].size))
            start += rows[0].size
            columns.append(rows)
        self.size = start
        self.count = len(truth)
        if columns:
            a, t, n, self.weight = (np.concatenate([row[i] for row in columns]) for i in range(4))
            self.computed, self.truth, self.noise = a * self.weight, t * self.weight, n * self.weight
            error = float(np.linalg.norm(self.computed - self.truth))
            self.before = error / max(float(np.linalg.norm(self.truth)), 1e-300)
        else:
            self.before = math.inf

    @property
    def tolerance(self) -> float:
        """Relative error of a whole leaf that counts as equal."""
        if not self.size:
            return 1e-5
        return max(1e-9, 10 * float(np.linalg.norm(self.noise) / max(np.linalg.norm(self.truth), 1e-300)))

    def spread(self, leaf: int, array: np.ndarray) -> np.ndarray | None:
        """An array broadcast to the shape of the k-th compared leaf, at its entries, for all cotangents; or None."""
        shape = self.shapes[leaf]
        if array.ndim > len(shape):
            return None
        try:
            full = np.broadcast_to(array, shape)
        except ValueError:
            return None
        field = np.tile(full.ravel()[self.chosen[leaf]], self.count)
        return np.repeat(field, 2) if field.size < self.spans[leaf].stop - self.spans[leaf].start else field


def _column(k: int, computed, truth, noise):
    """(shape, positions, [computed, truth, noise, weight]) of one leaf, None where it cannot be compared."""
    a = [None if row[k] is None else np.asarray(row[k]) for row in computed]
    t = [np.asarray(row[k]) for row in truth]
    if not t[0].size or any(x is None or x.shape != t[0].shape for x in a):
        return None
    shape = t[0].shape
    a, t = np.stack([np.ravel(np.asarray(x)) for x in a]), np.stack([x.ravel() for x in t])
    n = np.zeros(t.shape) if noise is None else np.stack([np.ravel(row[k]) for row in noise])
    n = np.nan_to_num(np.broadcast_to(n, t.shape), posinf=0)
    usable = np.isfinite(a).all(axis=0) & np.isfinite(t).all(axis=0)
    error = np.where(usable, np.abs(np.where(usable, a - t, 0)).max(axis=0), -1)
    entries = _choose(error)
    if not len(entries):
        return None
    a, t, n = a[:, entries], t[:, entries], n[:, entries]
    scale = max(float(np.abs(t).max()), float(np.abs(a - t).max()), 1e-300)
    if np.iscomplexobj(t):
        a, t, n = real_pairs(a.astype(t.dtype)), real_pairs(t), np.repeat(n, 2, axis=1)
    weight = np.full(a.size, 1 / (scale * math.sqrt(a.size)))
    return shape, entries, [a.ravel(), t.ravel(), n.ravel(), weight]


def real_pairs(array: np.ndarray) -> np.ndarray:
    """A complex array (M, N) as (M, 2N): the real part of each entry, then its imaginary part."""
    return np.stack([np.real(array), np.imag(array)], axis=-1).reshape(len(array), -1)


def _choose(error: np.ndarray) -> np.ndarray:
    """At most `ENTRIES` positions: half of them where the error is largest, the others evenly spread."""
    usable = np.flatnonzero(error >= 0)
    if len(usable) <= ENTRIES:
        return usable
    worst = usable[np.argsort(error[usable])[-ENTRIES // 2 :]]
    spread = usable[:: math.ceil(2 * len(usable) / ENTRIES)]
    return np.unique(np.concatenate([worst, spread]))
