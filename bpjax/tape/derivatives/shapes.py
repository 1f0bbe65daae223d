"""Operations that move or repeat entries: the derivative moves them back, or sums the copies."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.tape.derivatives.registry import derivative


@derivative("broadcast_in_dim")
def broadcast_in_dim(x, *rest, shape, broadcast_dimensions):
    """y = x, repeated along new axes and axes of size 1      dx = Σ over them of dy."""
    *_, y, dy = rest
    return lambda: unbroadcast(dy, x, broadcast_dimensions), *(None for _ in rest[:-2])


def unbroadcast(dy, x, dimensions):
    """The sum of `dy` over the axes along which `broadcast_in_dim` repeated x."""
    summed = [
        axis for axis in range(dy.ndim)
        if axis not in dimensions or x.shape[dimensions.index(axis)] != dy.shape[axis]
    ]  # fmt: skip
    return lax.reshape(lax.reduce_sum(dy, axes=tuple(summed)), x.shape)


@derivative("tile")
def tile(x, y, dy, *, reps):
    """y = x, repeated `reps` times along each axis      dx = Σ over the copies of dy."""
    copies = tuple(itertools.chain.from_iterable(zip(reps, x.shape, strict=True)))
    return lambda: lax.reduce_sum(lax.reshape(dy, copies), axes=tuple(range(0, 2 * x.ndim, 2)))


@derivative("reshape")
def reshape(x, *rest, dimensions):
    """y = the entries of x in another shape, in the order of axes `dimensions`      dx = dy in the shape of x."""
    *_, y, dy = rest

    def dx():
        if dimensions is None:
            return lax.reshape(dy, x.shape)
        transposed = lax.reshape(dy, [x.shape[axis] for axis in dimensions])
        return lax.transpose(transposed, np.argsort(dimensions))

    return dx, *(None for _ in rest[:-2])


@derivative("squeeze", "expand_dims")
def squeeze(x, y, dy):
    """y = x without, or with new, axes of size 1      dx = dy in the shape of x."""
    return lambda: lax.reshape(dy, x.shape)


@derivative("transpose")
def transpose(x, y, dy, *, permutation):
    """y = x with its axes permuted      dx = dy with the inverse permutation."""
    return lambda: lax.transpose(dy, np.argsort(permutation))


@derivative("rev")
def rev(x, y, dy, *, dimensions):
    """y = x, reversed along axes      dx = dy, reversed along them."""
    return lambda: lax.rev(dy, dimensions)


@derivative("concatenate")
def concatenate(*arguments, dimension):
    """y = the x_k one after another along an axis      dx_k = its part of dy."""
    *xs, y, dy = arguments
    ends = list(itertools.accumulate(x.shape[dimension] for x in xs))
    return tuple(
        lambda end=end, x=x: lax.slice_in_dim(dy, end - x.shape[dimension], end, axis=dimension)
        for end, x in zip(ends, xs, strict=True)
    )


@derivative("split")
def split(x, ys, dys, *, axis):
    """y_k = the k-th part of x along an axis      dx = the dy_k one after another."""
    return lambda: lax.concatenate(as_tuple(dys), axis)


@derivative("stack")
def stack(*arguments, axis):
    """y = the x_k along a new axis      dx_k = dy at k."""
    *xs, y, dy = arguments
    return tuple(lambda k=k: lax.index_in_dim(dy, k, axis, keepdims=False) for k in range(len(xs)))


@derivative("unstack")
def unstack(x, ys, dys, *, axis):
    """y_k = x at k along an axis      dx = the dy_k along a new axis."""
    if x.shape[axis] == 0:
        return lambda: jnp.zeros_like(x)
    return lambda: lax.concatenate([lax.expand_dims(dy, [axis]) for dy in as_tuple(dys)], axis)


@derivative("pad")
def pad(x, value, y, dy, *, padding_config):
    """y = x with `value` before, after and between its entries      dx = dy at the entries of x, dvalue = Σ elsewhere.

    Entries that a negative padding removes have dx = 0.
    """

    def dx():
        outer = lax.pad(dy, jnp.zeros((), dy.dtype), [(-low, -high, 0) for low, high, _ in padding_config])
        return lax.slice(outer, [0] * x.ndim, outer.shape, [inner + 1 for *_, inner in padding_config])

    def dvalue():
        is_padding = lax.pad(jnp.zeros(x.shape, bool), jnp.array(True), padding_config)
        return lax.reduce_sum(lax.select(is_padding, dy, jnp.zeros_like(dy)), axes=tuple(range(dy.ndim)))

    return dx, dvalue


def as_tuple(arrays) -> tuple:
    """The outputs or cotangents of a primitive with one or several results."""
    return arrays if isinstance(arrays, tuple) else (arrays,)
