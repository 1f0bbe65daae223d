"""Operations that move or repeat entries, and sums over them."""

from jax import lax

from bpjax.tape.derivatives.registry import derivative


@derivative("reduce_sum")
def reduce_sum(x, y, dy, *, axes):
    """y = Σ over `axes` of x      dx = dy, repeated along them."""
    remaining = [axis for axis in range(x.ndim) if axis not in axes]
    return lambda: lax.broadcast_in_dim(dy, x.shape, remaining)


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
