"""The convolution of an image with a kernel and its two gradients, which are convolutions themselves.

The image x is (N, *spatial, C), the kernel w (*kernel, C / groups, F), the output y (N, *O, F). As usual in neural
networks, this "convolution" does not flip the kernel (it is a correlation). Along one axis, with stride s, dilation d
and `low` zeros before the image,

    y_o  = Σₜ x_(s·o + d·t − low) Wₜ                     x convolved with W
    dW_t = Σₙₒ x_(s·o + d·t − low)ᵀ dy_o                 x with dy as the kernel: s and d change places
    dx_i = Σₜ dy_((i − d·t + low) / s) Wₜᵀ               dy dilated by s, with W flipped and transposed

Five forms, chosen by measurement on two CPU cores: XLA's convolution in general; a matrix product for a kernel of one
position (2 times faster); a sum over kernel positions for depthwise convolutions (forward 20 to 60 times faster); one
convolution per group for other groups (3 times faster, the weight gradient 30 times and more); and, on a CPU only, sums
over kernel positions and channels where there are few of both.

In all functions `at` places the windows on the image, and `groups` is the number of groups of channels.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from bpjax.layers import product
from bpjax.layers.convolution.all_cores import convolve_in_one_row, is_faster, weight_gradient_in_blocks
from bpjax.layers.convolution.windows import AXES, Placed, add, seen, sent_back
from bpjax.layers.product import affine, rows
from bpjax.types import Array
from bpjax.util.precision import HALF, widen

FEW = 50
"""With at most this many products for each number of the result, a convolution on a CPU is written as multiply and sum,
one loop that is fused with the next layers: 1.3 to 15 times faster (64 images of 28 × 28: 1 to 32 channels by 3 × 3
positions, 1.9 times; 1 to 6 by 5 × 5, 8 to 13 times). With 72 products it is slower."""

LARGE = 2**20
"""With more than this many error signals dy, and at least twice as many features as numbers in a window, the weight
gradient on a CPU is one product of the windows with dy, which spares a copy of dy in another order: 1.1 to 4 times
faster (64 images of 28 × 28, 1 to 32 channels, 3 × 3 positions: 3.4 times). With fewer of either it is slower."""


def convolve(x: Array, w: Array, at: Placed, groups: int) -> Array:
    """y (N, *O, F) of x (N, *spatial, C) and w (*kernel, C / groups, F)."""
    if groups > 1 and x.shape[-1] == groups:
        return _depthwise(x, w, at)
    if groups > 1:
        return _concatenate([convolve(x, w, at, 1) for x, w in zip(_parts(x, groups), _parts(w, groups), strict=True)])
    if math.prod(at.size) == 1:
        (x,) = seen(x, at)
        return affine(x, rows(w))
    return _convolve(x, w, at)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _convolve(x: Array, w: Array, at: Placed) -> Array:
    """The convolution in the fastest form; its derivative for `jax.grad` is that of XLA's convolution."""
    convolution = partial(_one_convolution, at=at)
    if math.prod(at.size) * x.shape[-1] <= FEW:
        on_cpu = partial(_few_products, at=at)
    elif is_faster(x, at, w.shape[-1]):
        on_cpu = partial(convolve_in_one_row, stride=at.stride, pairs=at.pairs, dilation=at.dilation)
    else:
        return convolution(x, w)
    return lax.platform_dependent(x, w, cpu=on_cpu, default=convolution)


@partial(_convolve.defjvp, symbolic_zeros=True)
def _convolve_jvp(at, primals, tangents):
    """ẏ = ẋ convolved with W + x convolved with Ẇ."""
    (x, w), (dx, dw) = primals, tangents
    pairs = [pair for pair in ((dx, w), (x, dw)) if not any(isinstance(a, SymbolicZero) for a in pair)]
    return _convolve(x, w, at), add(_one_convolution(*pair, at) for pair in pairs)


def _one_convolution(x: Array, w: Array, at: Placed) -> Array:
    a = AXES[len(at.size)]
    return _convolution(x, w, (f"N{a}C", f"{a}IO", f"N{a}C"), at.stride, at.pairs, w_dilation=at.dilation)


def _few_products(x: Array, w: Array, at: Placed) -> Array:
    """The convolution as a sum of products.

    XLA computes a sum again in every loop that reads it, but the result of a branch only once. Both branches are right.
    """
    first = x[(0,) * x.ndim]
    return lax.cond(first == first, partial(_sum_of_products, at=at), partial(_one_convolution, at=at), x, w)


def _sum_of_products(x: Array, w: Array, at: Placed) -> Array:
    """y_o = Σₜ Σ_c x_(s·o + d·t − low)c W_tc, term by term."""
    in_windows = [widen(x_t)[..., c, None] for x_t in seen(x, at) for c in range(x.shape[-1])]
    kernels = widen(w).reshape(len(in_windows), *(1,) * (x.ndim - 1), w.shape[-1])
    return add(x_t * w_t for x_t, w_t in zip(in_windows, kernels, strict=True)).astype(x.dtype)


