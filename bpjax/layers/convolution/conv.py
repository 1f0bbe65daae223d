"""Convolutions: the same small net of weights at every place of a sequence, an image or a volume."""

import functools

import jax
import jax.numpy as jnp

from bpjax.layers.convolution.correlation import convolve, input_gradient, weight_gradient
from bpjax.layers.convolution.windows import Padding, Placed, Windows, check_image, check_image_shape, place, windows
from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal, zeros
from bpjax.layers.layer import Layer
from bpjax.layers.product import bias_gradient
from bpjax.types import Array, Shape
from bpjax.util.checks import check_count, check_same_dtype, other_params


def conv(
    features: int,
    kernel: int | Shape,
    stride: int | Shape = 1,
    padding: Padding = "SAME",
    dilation: int | Shape = 1,
    groups: int = 1,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """Convolution of a batch of images, x (N, *spatial, C) to y (N, *O, F), channels last.

    forward    y_o  = b + Σₜ x_(s·o + d·t − low) Wₜ           x convolved with W
    backward   dW_t = Σₙₒ x_(s·o + d·t − low)ᵀ dy_o           x convolved with dy as the kernel
               dx_i = Σₜ dy_((i − d·t + low) / s) Wₜᵀ         dy, spread out by s, with W turned round, transposed
               db   = Σₙₒ dy_o

    o is a place of the output, t of the kernel, s the `stride`, d the `dilation`; x is 0 outside the image, and a
    place of dy that is not an integer is none. Written for one axis; `kernel` is an integer for sequences
    (N, W, C) and a tuple of two or three for images (N, H, W, C) and volumes. Along an axis of n places there come out

        "SAME"       ⌈n / s⌉, with low = ⌊p / 2⌋ of the p zeros that takes
        "VALID"      ⌊(n − k′) / s⌋ + 1, no zeros; k′ = (k − 1) d + 1
        (low, high)  ⌊(n + low + high − k′) / s⌋ + 1, a pair for each axis

    With `groups` the channels and the features are split, and each part of the features sees its part of the channels;
    `groups` = C is a depthwise convolution, F / C kernels for each channel. The params are `Affine`, w (*kernel,
    C / groups, F) and b (F,). Kept for the backward pass: x, which the layer before has made anyway.

    Raises:
        ValueError: an argument is out of its range, or `groups` does not divide `features`; in `init`, an `in_shape` of
            another rank, channels `groups` does not divide, or an image smaller than the kernel; in `forward`, `x` is
            not such an image, is empty or of another dtype than the weights, or the params are another layer's.
    """
    shape = windows("conv", "kernel", kernel, stride, padding, dilation)
    check_count("conv", "features", features)
    check_count("conv", "groups", groups)
    if features % groups:
        raise ValueError(
            f"`conv` expected `features` to be a multiple of `groups`, {groups}, got {features}. "
            "Each group makes the same number of features."
        )
    return _conv(int(features), shape, int(groups), use_bias, initializer(weights), initializer(biases))


@functools.cache
def _conv(features: int, shape: Windows, groups: int, use_bias: bool, weights, biases) -> Layer:
    """The same layer for the same arguments, so that what was compiled for one serves all of its kind."""

    def init(key, in_shape):
        spatial, channels = check_image_shape("conv", in_shape, shape.rank)
        if channels % groups:
            raise ValueError(
                f"`conv` expected the channels of `in_shape` to be a multiple of `groups`, {groups}, got {in_shape}. "
                "Each group sees the same number of channels."
            )
        out = place("conv", shape, spatial).out
        return _start(key, (*shape.size, channels // groups, features), use_bias, weights, biases), (*out, features)

    def forward(params, x):
        _check_params("conv", params, shape.size, features, use_bias)
        x = check_image("conv", x, shape.rank, params.w.shape[-2] * groups)
        check_same_dtype("conv", x, params.w)
        y = convolve(x, params.w, place("conv", shape, x.shape[1:-1]), groups)
        return _add_bias(y, params.b), x

    def backward(params, x, dy):
        at = place("conv", shape, x.shape[1:-1])
        dw, db = weight_gradient(x, dy, at, groups), bias_gradient(dy) if use_bias else None
        return Affine(dw, db), input_gradient(dy, params.w, at, groups)

    return Layer("conv", init, forward, backward)


def conv_transpose(
    features: int,
    kernel: int | Shape,
    stride: int | Shape = 1,
    padding: Padding = "SAME",
    dilation: int | Shape = 1,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """Transposed convolution, x (N, *spatial, C) to a larger y (N, *O, F): what a convolution's backward pass does.

    forward    y_o  = b + Σₜ x_((o − d·t + low) / s) Wₜ       the dx of a convolution with Wᵀ: x_i adds x_i Wₜ
                                                              to the output at s·i + d·t − low
    backward   dW_t = Σₙᵢ x_iᵀ dy_(s·i + d·t − low)           dy convolved with x as the kernel
               dx_i = Σₜ dy_(s·i + d·t − low) Wₜᵀ             an ordinary convolution of dy, with stride s

    Along an axis of n places there come out, with k′ = (k − 1) d + 1,

        "SAME"       n s
        "VALID"      n s + max(k′ − s, 0)
        (low, high)  (n − 1) s + k′ − low − high: `padding` is that of the convolution it transposes, cut off here

    Named paddings cut as `jax.lax.conv_transpose` does, and y is that function's with the kernel turned round, or with
    `transpose_kernel=True` and w's last two axes exchanged. Its pairs mean something else: zeros around x,
    k′ − 1 − low of them. The params are `Affine`, w (*kernel, C, F) and b (F,). Kept: x.

    Raises:
        ValueError: an argument is out of its range; in `init`, an `in_shape` of another rank, or a padding that cuts
            everything off; in `forward`, `x` is not such an image, is empty or of another dtype than the weights, or
            the params are another layer's.
    """
    shape = windows("conv_transpose", "kernel", kernel, stride, padding, dilation)
    check_count("conv_transpose", "features", features)
    return _conv_transpose(int(features), shape, use_bias, initializer(weights), initializer(biases))


@functools.cache
def _conv_transpose(features: int, shape: Windows, use_bias: bool, weights, biases) -> Layer:
    def init(key, in_shape):
        spatial, channels = check_image_shape("conv_transpose", in_shape, shape.rank)
        out = _place_under(shape, spatial).spatial
        return _start(key, (*shape.size, channels, features), use_bias, weights, biases), (*out, features)

    def forward(params, x):
        _check_params("conv_transpose", params, shape.size, features, use_bias)
        x = check_image("conv_transpose", x, shape.rank, params.w.shape[-2])
        check_same_dtype("conv_transpose", x, params.w)
        at = _place_under(shape, x.shape[1:-1])
        return _add_bias(input_gradient(x, _transposed(params.w), at, groups=1), params.b), x

    def backward(params, x, dy):
        at = _place_under(shape, x.shape[1:-1])
        dw, db = _transposed(weight_gradient(dy, x, at, groups=1)), bias_gradient(dy) if use_bias else None
        return Affine(dw, db), convolve(dy, _transposed(params.w), at, groups=1)

    return Layer("conv transpose", init, forward, backward)


@functools.cache
def _place_under(shape: Windows, out: Shape) -> Placed:
    """The windows of the convolution that is transposed: its `out` is the image that comes in, its image comes out."""
    spatial, pairs = [], []
    for axis, (o, r, s) in enumerate(zip(out, shape.reach, shape.stride, strict=True)):
        if shape.padding == "SAME":
            n, low = o * s, (0 if s > r - 1 else r - 1 - -(-(r + s - 2) // 2))
        elif shape.padding == "VALID":
            n, low = o * s + max(r - s, 0), 0
        else:
            low, high = shape.padding[axis]
            n = (o - 1) * s + r - low - high
        if n < 1:
            raise ValueError(
                f"`conv_transpose` expected a padding that leaves something of the output, got {shape.padding} for "
                f"an image of {out} and a kernel of {shape}: the output would be empty. Pad less."
            )
        spatial.append(n)
        pairs.append((low, (o - 1) * s + r - n - low))
    return Placed(shape.size, shape.stride, shape.dilation, tuple(pairs), tuple(spatial), out)


def _transposed(w: Array) -> Array:
    """Every Wₜ transposed."""
    return jnp.swapaxes(w, -1, -2)


def _start(key, w_shape: Shape, use_bias: bool, weights: Initializer, biases: Initializer) -> Affine:
    key_w, key_b = jax.random.split(key)
    dtype = jnp.result_type(float)
    return Affine(weights(key_w, w_shape, dtype), biases(key_b, w_shape[-1:], dtype) if use_bias else None)


def _add_bias(y: Array, b: Array | None) -> Array:
    return y if b is None else y + b.reshape((1,) * (y.ndim - 1) + (-1,))


def _check_params(who: str, params, kernel: Shape, features: int, use_bias: bool) -> None:
    w, b = getattr(params, "w", None), getattr(params, "b", None)
    rank = len(kernel)
    if (
        w is None
        or w.ndim != rank + 2
        or (*w.shape[:rank], w.shape[-1]) != (*kernel, features)
        or (b is not None) != use_bias
    ):
        shape = f"({', '.join(map(str, kernel))}, C, {features})"
        raise other_params(f"`{who}`", f"Affine(w={shape}, b={(features,) if use_bias else None})", params)
