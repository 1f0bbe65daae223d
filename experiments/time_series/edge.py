"""Temporal backpropagation beside the exact gradient: equal, except for the edge terms that Wan drops."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.types import Array, Key
from bpjax.util.trees import flat
from experiments.time_series.models import LAGS, models
from experiments.time_series.trainings import counted_error


class Edge(NamedTuple):
    """Relative differences of two gradients, |a − b| / |b| over all parameters."""

    without_edge: float  # temporal gradient; exact gradient with the early hidden units held constant, by `jax.grad`
    with_edge: float  # temporal gradient; exact gradient by `backprop`
    one_pass: float  # weight changes of one pass at Wan's rate, over −μ; temporal gradient


def edge_of(known: Array, key: Key, rate: float) -> Edge:
    """Compare the gradients at one start of Wan's network on the training values.

    Args:
        known: (T,) training values, standardized.
        key: of the initial weights.
        rate: μ of the pass.
    """
    model, first = models()["FIR network"], LAGS - 1
    params = model.start(key)
    x, target = known[None, :-1, None], known[None, 1:, None]
    early = (jnp.arange(x.shape[1]) < first)[None, :, None]

    def error(params):
        y = x
        for layer, own in zip(model.network.layers, params, strict=True):
            y = layer.forward(own, y)[0]
            if layer is bp.tanh:
                y = jnp.where(early, jax.lax.stop_gradient(y), y)
        return jnp.sum((y - target)[:, first:] ** 2) / 2

    rule = bp.backprop(model.network, counted_error(first))

    @jax.jit
    def gradients(params):
        exact = rule.grads(params, (), (x, target))[1]  # of the mean squared error
        exact = jax.tree.map(lambda g: g * (x.shape[1] - first) / 2, exact)
        changed = bp.rules.temporal_epoch(params, x, target, rate).params
        steps = jax.tree.map(lambda before, after: (before - after) / rate, params, changed)
        return bp.rules.temporal_gradient(params, x, target)[1], jax.grad(error)(params), exact, steps

    temporal, constant, exact, steps = (flat(tree) for tree in gradients(params))

    def difference(a, b):
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    return Edge(difference(temporal, constant), difference(temporal, exact), difference(steps, temporal))
