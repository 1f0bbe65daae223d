"""For each operator of PyTorch, with its arguments, the layer of bpjax that computes the same, or `Missing`."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

import bpjax as bp
from bpjax import layers


class Missing(Exception):
    """bpjax cannot make this computation."""


class Same(NamedTuple):
    """A layer, its params and input, and how arrays go from one layout to the other."""

    layer: bp.Layer
    x: Any
    tensors: list[torch.Tensor]
    """Those whose gradients are compared."""
    to_torch: Callable[[Any], Any] = lambda y: y
    from_torch: Callable[[Any], Any] = lambda dy: dy
    params: Any = ()
    gradients: Callable[[Any, Any], list] = lambda dparams, dx: [dx]
    new: bool = False
    """Whether earlier versions of bpjax lacked it."""


def number(tensor) -> np.ndarray:
    """The values of a tensor."""
    return tensor.detach().numpy()


def elementwise(layer: bp.Layer, x, new: bool) -> Same:
    """An activation; a number becomes a batch of one."""
    if x.ndim:
        return Same(layer, number(x), [x], new=new)
    return Same(layer, number(x)[None], [x], lambda y: y[0], lambda dy: dy[None], gradients=scalar, new=new)


def scalar(dparams, dx) -> list:
    """The gradient of a number."""
    return [dx[0]]


def activation(
    make: Callable[..., bp.Layer] | bp.Layer, new: bool, refused: tuple[str, ...] = ()
) -> Callable[..., Same]:
    """The function for an activation; `make` takes its further arguments."""

    def same(x, *args, **kwargs):
        kwargs.pop("inplace", None)
        if any(name in kwargs for name in refused):
            raise Missing
        try:
            layer = make if isinstance(make, bp.Layer) else make(*args, **kwargs)
        except (ValueError, TypeError):
            raise Missing from None
        return elementwise(layer, x, new)

    return same


relu = activation(bp.relu, False)
silu = activation(layers.silu, False)
softplus = activation(layers.softplus, False, ("beta", "threshold"))
gelu = activation(lambda approximate="none": layers.gelu if approximate == "none" else layers.gelu_tanh, False)
leaky_relu = activation(lambda negative_slope=0.01: layers.leaky_relu(negative_slope), False)
elu = activation(lambda alpha=1.0: layers.elu(alpha), False)
celu = activation(lambda alpha=1.0: layers.celu(alpha), True)
selu, mish = activation(layers.selu, True), activation(layers.mish, True)
relu6, hardswish = activation(layers.relu6, True), activation(layers.hardswish, True)
hardsigmoid, softsign = activation(layers.hardsigmoid, True), activation(layers.softsign, True)
tanhshrink, logsigmoid = activation(layers.tanhshrink, True), activation(layers.log_sigmoid, True)
hardtanh = activation(lambda min_val=-1.0, max_val=1.0: layers.hardtanh(min_val, max_val), True)
softshrink = activation(lambda lambd=0.5: layers.softshrink(lambd), True)
hardshrink = activation(lambda lambd=0.5: layers.hardshrink(lambd), True)
threshold = activation(lambda threshold, value: layers.threshold(threshold, value), True)


def along(layer: bp.Layer, x, axis: int, new: bool, params=(), tensors=(), gradients=None) -> Same:
    """A layer of the last axis, applied to another one; further axes than one are there."""
    if x.ndim < 1:
        raise Missing
    lone = x.ndim == 1
    to_last = lambda a: np.moveaxis(a[None] if lone else np.asarray(a), axis, -1)
    back = lambda a: np.moveaxis(np.asarray(a), -1, axis)[0] if lone else np.moveaxis(np.asarray(a), -1, axis)
    axis = axis % x.ndim + lone
    found = gradients or (lambda dparams: [])
    return Same(
        layer, to_last(number(x)), [x, *tensors], back, to_last, params, lambda dp, dx: [back(dx), *found(dp)], new
    )


def softmax(x, dim=-1, **_):
    """Softmax."""
    return along(bp.softmax, x, dim, False)


def log_softmax(x, dim=-1, **_):
    """Log softmax."""
    return along(layers.log_softmax, x, dim, True)


def glu(x, dim=-1):
    """The gated linear unit."""
    return along(layers.glu, x, dim, True)


def prelu(x, weight):
    """The rectifier with a learnt slope; PyTorch's channels are the second axis."""
    per_channel = weight.ndim > 0 and weight.numel() > 1
    if x.ndim == 0 or (per_channel and x.ndim < 2):
        raise Missing
    params = layers.Slopes(number(weight).reshape(-1))
    slope = lambda dparams: [np.asarray(dparams.slope).reshape(tuple(weight.shape))]
    axis = 1 if x.ndim > 1 else 0
    return along(layers.prelu(per_channel=per_channel), x, axis, True, params, [weight], slope)


