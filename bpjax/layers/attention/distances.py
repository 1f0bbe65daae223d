"""Biases of scores that depend on the distance between query and key alone."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.types import Array

BUCKETS, FARTHEST = 32, 128
"""Of the learnt bias: the number of distances that are told apart, and the distance from which all are alike."""


def alibi_slopes(heads: int) -> np.ndarray:
    """(H,) the slopes m of the bias −m |t − s|: 2^(−8 i / H) for i = 1 … H (Press et al. 2022, ALiBi).

    If H is no power of two: the slopes for the largest power p below H, then every other one of those for 2 p, as in
    the authors' program.
    """
    power = 2 ** int(math.log2(heads))
    of = lambda n: 2.0 ** (-8 * np.arange(1, n + 1) / n)
    return np.concatenate([of(power), of(2 * power)[::2][: heads - power]])


class Distances(NamedTuple):
    """The distances s − t − offset of T queries and S keys, from 1 − T on: the axis of a bias by distance."""

    queries: int
    keys: int
    offset: int = 0

    def signed(self) -> np.ndarray:
        """(T + S − 1,) integers: negative for keys before the query."""
        return np.arange(self.queries + self.keys - 1) - (self.queries - 1) - self.offset

    def buckets(self, causal: bool) -> np.ndarray:
        """The bucket of each distance (Raffel et al. 2020, T5): exact for near keys, logarithmic for far ones.

        Causal: all buckets are for keys before the query. Otherwise half of them for those before and half for those
        after it.
        """
        before = -self.signed()
        count = BUCKETS if causal else BUCKETS // 2
        distance = np.maximum(before, 0) if causal else abs(before)
        exact = count // 2
        far = np.log(np.maximum(distance, 1) / exact) / math.log(FARTHEST / exact) * (count - exact)
        bucket = np.where(distance < exact, distance, np.minimum(exact + far.astype(int), count - 1))
        return bucket if causal else bucket + np.where(before < 0, count, 0)


def alibi(heads: int, distances: Distances, dtype) -> Array:
    """−m |t − s| for each head and distance, (H, T + S − 1)."""
    return jnp.asarray(-alibi_slopes(heads)[:, None] * abs(distances.signed())[None, :], dtype)


def of_table(table: Array, distances: Distances, causal: bool) -> Array:
    """A learnt bias (B, H) for each head and distance, (H, T + S − 1)."""
    return table[distances.buckets(causal)].T


def table_gradient(table: Array, dbias: Array, distances: Distances, causal: bool) -> Array:
    """The cotangent of the table: that of the bias summed over the distances of each bucket."""
    start = jnp.zeros(table.shape, dbias.dtype)
    return start.at[distances.buckets(causal)].add(dbias.T).astype(table.dtype)
