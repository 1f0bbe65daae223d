"""A tanh network with two hidden layers and its data, shared by the tests of feedback rules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from passes import quick_jit

import bpjax as bp

RATE, STEPS = 0.3, 5
NETWORK = bp.mlp((3, 3, 3, 2), bp.tanh, output=bp.tanh)  # two hidden layers: errors go through two of the B
DATA = np.random.default_rng(7)
X, T = DATA.normal(size=(4, 3)), DATA.uniform(-0.8, 0.8, (4, 2))
SHAPES = ((3, 3), (3, 3), (3, 2))
WEIGHTS = [DATA.normal(size=shape) / 2 for shape in SHAPES]
BIASES = [DATA.normal(size=shape[1:]) / 2 for shape in SHAPES]
FEEDBACK = [DATA.normal(size=shape) / 2 for shape in SHAPES]


def pytree(w, b):
    """The lists in the structure of the network's params."""
    layers = [(bp.layers.Affine(jnp.asarray(wl), jnp.asarray(bl)), ()) for wl, bl in zip(w, b, strict=True)]
    return tuple(part for layer in layers for part in layer)


def matrices(params):
    return [np.asarray(p.w) for p in params[::2]]


def feedback_pytree(b):
    """B with NaN biases, to prove that the rules read only its matrices."""
    return pytree(b, [np.full(shape[1:], np.nan) for shape in SHAPES])


def trained(rule, state, optimizer=None):
    """Errors and params after the same steps by the rule, in one scan."""
    optimizer = optax.sgd(RATE) if optimizer is None else optimizer
    params = pytree(WEIGHTS, BIASES)
    step = bp.make_train_step(rule, optimizer)
    start = bp.training.TrainState(params, optimizer.init(params), state)
    end, metrics = quick_jit(lambda s: jax.lax.scan(lambda s, _: step(s, (X, T)), s, None, length=STEPS))(start)
    return metrics.value, end.params, end.rule


def same_bits(a, b):
    return all((x == y).all() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))
