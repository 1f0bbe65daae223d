"""The product of two matrices, in the form that suits their sizes."""

import jax.numpy as jnp

from bpjax.precision import HALF
from bpjax.types import Array

TINY = 1024
"""Up to so many multiply-adds a product is written out. A call into a matrix library costs 1-3 µs, more than
the work; multiply-and-add fuses with its neighbours (10-5-10 trains 7 times faster, measured on two cores)."""


def matmul(a: Array, b: Array) -> Array:
    """A B for A (n, m) and B (m, k), shape (n, k), accumulated in float32 where A and B are half precision."""
    (n, m), k = a.shape, b.shape[1]
    wide = jnp.float32 if a.dtype in HALF else a.dtype
    work = n * m * k
    if isinstance(work, int) and work <= TINY:  # of a symbolic N (`jax.export`) nobody can say
        return jnp.sum(a.astype(wide)[:, :, None] * b.astype(wide)[None, :, :], axis=1).astype(a.dtype)
    return jnp.matmul(a, b, preferred_element_type=wide).astype(a.dtype)
