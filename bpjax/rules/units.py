"""Split a network into its layers of units, for rules that treat each of them separately."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.activations import identity
from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Kind, Layer, PlacedLayer, placed_layers
from bpjax.types import Array, Params


class Unit(NamedTuple):
    """A layer of units, y = φ(a): a layer with weights and the layers after it, up to the next one with weights."""

    net: Layer  # x -> a, the net input: a chain that ends with the layer with weights
    activation: Layer  # φ: the chain of the layers after it, the identity if there are none
    params: tuple[Params, Params]  # of net and activation


class UnitForward(NamedTuple):
    """The forward pass of one layer of units."""

    input: Array  # (N, D) x
    net_input: Array  # (N, H) a
    output: Array  # (N, H) y = φ(a)
    residuals: tuple  # of net and activation


def units(network: Layer, params: Params) -> list[Unit]:
    """The network's layers of units, in forward order; an empty list if no layer has weights.

    Weights are arrays of two or more axes: a dense layer and a convolution start a layer of units, a norm with gains
    belongs to the preceding one, and layers before the first weights belong to the first. A combination of layers other
    than a chain, such as a residual block, counts as one layer.
    """
    chained = placed_layers(network, params)
    starts = [l for l, part in enumerate(chained) if any(leaf.ndim >= 2 for leaf in jax.tree.leaves(part.params))]
    groups = zip([0, *starts[1:]], starts, [*starts[1:], len(chained)], strict=True) if starts else []
    return [_unit(chained[first : l + 1], chained[l + 1 : end]) for first, l, end in groups]


def inner_chain(network: Layer) -> Layer:
    """The chain inside a combination of one layer that shares its params, such as `hopfield`; otherwise the network."""
    if network.kind is not Kind.CHAIN and len(network.layers) == 1 and network.layers[0].kind is Kind.CHAIN:
        return network.layers[0]
    return network


def units_within(network: Layer, params: Params) -> list[Unit]:
    """The layers of units of the network, or of the chain inside it."""
    return units(inner_chain(network), params)


def check_units(who: str, network: Layer, params: Params) -> None:
    """Raise a `ValueError` unless the network has layers of units and `params` fit it."""
    try:
        layers = units(network, params)
    except (TypeError, ValueError):
        layers = []
    if not layers:
        raise ValueError(
            f"`{who}` expected a network with weights and params made by its `init`, got the layer {network.name} of "
            f"{len(network.layers)} parts and params {jax.tree.map(jnp.shape, params)}."
        )


def _unit(net: list[PlacedLayer], activation: list[PlacedLayer]) -> Unit:
    (net_layer, net_params), (phi, phi_params) = _chain(net), _chain(activation)
    return Unit(net_layer, phi, (net_params, phi_params))


def _chain(members: list[PlacedLayer]) -> tuple[Layer, Params]:
    if not members:
        return identity, ()
    return chain(*(part.layer for part in members)), tuple(part.params for part in members)


def propagate(layers: Sequence[Unit], x) -> list[UnitForward]:
    """The forward pass of each layer of units; the output of one is the input of the next."""
    forward = []
    for unit in layers:
        a, net_residuals = unit.net.forward(unit.params[0], x)
        y, phi_residuals = unit.activation.forward(unit.params[1], a)
        forward.append(UnitForward(x, a, y, (net_residuals, phi_residuals)))
        x = y
    return forward


def propagate_each(layers: Sequence[Unit], inputs: Sequence[Array]) -> list[UnitForward]:
    """The forward pass of each layer of units at a separate input, as in inference by predictive coding."""
    return [propagate([unit], x)[0] for unit, x in zip(layers, inputs, strict=True)]


class UnitBackward(NamedTuple):
    """The backward pass of one layer of units."""

    params: tuple[Params, Params]  # gradients by the params of net and activation
    error_signal: Array  # (N, H) δ = ∂E/∂a = φ′ ⊙ dy
    input: Array  # (N, D) dx, the error at the output of the previous layer


def unit_backward(unit: Unit, forward: UnitForward, dy: Array) -> UnitBackward:
    """The backward pass of one layer of units, for any error `dy` at its output.

    Args:
        unit: the layer of units.
        forward: its forward pass.
        dy: (N, H).
    """
    net_residuals, phi_residuals = forward.residuals
    dphi, delta = unit.activation.backward(unit.params[1], phi_residuals, dy)
    dnet, dx = unit.net.backward(unit.params[0], net_residuals, delta)
    return UnitBackward((dnet, dphi), delta, dx)


def merge_units(params: Params, by_unit: Sequence[tuple[Params, Params]]) -> Params:
    """The params or gradients of the layers of units, in the structure of the network's params."""
    return jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(list(by_unit)))


def split_units(layers: Sequence[Unit], tree: Params) -> list[tuple[Params, Params]]:
    """A pytree in the structure of the network's params, split by layer of units."""
    return jax.tree.structure([unit.params for unit in layers]).unflatten(jax.tree.leaves(tree))