class Image(NamedTuple):
    """An image as bpjax has it, (N, *spatial, C), and the way back."""

    x: np.ndarray
    to_torch: Callable
    from_torch: Callable


def image(x, rank: int) -> Image:
    """Of (N, C, *spatial) or (C, *spatial); `Missing` for other ranks and empty ones."""
    if x.ndim not in (rank + 1, rank + 2) or x.numel() == 0:
        raise Missing
    lone = x.ndim == rank + 1
    inward = lambda a: np.moveaxis(np.asarray(a)[None] if lone else np.asarray(a), 1, -1)
    outward = lambda y: np.moveaxis(np.asarray(y), -1, 1)[0] if lone else np.moveaxis(np.asarray(y), -1, 1)
    return Image(inward(number(x)), outward, inward)


def of_image(layer: bp.Layer, x, rank: int, new: bool) -> Same:
    """A layer without params."""
    seen = image(x, rank)
    return Same(layer, *seen[:1], [x], *seen[1:], gradients=lambda dp, dx: [seen.to_torch(dx)], new=new)


def several(value, rank: int) -> tuple[int, ...]:
    """A number for each axis."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def made(make: Callable[[], bp.Layer]) -> bp.Layer:
    """A layer, or `Missing` if bpjax refuses the arguments."""
    try:
        return make()
    except ValueError:
        raise Missing from None


def max_pool(rank: int) -> Callable[..., Same]:
    """`max_pool1d` to `max_pool3d`."""

    def same(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        size, pads = several(kernel_size, rank), [(p, p) for p in several(padding, rank)]
        step, apart = several(size if stride in (None, ()) else stride, rank), several(dilation, rank)
        layer = made(lambda: layers.max_pool(size, step, pads, apart, ceil_mode))
        return of_image(layer, x, rank, new=ceil_mode or set(apart) != {1})

    return same


def avg_pool(rank: int) -> Callable[..., Same]:
    """`avg_pool1d` to `avg_pool3d`."""

    def same(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        size, pads = several(kernel_size, rank), [(p, p) for p in several(padding, rank)]
        step = several(size if stride in (None, ()) else stride, rank)
        arguments = size, step, pads, ceil_mode, count_include_pad, divisor_override
        layer = made(lambda: layers.average_pool(*arguments))
        padded = count_include_pad and any(map(any, pads))
        return of_image(layer, x, rank, new=bool(ceil_mode or padded or divisor_override))

    return same


def adaptive(make: Callable[..., bp.Layer], rank: int) -> Callable[..., Same]:
    """Adaptive pooling."""

    def same(x, output_size, return_indices=False):
        sizes = (output_size,) * rank if isinstance(output_size, int) else tuple(output_size)
        if all(n is None for n in sizes):
            sizes = tuple(x.shape[-rank:])
        return of_image(made(lambda: make(sizes)), x, rank, new=True)

    return same


max_pool1d, max_pool2d, max_pool3d = map(max_pool, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = map(avg_pool, (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (
    adaptive(layers.adaptive_average_pool, rank) for rank in (1, 2, 3)
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (
    adaptive(layers.adaptive_max_pool, rank) for rank in (1, 2, 3)
)

MODES = {"constant": "zeros", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def pad(x, pad, mode="constant", value=None):
    """Padding: pairs from the last axis on; the axes before them are examples."""
    pairs = [(int(low), int(high)) for low, high in zip(pad[::2], pad[1::2], strict=True)][::-1]
    rank = len(pairs)
    if not 1 <= rank <= 3 or x.numel() == 0:
        raise Missing
    lead, last = tuple(x.shape[: x.ndim - rank]), tuple(x.shape[x.ndim - rank :])
    layer = made(lambda: layers.pad(pairs, MODES[mode], float(value or 0)))
    made(lambda: layer.init(None, (*last, 1)))
    inward = lambda a: np.asarray(a).reshape(-1, *np.shape(a)[len(lead) :], 1)
    outward = lambda y: np.asarray(y).reshape(*lead, *np.shape(y)[1:-1])
    return Same(layer, inward(number(x)), [x], outward, inward, gradients=lambda dp, dx: [outward(dx)], new=True)


METHODS = {
    "nearest": "nearest",
    "nearest-exact": "nearest-exact",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
}


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, **_):
    """Up-sampling; "area" is adaptive average pooling."""
    rank, spatial = x.ndim - 2, tuple(x.shape[2:])
    if scale_factor is not None and (recompute_scale_factor or mode == "area"):
        factors = scale_factor if isinstance(scale_factor, tuple | list) else [scale_factor] * rank
        size, scale_factor = tuple(math.floor(n * f) for n, f in zip(spatial, factors, strict=True)), None
    sizes = None if size is None else several(size, rank)
    if mode == "area":
        return of_image(made(lambda: layers.adaptive_average_pool(sizes)), x, rank, new=True)
    if mode not in METHODS:
        raise Missing
    layer = made(lambda: layers.upsample(scale_factor, sizes, METHODS[mode], bool(align_corners)))
    return of_image(layer, x, rank, new=True)


def upsample_nearest(x, size=None, scale_factor=None):
    """The older name."""
    return interpolate(x, size, scale_factor)


def upsample_bilinear(x, size=None, scale_factor=None):
    """The older name, with corners aligned."""
    return interpolate(x, size, scale_factor, "bilinear", True)


def pixel_shuffle(x, upscale_factor):
    """Channels to positions; axes before the channels are examples."""
    return shuffled(layers.pixel_shuffle(upscale_factor), x)


def pixel_unshuffle(x, downscale_factor):
    """Positions to channels."""
    return shuffled(layers.pixel_unshuffle(downscale_factor), x)


def shuffled(layer: bp.Layer, x) -> Same:
    """A layer of (..., C, H, W)."""
    if x.numel() == 0:
        raise Missing
    lead = tuple(x.shape[:-3])
    inward = lambda a: np.moveaxis(np.asarray(a).reshape(-1, *np.shape(a)[-3:]), 1, -1)
    outward = lambda y: np.moveaxis(np.asarray(y), -1, 1).reshape(*lead, *np.moveaxis(np.asarray(y), -1, 1).shape[1:])
    return Same(layer, inward(number(x)), [x], outward, inward, gradients=lambda dp, dx: [outward(dx)], new=True)


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """Over channels, the second axis."""
    if x.numel() == 0:
        raise Missing
    return along(made(lambda: layers.local_response_norm(size, alpha, beta, k)), x, 1, True)


def gains(layer: bp.Layer, seen: Image, x, weight, bias, features: int, new: bool) -> Same:
    """A normalization with PyTorch's optional weight and bias, flattened."""
    params = layers.Gains(
        np.ones(features) if weight is None else number(weight).reshape(-1),
        np.zeros(features) if bias is None else number(bias).reshape(-1),
    )
    tensors = [x, *(t for t in (weight, bias) if t is not None)]

    def gradients(dparams, dx):
        of = [(weight, dparams.gain), (bias, dparams.bias)]
        return [seen.to_torch(dx), *(np.asarray(d).reshape(tuple(t.shape)) for t, d in of if t is not None)]

    return Same(layer, seen.x, tensors, seen.to_torch, seen.from_torch, params, gradients, new)


