"""The convolution of an image with a kernel and its two gradients, which are convolutions themselves.

The image x is (N, *spatial, C), the kernel w (*kernel, C / groups, F), what comes out y (N, *O, F). Like all neural
networks' this "convolution" does not turn the kernel round; along one axis, with stride s, dilation d and `low` zeros
before the image,

    y_o  = Σₜ x_(s·o + d·t − low) Wₜ                     x convolved with W
    dW_t = Σₙₒ x_(s·o + d·t − low)ᵀ dy_o                 x with dy as the kernel: s and d change places
    dx_i = Σₜ dy_((i − d·t + low) / s) Wₜᵀ               dy spread out by s, with W turned round and transposed

Four forms, chosen by measurement on two CPU cores: XLA's convolution in general; a product of matrices where the
kernel is one place (2 times faster); place by place where each channel has its own kernels (20 to 60 times, forward);
one convolution after another for groups (3 times; the weight gradient 30 times and more).
"""

import math

import jax.numpy as jnp
from jax import lax

from bpjax.layers import product
from bpjax.layers.convolution.windows import Placed, add, seen, sent_back
from bpjax.layers.product import affine, rows
from bpjax.types import Array
from bpjax.util.precision import HALF, widen

AXES = {1: "W", 2: "HW", 3: "ZHW"}


def convolve(x: Array, w: Array, at: Placed, groups: int) -> Array:
    """Y (N, *O, F) of x (N, *spatial, C) and w (*kernel, C / groups, F)."""
    if groups > 1 and x.shape[-1] == groups:
        return _depthwise(x, w, at)
    if groups > 1:
        return _side_by_side([convolve(x, w, at, 1) for x, w in zip(_parts(x, groups), _parts(w, groups), strict=True)])
    if math.prod(at.size) == 1:
        (x,) = seen(x, at)
        return affine(x, rows(w))
    a = AXES[len(at.size)]
    return _convolution(x, w, (f"N{a}C", f"{a}IO", f"N{a}C"), at.stride, at.pairs, w_dilation=at.dilation)


def input_gradient(dy: Array, w: Array, at: Placed, groups: int) -> Array:
    """Dx (N, *spatial, C) of dy (N, *O, F) and w (*kernel, C / groups, F)."""
    if groups > 1 and w.shape[-2] == 1:
        return _depthwise_input_gradient(dy, w, at, groups)
    if groups > 1:
        pairs = zip(_parts(dy, groups), _parts(w, groups), strict=True)
        return _side_by_side([input_gradient(dy, w, at, 1) for dy, w in pairs])
    if math.prod(at.size) == 1:
        dx = product.input_gradient(dy, rows(w))
        return sent_back([dx], at)
    a = AXES[len(at.size)]
    turned = jnp.flip(w, tuple(range(len(at.size))))
    axes = zip(at.spatial, at.reach, at.low, at.last, strict=True)
    pairs = tuple((r - 1 - low, n + low - last - 1) for n, r, low, last in axes)
    names = (f"N{a}C", f"{a}OI", f"N{a}C")
    return _convolution(dy, turned, names, (1,) * len(a), pairs, x_dilation=at.stride, w_dilation=at.dilation)


def weight_gradient(x: Array, dy: Array, at: Placed, groups: int) -> Array:
    """DW (*kernel, C / groups, F) of x (N, *spatial, C) and dy (N, *O, F)."""
    if groups > 1 and x.shape[-1] == groups:
        return _depthwise_weight_gradient(x, dy, at)
    if groups > 1:
        pairs = zip(_parts(x, groups), _parts(dy, groups), strict=True)
        return _side_by_side([weight_gradient(x, dy, at, 1) for x, dy in pairs])
    if math.prod(at.size) == 1:
        (x,) = seen(x, at)
        return product.weight_gradient(x, dy).reshape(*at.size, x.shape[-1], dy.shape[-1])
    a = AXES[len(at.size)]
    axes = zip(at.spatial, at.reach, at.low, at.last, strict=True)
    pairs = tuple((low, last + r - n - low) for n, r, low, last in axes)
    names = (f"C{a}N", f"I{a}O", f"{a}NC")  # the sum is over examples; channels stand where examples do elsewhere
    return _convolution(x, dy, names, at.dilation, pairs, w_dilation=at.stride)


def _convolution(x, w, names, stride, pairs, x_dilation=None, w_dilation=None) -> Array:
    """XLA's convolution, accumulated in float32 where x and w are half precision."""
    y = lax.conv_general_dilated(
        x,
        w,
        window_strides=stride,
        padding=pairs,
        lhs_dilation=x_dilation,
        rhs_dilation=w_dilation,
        dimension_numbers=names,
        preferred_element_type=jnp.float32 if x.dtype in HALF else x.dtype,
    )
    return y.astype(x.dtype)


def _parts(x: Array, groups: int) -> list[Array]:
    return jnp.split(x, groups, axis=-1)


def _side_by_side(parts: list[Array]) -> Array:
    return jnp.concatenate(parts, axis=-1)


# Each channel with M kernels of its own, w (*kernel, 1, C · M): feature c · M + m is the m-th of channel c. The loops
# run over t, a place of the kernel, and over m.


def _depthwise(x: Array, w: Array, at: Placed) -> Array:
    x_seen, kernels = [widen(x_t) for x_t in seen(x, at)], _by_place(w, x.shape[-1], x.ndim)
    each = range(w.shape[-1] // x.shape[-1])
    y = [add(x_t * w_t[..., m] for x_t, w_t in zip(x_seen, kernels, strict=True)) for m in each]
    return jnp.stack(y, axis=-1).reshape(*y[0].shape[:-1], w.shape[-1]).astype(x.dtype)


def _depthwise_input_gradient(dy: Array, w: Array, at: Placed, channels: int) -> Array:
    dy_each = widen(dy).reshape(*dy.shape[:-1], channels, -1)
    each = range(dy_each.shape[-1])
    parts = [add(dy_each[..., m] * w_t[..., m] for m in each) for w_t in _by_place(w, channels, dy.ndim)]
    return sent_back(parts, at).astype(dy.dtype)


def _depthwise_weight_gradient(x: Array, dy: Array, at: Placed) -> Array:
    dy_each = widen(dy).reshape(*dy.shape[:-1], x.shape[-1], -1)
    each, summed = range(dy_each.shape[-1]), tuple(range(x.ndim - 1))
    dw = [[jnp.sum(widen(x_t) * dy_each[..., m], summed) for m in each] for x_t in seen(x, at)]
    return jnp.stack([jnp.stack(dw_t, axis=-1) for dw_t in dw]).reshape(*at.size, 1, dy.shape[-1]).astype(dy.dtype)


def _by_place(w: Array, channels: int, rank: int) -> list[Array]:
    """The kernels place by place, each (1, ..., 1, C, M), to go with an image of so many axes."""
    return list(widen(w).reshape(-1, *(1,) * (rank - 1), channels, w.shape[-1] // channels))
