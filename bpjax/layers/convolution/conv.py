"""Convolutions: the same weights applied at every position of a sequence, an image or a volume."""

import functools

import jax
import jax.numpy as jnp

from bpjax.layers.convolution.correlation import convolve, input_gradient, weight_gradient
from bpjax.layers.convolution.windows import Padding, Placed, Windows, check_image, check_image_shape, place, windows
from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, drawn_in_groups, initializer, lecun_normal, zeros
from bpjax.layers.layer import Kind, Layer
from bpjax.layers.params import Shapes, check_params
from bpjax.layers.product import bias_gradient
from bpjax.layers.spatial.padding import PaddingMode, check_mode, check_room, padded, unpadded
from bpjax.types import Array, Shape
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag, check_same_dtype


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
    padding_mode: PaddingMode = "zeros",
) -> Layer:
    """Convolution of a batch of images, x (N, *spatial, C) to y (N, *O, F), channels last.

    forward    y_o  = b + Σₜ x_(s·o + d·t − low) Wₜ           x convolved with W
    backward   dW_t = Σₙₒ x_(s·o + d·t − low)ᵀ dy_o           x convolved with dy as the kernel
               dx_i = Σₜ dy_((i − d·t + low) / s) Wₜᵀ         dy dilated by s, with W flipped and transposed
               db   = Σₙₒ dy_o

    The formulas are for one axis. o is a position of the output, t of the kernel, s the `stride`, d the `dilation`; x
    is 0 outside the image, and dy is 0 where its position is not an integer. An axis of n positions becomes an axis of

        "SAME"       ⌈n / s⌉, with low = ⌊p / 2⌋ of the p zeros needed
        "CAUSAL"     ⌈n / s⌉, with low = k′ − 1: for sequences, y_o sees nothing after position s·o
        "VALID"      ⌊(n − k′) / s⌋ + 1, no zeros; k′ = (k − 1) d + 1
        (low, high)  ⌊(n + low + high − k′) / s⌋ + 1, a pair for each axis

    The params are `Affine`, w (*kernel, C / groups, F) and b (F,). Residuals: x, which the previous layer has already
    computed.

    Args:
        features: F, the number of output channels.
        kernel: The size k of the kernel: an integer for sequences (N, W, C), a tuple of two or three integers for
            images (N, H, W, C) and volumes (N, Z, H, W, C).
        stride: s, an integer or one per spatial axis.
        padding: "SAME", "CAUSAL", "VALID" or a pair (low, high) of positions added to each spatial axis.
        dilation: d, an integer or one per spatial axis.
        groups: Channels and features are split into this many groups, and each group of features sees its group of
            channels only. `groups` = C is a depthwise convolution, with F / C kernels per channel.
        use_bias: Whether there is a bias b.
        weights: The initializer of w, or the name of one; it draws the kernel of each group.
        biases: The initializer of b, or the name of one.
        padding_mode: What the added positions hold: "zeros", or values of x, "reflect", "replicate" or "circular", as
            the layer `pad` adds them; the errors of added values then return to where they came from.

    Raises:
        ValueError: an argument is out of its range, or `groups` does not divide `features`; in `init`, `in_shape` has
            another rank, `groups` does not divide the channels, or the image is smaller than the kernel or too small
            for its padding; in `forward`,
            `x` is not such an image, is empty or has another dtype than the weights, or the params belong to another
            layer.
    """
    shape = windows("conv", "kernel", kernel, stride, padding, dilation, named=("SAME", "CAUSAL", "VALID"))
    features = check_count("conv", "features", features)
    groups = check_count("conv", "groups", groups)
    if features % groups:
        raise ValueError(
            f"`conv` expected `features` to be a multiple of `groups`, {groups}, got {features}. "
            "Each group makes the same number of features."
        )
    use_bias = check_flag("conv", "use_bias", use_bias)
    mode = check_mode("conv", padding_mode, "padding_mode")
    return grouped_conv(features, shape, groups, use_bias, initializer(weights), initializer(biases), mode)


