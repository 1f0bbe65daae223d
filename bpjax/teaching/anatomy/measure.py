"""The gradient of every example, the states of the units and the weights that examples pull apart: one program."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from bpjax.analysis.units import UnitStates, network_unit_states
from bpjax.layers.layer import Layer, placed_layers
from bpjax.losses import Loss
from bpjax.types import Array, Batch, Params


class Measured(NamedTuple):
    """What `anatomy` measures on a batch of N examples, as arrays."""

    error: Array  # (N,) E of each example by itself
    gradient_norm: Array  # (N,) ‖∂E/∂w‖ of each example by itself
    angle: Array  # (N,) degrees between this gradient and that of the batch; NaN where either is 0
    states: tuple[UnitStates, ...]  # per activation (N, ..., H)
    batch_error: Array  # () E of the batch
    batch_norm: Array  # () ‖∂E/∂w‖ of the batch
    opposed: Array  # (M,) the weights, by their place among all entries of the params, that examples pull apart most
    pulls: Array  # (N, M) −∂E/∂w of each example for these weights
    cancelled: Array  # (M,) 1 − |Σ ∂E/∂w| / Σ |∂E/∂w|: the share of the pull that cancels


def measure(network: Layer, loss: Loss, params: Params, batch: Batch, fraction: float, weights: int) -> Measured:
    """Measure a batch.

    Args:
        network: the network.
        loss: E.
        params: of the network.
        batch: (x, target), checked.
        fraction: see `bpjax.analysis.unit_states`.
        weights: M at most.
    """

    def gradient(x, target):
        y, residuals = network.forward(params, x)
        dparams, _ = network.backward(params, residuals, loss.gradient(y, target))
        return loss.value(y, target), ravel_pytree(dparams)[0].astype(float)

    def of_one(x, target):
        return gradient(*jax.tree.map(lambda a: a[None], (x, target)))

    @jax.jit
    def program(x, target):
        error, grads = jax.vmap(of_one)(x, target)
        batch_error, total = gradient(x, target)
        pull = jnp.abs(grads).sum(axis=0)
        net = jnp.abs(grads.sum(axis=0))
        _, opposed = jax.lax.top_k(pull - net, min(weights, len(total)))
        norm = jnp.linalg.norm(grads, axis=1)
        return Measured(
            error=error,
            gradient_norm=norm,
            angle=angles(grads, total),
            states=network_unit_states(network, params, x, fraction),
            batch_error=batch_error,
            batch_norm=jnp.linalg.norm(total),
            opposed=opposed,
            pulls=-grads[:, opposed],
            cancelled=1 - net[opposed] / jnp.maximum(pull[opposed], jnp.finfo(pull.dtype).tiny),
        )

    return program(*batch)


def angles(vectors: Array, direction: Array) -> Array:
    """Degrees (N,) between vectors (N, P) and a direction (P,), exact near 0° and 180°; NaN for a vector of 0."""
    u = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
    v = (direction / jnp.linalg.norm(direction))[None, :]
    return jnp.degrees(2 * jnp.arctan2(jnp.linalg.norm(u - v, axis=1), jnp.linalg.norm(u + v, axis=1)))


def weight_names(network: Layer, params: Params, places: Any) -> tuple[str, ...]:
    """The names of entries of the flat params: "w[1, 2] of layer 1"; layers and entries count from 1."""
    named, number = [], 0
    for _, _, layer_params in placed_layers(network, params):
        leaves = jax.tree_util.tree_leaves_with_path(layer_params)
        number += bool(leaves)
        named += [(number, jax.tree_util.keystr(path).lstrip(".") or "w", jnp.shape(leaf)) for path, leaf in leaves]
    names = []
    for place in map(int, places):
        for number, leaf, shape in named:
            size = math.prod(shape)
            if place < size:
                index = np.unravel_index(place, shape) if shape else ()
                names.append(f"{leaf}[{', '.join(str(int(i) + 1) for i in index)}] of layer {number}")
                break
            place -= size
    return tuple(names)
