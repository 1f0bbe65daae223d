"""Floating-point types: in which one to compute, and in which one to store."""

import jax
import jax.numpy as jnp

from bpjax.types import Array

HALF = (jnp.bfloat16, jnp.float16)


def widen(x: Array) -> Array:
    """`x` in float32 where it is half precision, otherwise `x`: compute in float32, round once at the end."""
    return x.astype(jnp.float32) if x.dtype in HALF else x


def cast(tree, dtype):
    """The same pytree with every floating-point leaf in `dtype`; keys, labels and counters are unchanged.

    `cast(params, jnp.bfloat16)` makes a half-precision network; its data must be cast too.
    """

    def convert(leaf):
        if getattr(leaf, "dtype", None) == jax.dtypes.float0:
            return leaf
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, tree)
