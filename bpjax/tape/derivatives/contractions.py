"""Sums of products: matrix products of any dimension numbers, and convolutions."""

import math

import numpy as np
from jax import lax

from bpjax.tape.derivatives.registry import derivative

# --- Matrix products --------------------------------------------------------------------------------------------------


@derivative("dot_general")
def dot_general(x, y, z, dz, *, dimension_numbers, precision, preferred_element_type, out_sharding=None):
    """z = Σ over the contracted axes of x y      dx = Σ over the axes of z that y has alone of dz y, dy likewise.

    Two matrices: z = x y      dx = dz yᵀ      dy = xᵀ dz.
    """
    if out_sharding is not None:
        return NotImplemented
    (x_contract, y_contract), (x_batch, y_batch) = dimension_numbers
    x_kept, y_kept = _others(x, x_contract, x_batch), _others(y, y_contract, y_batch)
    batch, first, second = _consecutive(x_batch, x_kept, y_kept)

    def product(a, b, a_axes, b_axes, a_batch, b_batch):
        return lax.dot_general(
            a, b, ((a_axes, b_axes), (a_batch, b_batch)), precision, preferred_element_type=preferred_element_type
        )

    def dx():
        """Axes: batch, those x has alone, contracted; or the last two exchanged, if this needs no transpose."""
        contract = _sorted_by(x_contract, y_contract)
        if _is_in_order([*x_batch, *contract, *x_kept]):
            return product(y, dz, y_kept, second, y_batch, batch).astype(x.dtype)
        return _transposed(product(dz, y, second, y_kept, batch, y_batch), [*x_batch, *x_kept, *contract], x)

    def dy():
        contract = _sorted_by(y_contract, x_contract)
        if _is_in_order([*y_batch, *contract, *y_kept]):
            return product(x, dz, x_kept, first, x_batch, batch).astype(y.dtype)
        return _transposed(product(dz, x, first, x_kept, batch, x_batch), [*y_batch, *y_kept, *contract], y)

    return dx, dy


@derivative("ragged_dot_general")
def ragged_dot_general(
    x, y, sizes, z, dz, *, ragged_dot_dimension_numbers, precision, preferred_element_type, group_offset=None,
    out_sharding=None,
):  # fmt: skip
    """z = x y_g for the rows of x in group g      dx = dz y_gᵀ      dy_g = xᵀ dz over the rows in group g.

    Covers groups of rows of x, as in `lax.ragged_dot`; groups of contracted or batch axes are left to JAX.
    """
    numbers = ragged_dot_dimension_numbers
    (x_contract, y_contract), (x_batch, y_batch) = numbers.dot_dimension_numbers
    (ragged,), group = numbers.lhs_ragged_dimensions, tuple(numbers.rhs_group_dimensions)
    if ragged in x_contract or ragged in x_batch or (group_offset, out_sharding) != (None, None):
        return NotImplemented
    x_kept, y_kept = _others(x, x_contract, x_batch), _others(y, y_contract, y_batch, group)
    batch, first, second = _consecutive(x_batch, x_kept, y_kept)

    def product(a, b, axes, batches, ragged, group):
        dimensions = lax.RaggedDotDimensionNumbers((axes, batches), [ragged], group)
        return lax.ragged_dot_general(
            a, b, sizes, dimensions, precision=precision, preferred_element_type=preferred_element_type
        )

    def dx():
        rows = len(batch) + x_kept.index(ragged)
        found = product(dz, y, (second, y_kept), (batch, y_batch), rows, group)
        return _transposed(found, [*x_batch, *x_kept, *_sorted_by(x_contract, y_contract)], x)

    def dy():
        found = product(x, dz, (x_kept, first), (x_batch, batch), ragged, ())
        return _transposed(found, [*group, *y_batch, *_sorted_by(y_contract, x_contract), *y_kept], y)

    return dx, dy, None


def _others(x, *used) -> list[int]:
    """The axes of x that are in none of the lists."""
    taken = {axis for axes in used for axis in axes}
    return [axis for axis in range(x.ndim) if axis not in taken]