def input_gradient(dy: Array, w: Array, at: Placed, groups: int) -> Array:
    """dx (N, *spatial, C) of dy (N, *O, F) and w (*kernel, C / groups, F)."""
    if groups > 1 and w.shape[-2] == 1:
        return _depthwise_input_gradient(dy, w, at, groups)
    if groups > 1:
        pairs = zip(_parts(dy, groups), _parts(w, groups), strict=True)
        return _concatenate([input_gradient(dy, w, at, 1) for dy, w in pairs])
    if math.prod(at.size) == 1:
        dx = product.input_gradient(dy, rows(w))
        return sent_back([dx], at)
    a = AXES[len(at.size)]
    flipped = jnp.flip(w, tuple(range(len(at.size))))
    axes = zip(at.spatial, at.reach, at.low, at.last, strict=True)
    pairs = tuple((r - 1 - low, n + low - last - 1) for n, r, low, last in axes)
    once, names = (1,) * len(a), (f"N{a}C", f"{a}OI", f"N{a}C")

    def convolution(dy, flipped):
        return _convolution(dy, flipped, names, once, pairs, x_dilation=at.stride, w_dilation=at.dilation)

    def on_cpu(dy, flipped):
        return convolve_in_one_row(dy, jnp.swapaxes(flipped, -1, -2), once, pairs, at.dilation)

    if at.stride == once and is_faster(dy, at, w.shape[-2]):
        return lax.platform_dependent(dy, flipped, cpu=on_cpu, default=convolution)
    return convolution(dy, flipped)


def weight_gradient(x: Array, dy: Array, at: Placed, groups: int) -> Array:
    """dW (*kernel, C / groups, F) of x (N, *spatial, C) and dy (N, *O, F)."""
    if groups > 1 and x.shape[-1] == groups:
        return _depthwise_weight_gradient(x, dy, at)
    if groups > 1:
        pairs = zip(_parts(x, groups), _parts(dy, groups), strict=True)
        return _concatenate([weight_gradient(x, dy, at, 1) for x, dy in pairs])
    if math.prod(at.size) == 1:
        (x,) = seen(x, at)
        return product.weight_gradient(x, dy).reshape(*at.size, x.shape[-1], dy.shape[-1])
    convolution = partial(_one_weight_gradient, at=at)
    if 2 * math.prod(at.size) * x.shape[-1] <= dy.shape[-1] and isinstance(dy.size, int) and dy.size > LARGE:
        on_cpu = partial(_product_of_windows, at=at)
    elif is_faster(x, at, dy.shape[-1]):
        on_cpu = partial(weight_gradient_in_blocks, at=at)
    else:
        return convolution(x, dy)
    return lax.platform_dependent(x, dy, cpu=on_cpu, default=convolution)


def _product_of_windows(x: Array, dy: Array, at: Placed) -> Array:
    """dW = Pᵀ dy, the rows of P being the windows of x."""
    windows_of_x = jnp.concatenate(seen(x, at), axis=-1)
    return product.weight_gradient(windows_of_x, dy).reshape(*at.size, x.shape[-1], dy.shape[-1])


def _one_weight_gradient(x: Array, dy: Array, at: Placed) -> Array:
    a = AXES[len(at.size)]
    axes = zip(at.spatial, at.reach, at.low, at.last, strict=True)
    pairs = tuple((low, last + r - n - low) for n, r, low, last in axes)
    names = (f"C{a}N", f"I{a}O", f"{a}NC")  # sums over examples: they take the place of the channels
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


def _concatenate(parts: list[Array]) -> Array:
    return jnp.concatenate(parts, axis=-1)


# Depthwise: each channel has M kernels, w (*kernel, 1, C · M), and feature c · M + m is the m-th of channel c. The
# loops run over the positions t of the kernel and over m.


def _depthwise(x: Array, w: Array, at: Placed) -> Array:
    windows, kernels = [widen(x_t) for x_t in seen(x, at)], _per_position(w, x.shape[-1], x.ndim)
    multiples = range(w.shape[-1] // x.shape[-1])
    y = [add(x_t * w_t[..., m] for x_t, w_t in zip(windows, kernels, strict=True)) for m in multiples]
    return jnp.stack(y, axis=-1).reshape(*y[0].shape[:-1], w.shape[-1]).astype(x.dtype)


def _depthwise_input_gradient(dy: Array, w: Array, at: Placed, channels: int) -> Array:
    dy_by_channel = widen(dy).reshape(*dy.shape[:-1], channels, -1)
    multiples = range(dy_by_channel.shape[-1])
    kernels = _per_position(w, channels, dy.ndim)
    parts = [add(dy_by_channel[..., m] * w_t[..., m] for m in multiples) for w_t in kernels]
    return sent_back(parts, at).astype(dy.dtype)


def _depthwise_weight_gradient(x: Array, dy: Array, at: Placed) -> Array:
    dy_by_channel = widen(dy).reshape(*dy.shape[:-1], x.shape[-1], -1)
    multiples, summed = range(dy_by_channel.shape[-1]), tuple(range(x.ndim - 1))
    dw = [[jnp.sum(widen(x_t) * dy_by_channel[..., m], summed) for m in multiples] for x_t in seen(x, at)]
    return jnp.stack([jnp.stack(dw_t, axis=-1) for dw_t in dw]).reshape(*at.size, 1, dy.shape[-1]).astype(dy.dtype)


def _per_position(w: Array, channels: int, rank: int) -> list[Array]:
    """The kernel at each of its positions, (1, ..., 1, C, M), to be multiplied with an image of `rank` axes."""
    return list(widen(w).reshape(-1, *(1,) * (rank - 1), channels, w.shape[-1] // channels))
