"""Sorting: the derivative adds at recorded positions."""

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.indexing import gather_along
from bpjax.tape.derivatives.registry import derivative
from bpjax.tape.derivatives.shapes import as_tuple


@derivative("sort")
def sort(*arguments, dimension, num_keys, is_stable):
    """y_i = x_{p(i)} along an axis, with one permutation p for all operands      dx_{p(i)} = dy_i.

    p is recorded by sorting the positions with the operands, so equal keys keep their order as in the forward pass.
    """
    *xs, ys, dys = arguments
    position = lax.broadcasted_iota(jnp.int32 if xs[0].size < 2**31 else jnp.int64, xs[0].shape, dimension)
    *_, p = lax.sort((*xs, position), dimension, is_stable, num_keys)
    return tuple(
        None if dy is None else lambda x=x, dy=dy: gather_along(dimension, p, dy, x.shape)
        for x, dy in zip(xs, as_tuple(dys), strict=True)
    )


@derivative("top_k")
def top_k(x, ys, dys, *, axis):
    """y = the k largest entries along an axis, i their indices      dx_i = dy, 0 elsewhere."""
    (_, i), (dy, _) = ys, dys
    return lambda: gather_along(axis, i, dy, x.shape)


@derivative("approx_top_k")
def approx_top_k(x, ys, dys, *, reduction_dimension):
    """y = about the k largest entries along an axis, i their indices      dx_i = dy, 0 elsewhere."""
    (_, i), (dy, _) = ys, dys
    return lambda: gather_along(reduction_dimension % x.ndim, i, dy, x.shape)