def _consecutive(*lists) -> list[list[int]]:
    """0, 1, 2, ... in pieces of the lengths of the lists: the axes of a product."""
    counter = iter(range(sum(map(len, lists))))
    return [[next(counter) for _ in some] for some in lists]


def _sorted_by(axes, keys) -> list[int]:
    """`axes` in the order of `keys`: the order in which a product keeps them."""
    return [axis for _, axis in sorted(zip(keys, axes, strict=True))]


def _is_in_order(axes) -> bool:
    return list(axes) == sorted(axes)


def _transposed(product, axes, x):
    """The product whose k-th axis is axis `axes[k]` of x, in the order and dtype of x."""
    if not _is_in_order(axes):
        product = lax.transpose(product, tuple(int(k) for k in np.argsort(axes)))
    return product.astype(x.dtype)


# --- Convolution ------------------------------------------------------------------------------------------------------


@derivative("conv_general_dilated")
def conv_general_dilated(
    x, w, y, dy, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
    batch_group_count, precision, preferred_element_type, out_sharding=None,
):  # fmt: skip
    """y_i = Σ_k x_(s i + d k − p) w_k      dx_j = Σ dy_i w_k, s i + d k − p = j      dw_k = Σ_i x_(s i + d k − p) dy_i.

    dx is a convolution of dy, dilated by the strides, with the reversed w; dw is one of x with dy, dilated by the
    strides, with N and C exchanged. Groups of channels in y become groups of the batch in dw, and the reverse.
    """
    if out_sharding is not None:
        return NotImplemented
    x_axes, w_axes, y_axes = dimension_numbers
    sizes = [
        _dilated([a.shape[axis] for axis in axes[2:]], dilation)
        for a, axes, dilation in ((x, x_axes, lhs_dilation), (w, w_axes, rhs_dilation), (dy, y_axes, window_strides))
    ]
    before = [low for low, _ in padding]
    common = {"precision": precision, "preferred_element_type": preferred_element_type}

    def dx():
        groups = feature_group_count * batch_group_count  # one of them is 1
        weights = _move_groups(w, groups, w_axes[0], w_axes[1])
        low = [k - p - 1 for k, p in zip(sizes[1], before, strict=True)]
        high = [n + k - 1 - m - p for n, k, m, p in zip(*sizes, low, strict=True)]
        found = lax.conv_general_dilated(
            dy, lax.rev(weights, w_axes[2:]).astype(dy.dtype), lhs_dilation, list(zip(low, high, strict=True)),
            window_strides, rhs_dilation, lax.ConvDimensionNumbers(y_axes, _exchanged(w_axes), x_axes), groups,
            **common,
        )  # fmt: skip
        return _move_groups(found, batch_group_count, x_axes[1], x_axes[0]).astype(x.dtype)

    def dw():
        high = [m - n + k - p - 1 for n, k, m, p in zip(*sizes, before, strict=True)]
        numbers = lax.ConvDimensionNumbers(_exchanged(x_axes), _exchanged(y_axes), _exchanged(w_axes))
        return lax.conv_general_dilated(
            x.astype(dy.dtype), dy, rhs_dilation, list(zip(before, high, strict=True)), lhs_dilation, window_strides,
            numbers, batch_group_count, feature_group_count, **common,
        ).astype(w.dtype)  # fmt: skip

    return dx, dw


def _dilated(sizes, dilation) -> list[int]:
    return [max(0, (size - 1) * step + 1) if size else 0 for size, step in zip(sizes, dilation, strict=True)]


def _exchanged(axes) -> tuple[int, ...]:
    """Dimension numbers with the first two axes exchanged."""
    return (axes[1], axes[0], *axes[2:])


def _move_groups(a, groups: int, source: int, target: int):
    """Split axis `source` into (groups, rest) and merge (groups, `target`) into one axis."""
    if groups == 1:
        return a
    shape = list(a.shape)
    shape[source : source + 1] = [groups, shape[source] // groups]
    a = a.reshape(shape)
    target += target > source
    order = [axis for axis in range(a.ndim) if axis != source]
    order.insert(order.index(target), source)
    a = lax.transpose(a, order)
    place = order.index(source)
    return a.reshape((*a.shape[:place], math.prod(a.shape[place : place + 2]), *a.shape[place + 2 :]))
