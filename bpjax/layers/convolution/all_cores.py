"""Convolutions in forms that use all cores of a CPU, for versions of XLA that run a convolution on one.

XLA before jaxlib 0.11 splits a convolution among the cores of a CPU along its last spatial axis only, from some 500
positions on. Here all images stand in one row, with zeros between them, so that this axis is long; and the weight
gradient is a sum of matrix products, which are split. Two cores, 64 images of 14 × 14, 32 to 64 channels, 3 × 3:
forward 3.3 instead of 4.9 ms, weight gradient 4.7 instead of 7.0 ms. From jaxlib 0.11 on, XLA's
convolution takes 3.0 and 4.0 ms.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from bpjax.layers.convolution.windows import AXES, Placed, seen
from bpjax.types import Array, Shape
from bpjax.util.precision import HALF

ONE_CORE = jax.__version_info__ < (0, 11)
"""Whether this version of XLA runs a convolution on one core of a CPU."""

WORTH = 128
"""The forms copy x and y. They are faster from this many products for each number copied: 144 to 288 in the 3 × 3
convolutions of 32 to 64 channels, 1.2 to 1.5 times faster; at 72 and 109 they are slower."""

BLOCK = 5 * 2**19
"""Bytes of the windows of one product in the weight gradient, about the size of the cores' own caches."""


def is_faster(x: Array, at: Placed, features: int) -> bool:
    """Whether a convolution of x to so many features, or one of its gradients, is faster in these forms on a CPU."""
    if not ONE_CORE or x.dtype in HALF or not isinstance(x.size, int):
        return False
    positions, channels = math.prod(at.out), x.shape[-1]
    products = math.prod(at.size) * channels * features * positions
    return products >= WORTH * (channels * math.prod(at.spatial) + features * positions)


def convolve_in_one_row(x: Array, w: Array, stride: Shape, pairs, dilation: Shape) -> Array:
    """The convolution y (N, *O, F) of x (N, *spatial, C) and w (*kernel, C, F), with all images in one row.

    Along the last spatial axis image n starts at position n V. V is a multiple of the stride, large enough that no
    window of one image reaches another, and that there are V / s ≥ O windows for each.
    """
    examples, (*_, width), (*_, k, _, features) = len(x), x.shape[:-1], w.shape
    (low, high), s, reach = pairs[-1], stride[-1], (k - 1) * dilation[-1] + 1
    out = (width + low + high - reach) // s + 1
    each = -(-max(width, width + low, s * (out - 1) + reach - low, s * out) // s) * s
    room = [(0, 0, 0)] * (x.ndim - 2) + [(0, each - width, 0), (0, 0, 0)]
    row = jnp.moveaxis(lax.pad(x, jnp.array(0, x.dtype), room), 0, -3)
    row = row.reshape(1, *row.shape[:-3], examples * each, x.shape[-1])
    a = AXES[len(stride)]
    y = lax.conv_general_dilated(
        row,
        w,
        window_strides=stride,
        padding=(*pairs[:-1], (low, reach - s - low)),
        rhs_dilation=dilation,
        dimension_numbers=(f"N{a}C", f"{a}IO", f"N{a}C"),
    )
    y = y.reshape(*y.shape[1:-2], examples, each // s, features)
    return jnp.moveaxis(y[..., :out, :], -3, 0)


def weight_gradient_in_blocks(x: Array, dy: Array, at: Placed) -> Array:
    """dW = Σ Pᵀ dy over blocks of examples, the rows of P being the windows of x in the block."""
    length, features = math.prod(at.size) * x.shape[-1], dy.shape[-1]
    blocks = _blocks(len(x), x.dtype.itemsize * math.prod(at.out) * length)
    dy_transposed = lax.optimization_barrier(dy.reshape(blocks, -1, features).swapaxes(1, 2))

    def add_block(dw, block):
        x, dy = block
        windows = jnp.concatenate(seen(x, at), axis=-1).reshape(-1, length)
        return dw + dy @ windows, None

    start = jnp.zeros((features, length), x.dtype)
    dw, _ = lax.scan(add_block, start, (x.reshape(blocks, -1, *x.shape[1:]), dy_transposed))
    return dw.T.reshape(*at.size, x.shape[-1], features)


def _blocks(examples: int, bytes_each: int) -> int:
    """The smallest number of equal blocks of at most `BLOCK` bytes; one example each where that is too large."""
    return next(
        n for n in range(1, examples + 1) if examples % n == 0 and (bytes_each * examples <= BLOCK * n or n == examples)
    )
