"""Slices, gather and scatter.

The derivative of a gather adds to the entries that were read: the indices of the forward pass are used again, as
`Scattered` or `Window`. The derivative of a scatter by its updates is a gather at the same indices.
"""

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import derivative
from bpjax.tape.scattered import Scattered, Window

# --- Slices ----------------------------------------------------------------------------------------------------------


@derivative("slice")
def slice_(x, y, dy, *, start_indices, limit_indices, strides):
    """y = x[start : limit : stride]      dx[start : limit : stride] = dy, 0 elsewhere."""
    strides = strides or (1,) * x.ndim

    def dx():
        window = Window(tuple(map(int, start_indices)), dy, x.shape)
        if set(strides) <= {1} and (len(window.axes) == 1 or window.is_sparse):
            return window
        axes = zip(start_indices, strides, x.shape, dy.shape, strict=True)
        config = [(low, n - low - ((m - 1) * s + 1 if m else 0), s - 1) for low, s, n, m in axes]
        return lax.pad(dy, jnp.zeros((), dy.dtype), config)

    return dx


@derivative("dynamic_slice")
def dynamic_slice(x, *rest):
    """y = a window of x that begins at `starts`, moved back inside x      dx = dy in the window, 0 elsewhere."""
    *starts, y, dy = rest
    return lambda: Window(tuple(starts), dy, x.shape), *(None for _ in starts)


@derivative("dynamic_update_slice")
def dynamic_update_slice(x, u, *rest):
    """y = x, in a window u      dx = dy, in the window 0; du = dy in the window."""
    *starts, y, dy = rest
    dx = lambda: lax.dynamic_update_slice(dy, jnp.zeros_like(u), starts)
    du = lambda: lax.dynamic_slice(dy, starts, u.shape)
    return dx, du, *(None for _ in starts)


# --- Gather ----------------------------------------------------------------------------------------------------------


@derivative("gather")
def gather(x, i, y, dy, *, dimension_numbers, unique_indices, indices_are_sorted, mode):
    """y_k = x[i_k]      dx[i_k] += dy_k.

    Indices out of bounds: with mode "clip", dy_k is added at the nearest index; with "fill", y_k is the fill value and
    dy_k is dropped.
    """
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=dimension_numbers.offset_dims,
        inserted_window_dims=dimension_numbers.collapsed_slice_dims,
        scatter_dims_to_operand_dims=dimension_numbers.start_index_map,
        operand_batching_dims=dimension_numbers.operand_batching_dims,
        scatter_indices_batching_dims=dimension_numbers.start_indices_batching_dims,
    )
    return lambda: Scattered(i, dy, x.shape, numbers, mode, indices_are_sorted, unique_indices), None


def gather_along(axis: int, indices, dy, shape) -> Scattered:
    """The adjoint of x for y_k = x[i_k] along an axis, with `indices` (and `dy`) in the shape of y.

    Args:
        axis: the axis of x that is indexed; all others are common to x and y.
        indices: integers in bounds, different ones along the axis.
        dy: the cotangent of y.
        shape: of x.
    """
    others = tuple(k for k in range(len(shape)) if k != axis)
    numbers = lax.ScatterDimensionNumbers((), (axis,), (axis,), others, others)
    mode = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    return Scattered(lax.expand_dims(indices, [len(shape)]), dy, shape, numbers, mode, unique_indices=True)


# --- Scatter ---------------------------------------------------------------------------------------------------------


def read_back(y, i, u_shape, numbers: lax.ScatterDimensionNumbers, mode):
    """y[i_k] for each update u_k of a scatter; 0 where the update was dropped."""
    sizes, windows = [], iter(numbers.update_window_dims)
    for axis in range(y.ndim):
        is_single = axis in numbers.inserted_window_dims or axis in numbers.operand_batching_dims
        sizes.append(1 if is_single else u_shape[next(windows)])
    gather_numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(numbers.update_window_dims),
        collapsed_slice_dims=tuple(numbers.inserted_window_dims),
        start_index_map=tuple(numbers.scatter_dims_to_operand_dims),
        operand_batching_dims=tuple(numbers.operand_batching_dims),
        start_indices_batching_dims=tuple(numbers.scatter_indices_batching_dims),
    )
    return lax.gather(y, i, gather_numbers, sizes, mode=mode, fill_value=0)