def last_axes(x) -> Image:
    """An array whose last axes are normalized; without further axes it is a batch of one."""
    return Image(number(x)[None], lambda y: np.asarray(y)[0], lambda dy: np.asarray(dy)[None])


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Over the last axes."""
    if x.numel() == 0:
        raise Missing
    axes = len(normalized_shape)
    layer = made(lambda: layers.layer_norm(eps, axes=axes))
    return gains(layer, last_axes(x), x, weight, bias, math.prod(normalized_shape), new=axes > 1)


def rms_norm(x, normalized_shape, weight=None, eps=None):
    """Over the last axes; PyTorch's default ε is that of the dtype."""
    if x.numel() == 0:
        raise Missing
    axes = len(normalized_shape)
    layer = made(lambda: layers.rms_norm(float(np.finfo(np.float64).eps) if eps is None else eps, True, axes))
    return gains(layer, last_axes(x), x, weight, None, math.prod(normalized_shape), new=axes > 1)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Over groups of channels."""
    layer = made(lambda: layers.group_norm(num_groups, eps))
    return gains(layer, channels_second(x), x, weight, bias, x.shape[1], new=False)


def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """Over the positions of each channel."""
    if not use_input_stats:
        raise Missing
    return gains(made(lambda: layers.instance_norm(eps)), channels_second(x), x, weight, bias, x.shape[1], new=True)


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Over the batch, or by running statistics."""
    layer = made(lambda: layers.batch_norm(eps))
    if not training:
        statistics = layers.BatchStatistics(number(running_mean), number(running_var))  # type: ignore[arg-type]
        layer = layers.with_statistics(layer, (statistics,))
    return gains(layer, channels_second(x), x, weight, bias, x.shape[1], new=False)


