"""Batch normalization: every channel normalized to mean 0 and variance 1 over the whole batch."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Layer
from bpjax.layers.normalization.layer import (
    backward_by_channels,
    check_normalized,
    check_positions,
    initial_gains,
    inverse_root,
    moments,
    normalized,
    stretch,
    stretch_backward,
)
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import (
    check_flag,
    check_number,
    check_text,
)
from bpjax.util.precision import widen


class BatchStatistics(NamedTuple):
    """Mean and variance of every channel, of one batch or averaged over many."""

    mean: Array  # (C,)
    variance: Array  # (C,) divided by the count M, not by M − 1


class BatchNormResiduals(NamedTuple):
    """The residuals of `batch_norm`."""

    x: Array  # (N, ..., C)
    offset: Array | None  # (1, C) mean minus the first example's value; None where the statistics were given
    inverse: Array | None  # (1, C) 1/σ; None where the statistics were given
    statistics: BatchStatistics  # in float32 where x is half precision


def batch_norm(epsilon: float = 1e-5, use_bias: bool = True, axis_name: str | None = None) -> Layer:
    """Normalize every channel to mean 0 and variance 1 over all examples and positions of the batch, x (N, ..., C).

    forward    x̂ = (x − μ) / σ     y = g x̂ + b      μ, σ for every channel, σ² = variance + ε
    backward   dg = Σ dy x̂     db = Σ dy     dx̂ = g dy     dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ

    Ioffe & Szegedy 2015. The output and the gradient of an example depend on the other examples of the batch. With
    `with_statistics`, μ and σ are given constants, every example is independent, and dx = dx̂ / σ.

    Residuals: x, and per channel the mean, the variance, 1/σ and an offset that protects the mean from rounding. The
    variance is divided by the count M, in the running statistics too, as in Keras and Flax; PyTorch's running variance
    is larger by M / (M − 1). So `with_statistics` with the statistics of a batch reproduces the output for that batch,
    and a single value has variance 0 rather than 0/0: one example without positions gives x̂ = 0, y = b, dx = 0.

    Under `jax.jit` with a batch divided among devices (`bp.training.data_parallel`) the statistics are those of the
    whole batch, as are all other results. Inside `jax.shard_map`, where a program sees the examples of one device, name
    the axis of the mesh: μ, σ and both means of dx̂ are then averages over the devices too, each with as many examples.

    Args:
        epsilon: ε, added to the variance.
        use_bias: Whether there is a bias b.
        axis_name: The axis of a `jax.shard_map` along which the batch is divided.

    Raises:
        ValueError: `epsilon` is not above 0; in `init`, `in_shape` is not (..., C); in `forward`, `x` is not
            (N, ..., C), is empty or differs in dtype from the gains, the params belong to another layer, or the
            statistics have another number of channels, or there is no axis of this name.
    """
    check_number("batch_norm", "epsilon", epsilon, above=0.0)
    if axis_name is not None:
        check_text("batch_norm", "axis_name", axis_name)
    return _batch_norm(float(epsilon), check_flag("batch_norm", "use_bias", use_bias), axis_name)


@functools.cache
def _batch_norm(epsilon: float, use_bias: bool, axis_name: str | None) -> Layer:
    """Cached: equal arguments return the same layer, whose compiled programs are reused."""

    def init(key, in_shape):
        shape = check_positions("batch_norm", in_shape)
        return initial_gains(shape[-1], use_bias), shape

    def forward(params, x, context=EMPTY):
        x = check_normalized("batch_norm", params, x, use_bias)
        wide = rows(widen(x))
        if context.statistics is None:
            offset, inverse, found = _of_batch(wide, epsilon, axis_name)
            residuals = BatchNormResiduals(x, offset, inverse, found)
            x_hat = normalized(wide, offset, inverse, axes=(0,))
        else:
            _check_channels(context.statistics, params.gain.shape)
            statistics = jax.tree.map(lambda s: jnp.asarray(s, wide.dtype), context.statistics)
            residuals = BatchNormResiduals(x, None, None, statistics)
            x_hat = by_given(wide, statistics)
        y = stretch(params, x_hat)
        return y.reshape(x.shape).astype(x.dtype), residuals

    def backward(params, residuals, dy):
        x, offset, inverse, statistics = residuals
        wide = rows(widen(x))
        if offset is None:  # given statistics are constants
            dparams, dx_hat = stretch_backward(params, by_given(wide, statistics), rows(dy))
            dx = dx_hat * given_inverse(statistics)
        else:
            x_hat = normalized(wide, offset, inverse, axes=(0,))
            mean = lambda mean: _over_devices(mean, axis_name)
            dparams, dx = backward_by_channels(params, x_hat, rows(dy), inverse, 0, mean)
        return dparams, dx.reshape(x.shape).astype(x.dtype)

    def rows(x):
        return x.reshape(-1, x.shape[-1])

    def given_inverse(statistics):
        variance = statistics.variance[None, :]
        return jnp.where(variance == jnp.inf, jnp.nan, 1 / jnp.sqrt(variance + epsilon))  # overflowed: unknown, not 0

    def by_given(x, statistics):
        return (x - statistics.mean[None, :]) * given_inverse(statistics)

    arguments = call_text(epsilon=(epsilon, 1e-5), use_bias=(use_bias, True), axis_name=(axis_name, None))
    uses = frozenset({"statistics"})
    return Layer("batch norm", init, forward, backward, arguments=arguments, uses=uses)


def _of_batch(x: Array, epsilon: float, axis_name: str | None) -> tuple[Array, Array, BatchStatistics]:
    """(offset, 1/σ, statistics) of rows x (M, C), with those on other devices where there is an axis name."""
    if axis_name is None:
        offset, variance, inverse = moments(x, (0,), epsilon)
        return offset, inverse, BatchStatistics((x[:1] + offset)[0], variance[0])
    near = _over_devices(x[:1], axis_name)  # a number near the mean, the same on all devices
    mean = lambda a: _over_devices(a.mean(axis=0, keepdims=True), axis_name)
    shift = mean(x - near)
    variance, inverse = inverse_root(x - near - shift, mean, epsilon)
    return near - x[:1] + shift, inverse, BatchStatistics((near + shift)[0], variance[0])


def _over_devices(mean: Array, axis_name: str | None) -> Array:
    """The mean over the devices of a `shard_map`; without an axis name `mean` itself."""
    if axis_name is None:
        return mean
    try:
        return jax.lax.pmean(mean, axis_name)
    except NameError:
        raise ValueError(
            f"`batch_norm` expected to run in a `jax.shard_map` with an axis {axis_name!r}, found none. Outside of it "
            "use the same params in a network of `batch_norm()` without an axis name."
        ) from None


def _check_channels(given: BatchStatistics, shape) -> None:
    if jnp.shape(given.mean) != shape or jnp.shape(given.variance) != shape:
        raise ValueError(
            f"`batch_norm` expected statistics of shape {shape}, got mean {jnp.shape(given.mean)} and variance "
            f"{jnp.shape(given.variance)}. Do they belong to another network? Make them with `batch_statistics`."
        )
