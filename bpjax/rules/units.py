"""The layers of units of a network, one after another: for rules that address each of them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.activations import identity
from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Kind, Layer, PlacedLayer, placed_layers
from bpjax.types import Array, Params


class Unit(NamedTuple):
    """A layer of units, y = φ(a): a layer with weights and what follows it, up to the next one with weights."""

    net: Layer  # a, the net input, of what comes in: a chain that ends with the layer with weights
    activation: Layer  # φ: the chain of what follows, the identity where nothing does
    params: tuple[Params, Params]  # of the two


class UnitForward(NamedTuple):
    """What a forward pass leaves at one layer of units."""

    input: Array  # (N, D) what came in
    net_input: Array  # (N, H) a
    output: Array  # (N, H) y = φ(a)
    residuals: tuple  # of the net and of the activation


def units(network: Layer, params: Params) -> list[Unit]:
    """The network's layers of units, in forward order; none where no layer has weights.

    Weights that carry signals are arrays of two and more axes: a dense layer and a convolution begin a layer of units,
    a norm with its gains belongs to the one before it, and what stands before the first belongs to that. A layer made
    of layers other than a chain, such as a residual block, is addressed as a whole.
    """
    chained = placed_layers(network, params)
    starts = [l for l, part in enumerate(chained) if any(leaf.ndim >= 2 for leaf in jax.tree.leaves(part.params))]
    groups = zip([0, *starts[1:]], starts, [*starts[1:], len(chained)], strict=True) if starts else []
    return [_unit(chained[first : l + 1], chained[l + 1 : end]) for first, l, end in groups]


def inner_chain(network: Layer) -> Layer:
    """The chain inside combinations of one layer, such as `hopfield`, that have its params; else the network itself."""
    if network.kind is not Kind.CHAIN and len(network.layers) == 1 and network.layers[0].kind is Kind.CHAIN:
        return network.layers[0]
    return network


def units_within(network: Layer, params: Params) -> list[Unit]:
    """The layers of units of the network, or of the chain within it."""
    return units(inner_chain(network), params)


def check_units(who: str, network: Layer, params: Params) -> None:
    """Raise a `ValueError` unless the network has layers of units and `params` are its own."""
    try:
        layers = units(network, params)
    except (TypeError, ValueError):
        layers = []
    if not layers:
        raise ValueError(
            f"`{who}` expected a network with layers of weights and the params of its own `init`, got the layer "
            f"{network.name} of {len(network.layers)} parts and params {jax.tree.map(jnp.shape, params)}."
        )


def _unit(net: list[PlacedLayer], activation: list[PlacedLayer]) -> Unit:
    (net_layer, net_params), (phi, phi_params) = _chain(net), _chain(activation)
    return Unit(net_layer, phi, (net_params, phi_params))


def _chain(members: list[PlacedLayer]) -> tuple[Layer, Params]:
    if not members:
        return identity, ()
    return chain(*(part.layer for part in members)), tuple(part.params for part in members)


def propagate(layers: Sequence[Unit], x) -> list[UnitForward]:
    """What a forward pass leaves at each layer of units: the output of one is the input of the next."""
    passed = []
    for unit in layers:
        a, kept_net = unit.net.forward(unit.params[0], x)
        y, kept_phi = unit.activation.forward(unit.params[1], a)
        passed.append(UnitForward(x, a, y, (kept_net, kept_phi)))
        x = y
    return passed


class UnitBackward(NamedTuple):
    """What the backward pass of one layer of units gives."""

    params: tuple[Params, Params]  # gradients of the net's params and of the activation's
    error_signal: Array  # (N, H) δ = ∂E/∂a = φ′ ⊙ dy
    input: Array  # (N, D) dx, what goes on to the layer below


def unit_backward(unit: Unit, passed: UnitForward, dy: Array) -> UnitBackward:
    """The layer of units' own backward pass, for an error `dy` at its output, wherever that comes from."""
    kept_net, kept_phi = passed.residuals
    dphi, delta = unit.activation.backward(unit.params[1], kept_phi, dy)
    dnet, dx = unit.net.backward(unit.params[0], kept_net, delta)
    return UnitBackward((dnet, dphi), delta, dx)


def merge_units(params: Params, split_units: Sequence[tuple[Params, Params]]) -> Params:
    """What was found for each layer of units, laid into the structure of the network's params."""
    return jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(list(split_units)))


def split_units(layers: Sequence[Unit], tree: Params) -> list[tuple[Params, Params]]:
    """A pytree in the structure of the network's params, cut into those of its layers of units."""
    return jax.tree.structure([unit.params for unit in layers]).unflatten(jax.tree.leaves(tree))
