"""A forward and a backward pass through a chain, with every value between its layers."""

from typing import Any, NamedTuple

import jax

from bpjax.layers.layer import Layer, PlacedLayer, placed_layers
from bpjax.losses import Loss
from bpjax.types import Params


class Passes(NamedTuple):
    """Every value of a forward and backward pass through the L layers of a chain."""

    value: Any  # () E
    activations: list  # x of each layer, and the output of the last: L + 1 entries
    errors: list  # ∂E/∂ of the same
    gradients: list  # ∂E/∂w of each layer

    def gradient(self, params: Params) -> Params:
        """∂E/∂w of all layers in the structure of the params."""
        return jax.tree.structure(params).unflatten(jax.tree.leaves(self.gradients))


def both_passes(network: Layer, loss: Loss, params: Params, batch) -> Passes:
    """The forward and the backward pass; works under jit and vmap.

    Args:
        network: a chain, nested chains included; any other layer counts as one.
        loss: compares its output with the target.
        params: of the network.
        batch: (x, target).
    """
    x, target = batch
    chain = placed_layers(network, params)
    activations, residuals = forward_pass(chain, x)
    errors, gradients = [loss.gradient(activations[-1], target)], []  # from the last layer to the first
    for part, r in zip(reversed(chain), reversed(residuals), strict=True):
        dparams, dx = part.layer.backward(part.params, r, errors[-1])
        errors.append(dx)
        gradients.append(dparams)
    return Passes(loss.value(activations[-1], target), activations, errors[::-1], gradients[::-1])


def forward_pass(chain: list[PlacedLayer], x) -> tuple[list, list]:
    """(x of each layer and the output of the last, residuals of each layer)."""
    activations, residuals = [x], []
    for part in chain:
        y, r = part.layer.forward(part.params, activations[-1])
        activations.append(y)
        residuals.append(r)
    return activations, residuals


def unit_spans(chain: list[PlacedLayer]) -> list[tuple[int, int]]:
    """(start, end) of each layer of units: a layer with params and those after it, up to the next one with params."""
    starts = [l for l, part in enumerate(chain) if jax.tree.leaves(part.params)]
    return list(zip(starts, [*starts[1:], len(chain)], strict=True))
