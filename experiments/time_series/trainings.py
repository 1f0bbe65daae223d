"""Training from many starts at once: temporal backpropagation as Wan ran it, and Adam on whole batches.

Deviation: his program bp_firnet3.c (1995) leaves the last error signals of hidden units in its buffers, and uses them
again in the first four (second layer) and eight (first layer) of the 967 steps of the next epoch. Here they start at 0.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp
from bpjax.types import Array, Key, Params
from experiments.time_series.models import LAGS, Model, forecasts

CHECKPOINTS = 20
"""How often a training is scored on its way."""
ADAM_RATE = 0.01
"""Learning rate of Adam, for the networks that are not trained by Wan's protocol. Not tuned."""


class Training(NamedTuple):
    """A network and how it is trained: one row of the comparison for each rate."""

    model: Model
    rates: tuple[float, ...] = ()  # μ of temporal backpropagation; none for Adam
    fewer: int = 1  # divides the number of starts, of a network whose epochs take long

    @property
    def labels(self) -> list[str]:
        """Of the rows."""
        return [f"{self.model.name}, μ = {rate:g}" for rate in self.rates] or [f"{self.model.name}, Adam"]


class Trained(NamedTuple):
    """The forecasts of all starts along a training, in standard deviations of the training values."""

    epochs: np.ndarray  # (checkpoints,)
    training_mse: np.ndarray  # (checkpoints, starts) of the last epoch before each
    one_step: np.ndarray  # (starts, 100) at the end
    iterated: np.ndarray  # (checkpoints, starts, 100)
    rehearsal: np.ndarray  # (starts, 100) at the end: the last values of the training part, iterated


class Online(NamedTuple):
    """The state of a training by temporal backpropagation."""

    params: Params


class Say(Protocol):
    """Reports progress."""

    def __call__(self, done: int, /) -> None:
        """`done` epochs are finished."""
        ...


def train(training: Training, known: Array, future: Array, key: Key, size: tuple[int, int], say: Say) -> list[Trained]:
    """Train from many starts, the same for all rates.

    Args:
        training: what and how.
        known: (T,) the training values.
        future: (100,) those to forecast, for the scores along the training.
        key: of the starts.
        size: starts, and epochs of each; at least `CHECKPOINTS` epochs.
        say: called with the number of finished epochs of all rates; may raise to stop.

    Returns:
        The forecasts for each label of the training.
    """
    (model, rates, fewer), (starts, epochs) = training, size
    params = jax.jit(jax.vmap(model.start))(jax.random.split(key, max(2, starts // fewer)))
    batch, online = windows_of(model, known), online_epochs()
    series = jnp.concatenate([known, future])
    if not rates:
        init, advance = adam_epochs(model)
        state = init(params)
        return [follow(model, functools.partial(advance, batch=batch), state, series, len(future), epochs, say)]
    return [
        follow(model, functools.partial(online, batch=batch, rate=jnp.asarray(rate)), Online(params), series,
               len(future), epochs, lambda done, before=place * epochs: say(before + done))
        for place, rate in enumerate(rates)
    ]  # fmt: skip


def follow(model: Model, advance: Callable, state, series: Array, steps: int, epochs: int, say: Say) -> Trained:
    """Train to the end and forecast on the way.

    Args:
        model: the network.
        advance: (state, epochs) -> (state, mean squared error of the last of them), for all starts.
        state: with the params of all starts.
        series: (T + steps,) training values and those to forecast.
        steps: values to forecast.
        epochs: number of epochs.
        say: called with the number of finished epochs.
    """
    ends = np.unique(np.linspace(0, epochs, CHECKPOINTS + 1).astype(int)[1:])
    errors, iterated, one_step = [], [], np.zeros(0)
    latest, training = series[-model.window - steps :], series[-model.window - 2 * steps : -steps]
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        state, error = advance(state, jnp.arange(begin, end))
        one_step, ahead = forecasts(model, state.params, latest, steps)
        errors.append(np.asarray(error))
        iterated.append(np.asarray(ahead))
        say(int(end))
    rehearsal = forecasts(model, state.params, training, steps)[1]
    return Trained(ends, np.stack(errors), np.asarray(one_step), np.stack(iterated), np.asarray(rehearsal))


@functools.cache
def online_epochs():
    """(state, epochs, *, batch, rate) -> (state, mean squared error of the last epoch), for all starts."""

    @jax.jit
    def advance(state, epochs, *, batch, rate):
        x, target = batch

        def of_start(params):
            def epoch(params, _):
                params, errors = bp.rules.temporal_epoch(params, x, target, rate)
                return params, jnp.sum(errors**2) / (errors.shape[1] - LAGS + 1)

            params, errors = jax.lax.scan(epoch, params, epochs)
            return params, errors[-1]

        params, error = jax.vmap(of_start)(state.params)
        return Online(params), error

    return advance


@functools.cache
def adam_epochs(model: Model):
    """`init` and `advance` of Adam on the exact gradient, as `online_epochs`."""
    rule, optimizer = bp.backprop(model.network, counted_error(model.warm_up)), optax.adam(ADAM_RATE)
    step = bp.make_train_step(rule, optimizer)

    def init(params):
        return bp.training.TrainState(params, optimizer.init(params), ())

    @jax.jit
    def advance(states, epochs, *, batch):
        def of_start(state):
            state, metrics = jax.lax.scan(lambda state, _: step(state, batch), state, epochs)
            return state, metrics.value[-1]

        return jax.vmap(of_start)(states)

    return jax.jit(jax.vmap(init)), advance


def counted_error(warm_up: int) -> bp.losses.Loss:
    """Mean squared error of the outputs from the first one on that counts.

    Args:
        warm_up: outputs that do not.
    """

    def value(y, target):
        return jnp.mean((y - target)[:, warm_up:] ** 2)

    def gradient(y, target):
        counted = (jnp.arange(y.shape[1]) >= warm_up)[None, :, None]
        return jnp.where(counted, 2 * (y - target), 0) / (y[:, warm_up:].size)

    return bp.losses.Loss("mean squared error after the warm-up", value, gradient)


def windows_of(model: Model, known: Array) -> tuple[Array, Array]:
    """The training values as a batch of windows (N, window, 1) and their targets: one window for a FIR network.

    The windows of an LSTM overlap by what does not count, so that each value from there on is forecast.
    """
    inputs, targets = known[:-1], known[1:]
    length = model.window if model.name == "LSTM" else len(inputs)
    count = -(-(len(inputs) - model.warm_up) // (length - model.warm_up))
    begins = np.linspace(0, len(inputs) - length, count).round().astype(int)
    return tuple(jnp.stack([part[b : b + length] for b in begins])[:, :, None] for part in (inputs, targets))  # type: ignore[return-value]
