"""Convolutions in two steps: each channel by itself along the positions, then the channels at each position."""

from bpjax.layers.combinators.chain import chain
from bpjax.layers.convolution.conv import conv, grouped_conv
from bpjax.layers.convolution.windows import Padding, check_image, check_image_shape, windows
from bpjax.layers.initializers import Initializer, initializer, lecun_normal, zeros
from bpjax.layers.layer import Kind, Layer
from bpjax.types import Shape
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag


def depthwise_conv(
    kernel: int | Shape,
    stride: int | Shape = 1,
    padding: Padding = "SAME",
    dilation: int | Shape = 1,
    multiplier: int = 1,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """A convolution with M kernels for each channel, which see that channel alone, x (N, *spatial, C) to (N, *O, C M).

    `conv(C * M, kernel, groups=C)` for whatever number C of channels the input has; forms, derivatives and params
    (w (*kernel, 1, C M)) are those of `conv`. Features c M … c M + M − 1 belong to channel c. Residuals: x.

    Args:
        kernel: The size k of the kernel, as in `conv`.
        stride: s, an integer or one per spatial axis.
        padding: As in `conv`; "CAUSAL" for sequences.
        dilation: d, an integer or one per spatial axis.
        multiplier: M, the number of features for each channel.
        use_bias: Whether there is a bias b (C M,).
        weights: The initializer of w, or the name of one; it draws the kernel of each channel.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: as `conv`.
    """
    shape = windows("depthwise_conv", "kernel", kernel, stride, padding, dilation, ("SAME", "CAUSAL", "VALID"))
    multiplier = check_count("depthwise_conv", "multiplier", multiplier)
    use_bias = check_flag("depthwise_conv", "use_bias", use_bias)
    draw = initializer(weights), initializer(biases)

    def of(channels: int) -> Layer:
        return grouped_conv(channels * multiplier, shape, channels, use_bias, *draw)

    def init(key, in_shape):
        _, channels = check_image_shape("depthwise_conv", in_shape, shape.rank)
        return of(channels).init(key, in_shape)

    def forward(params, x):
        return of(check_image("depthwise_conv", x, shape.rank).shape[-1]).forward(params, x)

    def backward(params, x, dy):
        return of(x.shape[-1]).backward(params, x, dy)

    options = {"multiplier": (multiplier, 1), "use_bias": (use_bias, True)}
    arguments = call_text(shape.size, **shape.options(), **options)
    return Layer("depthwise conv", init, forward, backward, Kind.AFFINE, arguments=arguments)


def separable_conv(
    features: int,
    kernel: int | Shape,
    stride: int | Shape = 1,
    padding: Padding = "SAME",
    dilation: int | Shape = 1,
    multiplier: int = 1,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """A depthwise convolution, then a dense map of the channels at each position, x (N, *spatial, C) to (N, *O, F).

    forward    y_o = b + Vᵀ (depthwise convolution of x at o)       kernel · C M + C M F weights, not kernel · C F
    backward   of the two steps in turn

    Chollet 2017; `keras.layers.SeparableConv2D`. It is `chain(depthwise_conv(kernel, ..., use_bias=False),
    conv(features, (1, ..., 1)))`: a kernel of rank C M in place of a full one.

    Args:
        features: F, the number of output channels.
        kernel: The size k of the depthwise kernel, as in `conv`.
        stride: s, an integer or one per spatial axis.
        padding: As in `conv`; "CAUSAL" for sequences.
        dilation: d, an integer or one per spatial axis.
        multiplier: M, the number of depthwise features for each channel.
        use_bias: Whether there is a bias b (F,), after the second step.
        weights: The initializer of both weights, or the name of one.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: as `conv`.
    """
    depthwise = depthwise_conv(kernel, stride, padding, dilation, multiplier, use_bias=False, weights=weights)
    rank = 1 if not isinstance(kernel, tuple | list) else len(kernel)
    return chain(depthwise, conv(features, (1,) * rank, use_bias=use_bias, weights=weights, biases=biases))
