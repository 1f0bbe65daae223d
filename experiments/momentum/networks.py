"""Where gradient descent with momentum begins to leave a minimum of a real network (part of momentum.py).

Targets 0.1 and 0.9 are within a sigmoid's reach and a little weight decay closes the last flat direction, so that there
are minima at finite weights. Each network is trained until its gradient is all but gone, its largest curvature λ_max
and that direction v are measured there, the weights are moved along v a little, and the rate is bisected at which
|v · (w − w*)| grows. On a quadratic with this λ_max the closed form is exact; a network is one only up to the square of
that little.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import bpjax as bp
from experiments.common.networks import sigmoid_network
from experiments.momentum.boundary import Boundary, bisection, boundaries

LEVELS = (0.1, 0.9)
"""Targets that stand for off and on."""


class Minima(NamedTuple):
    """Networks at rest: I of them, in float64."""

    name: str
    rule: bp.Rule
    batch: tuple
    params: Callable  # weights (P,) -> params
    weights: np.ndarray  # (I, P), as `ravel_pytree` lays them out
    curvature: np.ndarray  # (I,) λ_max
    direction: np.ndarray  # (I, P) v, ‖v‖ = 1
    gradient: np.ndarray  # (I,) norm that is left
    tried: int  # networks trained
    rested: int  # of them, those that came to rest


def tasks(config) -> dict[str, tuple[tuple[int, ...], bp.tasks.Task]]:
    """Sizes and examples by name."""
    n, m = config.encoder_inputs, config.encoder_hidden
    return {
        "xor": ((2, 2, 1), bp.xor(target_levels=LEVELS)),
        "encoder": ((n, m, n), bp.encoder(n, m, target_levels=LEVELS)),
    }


def find_minima(name: str, config, key) -> Minima:
    """Train networks until they are at rest and look at the first `config.minima` different minima among them.

    Raises:
        ValueError: none came to rest in time.
    """
    sizes, task = tasks(config)[name]
    network = sigmoid_network(sizes)
    rule, batch = bp.rules.weight_decay(bp.backprop(network, bp.squared_error), config.decay), task.present(None)
    rest = bp.training.gradient_below(config.rest)

    def trial(key):
        params, _ = network.init(key, batch[0].shape[1:])
        optimizer = bp.momentum(config.rest_rate, config.rest_momentum, form="heavy_ball")
        return bp.trial(
            rule, optimizer, params, batch, key=key, epochs=config.rest_epochs, stops=(rest,),
            outcome=lambda run: {"weights": ravel_pytree(run.state.params)[0]},
        )  # fmt: skip

    result = bp.sweep(trial, {"seed": range(config.rest_seeds)}, key=key)
    at_rest = np.flatnonzero(result.solved.values)
    if not at_rest.size:
        raise ValueError(
            f"No {name} network of {config.rest_seeds} came to rest: allow more `rest_epochs`, or a wider `rest`."
        )
    _, first = np.unique(result.error.values[at_rest].round(6), return_index=True)  # mirror images count once
    weights = result.weights.values[at_rest[np.sort(first)]][: config.minima]
    unravel = ravel_pytree(network.init(key, batch[0].shape[1:])[0])[1]

    def look(flat):
        params = unravel(flat)
        steepest = bp.analysis.steepest_direction(rule, params, batch, jax.random.key(0), steps=60)
        gradient = ravel_pytree(rule.grads(params, (), batch)[1])[0]
        return steepest.value, ravel_pytree(steepest.direction)[0], jnp.linalg.norm(gradient)

    value, v, gradient = jax.device_get(jax.jit(jax.vmap(look))(weights))
    return Minima(name, rule, batch, unravel, weights, value, v, gradient, config.rest_seeds, len(at_rest))


def network_boundaries(config, minima: Minima, key) -> list[Boundary]:
    """The rate at which runs begin to leave each minimum, for every form × minimum × momentum."""
    weights, directions = jnp.asarray(minima.weights), jnp.asarray(minima.direction)

    def trial(key, form, minimum, momentum):
        rest, v = weights[minimum], directions[minimum]
        params = minima.params(rest + config.push * v)

        def size(params, given):
            rest, v = given
            return jnp.abs(((ravel_pytree(params)[0] - rest) * v).sum())

        return bisection(
            minima.rule, form, momentum, params, minima.batch, size, given=(rest, v),
            ends=(1e-3, 1e4), digits=config.digits, returns=1e-1, leaves=1e2, steps=config.network_steps,
        )  # fmt: skip

    axes = {"form": range(3), "minimum": range(len(weights)), "momentum": config.network_momenta}
    return boundaries(bp.sweep(trial, axes, key=key), minima.name, "minimum", minima.curvature)
