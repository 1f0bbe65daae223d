"""Networks, runs, stores and modules for the valid calls of the fuzzer, each made once, when it is first asked for."""

import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import bpjax as bp

KEY = jax.random.key(0)
NETWORK = bp.mlp((3, 4, 2))
PARAMS, _ = NETWORK.init(KEY, (3,))
X, T = jnp.linspace(-1.0, 1.0, 15).reshape(5, 3), jnp.zeros((5, 2))
RULE = bp.backprop(NETWORK, bp.squared_error)
TOKENS = jnp.array([[0, 1, 2], [1, 2, 0]])
SGD = bp.momentum(0.1, 0.5)


def adam():
    """An optimizer that has a preconditioner."""
    return optax.adam(0.1)


def bare_trial(key, rate=0.1):
    """One small run of a sweep."""
    return bp.trial(RULE, bp.momentum(rate, 0.5), NETWORK.init(key, (3,))[0], (X, T), key=key, epochs=2)


def square(w):
    """A function to differentiate."""
    return (w * w).sum()


@functools.cache
def batch_normed():
    """A network with batch norm, its params and its statistics."""
    network = bp.chain(bp.dense(3), bp.layers.batch_norm(), bp.tanh)
    params, _ = network.init(KEY, (3,))
    return network, params, bp.layers.batch_statistics(network, params, X)


@functools.cache
def training():
    """A training and a run of it that has ended."""
    made = bp.training.make_training(RULE, SGD, chunk=2)
    run, _ = bp.training.run_to_end(lambda run: made.advance(run, (X, T)), made.init(KEY, PARAMS, 2))
    return made, run


def advance(run):
    """A chunk of epochs."""
    return training()[0].advance(run, (X, T))


@functools.cache
def forward_forward():
    """A network for Forward-Forward."""
    network = bp.chain(bp.dense(4), bp.relu, bp.layers.unit_length, bp.dense(4), bp.relu)
    return network, network.init(KEY, (6,))[0]


@functools.cache
def linen():
    """A module of Flax Linen."""
    import flax.linen as nn

    return nn.Dense(2)


@functools.cache
def nnx():
    """A module of Flax NNX."""
    from flax import nnx

    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


@functools.cache
def equinox():
    """A module of Equinox."""
    import equinox

    return equinox.nn.Linear(3, 2, key=KEY)


@functools.cache
def saved():
    """A file of params."""
    path = Path(tempfile.mkdtemp()) / "params.safetensors"
    bp.save(path, PARAMS)
    return path


@functools.cache
def stored():
    """A sweep that is stored."""
    folder = Path(tempfile.mkdtemp()) / "store"
    bp.sweep(bare_trial, {"seed": [0, 1]}, key=KEY, store=folder, progress=False)
    return folder


def keyed_rule():
    """A rule of a network with dropout."""
    return bp.backprop(bp.layers.keyed(bp.chain(bp.dense(3), bp.dropout(0.5))), bp.squared_error)


def stopping_trial(key, optimizer=SGD, rule=RULE):
    """One small run of a comparison, with a stop that means success."""
    params = NETWORK.init(key, (3,))[0]
    return bp.trial(rule, optimizer, params, (X, T), key=key, epochs=2, stops=bp.error_below(0.1))


def tuned_trial(key, learning_rate):
    """One small run of a comparison at a learning rate."""
    return stopping_trial(key, bp.momentum(learning_rate, 0.5))


def spiking():
    """A chain with one layer of spiking units."""
    return bp.chain(bp.unroll(bp.layers.leaky_integrate_and_fire(2), last=True))


def spiking_with_readout():
    """A layer of spiking units and a leaky readout."""
    cells = bp.layers.leaky_integrate_and_fire(2), bp.layers.leaky_integrator(2)
    return bp.chain(*map(bp.unroll, cells))


INPUTS = jnp.ones((4, 2))
