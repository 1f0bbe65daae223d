"""Every quantity of the textbook, as ordinary arrays."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from bpjax.layers.layer import Layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.rule import check_made_of
from bpjax.types import Array


class Signals(NamedTuple):
    """The article's quantities of one layer of units, for a batch of N examples."""

    input: Array  # (N, D) what came in: the outputs of the layer below
    net_input: Array  # (N, H) a = x W + b, the weighted sum
    output: Array  # (N, H) o = φ(a), what went out
    error_signal: Array  # (N, H) δ = ∂E/∂a; ΔW = −η xᵀ δ


def signals(network: Layer, loss: Loss) -> Callable:
    """(params, batch) -> one `Signals` for each layer of units, input side first, in one compiled call.

    A layer of units is a layer with parameters and the activations that follow it, up to the next one. The arrays
    are those the forward and backward pass compute anyway: no hooks, no second pass. Where activations come
    before the first layer with parameters, they are a layer of units whose net input is what came in.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss.
    """
    check_made_of("signals", network, loss)

    @jax.jit
    def textbook(params, batch):
        x, target = batch
        chain = placed_layers(network, params)
        kept, flows = [], [x]  # flows[l] goes into layer l, flows[l + 1] out of it
        for part in chain:
            y, residuals = part.layer.forward(part.params, flows[-1])
            kept.append(residuals)
            flows.append(y)
        errors = [loss.gradient(flows[-1], target)]  # from the last layer's output down to the first one's input
        for part, residuals in zip(reversed(chain), reversed(kept), strict=True):
            errors.append(part.layer.backward(part.params, residuals, errors[-1])[1])
        errors.reverse()

        starts = [l for l, part in enumerate(chain) if jax.tree.leaves(part.params)]
        first = starts[0] if starts else len(chain)
        units = [] if first == 0 else [Signals(x, x, flows[first], errors[0])]
        for start, end in zip(starts, [*starts[1:], len(chain)], strict=True):
            units.append(Signals(flows[start], flows[start + 1], flows[end], errors[start + 1]))
        return tuple(units)

    return textbook
