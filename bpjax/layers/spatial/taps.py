"""Linear maps along one axis whose rows have few entries, as lists of what each output reads: no scatter either way.

    forward    y_o  = Σₖ w_ok x_(i_ok)          each output reads a few positions
    backward   dx_i = Σ w_ok dy_o over the (o, k) with i_ok = i

The backward pass is the same kind of map with the transposed list, so both are gathers. Entries with weight 0 are not
read: a NaN or an infinity stays where it belongs.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.types import Array


class Taps(NamedTuple):
    """What each of O outputs reads along an axis of n positions; both arrays are constants of NumPy."""

    source: np.ndarray  # (O, K) positions
    weight: np.ndarray  # (O, K); 0 where an output reads less than K positions

    @classmethod
    def of(cls, rows: list[dict[int, float]]) -> "Taps":
        """From {position: weight} for each output."""
        width = max(map(len, rows))
        index, weight = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width))
        for o, row in enumerate(rows):
            entries = [(i, w) for i, w in row.items() if w]
            index[o, : len(entries)] = [i for i, _ in entries]
            weight[o, : len(entries)] = [w for _, w in entries]
        return cls(index, weight)

    def transposed(self, positions: int) -> "Taps":
        """What each of n positions reads of the outputs."""
        rows: list[dict[int, float]] = [{} for _ in range(positions)]
        for o, (index, weight) in enumerate(zip(self.source.tolist(), self.weight.tolist(), strict=True)):
            for i, w in zip(index, weight, strict=True):
                if w:
                    rows[i][o] = rows[i].get(o, 0.0) + w
        return Taps.of(rows)


def apply_taps(x: Array, axis: int, taps: Taps) -> Array:
    """The map along one axis of x."""
    total = None
    for index, weight in zip(taps.source.T, taps.weight.T, strict=True):
        term = read(x, axis, index)
        if (weight != 1).any():
            w = along(weight, axis, x.ndim)
            term = jnp.where(w == 0, 0.0, jnp.asarray(w, x.dtype) * term)
        total = term if total is None else total + term
    assert total is not None  # every list has at least one column
    return total


def read(x: Array, axis: int, index: np.ndarray) -> Array:
    """The entries of x at constant positions along an axis."""
    return jnp.take(x, jnp.asarray(index), axis=axis, mode="clip")


def along(vector: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector as an array of a rank that varies along one axis."""
    return vector.reshape([-1 if a == axis else 1 for a in range(rank)])
