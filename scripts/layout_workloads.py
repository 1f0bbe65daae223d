"""The trials that the layouts of a sweep are compared on: what people sweep, from XOR to a small transformer."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp


class Work(NamedTuple):
    """Many runs of one trial."""

    trial: Callable  # (key, learning_rate) -> Trial of so many epochs
    runs: int
    epochs: int


def training(
    network,
    data,
    loss=bp.squared_error,
    *,
    in_shape=None,
    size=None,
    optimizer=None,
    rule=bp.backprop,
    runs=512,
    epochs=32,
) -> Work:
    """A trial that trains for all its epochs.

    Args:
        network: of any kind.
        data: (x, target).
        loss: of the outputs.
        in_shape: of an example, for `network.init`; that of x by default.
        size: of the batches; None for all.
        optimizer: learning rate -> optimizer; momentum 0.9 by default.
        rule: (network, loss) -> rule.
        runs: of the sweep.
        epochs: of each.
    """
    made = optimizer or (lambda rate: bp.momentum(rate, 0.9))
    shape = data[0].shape[1:] if in_shape is None else in_shape

    def trial(key, learning_rate):
        params, _ = network.init(key, shape)
        stops = bp.outputs_within(1e-9) if size is None and loss is bp.squared_error else ()
        return bp.trial(
            rule(network, loss), made(learning_rate), params, data, key=key, epochs=epochs, batch_size=size, stops=stops
        )

    return Work(trial, runs, epochs)


class Countdown(NamedTuple):
    """A run without a network: a number that shrinks."""

    epoch: jax.Array
    reason: jax.Array
    left: jax.Array


class Record(NamedTuple):
    """The one point of the curve."""

    error: jax.Array


def countdown(runs: int, epochs: int) -> Work:
    """A user's own process, a few scalar operations an epoch."""

    def epoch(run):
        left = run.left * 0.999
        done = run.epoch + 1 >= epochs
        after = Countdown(run.epoch + 1, done.astype(jnp.int32), left)
        return jax.tree.map(lambda new, old: jnp.where(run.reason == 0, new, old), after, run), Record(left)

    def trial(key, learning_rate):
        zero = jnp.zeros((), jnp.int32)
        start = Countdown(zero, zero, learning_rate * jax.random.uniform(key))
        return bp.training.Trial(start, bp.training.Program(epoch, lambda run: {"epochs": run.epoch}, ("on", "done")))

    return Work(trial, runs, epochs)


def normal(*shape, seed=0):
    """Random numbers, the same each time."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def series(steps: int, features: int, examples: int, outputs: int):
    """Random series (N, T, D), and for each a target (N, H)."""
    return normal(examples, steps, features), jnp.tanh(normal(examples, outputs, seed=1))


def recurrent(cell, outputs: int):
    """A cell over the series, and a layer on its last state."""
    return bp.chain(bp.unroll(cell, last=True), bp.dense(outputs))


def some_digits(count: int = 1197):
    """The first digits, and their labels."""
    x, labels = bp.digits().present(None)
    return x[:count], labels[:count]


def workloads() -> dict[str, Work]:
    """All of them, by name."""
    sigmoid, tanh, cross_entropy = bp.sigmoid, bp.tanh, bp.softmax_cross_entropy
    adam = optax.adam
    spirals = bp.tasks.two_spirals().present(None)
    small_images = bp.chain(
        bp.layers.reshape((8, 8, 1)),
        bp.conv(4, (3, 3)),
        bp.layers.max_pool((2, 2)),
        tanh,
        bp.layers.flatten,
        bp.dense(10),
    )
    return {
        "XOR 2-2-1": training(bp.mlp((2, 2, 1), sigmoid, sigmoid), bp.xor().present(None), runs=2048, epochs=512),
        "XOR 2-2-1, Rprop": training(
            bp.mlp((2, 2, 1), sigmoid, sigmoid), bp.xor().present(None), optimizer=bp.rprop, runs=2048, epochs=512
        ),
        "XOR 2-2-1, on-line": training(
            bp.mlp((2, 2, 1), sigmoid, sigmoid), bp.xor().present(None), size=1, runs=1024, epochs=128
        ),
        "parity 4-8-1, on-line": training(
            bp.mlp((4, 8, 1), tanh, tanh), bp.parity(4).present(None), size=1, runs=512, epochs=64
        ),
        "encoder 10-5-10": training(bp.mlp((10, 5, 10), sigmoid, sigmoid), bp.encoder(10, 5).present(None), epochs=256),
        "encoder 10-5-10, Adam": training(
            bp.mlp((10, 5, 10), sigmoid, sigmoid), bp.encoder(10, 5).present(None), optimizer=adam, epochs=256
        ),
        "parity 8-16-1": training(bp.mlp((8, 16, 1), tanh, tanh), bp.parity(8).present(None), runs=128, epochs=64),
        "spirals 2-5-5-5-1": training(bp.networks.two_spirals_net(), spirals, runs=256, epochs=64),
        "spirals 2-5-5-5-1, batches of 32": training(
            bp.networks.two_spirals_net(), spirals, size=32, runs=256, epochs=32
        ),
        "spirals 2-32-32-1": training(bp.mlp((2, 32, 32, 1), tanh), spirals, runs=64, epochs=32),
        "spirals 2-16-1, batches of 16, Adam": training(
            bp.mlp((2, 16, 1), tanh), spirals, size=16, optimizer=adam, runs=256, epochs=16
        ),
        "digits 64-32-10": training(bp.mlp((64, 32, 10), tanh), some_digits(), cross_entropy, runs=32, epochs=16),
        "digits 64-32-10, batches of 32": training(
            bp.mlp((64, 32, 10), tanh), some_digits(), cross_entropy, size=32, runs=32, epochs=8
        ),
        "300 digits 64-8-10, batches of 10": training(
            bp.mlp((64, 8, 10), tanh), some_digits(300), cross_entropy, size=10, runs=64, epochs=8
        ),
        "digits, feedback alignment, batches of 64": training(
            bp.mlp((64, 32, 32, 10), tanh),
            some_digits(),
            cross_entropy,
            size=64,
            rule=bp.feedback_alignment,
            runs=32,
            epochs=8,
        ),
        "regression 4-10-1, 50 examples": training(
            bp.mlp((4, 10, 1), tanh), (normal(50, 4), normal(50, 1, seed=2)), bp.mean_squared_error, epochs=128
        ),
        "Elman 8, 10 steps": training(recurrent(bp.layers.elman(8), 1), series(10, 2, 16, 1), epochs=32, runs=256),
        "LSTM 6, 12 steps": training(recurrent(bp.lstm(6), 1), series(12, 2, 16, 1), epochs=32, runs=256),
        "LSTM 16, 20 steps, batches of 16": training(
            recurrent(bp.lstm(16), 2), series(20, 4, 64, 2), size=16, epochs=8, runs=64
        ),
        "convolution 8 × 8, batches of 20": training(
            small_images, some_digits(100), cross_entropy, in_shape=(64,), size=20, epochs=8, runs=64
        ),
        "784-64-10, batches of 50": training(
            bp.mlp((784, 64, 10), bp.relu),
            (normal(500, 784), jnp.arange(500) % 10),
            cross_entropy,
            size=50,
            epochs=4,
            runs=16,
        ),
        "a countdown": countdown(4096, 512),
    }
