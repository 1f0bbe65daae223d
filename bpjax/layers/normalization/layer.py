"""Layer and RMS normalization, within each example and position, and what all normalizations share.

All use one map, x̂ = (x − μ) / σ along some axes, and its derivative. Means are taken along the same axes.

    μ = mean(x)     σ = √(mean((x − μ)²) + ε)     x̂ = (x − μ) / σ
    dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ

x̂ is invariant to a shift and to a scaling of x, so dx is orthogonal to 1 and (up to ε) to x̂.
ε is inside the root: where all values are equal, x̂ = 0, 1/σ = 1/√ε, and everything is finite.

x may be as large as its dtype allows, up to about 10³⁷ in float32, where (x − μ)² would overflow: see `inverse_root`.

The mean is computed from x − x₀, where x₀ is the first value along the axes, and the variance in a second pass from
the centred values. So x̂ has all seven digits of x in float32 even at a mean of 10⁴.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from bpjax.layers.layer import Layer, as_shape, check_in_shape
from bpjax.layers.params import check_params
from bpjax.types import Array, Shape
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_count, check_flag, check_number, check_same_dtype
from bpjax.util.precision import widen


class Gains(NamedTuple):
    """The parameters of a normalization: the scale and the shift of each feature after it."""

    gain: Array  # (D,)
    bias: Array | None = None  # (D,); None without bias


class Moments(NamedTuple):
    """Mean and deviation along some axes, which have length 1 in all arrays."""

    offset: Array  # mean of x − x₀: the mean minus the first value
    variance: Array  # mean of (x − μ)²; infinite where it overflows
    inverse: Array  # 1 / √(variance + ε), also where the variance overflows


def moments(x: Array, axes: Sequence[int], epsilon: float) -> Moments:
    """Mean (minus the first value), variance and 1/σ of x along `axes`."""
    mean = lambda a: a.mean(axis=tuple(axes), keepdims=True)
    shifted = x - first(x, axes)
    offset = mean(shifted)
    return Moments(offset, *inverse_root(shifted - offset, mean, epsilon))


def inverse_root(d: Array, total: Callable[[Array], Array], epsilon: float) -> tuple[Array, Array]:
    """(m, 1 / √(m + ε)) with m = total(d²), a mean or a sum.

    Where m overflows, 1/σ is s / √total((s d)²) with a small s, a power of two; ε does not matter there.
    """
    shrink = 2.0 ** -(5 * jnp.finfo(d.dtype).maxexp // 8)
    square, small = total(jnp.square(d)), total(jnp.square(d * shrink))
    fits = square < jnp.inf
    whole = 1 / jnp.sqrt(jnp.where(fits, square, 1.0) + epsilon)  # the `where`s keep NaN out of the derivative by JAX
    return square, jnp.where(fits, whole, shrink / jnp.sqrt(jnp.where(fits, 1.0, small)))


def first(x: Array, axes: Sequence[int]) -> Array:
    """The first value along `axes`, which keep length 1."""
    return x[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(x.ndim))]


def normalized(x: Array, offset: Array, inverse: Array, axes: Sequence[int]) -> Array:
    """x̂ = (x − x₀ − offset) / σ along `axes`, with `inverse` = 1/σ."""
    return (x - first(x, axes) - offset) * inverse


def pull_back(dx_hat: Array, x_hat: Array, inverse: Array, axes: Sequence[int]) -> Array:
    """dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ, with means along `axes` and `inverse` = 1/σ."""
    mean = dx_hat.mean(axis=tuple(axes), keepdims=True)
    along = (dx_hat * x_hat).mean(axis=tuple(axes), keepdims=True)
    return (dx_hat - mean - x_hat * along) * inverse


def backward_by_channels(
    params: Gains, x_hat: Array, dy: Array, inverse: Array, axis: int, mean: Callable[[Array], Array]
) -> tuple[Gains, Array]:
    """(dparams, dx) where 1/σ is the same along `axis`: two sums along it serve dg, db and both means of dx̂.

    Σ dx̂ = g Σ dy     Σ dx̂ x̂ = g Σ dy x̂     in each channel. `mean` makes the means over all that shares a σ of those
    along `axis`, which has length 1 there.
    """
    wide, gain, count = widen(dy), along_last(params.gain, x_hat), x_hat.shape[axis]
    error, product = wide.sum(axis=axis, keepdims=True), (wide * x_hat).sum(axis=axis, keepdims=True)
    total = lambda a: a.reshape(-1, a.shape[-1]).sum(axis=0).astype(params.gain.dtype)
    dparams = Gains(total(product), None if params.bias is None else total(error))
    return dparams, (gain * wide - mean(gain * error / count) - x_hat * mean(gain * product / count)) * inverse


def layer_norm(epsilon: float = 1e-5, use_bias: bool = True, axes: int = 1) -> Layer:
    """The features of each example and position normalized to mean 0 and variance 1, x (N, ..., D).

    forward    x̂ = (x − μ) / σ     y = g x̂ + b      μ, σ over the last `axes` axes, σ² = variance + ε
    backward   dg = Σ dy x̂     db = Σ dy     dx̂ = g dy     dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ

    Ba, Kiros & Hinton 2016. Sums run over examples and positions. With a single feature x̂ = 0 and dx = 0. Residuals: x,
    and the mean and 1/σ of each row. They hold x and not x̂ because a neighbouring layer usually stores x anyway.

    Args:
        epsilon: ε, added to the variance.
        use_bias: Whether there is a bias b.
        axes: How many of the last axes are normalized together; gain and bias have one entry for each of their values,
            (D₁ · D₂,) for two.

    Raises:
        ValueError: `epsilon` is not above 0; in `init`, `in_shape` is not (..., D); in `forward`, `x` is not
            (N, ..., D), is empty or has another dtype than the gains, or the params belong to another layer.
    """
    check_number("layer_norm", "epsilon", epsilon, above=0.0)
    layer = _layer_norm(float(epsilon), check_flag("layer_norm", "use_bias", use_bias))
    return over_last_axes(layer, check_count("layer_norm", "axes", axes))


@functools.cache
def _layer_norm(epsilon: float, use_bias: bool) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        shape = check_positions("layer_norm", in_shape)
        return initial_gains(shape[-1], use_bias), shape

    def forward(params, x):
        x = check_normalized("layer_norm", params, x, use_bias)
        wide, axes = widen(x), (x.ndim - 1,)
        offset, _, inverse = moments(wide, axes, epsilon)
        y = stretch(params, normalized(wide, offset, inverse, axes))
        return y.astype(x.dtype), (x, offset, inverse)

    def backward(params, residuals, dy):
        x, offset, inverse = residuals
        axes = (x.ndim - 1,)
        x_hat = normalized(widen(x), offset, inverse, axes)
        dparams, dx_hat = stretch_backward(params, x_hat, dy)
        return dparams, pull_back(dx_hat, x_hat, inverse, axes).astype(x.dtype)

    arguments = call_text(epsilon=(epsilon, 1e-5), use_bias=(use_bias, True))
    return Layer("layer norm", init, forward, backward, arguments=arguments)


def rms_norm(epsilon: float = 1e-6, use_bias: bool = False, axes: int = 1, share: float = 1.0) -> Layer:
    """The features of each example and position divided by their root mean square, x (N, ..., D).

    forward    x̂ = x / r     y = g x̂ (+ b)     r = √(mean(x²) + ε) over the first m of the D features
    backward   dg = Σ dy x̂     dx̂ = g dy     dx = (dx̂ − [first m] x̂ Σ(dx̂ x̂) / m) / r       Σ over all features

    Zhang & Sennrich 2019: layer norm without the mean, with half of its sums. m = D; with a `share` it is their partial
    norm, m = ⌈share · D⌉. x = 0 gives x̂ = 0 and dx = dx̂ / √ε. Residuals: x, and 1/r of each row.

    Args:
        epsilon: ε, added to the mean square. PyTorch's default is the distance of 1 to the next number of the dtype.
        use_bias: Whether there is a bias b.
        axes: How many of the last axes are normalized together, as in `layer_norm`.
        share: The share of the features that r is computed from, in 0 … 1, 0 excluded.

    Raises:
        ValueError: as `layer_norm`; `share` is not in its range.
    """
    check_number("rms_norm", "epsilon", epsilon, above=0.0)
    check_number("rms_norm", "share", share, above=0.0, most=1.0)
    layer = _rms_norm(float(epsilon), check_flag("rms_norm", "use_bias", use_bias), float(share))
    return over_last_axes(layer, check_count("rms_norm", "axes", axes))


@functools.cache
def _rms_norm(epsilon: float, use_bias: bool, share: float) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        shape = check_positions("rms_norm", in_shape)
        return initial_gains(shape[-1], use_bias), shape

    def forward(params, x):
        x = check_normalized("rms_norm", params, x, use_bias)
        wide = widen(x)
        m = measured(x)
        _, inverse = inverse_root(wide[..., :m], lambda a: a.mean(axis=-1, keepdims=True), epsilon)
        return stretch(params, wide * inverse).astype(x.dtype), (x, inverse)

    def backward(params, residuals, dy):
        x, inverse = residuals
        x_hat = widen(x) * inverse
        dparams, dx_hat = stretch_backward(params, x_hat, dy)
        m = measured(x)
        along = (dx_hat * x_hat).sum(axis=-1, keepdims=True) / m
        through_r = x_hat if m == x.shape[-1] else x_hat.at[..., m:].set(0)
        return dparams, ((dx_hat - through_r * along) * inverse).astype(x.dtype)

    def measured(x) -> int:
        return math.ceil(share * x.shape[-1] - 1e-9)  # in floating point 0.3 · 10 may be above 3

    arguments = call_text(epsilon=(epsilon, 1e-6), use_bias=(use_bias, False), share=(share, 1.0))
    return Layer("rms norm", init, forward, backward, arguments=arguments)


@functools.cache
def over_last_axes(layer: Layer, axes: int) -> Layer:
    """A normalization of the last axis, applied to the last `axes` axes as if they were one."""
    if axes == 1:
        return layer

    def joined(shape):
        if len(shape) < axes:
            raise ValueError(
                f"`{layer.name.replace(' ', '_')}` of {axes} axes expected at least {axes} axes after the batch axis, "
                f"got {tuple(shape)}."
            )
        return (*shape[: len(shape) - axes], math.prod(shape[len(shape) - axes :]))

    def init(key, in_shape):
        shape = check_positions(layer.name, in_shape)
        return layer.init(key, joined(shape))[0], shape

    def forward(params, x):
        x = as_floating(layer.name, "x", x)
        y, residuals = layer.forward(params, x.reshape(*x.shape[:1], *joined(x.shape[1:])))
        return y.reshape(x.shape), residuals

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy.reshape(*dy.shape[:1], *joined(dy.shape[1:])))
        return dparams, dx.reshape(dy.shape)

    arguments = ", ".join(filter(None, (layer.arguments, f"axes={axes}")))
    return Layer(layer.name, init, forward, backward, arguments=arguments)


def initial_gains(features: int, use_bias: bool) -> Gains:
    """Gains 1 and biases 0, so that y = x̂ initially."""
    dtype = jnp.result_type(float)
    return Gains(jnp.ones(features, dtype), jnp.zeros(features, dtype) if use_bias else None)


def stretch(params: Gains, x_hat: Array) -> Array:
    """y = g x̂ + b, in the dtype of x̂."""
    y = along_last(params.gain, x_hat) * x_hat
    return y if params.bias is None else y + along_last(params.bias, x_hat)


def stretch_backward(params: Gains, x_hat: Array, dy: Array) -> tuple[Gains, Array]:
    """(dparams, dx̂): dg = Σ dy x̂ and db = Σ dy over all axes but the last, dx̂ = g dy in the dtype of x̂."""
    wide, axes = widen(dy), tuple(range(dy.ndim - 1))
    dgain = (wide * x_hat).sum(axis=axes).astype(params.gain.dtype)
    dbias = None if params.bias is None else wide.sum(axis=axes).astype(params.bias.dtype)
    return Gains(dgain, dbias), along_last(params.gain, x_hat) * wide


def along_last(vector: Array, x: Array) -> Array:
    """A vector (D,) in the rank and dtype of x (..., D), to be broadcast."""
    return vector.astype(x.dtype).reshape(*(1,) * (x.ndim - 1), -1)


def check_positions(who: str, in_shape) -> Shape:
    """`in_shape` as a tuple (..., D) of at least one positive integer, or a `ValueError`."""
    return check_in_shape(who, in_shape, max(1, len(as_shape(in_shape))))


def check_normalized(who: str, params, x, use_bias: bool) -> Array:
    """`x` as a float array (N, ..., D) with the features of the gains, or a `ValueError`."""
    check_params(f"`{who}`", params, Gains, {"gain": ("D",), "bias": ("D",) if use_bias else None})
    gain = params.gain
    x = as_floating(who, "x", x)
    if x.ndim < 2 or x.shape[-1] != len(gain):
        raise ValueError(
            f"`{who}` expected `x` of shape (N, ..., {len(gain)}), got {x.shape}. "
            "Add the batch axis (`x[None]`), or give `init` the `in_shape` of the data."
        )
    if x.size == 0:
        raise ValueError(f"`{who}` expected at least one example, got an empty batch of shape {x.shape}.")
    check_same_dtype(who, x, gain)
    return x
