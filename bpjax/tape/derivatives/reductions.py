"""Reductions along axes."""

import math

from jax import lax

from bpjax.tape.derivatives.cumulative import shifted
from bpjax.tape.derivatives.registry import derivative


def along(axes, y, x):
    """y, repeated along the axes of x over which it was reduced."""
    return lax.broadcast_in_dim(y, x.shape, [axis for axis in range(x.ndim) if axis not in axes])


@derivative("reduce_sum")
def reduce_sum(x, y, dy, *, axes):
    """y = Σ over `axes` of x      dx = dy, repeated along them."""
    return lambda: along(axes, dy, x)


@derivative("reduce_max", "reduce_min")
def reduce_extremum(x, y, dy, *, axes):
    """y = max over `axes` of x, or min      dx_i = dy / n for each of the n entries x_i = y, else 0."""

    def dx():
        is_y = (x == along(axes, y, x)).astype(dy.dtype)
        return along(axes, dy / lax.reduce_sum(is_y, axes=tuple(axes)), x) * is_y

    return dx


def products(factors, reverse: bool = False):
    """Cumulative products along axis 0, in O(n log n): XLA compiles `lax.cumprod` for a CPU to a loop of O(n²)."""
    return lax.associative_scan(lax.mul, factors, reverse=reverse) if len(factors) else factors


@derivative("reduce_prod")
def reduce_prod(x, y, dy, *, axes):
    """y = Π over `axes` of x      dx_i = dy Π_{j≠i} x_j.

    The product of the others is the product before i times the product after i, without a division by x_i.
    """
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    order = [*axes, *rest]

    def dx():
        sizes = [x.shape[axis] for axis in order]
        factors = lax.reshape(lax.transpose(x, order), (math.prod(sizes[: len(axes)]), *sizes[len(axes) :]))
        before = shifted(products(factors), 0, fill=1)
        after = shifted(products(factors, reverse=True), 0, fill=1, reverse=True)
        others = lax.reshape(before * after, sizes)
        return along(axes, dy, x) * lax.transpose(others, [order.index(axis) for axis in range(x.ndim)])

    return dx
