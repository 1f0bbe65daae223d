"""Matrix products in the form that is fastest for their sizes, and affine maps with their derivatives.

y = x W + b and dW, db, dx for inputs with any number of axes: all axes but the last (examples, time steps, positions)
are flattened into rows.
"""

import jax
import jax.numpy as jnp

from bpjax.types import Array
from bpjax.util.precision import HALF, widen

TINY = 1024
"""Up to this many multiply-adds a product is written as multiply and sum. A call into a matrix library costs 1-3 µs,
more than the work, while multiply and sum are fused with neighbouring operations (a 10-5-10 network trains 7 times
faster, measured on two cores)."""

NARROW = 16
"""With at most this many columns and at least this many rows, xᵀ dy is computed as (dyᵀ x)ᵀ: 1.2 to 17 times faster
on a CPU, 2.6 times for 128 examples, 500 inputs and 10 units."""

HALF_AS_WIDE = 128
"""So it is with up to this many columns, if x has twice as many and there are twice as many rows: 1.2 to 2.3 times
faster, 1.5 times for 1,024 rows, 512 inputs and 128 units."""

COPIED = range(64 * 64, 256 * 256 + 1)
"""For a weight gradient of this many entries xᵀ is copied before the product, because XLA multiplies an array in memory
order with another library than a transposed one: 1.1 to 2.5 times faster on a CPU, 2.5 times for 128 examples, inputs
and units. With more entries the time is the same."""


def matmul(a: Array, b: Array) -> Array:
    """A B (n, k) for A (n, m) and B (m, k), accumulated in float32 where A and B are half precision."""
    (n, m), k = a.shape, b.shape[1]
    wide = jnp.float32 if a.dtype in HALF else a.dtype
    if is_tiny(n * m * k):
        return jnp.sum(a.astype(wide)[:, :, None] * b.astype(wide)[None, :, :], axis=1).astype(a.dtype)
    return jnp.matmul(a, b, preferred_element_type=wide).astype(a.dtype)


def is_tiny(work) -> bool:
    """Whether a product of `work` multiply-adds is written as multiply and sum; not for a symbolic N (`jax.export`)."""
    return isinstance(work, int) and work <= TINY


def rows(a: Array) -> Array:
    """All axes but the last flattened, (..., D) to (rows, D)."""
    return a.reshape(-1, a.shape[-1])


def affine(x: Array, w: Array, b: Array | None = None) -> Array:
    """y = x W + b along the last axis.

    Args:
        x: Inputs (..., D).
        w: Weights (D, H).
        b: Bias (H,), or None.
    """
    y = matmul(rows(x), w)
    return (y if b is None else y + b[None, :]).reshape(*x.shape[:-1], w.shape[1])


def weight_gradient(x: Array, dy: Array) -> Array:
    """dW = Σ xᵀ dy over all rows, (D, H), as one product; without the barriers XLA would undo its form."""
    x, dy = rows(x), rows(dy)
    (n, d), h = x.shape, dy.shape[1]
    if not isinstance(n, int) or n < NARROW or is_tiny(n * d * h):
        return matmul(x.T, dy)
    if h <= NARROW and h < d or 2 * h <= min(d, n, 2 * HALF_AS_WIDE):
        return jax.lax.optimization_barrier(matmul(dy.T, x)).T
    if d * h in COPIED:
        return matmul(jax.lax.optimization_barrier(x.T), dy)
    return matmul(x.T, dy)


def bias_gradient(dy: Array) -> Array:
    """db = Σ dy over all rows, (H,), summed in float32 where dy is half precision."""
    return widen(rows(dy)).sum(axis=0).astype(dy.dtype)


def input_gradient(dy: Array, w: Array) -> Array:
    """dx = dy Wᵀ along the last axis, (..., H) to (..., D)."""
    return matmul(rows(dy), w.T).reshape(*dy.shape[:-1], w.shape[0])