def channels_second(x) -> Image:
    """(N, C, ...) of any rank."""
    if x.numel() == 0 or x.ndim < 2:
        raise Missing
    inward = lambda a: np.moveaxis(np.asarray(a), 1, -1)
    return Image(inward(number(x)), lambda y: np.moveaxis(np.asarray(y), -1, 1), inward)


def linear(x, weight, bias=None):
    """A dense layer over all leading axes; PyTorch's weight is (H, D)."""
    if x.numel() == 0 or weight.ndim != 2:
        raise Missing
    lead, features = tuple(x.shape[:-1]), weight.shape[0]
    params = layers.Affine(number(weight).T, None if bias is None else number(bias))
    inward, outward = (
        (lambda a: np.asarray(a).reshape(-1, np.shape(a)[-1])),
        (lambda y: np.asarray(y).reshape(*lead, -1)),
    )
    tensors = [x, weight, *([] if bias is None else [bias])]
    gradients = lambda dp, dx: [outward(dx), np.asarray(dp.w).T, *([] if bias is None else [dp.b])]
    layer = bp.dense(features, use_bias=bias is not None)
    return Same(layer, inward(number(x)), tensors, outward, inward, params, gradients)


def bilinear(u, v, weight, bias=None):
    """A bilinear map over all leading axes; PyTorch's weight is (H, D, E)."""
    if u.numel() == 0:
        raise Missing
    lead = tuple(u.shape[:-1])
    flat = lambda a: np.asarray(a).reshape(-1, np.shape(a)[-1])
    outward = lambda y: np.asarray(y).reshape(*lead, -1)
    params = layers.Affine(np.moveaxis(number(weight), 0, -1), None if bias is None else number(bias))
    tensors = [u, v, weight, *([] if bias is None else [bias])]

    def gradients(dparams, dx):
        du, dv = map(outward, dx)
        return [du, dv, np.moveaxis(np.asarray(dparams.w), -1, 0), *([] if bias is None else [dparams.b])]

    layer = layers.bilinear(weight.shape[0], use_bias=bias is not None)
    return Same(layer, (flat(number(u)), flat(number(v))), tensors, outward, flat, params, gradients, new=True)


def convolution(rank: int) -> Callable[..., Same]:
    """`conv1d` to `conv3d`."""

    def same(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        options = {"stride": several(stride, rank), "dilation": several(dilation, rank), "groups": groups}
        pairs = padding.upper() if isinstance(padding, str) else [(p, p) for p in several(padding, rank)]
        size = tuple(weight.shape[2:])
        layer = made(lambda: bp.conv(weight.shape[0], size, padding=pairs, use_bias=bias is not None, **options))
        return with_kernel(layer, x, weight, bias, rank, inward=lambda w: np.moveaxis(w, (0, 1), (-1, -2)))

    return same


def transposed(rank: int) -> Callable[..., Same]:
    """`conv_transpose1d` to `conv_transpose3d`; PyTorch's kernel is (C, F, *kernel)."""

    def same(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        added = several(output_padding, rank)
        pairs = [(p, p - a) for p, a in zip(several(padding, rank), added, strict=True)]
        if groups != 1:
            raise Missing
        options = {"stride": several(stride, rank), "dilation": several(dilation, rank)}
        size, features = tuple(weight.shape[2:]), weight.shape[1]
        layer = made(lambda: layers.conv_transpose(features, size, padding=pairs, use_bias=bias is not None, **options))
        return with_kernel(layer, x, weight, bias, rank, inward=lambda w: np.moveaxis(w, (0, 1), (-2, -1)))

    return same


def with_kernel(layer: bp.Layer, x, weight, bias, rank: int, inward: Callable) -> Same:
    """A convolution; the inverse of `inward` is found from the places of its axes."""
    seen = image(x, rank)
    places = inward(np.arange(2 ** (rank + 2)).reshape((2,) * (rank + 2))).strides
    order = np.argsort(places)[::-1]  # the axes of our kernel in PyTorch's order
    params = layers.Affine(inward(number(weight)), None if bias is None else number(bias))
    tensors = [x, weight, *([] if bias is None else [bias])]
    gradients = lambda dp, dx: [
        seen.to_torch(dx), np.transpose(np.asarray(dp.w), order), *([] if bias is None else [dp.b])
    ]  # fmt: skip
    return Same(layer, seen.x, tensors, seen.to_torch, seen.from_torch, params, gradients)


conv1d, conv2d, conv3d = map(convolution, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(transposed, (1, 2, 3))