@functools.cache
def grouped_conv(
    features: int, shape: Windows, groups: int, use_bias: bool, weights, biases, mode: PaddingMode = "zeros"
) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""
    shapes = _shapes(shape, features, use_bias)

    def init(key, in_shape):
        spatial, channels = check_image_shape("conv", in_shape, shape.rank)
        if channels % groups:
            raise ValueError(
                f"`conv` expected the channels of `in_shape` to be a multiple of `groups`, {groups}, got {in_shape}. "
                "Each group sees the same number of channels."
            )
        at = place("conv", shape, spatial)
        check_room("conv", spatial, at.pairs, mode)
        kernel_shape = (*shape.size, channels // groups, features)
        draw = lambda key, shape, dtype: drawn_in_groups(weights, key, shape, groups, dtype)
        return _initial_params(key, kernel_shape, use_bias, draw, biases), (*at.out, features)

    def forward(params, x):
        check_params("`conv`", params, Affine, shapes)
        x = check_image("conv", x, shape.rank, params.w.shape[-2] * groups)
        check_same_dtype("conv", x, params.w)
        at = place("conv", shape, x.shape[1:-1])
        check_room("conv", at.spatial, at.pairs, mode)
        x_padded, whole = with_padding(x, at)
        y = convolve(x_padded, params.w, whole, groups)
        return _add_bias(y, params.b), x

    def backward(params, x, dy):
        at = place("conv", shape, x.shape[1:-1])
        x, whole = with_padding(x, at)
        dw, db = weight_gradient(x, dy, whole, groups), bias_gradient(dy) if use_bias else None
        dx = input_gradient(dy, params.w, whole, groups)
        return Affine(dw, db), dx if whole is at else unpadded(dx, at.pairs, at.spatial, mode)

    def with_padding(x, at):
        """X, with its padding where that is not zeros, and the windows on it."""
        if mode == "zeros":
            return x, at
        spatial = tuple(n + low + high for n, (low, high) in zip(at.spatial, at.pairs, strict=True))
        return padded(x, at.pairs, mode), at._replace(pairs=((0, 0),) * shape.rank, spatial=spatial)

    options = {"groups": (groups, 1), "use_bias": (use_bias, True), "padding_mode": (mode, "zeros")}
    arguments = call_text(features, shape.size, **shape.options(), **options)
    return Layer("conv", init, forward, backward, Kind.AFFINE, arguments=arguments)


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
    """Transposed convolution, x (N, *spatial, C) to a larger y (N, *O, F): the backward pass of a convolution.

    forward    y_o  = b + Σₜ x_((o − d·t + low) / s) Wₜ       the dx of a convolution with Wᵀ: x_i adds x_i Wₜ
                                                              to the output at s·i + d·t − low
    backward   dW_t = Σₙᵢ x_iᵀ dy_(s·i + d·t − low)           dy convolved with x as the kernel
               dx_i = Σₜ dy_(s·i + d·t − low) Wₜᵀ             an ordinary convolution of dy, with stride s

    With k′ = (k − 1) d + 1, an axis of n positions becomes an axis of

        "SAME"       n s
        "VALID"      n s + max(k′ − s, 0)
        (low, high)  (n − 1) s + k′ − low − high

    Named paddings are those of `jax.lax.conv_transpose`: y equals its result with the kernel flipped, or with
    `transpose_kernel=True` and the last two axes of w exchanged. Pairs have another meaning there, k′ − 1 − low zeros
    around x. The params are `Affine`, w (*kernel, C, F) and b (F,). Residuals: x.

    Args:
        features: F, the number of output channels.
        kernel: The size k of the kernel, as in `conv`.
        stride: s, an integer or one per spatial axis.
        padding: The padding of the convolution that is transposed: "SAME", "VALID" or a pair (low, high) for each
            spatial axis, the number of output positions cut off at its ends.
        dilation: d, an integer or one per spatial axis.
        use_bias: Whether there is a bias b.
        weights: The initializer of w, or the name of one.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: an argument is out of its range; in `init`, `in_shape` has another rank, or the padding cuts
            everything off; in `forward`, `x` is not such an image, is empty or has another dtype than the weights, or
            the params belong to another layer.
    """
    shape = windows("conv_transpose", "kernel", kernel, stride, padding, dilation)
    features = check_count("conv_transpose", "features", features)
    use_bias = check_flag("conv_transpose", "use_bias", use_bias)
    return _conv_transpose(features, shape, use_bias, initializer(weights), initializer(biases))


@functools.cache
def _conv_transpose(features: int, shape: Windows, use_bias: bool, weights, biases) -> Layer:
    """The cached factory, as `_conv`."""
    shapes = _shapes(shape, features, use_bias)

    def init(key, in_shape):
        spatial, channels = check_image_shape("conv_transpose", in_shape, shape.rank)
        out = _transposed_placement(shape, spatial).spatial
        return _initial_params(key, (*shape.size, channels, features), use_bias, weights, biases), (*out, features)

    def forward(params, x):
        check_params("`conv_transpose`", params, Affine, shapes)
        x = check_image("conv_transpose", x, shape.rank, params.w.shape[-2])
        check_same_dtype("conv_transpose", x, params.w)
        at = _transposed_placement(shape, x.shape[1:-1])
        return _add_bias(input_gradient(x, _transposed(params.w), at, groups=1), params.b), x

    def backward(params, x, dy):
        at = _transposed_placement(shape, x.shape[1:-1])
        dw, db = _transposed(weight_gradient(dy, x, at, groups=1)), bias_gradient(dy) if use_bias else None
        return Affine(dw, db), convolve(dy, _transposed(params.w), at, groups=1)

    arguments = call_text(features, shape.size, **shape.options(), use_bias=(use_bias, True))
    return Layer("conv transpose", init, forward, backward, Kind.AFFINE, arguments=arguments)


@functools.cache
def _transposed_placement(shape: Windows, out: Shape) -> Placed:
    """The windows of the convolution that is transposed: its output `out` is the input here, its input the output."""
    spatial, pairs = [], []
    for axis, (o, r, s) in enumerate(zip(out, shape.reach, shape.stride, strict=True)):
        if shape.padding == "SAME":
            n, low = o * s, (0 if s > r - 1 else r - 1 - -(-(r + s - 2) // 2))
        elif shape.padding == "VALID":
            n, low = o * s + max(r - s, 0), 0
        else:
            low, high = shape.padding[axis]
            assert not isinstance(low, str) and not isinstance(high, str)  # a pair: no other name is allowed
            n = (o - 1) * s + r - low - high
        if n < 1:
            raise ValueError(
                f"`conv_transpose` expected a padding smaller than the output, got {shape.padding} for an image of "
                f"{out} and a kernel of {shape}: the output would be empty. Pad less."
            )
        spatial.append(n)
        pairs.append((low, (o - 1) * s + r - n - low))
    return Placed(shape.size, shape.stride, shape.dilation, tuple(pairs), tuple(spatial), out)


def _transposed(w: Array) -> Array:
    """The kernel with Wₜᵀ in place of every Wₜ."""
    return jnp.swapaxes(w, -1, -2)


def _initial_params(key, w_shape: Shape, use_bias: bool, weights: Initializer, biases: Initializer) -> Affine:
    key_w, key_b = jax.random.split(key)
    dtype = jnp.result_type(float)
    return Affine(weights(key_w, w_shape, dtype), biases(key_b, w_shape[-1:], dtype) if use_bias else None)


def _add_bias(y: Array, b: Array | None) -> Array:
    return y if b is None else y + b.reshape((1,) * (y.ndim - 1) + (-1,))


def _shapes(shape: Windows, features: int, use_bias: bool) -> Shapes:
    return {"w": (*shape.size, "C", features), "b": (features,) if use_bias else None}
