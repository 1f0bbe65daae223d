"""Channels to positions and back: each position becomes a block of r positions along every axis."""

import functools

from bpjax.layers.convolution.windows import check_image, check_image_shape
from bpjax.layers.layer import Layer, as_shape
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count


def pixel_shuffle(factor: int) -> Layer:
    """Channels spread over blocks of positions, x (N, *n, C rᵏ) to y (N, *(n r), C) for k spatial axes.

    forward    y at position i r + p, channel c  =  x at position i, channel c rᵏ + p      p: the place in the block
    backward   dx = the inverse, `pixel_unshuffle`, of dy

    Shi et al. 2016: a convolution with C rᵏ features in front of it is an up-sampling without zeros in between. Places
    are numbered in row-major order; channels are ordered as in `torch.nn.PixelShuffle` (in TensorFlow's
    `depth_to_space` the place comes first). Residuals: none.

    Args:
        factor: r, a positive integer.

    Raises:
        ValueError: `factor` is not a positive integer; in `init` and `forward`, rᵏ does not divide the channels.
    """
    return _pixel_shuffle(check_count("pixel_shuffle", "factor", factor))


@functools.cache
def _pixel_shuffle(r: int) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        spatial, channels = check_image_shape("pixel_shuffle", in_shape, max(1, len(as_shape(in_shape)) - 1))
        return (), (*(n * r for n in spatial), left(channels, len(spatial)))

    def left(channels: int, rank: int) -> int:
        if channels % r**rank:
            raise ValueError(
                f"`pixel_shuffle({r})` expected channels that are a multiple of {r**rank}, for {rank} spatial axes, "
                f"got {channels}. Put a convolution with as many features in front."
            )
        return channels // r**rank

    def forward(params, x):
        x = check_image("pixel_shuffle", x, rank=None)
        left(x.shape[-1], x.ndim - 2)
        return spread(x, r), ()

    def backward(params, residuals, dy):
        return (), gathered(dy, r)

    return Layer("pixel shuffle", init, forward, backward, arguments=call_text(r))


def pixel_unshuffle(factor: int) -> Layer:
    """Blocks of positions gathered into channels, x (N, *(n r), C) to y (N, *n, C rᵏ): the inverse of `pixel_shuffle`.

    forward    y at position i, channel c rᵏ + p  =  x at position i r + p, channel c      p: the place in the block
    backward   dx = `pixel_shuffle` of dy

    A down-sampling that loses nothing; with a `dense` layer over positions behind it, it makes the patches of a vision
    transformer. Residuals: none.

    Args:
        factor: r, a positive integer.

    Raises:
        ValueError: `factor` is not a positive integer; in `init` and `forward`, r does not divide the spatial axes.
    """
    return _pixel_unshuffle(check_count("pixel_unshuffle", "factor", factor))


@functools.cache
def _pixel_unshuffle(r: int) -> Layer:
    """The cached factory, as `_pixel_shuffle`."""

    def init(key, in_shape):
        spatial, channels = check_image_shape("pixel_unshuffle", in_shape, max(1, len(as_shape(in_shape)) - 1))
        check(spatial)
        return (), (*(n // r for n in spatial), channels * r ** len(spatial))

    def check(spatial):
        if any(n % r for n in spatial):
            raise ValueError(
                f"`pixel_unshuffle({r})` expected spatial axes that are multiples of {r}, got {tuple(spatial)}. "
                "Pad the image first: `bp.layers.pad`."
            )

    def forward(params, x):
        x = check_image("pixel_unshuffle", x, rank=None)
        check(x.shape[1:-1])
        return gathered(x, r), ()

    def backward(params, residuals, dy):
        return (), spread(dy, r)

    return Layer("pixel unshuffle", init, forward, backward, arguments=call_text(r))


def spread(x: Array, r: int) -> Array:
    """(N, *n, C rᵏ) to (N, *(n r), C)."""
    n, k = x.shape[1:-1], x.ndim - 2
    blocks = x.reshape(len(x), *n, -1, *(r,) * k)  # (N, *n, C, *r)
    order = [0, *(axis for a in range(k) for axis in (1 + a, 2 + k + a)), 1 + k]
    return blocks.transpose(order).reshape(len(x), *(m * r for m in n), -1)


def gathered(y: Array, r: int) -> Array:
    """(N, *(n r), C) to (N, *n, C rᵏ)."""
    n, k = [m // r for m in y.shape[1:-1]], y.ndim - 2
    blocks = y.reshape(len(y), *(size for m in n for size in (m, r)), y.shape[-1])  # (N, n₁, r, n₂, r, ..., C)
    order = [0, *(1 + 2 * a for a in range(k)), 1 + 2 * k, *(2 + 2 * a for a in range(k))]
    return blocks.transpose(order).reshape(len(y), *n, -1)