@derivative("scatter-add", "scatter_add")
def scatter_add(x, i, u, y, dy, *, dimension_numbers, mode):
    """y = x, y[i_k] += u_k      dx = dy, du_k = dy[i_k]."""
    return dy, None, lambda: read_back(dy, i, u.shape, dimension_numbers, mode)


@derivative("scatter-sub", "scatter_sub")
def scatter_sub(x, i, u, y, dy, *, dimension_numbers, mode):
    """y = x, y[i_k] −= u_k      dx = dy, du_k = −dy[i_k]."""
    return dy, None, lambda: -read_back(dy, i, u.shape, dimension_numbers, mode)


@derivative("scatter")
def scatter(x, i, u, y, dy, *, update_jaxpr, dimension_numbers, unique_indices, mode):
    """y = x, y[i_k] = u_k      dx = dy, at the i_k 0; du_k = dy[i_k] for the update that was written last.

    Which of several updates of one entry is written is not specified: the numbers of the updates, scattered in the
    same way, tell it.
    """
    if update_jaxpr is not None:
        raise NotImplementedError(
            "`x.at[i].apply(f)` has no derivative, in JAX neither. Write `x.at[i].set(f(x[i]))` instead."
        )
    put = lambda target, updates: lax.scatter(
        target, i, updates, dimension_numbers, unique_indices=unique_indices, mode=mode
    )

    def du():
        at_indices = read_back(dy, i, u.shape, dimension_numbers, mode)
        if unique_indices:
            return at_indices
        number = lax.reshape(lax.iota(jnp.int32 if u.size < 2**31 else jnp.int64, u.size) + 1, u.shape)
        written = put(jnp.zeros(x.shape, number.dtype), number)
        is_written = read_back(written, i, u.shape, dimension_numbers, mode) == number
        return lax.select(is_written, at_indices, jnp.zeros_like(at_indices))

    return lambda: put(dy, jnp.zeros_like(u)), None, du


@derivative("scatter-mul", "scatter_mul")
def scatter_mul(x, i, u, y, dy, *, dimension_numbers, unique_indices, mode):
    """y = x, y[i_k] ∗= u_k      dx = dy Π u_k, du_k = dy[i_k] x[i_k] Π of the other updates of the same entry.

    The product of the others is the product of all, without zeros, divided by u_k; it is 0 where another one is 0.
    JAX has no derivative by updates that may repeat an index.
    """
    options = {"unique_indices": unique_indices, "mode": mode}
    product = lambda target, updates: lax.scatter_mul(target, i, updates, dimension_numbers, **options)
    back = lambda array: read_back(array, i, u.shape, dimension_numbers, mode)

    def du():
        if unique_indices:
            return back(dy * x)
        is_zero = u == 0
        ones, factor = jnp.ones_like(x), jnp.where(is_zero, jnp.ones_like(u), u)
        zeros = lax.scatter_add(jnp.zeros_like(x), i, is_zero.astype(x.dtype), dimension_numbers, **options)
        others_are_nonzero = back(zeros) == is_zero.astype(x.dtype)
        others = back(dy * x * product(ones, factor)) / factor
        return jnp.where(others_are_nonzero, others, jnp.zeros_like(u))

    return lambda: product(dy, u), None, du


@derivative("scatter-min", "scatter-max", "scatter_min", "scatter_max")
def scatter_extremum(x, i, u, y, dy, *, dimension_numbers, unique_indices, mode):
    """y = x, y[i_k] = max(y[i_k], u_k) or min      dy is divided equally between x and the u_k that are equal to y."""
    options = {"unique_indices": unique_indices, "mode": mode}
    back = lambda array: read_back(array, i, u.shape, dimension_numbers, mode)
    is_y = lambda array, at: (array == at).astype(dy.dtype)
    u_is_y = is_y(u, back(y))
    share = dy / lax.scatter_add(is_y(x, y), i, u_is_y, dimension_numbers, **options)
    return lambda: share * is_y(x, y), None, lambda: back(share) * u_is_y
