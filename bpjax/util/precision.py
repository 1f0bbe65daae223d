"""Floating-point types: in which one to compute, and in which one to store."""

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import check_arguments

HALF = (jnp.bfloat16, jnp.float16)


def widen(x: Array) -> Array:
    """`x` in float32 where it is half precision, otherwise `x`: compute in float32, round once at the end."""
    return x.astype(jnp.float32) if x.dtype in HALF else x


def _is_floating(dtype) -> bool:
    """Whether it is a floating-point type or its name."""
    try:
        return isinstance(dtype, str | type | np.dtype) and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        return False


def cast(tree, dtype):
    """The same pytree with every floating-point leaf in `dtype`; keys, labels and counters are unchanged.

    `cast(params, jnp.bfloat16)` makes a half-precision network; its data must be cast too.

    Raises:
        ValueError: `dtype` is not a floating-point type, or a leaf is neither a number nor an array.
    """
    if not _is_floating(dtype):
        raise ValueError(f"`cast` expected `dtype` to be a floating-point type such as 'float32', got {shown(dtype)}.")
    check_arguments("cast", tree, "`tree`")

    def convert(leaf):
        if getattr(leaf, "dtype", None) == jax.dtypes.float0:
            return leaf
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, tree)
