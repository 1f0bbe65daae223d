"""The limit of stability of gradient descent with momentum at minima of networks.

Targets of 0.1 and 0.9 and a small weight decay give minima at finite weights without flat directions. Each network is
trained to a minimum w*, where the largest curvature λ_max and its direction v are measured. The weights are then moved
along v by a small ε, and the learning rate above which |v · (w − w*)| grows is found by bisection. The closed form is
exact for a quadratic with this λ_max; a network differs from one by terms of order ε².
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import bpjax as bp
from experiments.common.networks import sigmoid_network
from experiments.common.starts import compiled_once, first_start
from experiments.momentum.boundary import Boundary, bisection, boundaries

LEVELS = (0.1, 0.9)
"""Targets for 0 and 1."""


class Minima(NamedTuple):
    """I minima of a network, in float64."""

    name: str
    rule: bp.Rule
    batch: tuple
    params: Callable  # weights (P,) -> params
    weights: np.ndarray  # (I, P), in the order of `ravel_pytree`
    curvature: np.ndarray  # (I,) λ_max
    direction: np.ndarray  # (I, P) v, ‖v‖ = 1
    gradient: np.ndarray  # (I,) remaining norm
    tried: int  # networks trained
    converged: int  # networks that reached a minimum


def tasks(config) -> dict[str, tuple[tuple[int, ...], bp.tasks.Task]]:
    """{name: (layer sizes, task)}."""
    n, m = config.encoder_inputs, config.encoder_hidden
    return {
        "xor": ((2, 2, 1), bp.xor(target_levels=LEVELS)),
        "encoder": ((n, m, n), bp.encoder(n, m, target_levels=LEVELS)),
    }


def find_minima(name: str, config, key) -> Minima:
    """Train networks and return the first `config.minima` different minima.

    Args:
        name: a key of `tasks`.
        config: of the experiment.
        key: for the initial weights.

    Raises:
        ValueError: no network reached a minimum in time.
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
    converged = np.flatnonzero(result.solved.values)
    if not converged.size:
        raise ValueError(
            f"No {name} network of {config.rest_seeds} reached a minimum: allow more `rest_epochs`, or a larger `rest`."
        )
    # equivalent minima have equal errors and count once
    _, first = np.unique(result.error.values[converged].round(6), return_index=True)
    weights = result.weights.values[converged[np.sort(first)]][: config.minima]
    unravel = ravel_pytree(first_start(network, key, batch[0].shape[1:]))[1]

    def measure(flat):
        params = unravel(flat)
        steepest = bp.analysis.steepest_direction(rule, params, batch, jax.random.key(0), steps=60)
        gradient = ravel_pytree(rule.grads(params, (), batch)[1])[0]
        return steepest.value, ravel_pytree(steepest.direction)[0], jnp.linalg.norm(gradient)

    value, v, gradient = jax.device_get(compiled_once(jax.vmap(measure))(weights))
    return Minima(name, rule, batch, unravel, weights, value, v, gradient, config.rest_seeds, len(converged))


def network_boundaries(config, minima: Minima, key) -> list[Boundary]:
    """The limit of stability of each minimum, for every form × minimum × momentum coefficient."""
    weights, directions = jnp.asarray(minima.weights), jnp.asarray(minima.direction)

    def trial(key, form, minimum, momentum):
        rest, v = weights[minimum], directions[minimum]
        params = minima.params(rest + config.push * v)

        def distance(params, given):
            rest, v = given
            return jnp.abs(((ravel_pytree(params)[0] - rest) * v).sum())

        return bisection(
            minima.rule, form, momentum, params, minima.batch, distance, given=(rest, v),
            ends=(1e-3, 1e4), digits=config.digits, stable=1e-1, unstable=1e2, steps=config.network_steps,
        )  # fmt: skip

    axes = {"form": range(3), "minimum": range(len(weights)), "momentum": config.network_momenta}
    return boundaries(bp.sweep(trial, axes, key=key), minima.name, "minimum", minima.curvature)
