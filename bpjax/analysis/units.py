"""Dead and saturated units: one definition for every report that names them.

A unit with net input a and output o = φ(a) has the error signal δ = φ′(a) ∂E/∂o. Where φ′(a) is 0, an example changes
none of the unit's weights and passes nothing to the units below; where φ′(a) is small, hardly anything. φ′ is the
derivative that the backward pass uses, so an activation with another slope (`with_slopes`, a surrogate) is judged by
that slope. For one unit and one example:

    dead        φ′(a) is exactly 0 and φ is constant around a, as a relu is for a ≤ 0. A small change of the weights
                changes nothing in the output.
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
    hardtanh, relu6, hardsigmoid      outside the bounds    never
    softshrink, hardshrink            |a| ≤ threshold       never
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


class _Shape(NamedTuple):
    """What is known of an activation: where it is flat, and where its tails begin."""

    largest: float
    """The maximum of |φ′|."""
    flat: tuple[tuple[float, float], ...]
    """Intervals, each up to one step of the grid too wide, in which φ is constant wherever φ′ is 0."""
    low: float
    """The lower tail is below; −∞ without one. Up to one step of the grid too high."""
    high: float
    """The upper tail is above; ∞ without one. Up to one step of the grid too low."""


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
    shape = _shape(activation, fraction)
    slope = jnp.abs(derivative(activation, net_input)).astype(float)
    dead = jnp.zeros(net_input.shape, bool)
    for low, high in shape.flat:
        dead |= (net_input > low) & (net_input < high) & (slope == 0)
    tail = (net_input < shape.low) | (net_input > shape.high)
    return UnitStates(dead, tail & (slope < fraction * shape.largest) & ~dead)


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
def _shape(activation: Layer, fraction: float) -> _Shape:
    """The flat parts and the tails of φ, found on a grid of net inputs of either sign."""
    half = np.logspace(_NEAR, _FAR, _STEPS * (_FAR - _NEAR) + 1)
    grid = np.concatenate([-half[::-1], [0.0], half])
    both = jax.jit(lambda a: (activation.forward((), a)[0], jnp.abs(derivative(activation, a))))
    with jax.ensure_compile_time_eval():  # a report may be made while another program is traced
        y, slope = (np.asarray(array, np.float64) for array in both(jnp.asarray(grid, float)))
    largest = float(np.nanmax(slope))
    small = slope < fraction * largest
    low, high = (_tail_start(grid[::side], small[::side], slope[::side], largest) for side in (1, -1))
    return _Shape(largest, _flat_parts(grid, y, slope, largest), low, -high if high == -math.inf else high)


def _tail_start(grid: np.ndarray, small: np.ndarray, slope: np.ndarray, largest: float) -> float:
    """The first net input, from the outside in, at which φ′ is not small; −∞ where there is no tail."""
    outside = not small[0] or slope[0] >= _FALLS_TO_0 * largest
    return -math.inf if outside or small.all() else float(grid[np.argmin(small)])


def _flat_parts(grid: np.ndarray, y: np.ndarray, slope: np.ndarray, largest: float) -> tuple[tuple[float, float], ...]:
    """The intervals between the neighbours of at least two points in a row with φ′ = 0 and the same φ."""
    parts, start, count = [], 0, len(grid)
    for end in range(1, count + 1):
        if end < count and slope[end] == slope[end - 1] == 0 and y[end] == y[end - 1]:
            continue
        first, last = start, end - 1
        start = end
        if last == first or slope[first] != 0:
            continue
        neighbours = [slope[k] for k in (first - 1, last + 1) if 0 <= k < count]
        if any(0 < neighbour < _ROUNDED * largest for neighbour in neighbours):
            continue  # the 0 comes from rounding
        bounds = grid[first - 1] if first else -math.inf, grid[last + 1] if last + 1 < count else math.inf
        parts.append((float(bounds[0]), float(bounds[1])))
    return tuple(parts)
