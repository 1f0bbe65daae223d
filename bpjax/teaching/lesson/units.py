"""The network as the lesson draws it: layers of units, each a dense layer and the activations after it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.analysis.units import unit_states
from bpjax.layers.activations import identity, relu, sigmoid, tanh
from bpjax.layers.dense import Affine
from bpjax.layers.layer import Kind, Layer, placed_layers
from bpjax.types import Array, Params
from bpjax.util.call_text import shown

MOST_UNITS = 40
"""Units of a layer, and inputs, that can still be told apart in a drawing."""
MOST_LAYERS = 6
"""Layers of units side by side on a page."""

ACTIVATIONS: dict[str, Layer] = {"sigmoid": sigmoid, "tanh": tanh, "relu": relu, "identity": identity}
"""The activations that the page can compute, by their name in `arithmetic.js`."""


class DrawnLayer(NamedTuple):
    """A layer of units."""

    path: tuple[int, ...]
    """Where its weights are in the network's params."""
    inputs: int
    units: int
    use_bias: bool
    activations: tuple[Layer, ...]
    """What follows the dense layer; none for a linear layer."""

    @property
    def kind(self) -> str | None:
        """The activation's name in `arithmetic.js`; None where the page cannot compute it."""
        if len(self.activations) > 1:
            return None
        activation = self.activations[0] if self.activations else identity
        return next((name for name, known in ACTIVATIONS.items() if known is activation), None)

    @property
    def is_elementwise(self) -> bool:
        """Whether each unit has its own φ′: a softmax has not, it mixes the units of a layer."""
        return all(activation.kind is Kind.ACTIVATION for activation in self.activations)

    def weights(self, tree: Params) -> Array:
        """(D + 1, H) the layer's weights, the bias as last row, or (D, H) without bias, in a tree like the params."""
        for index in self.path:
            tree = tree[index]
        return tree.w if tree.b is None else jnp.concatenate([tree.w, tree.b[None, :]])

    def slope(self, net_input: Array) -> Array:
        """(N, H) φ′(a) by the hand-written backward passes of the activations."""
        y, slope = net_input, jnp.ones_like(net_input)
        for activation in self.activations:
            y, residuals = activation.forward((), y)
            slope = activation.backward((), residuals, slope)[1]
        return slope

    def states(self, net_input: Array | np.ndarray) -> np.ndarray:
        """(..., H) uint8: 2 where a unit is dead for an example, 1 where it is saturated; see `unit_states`."""
        if len(self.activations) != 1 or not self.is_elementwise:
            return np.zeros(np.shape(net_input), np.uint8)
        found = unit_states(self.activations[0], jnp.asarray(net_input))
        return np.asarray(2 * found.dead + found.saturated, np.uint8)


def drawn_layers(network: Layer, params: Params, x: Array) -> list[DrawnLayer]:
    """The layers of units of a network that can be drawn, or a `ValueError` that says why it cannot.

    A chain can be drawn that begins with a dense layer and has only dense layers and, between and after them, layers
    without params that keep the shape.
    """
    if x.ndim != 2:
        raise cannot_be_drawn(f"examples of shape {x.shape}, which are not (N, D)")
    layers: list[DrawnLayer] = []
    for part in placed_layers(network, params):
        if isinstance(part.params, Affine) and part.layer.kind is Kind.AFFINE:
            inputs, units = part.params.w.shape
            layers.append(DrawnLayer(part.path, inputs, units, part.params.b is not None, ()))
        elif not layers or not _keeps_shape(part.layer, part.params, layers[-1].units):
            raise cannot_be_drawn(f"{shown(part.layer)}")
        else:
            layers[-1] = layers[-1]._replace(activations=(*layers[-1].activations, part.layer))
    widest = max(layers[0].inputs, *(layer.units for layer in layers))
    if widest > MOST_UNITS or len(layers) > MOST_LAYERS:
        raise cannot_be_drawn(f"{len(layers)} layers of up to {widest} units")
    return layers


def _keeps_shape(layer: Layer, params: Params, units: int) -> bool:
    """Whether it is a layer without params, parts and context whose output has the shape (N, units) of its input."""
    if jax.tree.leaves(params) or layer.parts is not None or layer.uses:
        return False
    output = jax.eval_shape(lambda a: layer.forward(params, a)[0], jax.ShapeDtypeStruct((2, units), float))
    return getattr(output, "shape", None) == (2, units)


def cannot_be_drawn(what: str) -> ValueError:
    """The error to raise for a network that the page has no drawing for."""
    return ValueError(
        f"`lesson` expected a chain of dense layers and activations with at most {MOST_LAYERS} layers and {MOST_UNITS} "
        f"inputs or units a layer, such as `bp.mlp((2, 2, 1))`, got {what}. Look inside other networks with `bp.tape`."
    )
