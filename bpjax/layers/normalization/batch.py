"""Batch normalization: every channel brought to mean 0 and variance 1 by the numbers of the whole batch.

Predictions want numbers that no other example has a say in. They are state outside the parameters, since no gradient
changes them. A layer leaves those of its batch in its residuals, and four functions do the rest:

    statistics = init_statistics(network, params, x)

    @jax.jit
    def step(params, state, statistics, x, target):
        y, residuals = network.forward(params, x)
        grads, _ = network.backward(params, residuals, loss.gradient(y, target))
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, running_statistics(residuals, statistics)

    for x, target in batches:
        params, state, statistics = step(params, state, statistics, x, target)
    output, _ = with_statistics(network, statistics).forward(params, x_new)

`fit` does not carry them. After it, one pass over the data gives them exactly, without a memory of old weights:

    statistics = batch_statistics(network, params, x)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Layer, leaf_layers, map_layers
from bpjax.layers.normalization.layer import (
    check_normalized,
    check_positions,
    initial_gains,
    moments,
    normalized,
    pull_back,
    stretch,
    stretch_backward,
)
from bpjax.types import Array, Params, Residuals
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_between, check_number
from bpjax.util.precision import widen


class BatchStatistics(NamedTuple):
    """What one batch norm found in a batch, or over many."""

    mean: Array  # (C,)
    variance: Array  # (C,) divided by the count M, not by M − 1


class Kept(NamedTuple):
    """The residuals of `batch_norm`."""

    x: Array  # (N, ..., C)
    offset: Array | None  # (1, C) mean minus the first example's value; None where the statistics were given
    statistics: BatchStatistics  # in float32 where x is half precision


Statistics = tuple[BatchStatistics, ...]
"""One for each batch norm of a network, in forward order."""


def batch_norm(epsilon: float = 1e-5, use_bias: bool = True) -> Layer:
    """Every channel brought to mean 0 and variance 1 over all examples and positions of the batch, x (N, ..., C).

    forward    x̂ = (x − μ) / σ     y = g x̂ + b      μ, σ for every channel, σ² = variance + ε
    backward   dg = Σ dy x̂     db = Σ dy     dx̂ = g dy     dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ

    Ioffe & Szegedy 2015. The examples of a batch are mixed: each one's output and gradient depend on the others. With
    `with_statistics` μ and σ are given numbers, the examples are alone again, and dx = dx̂ / σ.

    Kept: x, and two numbers a channel (a third where rounding would cost the mean its digits). The variance is divided
    by the count M, in the running statistics too, as in Keras and Flax; PyTorch's running variance is M / (M − 1) times
    it. So the statistics of a batch, handed back, give that batch's own output, and a single number has variance 0
    rather than 0/0: one example without positions gives x̂ = 0, y = b, dx = 0.

    Raises:
        ValueError: `epsilon` is not above 0; in `init`, an `in_shape` that is not (..., C); in `forward`, an `x` that
            is not (N, ..., C), is empty or of another dtype than the gains, params that are another layer's, or
            statistics of another number of channels.
    """
    check_number("batch_norm", "epsilon", epsilon, above=0.0)
    return _batch_norm(float(epsilon), use_bias)


@functools.cache
def _batch_norm(epsilon: float, use_bias: bool) -> Layer:
    """The same layer for the same arguments, so that what was compiled for one serves all of its kind."""

    def init(key, in_shape):
        shape = check_positions("batch_norm", in_shape)
        return initial_gains(shape[-1], use_bias), shape

    def forward(params, x, context=EMPTY):
        x = check_normalized("batch_norm", params, x, use_bias)
        wide = rows(widen(x))
        if context.statistics is None:
            offset, variance = moments(wide, axes=(0,))
            statistics = BatchStatistics((wide[:1] + offset)[0], variance[0])
            x_hat = normalized(wide, offset, inverse(variance), axes=(0,))
        else:
            _check_channels(context.statistics, params.gain.shape)
            offset, statistics = None, jax.tree.map(lambda s: jnp.asarray(s, wide.dtype), context.statistics)
            x_hat = by_given(wide, statistics)
        y = stretch(params, x_hat)
        return y.reshape(x.shape).astype(x.dtype), Kept(x, offset, statistics)

    def backward(params, kept, dy):
        x, offset, statistics = kept
        wide, slope = rows(widen(x)), inverse(statistics.variance[None, :])
        if offset is None:  # given statistics are constants
            dparams, dx_hat = stretch_backward(params, by_given(wide, statistics), rows(dy))
            dx = dx_hat * slope
        else:
            x_hat = normalized(wide, offset, slope, axes=(0,))
            dparams, dx_hat = stretch_backward(params, x_hat, rows(dy))
            dx = pull_back(dx_hat, x_hat, slope, axes=(0,))
        return dparams, dx.reshape(x.shape).astype(x.dtype)

    def rows(x):
        return x.reshape(-1, x.shape[-1])

    def inverse(variance):
        return 1 / jnp.sqrt(variance + epsilon)

    def by_given(x, statistics):
        return (x - statistics.mean[None, :]) * inverse(statistics.variance[None, :])

    arguments = call_text(epsilon=(epsilon, 1e-5), use_bias=(use_bias, True))
    uses = frozenset({"statistics"})
    return Layer("batch norm", init, forward, backward, arguments=arguments, uses=uses)


def batch_statistics(network: Layer, params: Params, x) -> Statistics:
    """Means and variances of every batch norm over the examples x, all of them one batch, in one forward pass.

    Raises:
        ValueError: a batch norm's statistics are not in the network's residuals: it is inside a `repeat`, which keeps
            those of all depths as one array, or a `remat`, which keeps none.
    """
    return _found("batch_statistics", network, network.forward(params, x)[1])


def init_statistics(network: Layer, params: Params, x) -> Statistics:
    """Statistics to begin with, mean 0 and variance 1; of x only shape and dtype play a role.

    Raises:
        ValueError: as `batch_statistics`.
    """
    residuals = jax.eval_shape(network.forward, params, x)[1]
    found = _found("init_statistics", network, residuals)
    return tuple(BatchStatistics(jnp.zeros(m.shape, m.dtype), jnp.ones(v.shape, v.dtype)) for m, v in found)


def running_statistics(residuals: Residuals, statistics: Statistics, momentum: float | Array = 0.9) -> Statistics:
    """Statistics after one more batch: momentum · old + (1 − momentum) · those in the residuals.

    The momentum of Keras and Flax; PyTorch's is 1 − it.

    Raises:
        ValueError: `momentum` is not between 0 and 1, or the statistics are another network's.
    """
    check_between("running_statistics", "momentum", momentum, 0.0, 1.0)
    found = _statistics_in(residuals)
    if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, tuple(statistics)):
        raise ValueError(
            f"`running_statistics` expected statistics in the shapes of those in the residuals, "
            f"{_shapes(found)}, got {_shapes(statistics)}. Make them with `init_statistics(network, params, x)`."
        )
    mix = lambda old, new: (momentum * old + (1 - momentum) * new).astype(old.dtype)
    return jax.tree.map(mix, tuple(statistics), found)


def with_statistics(network: Layer, statistics: Statistics) -> Layer:
    """The network that predicts: each of its batch norms normalizes by given statistics, each example alone.

    The statistics are constants, computed with in the dtype of x, float32 where that is half precision. The derivative
    is the exact one of this network.

    Raises:
        ValueError: the network has not as many batch norms as there are statistics, or one of them is in a `repeat`.
    """
    count = len(_batch_norms(network))
    if count != len(statistics):
        raise ValueError(
            f"`with_statistics` expected statistics for the network's {count} batch norm(s), got {len(statistics)}. "
            "Make them with `batch_statistics(network, params, x)`."
        )
    for one in statistics:
        if jnp.ndim(one.mean) != 1:
            raise ValueError(
                f"`with_statistics` expected a mean of shape (C,) for every batch norm, got {jnp.shape(one.mean)}: "
                "inside a `repeat` one layer stands for all and cannot be handed the statistics of each. "
                "Write the blocks out with `chain`."
            )
    remaining = iter(statistics)

    def normalizing(layer: Layer) -> Layer:
        if "statistics" not in layer.uses:
            return layer
        given = next(remaining)

        def forward(params, x, context=EMPTY):
            statistics = given if context.statistics is None else context.statistics
            return layer.forward_in(context._replace(statistics=statistics), params, x)

        return layer._replace(forward=forward)

    return map_layers(normalizing, network)


def _batch_norms(network: Layer) -> list[Layer]:
    """The layers that normalize by statistics; one for all depths of a `repeat`."""
    return [layer for layer in leaf_layers(network) if "statistics" in layer.uses]


def _statistics_in(residuals: Residuals) -> Statistics:
    """Every BatchStatistics in a network's residuals, in forward order."""
    is_statistics = lambda node: isinstance(node, BatchStatistics)
    return tuple(node for node in jax.tree.leaves(residuals, is_leaf=is_statistics) if is_statistics(node))


def _found(who: str, network: Layer, residuals: Residuals) -> Statistics:
    """The statistics in the residuals, one for each batch norm of the network, or a `ValueError`."""
    found, count = _statistics_in(residuals), len(_batch_norms(network))
    if len(found) != count:
        raise ValueError(
            f"`{who}` expected to find statistics of the network's {count} batch norm(s) in its residuals, found "
            f"{len(found)}. `repeat` and `remat` do not show what is inside: write the blocks out with `chain`."
        )
    return found


def _shapes(statistics) -> list:
    return [jnp.shape(getattr(one, "mean", one)) for one in statistics]


def _check_channels(given: BatchStatistics, shape) -> None:
    if jnp.shape(given.mean) != shape or jnp.shape(given.variance) != shape:
        raise ValueError(
            f"`batch_norm` expected statistics of shape {shape}, got mean {jnp.shape(given.mean)} and variance "
            f"{jnp.shape(given.variance)}. Do they belong to another network? Make them with `batch_statistics`."
        )
