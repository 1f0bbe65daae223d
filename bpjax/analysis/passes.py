"""A forward and a backward pass through a chain, with every value between its layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from bpjax.layers.layer import Layer, placed_layers
from bpjax.losses import Loss


class Passes(NamedTuple):
    """Every value of a forward and backward pass through the L layers of a chain."""

    value: Any  # () E
    inputs: list  # x of each layer, and the output of the last: L + 1 entries
    errors: list  # ∂E/∂ of the same
    gradients: list  # ∂E/∂w of each layer


def both_passes(network: Layer, loss: Loss) -> Callable[..., Passes]:
    """Make the function (params, batch) -> `Passes`, for `jax.jit`.

    Args:
        network: a chain, nested chains included; any other layer counts as one.
        loss: compares its output with the target.
    """

    def passes(params, batch) -> Passes:
        x, target = batch
        chain, inputs, residuals = placed_layers(network, params), [x], []
        for part in chain:
            y, r = part.layer.forward(part.params, inputs[-1])
            inputs.append(y)
            residuals.append(r)
        errors, gradients = [loss.gradient(inputs[-1], target)], []
        for part, r in zip(reversed(chain), reversed(residuals), strict=True):
            dparams, dx = part.layer.backward(part.params, r, errors[-1])
            errors.append(dx)
            gradients.append(dparams)
        return Passes(loss.value(inputs[-1], target), inputs, errors[::-1], gradients[::-1])

    return passes
