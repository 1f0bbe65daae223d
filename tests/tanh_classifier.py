"""A tanh network that classifies, with heads and data, shared by the tests of rules with local losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from passes import quick_jit

import bpjax as bp
from bpjax.types import Params

RATE, STEPS = 0.2, 5
NETWORK = bp.mlp((3, 3, 3, 2), bp.tanh)
DATA = np.random.default_rng(3)
X, LABELS = DATA.normal(size=(4, 3)), np.array([0, 1, 1, 0])
T = np.eye(2)[LABELS]
SHAPES = ((3, 3), (3, 3), (3, 2))
WEIGHTS = [DATA.normal(size=shape) / 2 for shape in SHAPES]
BIASES = [DATA.normal(size=shape[1:]) / 2 for shape in SHAPES]
HEADS = [(DATA.normal(size=(3, 2)) / 2, DATA.normal(size=2) / 2) for _ in range(2)]


def pytree(w, b) -> Params:
    layers = [(bp.layers.Affine(jnp.asarray(wl), jnp.asarray(bl)), ()) for wl, bl in zip(w, b, strict=True)]
    return tuple(part for layer in layers for part in layer)[:-1]


PARAMS = pytree(WEIGHTS, BIASES)


def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def trained(rule, heads, loss_batch):
    optimizer = optax.sgd(RATE)
    step = bp.make_train_step(rule, optimizer)
    start = bp.training.TrainState(PARAMS, optimizer.init(PARAMS), heads)
    end, metrics = quick_jit(lambda s: jax.lax.scan(lambda s, _: step(s, loss_batch), s, None, length=STEPS))(start)
    return metrics.value, end.params, end.rule


def bits(a, b):
    return all((x == y).all() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))
