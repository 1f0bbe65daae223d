"""Dead and saturated units: one definition for every report that names them.

A unit with net input a and output o = φ(a) has the error signal δ = φ′(a) ∂E/∂o. Where φ′(a) is 0, an example changes
none of the unit's weights and passes nothing to the units below; where φ′(a) is small, hardly anything. φ′ is the
derivative that the backward pass uses, so an activation with another slope (`with_slopes`, a surrogate) is judged by
that slope. For one unit and one example:

    dead        φ′(a) is exactly 0 and φ is constant from a on to −∞ or to +∞, as a relu is for a ≤ 0. A small change
                of the weights changes nothing in the output.
    saturated   not dead, and a lies in a tail of φ: from a on to −∞ or to +∞ |φ′| stays below a `fraction` of its
                maximum, and falls to 0.

An exact 0 that comes from rounding alone, a sigmoid at a = 40, is saturated, not dead. A leaky relu has neither: its
derivative is small below 0 but does not fall to 0. Where φ′ changes its sign, as that of gelu at a = −0.75, a small φ′
is no tail. A step function with its true derivative is dead everywhere.

The default `fraction` is 0.05: the error shrinks at least twentyfold on its way through the unit. That is |a| > 4.36
for a sigmoid, o outside 0.013 … 0.987, and |a| > 2.18 for tanh, |o| > 0.975. Units trained to the usual targets 0.1
and 0.9 (φ′ at 36 % of its maximum) do not count, units that have to be moved back from a wrong extreme do.

    activation                        dead                  saturated at fraction 0.05
    sigmoid, scaled_sigmoid           never                 |a| > 4.36
    tanh                              never                 |a| > 2.18
    relu                              a ≤ 0                 never
    softplus, elu, gelu, silu         never                 a below −2.94, −3.00, −2.28, −3.93
    leaky_relu, identity              never                 never

Units are counted from 1, layers of units from 1 at the input, as in `signals`: "unit 3 of layer 2".
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.layer import Layer, check_layer, placed_layers
from bpjax.rules.slopes import is_activation
from bpjax.types import Array, Params
from bpjax.util.checks import as_floating, check_number

SATURATED = 0.05
"""The default `fraction`: |φ′| below 5 % of its maximum, in a tail of φ."""

_FAR, _NEAR, _STEPS = 4, -6, 200  # net inputs from 10⁻⁶ to 10⁴ of either sign, 200 a decade
_FALLS_TO_0 = 1e-6  # |φ′(±10⁴)| relative to the maximum, where a tail ends in 0
_ROUNDED = 1e-4  # a last |φ′| below this share before an exact 0: the 0 comes from rounding


class UnitStates(NamedTuple):
    """Which units pass no error back, or hardly any: booleans in the shape of the net inputs, (N, ..., H)."""

    dead: Array
    """φ′ is exactly 0 and the output constant."""
    saturated: Array
    """Not dead, and |φ′| below the fraction of its maximum, in a tail of φ."""


class PlacedActivation(NamedTuple):
    """An elementwise activation of a network with its place."""

    number: int
    """Of its layer of units, from 1 at the input; 0 before the first layer with params."""
    path: tuple[int, ...]
    """Where it is in the chain: (1,) for `network.layers[1]`."""
    layer: Layer


class _Tail(NamedTuple):
    """Where the tails of φ end on the side of the small net inputs, on one side of 0; ∞ where there is no tail."""

    dead: float
    saturated: float


def derivative(activation: Layer, net_input: Array) -> Array:
    """φ′(a) as the backward pass of an elementwise activation uses it, in the shape and dtype of a."""
    y, residuals = activation.forward((), net_input)
    return activation.backward((), residuals, jnp.ones_like(y))[1]


def unit_states(activation: Layer, net_input: Array, fraction: float = SATURATED) -> UnitStates:
    """Which entries of a net input are dead or saturated; see the head of this file. Works in `jit` and `vmap`.

    Args:
        activation: an elementwise activation.
        net_input: a, of any shape.
        fraction: of the maximum of |φ′|, below which a unit is saturated.

    Raises:
        ValueError: `activation` is not an elementwise activation, `net_input` not of a floating-point dtype, or
            `fraction` not between 0 and 1.
    """
    check_layer("unit_states", activation)
    if not is_activation(activation):
        raise ValueError(
            f"`unit_states` expected an elementwise activation, such as `bp.tanh`, got the layer {activation.name}."
        )
    net_input = as_floating("unit_states", "net_input", net_input)
    check_number("unit_states", "fraction", fraction, above=0.0, most=1.0)
    largest, below, above = _tails(activation, fraction)
    slope = jnp.abs(derivative(activation, net_input)).astype(float)
    flat = (net_input < -below.dead) | (net_input > above.dead)
    tail = (net_input < -below.saturated) | (net_input > above.saturated)
    dead = flat & (slope == 0)
    return UnitStates(dead, tail & (slope < fraction * largest) & ~dead)


def placed_activations(network: Layer, params: Params) -> tuple[PlacedActivation, ...]:
    """The elementwise activations of a chain in forward order, without those inside residual blocks and the like."""
    number, found = 0, []
    for path, layer, layer_params in placed_layers(network, params):
        number += bool(jax.tree.leaves(layer_params))
        if is_activation(layer):
            found.append(PlacedActivation(number, path, layer))
    return tuple(found)


def network_unit_states(
    network: Layer, params: Params, x: Array, fraction: float = SATURATED
) -> tuple[UnitStates, ...]:
    """The states of the units at each of `placed_activations(network, params)` for a batch x (N, ...), in that order.

    Works in `jit` and `vmap`: the places are known while JAX traces, the states are arrays.
    """
    wanted = {place.path for place in placed_activations(network, params)}
    found = []
    for path, layer, layer_params in placed_layers(network, params):
        if path in wanted:
            found.append(unit_states(layer, x, fraction))
        x = layer.forward(layer_params, x)[0]
    return tuple(found)


def unit_sentences(
    number: int, states: UnitStates, dead_from: float = 1.0, saturated_from: float = 0.9
) -> tuple[str, ...]:
    """Sentences such as "unit 3 of layer 2 is dead on all 4 examples", "… is saturated on 97 % of the 200 examples".

    Args:
        number: of the layer of units, from 1.
        states: booleans (N, ..., H); all axes but the last count as examples, for images and sequences as positions.
        dead_from: the share of the examples from which on a dead unit is mentioned.
        saturated_from: the same for saturated units.
    """
    sentences = []
    for word, values, least in (
        ("dead", states.dead, dead_from),
        ("saturated", states.saturated, saturated_from),
    ):
        values = np.asarray(values)
        rows = values.reshape(-1, values.shape[-1])
        kind = "examples" if values.ndim == 2 else "positions of the examples"
        share = rows.mean(axis=0)
        for value in sorted(set(share[share >= max(least, 1e-9)]), reverse=True):
            units = [int(unit) + 1 for unit in np.flatnonzero(share == value)]
            who, verb = _units_in_words(units, rows.shape[1], number)
            sentences.append(f"{who} {verb} {word} on {_share_in_words(value, len(rows), kind)}")
    return tuple(sentences)


def _units_in_words(units: list[int], all_units: int, number: int) -> tuple[str, str]:
    """("units 1 and 3 of layer 2", "are")."""
    if len(units) == 1:
        return f"unit {units[0]} of layer {number}", "is"
    if len(units) == all_units:
        return f"all {all_units} units of layer {number}", "are"
    first = ", ".join(map(str, units[:-1])) if len(units) <= 8 else ", ".join(map(str, units[:7]))
    last = str(units[-1]) if len(units) <= 8 else f"{len(units) - 7} more"
    return f"units {first} and {last} of layer {number}", "are"


def _share_in_words(share: float, count: int, kind: str) -> str:
    if share == 1:
        return f"all {count} {kind}" if count > 1 else f"the one {kind.replace('examples', 'example')}"
    percent = min(round(100 * share), 99)
    return f"{percent} % of the {count} {kind}"


@functools.lru_cache(maxsize=256)
def _tails(activation: Layer, fraction: float) -> tuple[float, _Tail, _Tail]:
    """(maximum of |φ′|, tails below 0, tails above 0), found on a grid of net inputs of either sign."""
    grid = np.logspace(_NEAR, _FAR, _STEPS * (_FAR - _NEAR) + 1)
    a = np.concatenate([-grid[::-1], [0.0], grid])
    both = jax.jit(lambda a: (activation.forward((), a)[0], jnp.abs(derivative(activation, a))))
    with jax.ensure_compile_time_eval():  # a report may be made while another program is traced
        y, slope = (np.asarray(array, np.float64) for array in both(jnp.asarray(a, float)))
    largest = float(np.nanmax(slope))
    middle = len(grid)
    below = _tail(grid, y[middle - 1 :: -1], slope[middle - 1 :: -1], largest, fraction)
    above = _tail(grid, y[middle + 1 :], slope[middle + 1 :], largest, fraction)
    return largest, below, above


def _tail(grid: np.ndarray, y: np.ndarray, slope: np.ndarray, largest: float, fraction: float) -> _Tail:
    """The tails on one side, from |a| = `grid`; a tail is known up to one step of the grid, φ′ decides within it."""

    def start(condition: np.ndarray) -> float:
        """The last |a| of the grid before the run of true entries that reaches the end; −1 where all are true."""
        false = np.flatnonzero(~condition)
        return math.inf if not condition[-1] else float(grid[false[-1]]) if len(false) else -1.0

    dead = start((slope == 0) & (y == y[-1]))
    if 0 < dead < math.inf and slope[grid == dead][0] < _ROUNDED * largest:
        dead = math.inf
    falls = slope[-1] < _FALLS_TO_0 * largest
    return _Tail(dead, start(slope < fraction * largest) if falls else math.inf)
