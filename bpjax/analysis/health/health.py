"""Measure the state of a network on a batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.analysis.health.findings import findings_of
from bpjax.analysis.health.report import Health, LayerHealth
from bpjax.analysis.passes import both_passes, forward_pass, unit_spans
from bpjax.analysis.units import SATURATED, UnitStates, network_unit_states, placed_activations
from bpjax.layers.layer import Layer, PlacedLayer, check_layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import as_batch, as_examples, check_batch, check_made_of
from bpjax.training.inputs import as_params
from bpjax.types import Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_number
from bpjax.util.shared_jit import SharedJit
from bpjax.util.trees import norm

EQUAL = 1e-3
"""Two units are equal where their outputs differ by less than this share of their standard deviation."""


def health(network: Layer, params: Params, data, loss: Loss | None = None, fraction: float = SATURATED) -> Health:
    """Look for what hinders learning: one table, and a sentence with a remedy for everything found.

        print(bp.health(network, params, (x, target), bp.squared_error))

    Looked for are units that are dead or saturated (`bpjax.analysis.units` defines both), units whose outputs are equal
    on all examples, outputs and errors ∂E/∂o whose root mean square changes by a factor of 1,000 or more between the
    first and the last layer, inputs that are constant or have no weights that differ from 0, values that are not
    finite, and a gradient that is 0.

    Args:
        network: a chain of layers; a residual block or another combination counts as one layer.
        params: of the network.
        data: x (N, ...), or (x, target) with a loss; some hundred examples suffice.
        loss: for the backward pass; without one only the forward pass is examined.
        fraction: of the maximum of |φ′|, below which a unit is saturated.

    Raises:
        ValueError: not a network with params that fit it, a loss without targets, a `fraction` not between 0 and 1.
    """
    check_number("health", "fraction", fraction, above=0.0, most=1.0)
    batch = as_data("health", network, data, loss)
    params = as_params("health", params)
    if loss is not None and all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)):
        batch = check_batch("health", backprop(network, loss), params, batch)
    measured = jax.device_get(SharedJit(measurement(network, loss, float(fraction)))(params, batch))
    return report_of(network, params, measured)


def as_data(who: str, network: Layer, data, loss: Loss | None) -> tuple[Any, Any]:
    """(x, target) as arrays; the target is None without a loss.

    Raises:
        ValueError: not a network, not examples, a loss without targets.
    """
    check_layer(who, network)
    if loss is None:
        return as_examples(who, data[0] if isinstance(data, tuple) and len(data) == 2 else data), None
    check_made_of(who, network, loss)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(
            f"`{who}` expected `data` to be (x, target) beside a loss, got {shown(data)}. Pass the targets, or no loss."
        )
    return as_batch(who, data)


class Measured(NamedTuple):
    """What a compiled program measures; a tuple has one entry for each layer of units."""

    first: Any  # x (N, D) with its mean over examples left in; None where x is not (N, D) of floats
    output: tuple  # root mean squares
    error: tuple
    gradient: tuple
    equal: tuple  # (H,) whether a previous unit of the layer has the same output
    finite_output: tuple
    finite_error: tuple
    states: tuple[UnitStates, ...]  # of each activation
    unconnected: Any  # (D,) inputs whose weights are all 0


def measurement(network: Layer, loss: Loss | None, fraction: float):
    """Make the function (params, (x, target)) -> `Measured`, for `jax.jit`."""

    def measure(params, batch) -> Measured:
        x, chain = batch[0], placed_layers(network, params)
        spans = unit_spans(chain)
        if loss is None:
            activations, _ = forward_pass(chain, x)
            errors, gradients = [None] * len(spans), [jnp.nan] * len(spans)
        else:
            _, activations, all_errors, by_layer = both_passes(network, loss, params, batch)
            errors = [all_errors[end] for _, end in spans]
            gradients = [_relative_gradient(chain[start].params, by_layer[start]) for start, _ in spans]
        outputs = [activations[end] for _, end in spans]
        is_plain = isinstance(x, jax.Array) and x.ndim == 2 and jnp.issubdtype(x.dtype, jnp.floating)
        return Measured(
            x if is_plain else None,
            tuple(map(_rms, outputs)),
            tuple(map(_rms, errors)),
            tuple(gradients),
            tuple(_equal(output) for output in outputs),
            tuple(map(_finite, outputs)),
            tuple(map(_finite, errors)),
            network_unit_states(network, params, x, fraction),
            _unconnected(chain, x) if is_plain else None,
        )

    return measure


def report_of(network: Layer, params: Params, measured: Measured) -> Health:
    """The table and the findings, on the host."""
    chain = placed_layers(network, params)
    by_number = _states_by_number(network, params, measured)
    layers = tuple(
        LayerHealth(
            number,
            ", ".join(part.layer.name for part in chain[start:end]),
            len(measured.equal[number - 1]),
            *_shares(by_number.get(number)),
            int(measured.equal[number - 1].sum()),
            *(float(sizes[number - 1]) for sizes in (measured.output, measured.error, measured.gradient)),
        )
        for number, (start, end) in enumerate(unit_spans(chain), start=1)
    )
    return Health(layers, tuple(findings_of(layers, by_number, measured)))


def _states_by_number(network: Layer, params: Params, measured: Measured) -> dict[int, UnitStates]:
    """The states at the first activation of each layer of units, by its number."""
    found: dict[int, UnitStates] = {}
    for place, states in zip(placed_activations(network, params), measured.states, strict=True):
        found.setdefault(place.number, states)
    return found


def _shares(states: UnitStates | None) -> tuple[float, float]:
    if states is None:
        return np.nan, np.nan
    dead = np.asarray(states.dead)
    return float(dead.reshape(-1, dead.shape[-1]).all(axis=0).mean()), float(np.mean(states.saturated))


def _float_leaves(tree) -> list:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _rms(tree):
    leaves = _float_leaves(tree)
    size = sum(leaf.size for leaf in leaves)
    return norm(leaves) / np.sqrt(size) if size else jnp.nan


def _finite(tree):
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in _float_leaves(tree)] or [True]))


def _relative_gradient(params: Params, gradient: Params):
    """‖∂E/∂w‖ / ‖w‖ of a layer; NaN where w is 0."""
    size = norm(_float_leaves(params))
    return jnp.where(size > 0, norm(_float_leaves(gradient)) / jnp.where(size > 0, size, 1), jnp.nan)


def _equal(output):
    """(H,) whether a previous unit has the same output on all examples, and is not constant."""
    if not isinstance(output, jax.Array) or output.ndim < 2:
        return jnp.zeros(0, bool)
    rows = output.reshape(-1, output.shape[-1]).astype(float)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    centred = rows - mean[None, :]  # so that no digits cancel where units hardly vary
    covariance, variance = centred.T @ centred / len(rows), spread**2
    distance = variance[:, None] + variance[None, :] - 2 * covariance + (mean[:, None] - mean[None, :]) ** 2
    alike = distance <= (EQUAL * jnp.minimum(spread[:, None], spread[None, :])) ** 2
    varied = spread > 1e-6 * jnp.abs(mean)
    return jnp.any(jnp.tril(alike, -1) & varied[:, None] & varied[None, :], axis=1)


def _unconnected(chain: list[PlacedLayer], x):
    """(D,) inputs that no weight of the first layer with params uses; False where the layer is not affine."""
    first = next((part for part in chain if jax.tree.leaves(part.params)), None)
    w = getattr(first.params, "w", None) if first is not None and first is chain[0] else None
    if w is None or w.ndim != 2 or w.shape[0] != x.shape[1]:
        return jnp.zeros(x.shape[1], bool)
    return jnp.all(w == 0, axis=1)
