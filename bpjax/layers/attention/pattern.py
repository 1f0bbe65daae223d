"""Which keys a query sees, and what is added to its scores: computed tile by tile, so that no T × S array is formed.

    S′ = S + m + b        m: 0 where a key is visible, −∞ where it is hidden, or an additive mask
                          b: a bias by distance, one number for each head and each s − t
    P′ = r ⊙ P / (1 − p)  r: dropout on the weights, 1 with probability 1 − p, else 0

A key is visible where the mask is true, where s ≤ t + offset if causal, and where |t + offset − s| < window. The random
bits of r are those of a counter, the place of the weight (n, h, t, s): they do not depend on the tiles.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p

from bpjax.types import Array, Key


class Pattern(NamedTuple):
    """What is added to the scores (N, H, T, S), and which of the weights are dropped."""

    lengths: tuple[int, int]
    """(T, S)."""
    causal: bool = False
    offset: int = 0
    """The key that stands at the place of query 0: S − T aligns the last query with the last key."""
    window: int | None = None
    rate: float = 0.0
    """p, the probability that a weight is dropped."""
    mask: Array | None = None
    """(N or 1, H or 1, T or 1, S): booleans, true where a key is visible, or numbers that are added to the scores."""
    bias: Array | None = None
    """(H, T + S − 1), added by distance: entry T − 1 + s − t."""
    seed: Array | None = None
    """(2,) of uint32, for the dropout."""

    def pairs(self, tiles: "Tiles") -> list[tuple[int, int]]:
        """Indices (i, j) of the tiles in which a query may see a key."""
        every = [(i, j) for i in range(tiles.rows) for j in range(tiles.columns)]
        return [(i, j) for i, j in every if self._may_see(i * tiles.t, tiles.t, j * tiles.s, tiles.s)]

    def _may_see(self, row: int, rows: int, column: int, columns: int) -> bool:
        first, last = row + self.offset, row + rows - 1 + self.offset  # the keys at the places of these queries
        if self.causal and column > last:
            return False
        reach = self.window
        return reach is None or (column + columns - 1 > first - reach and (self.causal or column < last + reach))

    def added(self, mask, rows, columns) -> list:
        """The arrays to add to the scores of a tile, each (n, h, t, s) or with axes of size 1.

        Args:
            mask: The part of the mask, or None.
            rows: The places t of the queries.
            columns: The places s of the keys.
        """
        visible = self._visible(mask, rows, columns)
        added = [] if visible is None else [jnp.where(visible, 0.0, -jnp.inf)]
        if mask is not None and mask.dtype != bool:
            added.append(mask)
        return added if self.bias is None else [*added, self.bias[:, self.distances(rows, columns)][None]]

    def _visible(self, mask, rows, columns):
        """Which keys each query sees, booleans (n, h, t, s), or None where all see all."""
        visible = mask if mask is not None and mask.dtype == bool else None
        if not self.causal and self.window is None:
            return visible
        place = rows[:, None] + self.offset
        near = columns[None, :] <= place if self.causal else abs(columns[None, :] - place) < self.window
        if self.causal and self.window is not None:
            near = near & (columns[None, :] > place - self.window)
        return near[None, None] if visible is None else visible & near[None, None]

    def distances(self, rows, columns):
        """(t, s), the entry of the bias of each query and key; that of padding is within the array."""
        queries, keys = self.lengths
        return (queries - 1 + columns[None, :] - rows[:, None]).clip(0, queries + keys - 2)

    def kept(self, batch: tuple[int, ...], rows, columns, dtype) -> Array | None:
        """r / (1 − p) of a tile (n, h, t, s), or None without dropout.

        Args:
            batch: (N, H).
            rows: The places t of the queries.
            columns: The places s of the keys.
            dtype: Of the result.
        """
        if self.seed is None:
            return None
        heads = np.arange(batch[0] * batch[1], dtype=np.uint32).reshape(*batch, 1, 1)
        queries = jnp.asarray(rows, jnp.uint32)[None, None, :, None] + heads * np.uint32(self.lengths[0])
        shape = (*batch, len(rows), len(columns))
        counters = jnp.broadcast_to(queries, shape), jnp.broadcast_to(jnp.asarray(columns, jnp.uint32), shape)
        keys = (jnp.broadcast_to(part, shape) for part in self.seed)
        bits = threefry2x32_p.bind(*keys, *counters)[0]
        return jnp.where(bits >= np.uint32(self.rate * 2**32), jnp.asarray(1 / (1 - self.rate), dtype), 0)


def seed_of(key: Key) -> Array:
    """The seed of the dropout from a key of JAX."""
    return jax.random.bits(key, (2,), jnp.uint32)


class Tiles:
    """T queries and S keys in blocks of nearly equal length, at most `block`; padding of the last block is hidden."""

    def __init__(self, pattern: Pattern, block: int):
        self.pattern = pattern
        queries, keys = pattern.lengths
        self.rows, self.columns = -(-queries // block), -(-keys // block)
        self.t, self.s = -(-queries // self.rows), -(-keys // self.columns)
        self._masks = self._cut_mask(pattern.mask)

    def queries(self, x):
        """(N, H, T, ...) in blocks of queries."""
        return cut(x, 2, self.rows, self.t)

    def keys(self, x):
        """(N, H, S, ...) in blocks of keys."""
        return cut(x, 2, self.columns, self.s)

    def _cut_mask(self, mask):
        """The mask in blocks (columns, ...) or (rows, columns, ...), or None where all keys are visible."""
        if mask is None:
            if self.columns * self.s == self.pattern.lengths[1]:
                return None
            mask = jnp.ones((1, 1, 1, self.pattern.lengths[1]), bool)
        hidden = False if mask.dtype == bool else -jnp.inf
        blocks = cut(mask, 3, self.columns, self.s, hidden)
        return blocks if mask.shape[2] == 1 else cut(blocks, 3, self.rows, self.t, hidden)

    def pairs(self):
        """Indices (i, j) of the pairs of blocks to compute."""
        return tuple(jnp.asarray(np.array(self.pattern.pairs(self), np.int32).reshape(-1, 2).T))

    def places(self, i, j):
        """The places of the queries and of the keys of a tile."""
        return i * self.t + jnp.arange(self.t), j * self.s + jnp.arange(self.s)

    def added(self, i, j) -> list:
        """What is added to the scores of a tile."""
        masks = self._masks
        mask = None if masks is None else masks[j] if masks.ndim == 5 else masks[i, j]
        return self.pattern.added(mask, *self.places(i, j))


def cut(x, axis: int, blocks: int, size: int, padding: float = 0):
    """An axis cut into blocks, the blocks as first axis, (blocks, ..., size, ...); `padding` fills the last one."""
    widths = [(0, blocks * size - x.shape[a] if a == axis else 0) for a in range(x.ndim)]
    x = jnp.pad(x, widths, constant_values=padding)
    return jnp.moveaxis(x.reshape(*x.shape[:axis], blocks, size, *x.shape[axis + 1 :]), axis, 0)


def join(x, length: int):
    """The inverse of `cut` for the axis of positions: (blocks, N, H, size, ...) to (N, H, length, ...)."""
    x = jnp.moveaxis(x, 0, 2)
    x = x.reshape(*x.shape[:2], -1, *x.shape[4:])
    return jax.lax.slice_in_dim(x, 0, length, axis=2)
