"""Every quantity of the textbook, as ordinary arrays."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from bpjax.layers.layer import Layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.rule import check_made_of
from bpjax.types import Array
from bpjax.util.trees import described


class Signals(NamedTuple):
    """The textbook's quantities of one layer of units, for a batch of N examples."""

    input: Array  # (N, D) x, the output of the previous layer of units
    net_input: Array  # (N, H) a = x W + b, the weighted sum
    output: Array  # (N, H) o = φ(a)
    error_signal: Array  # (N, H) δ = ∂E/∂a; ΔW = −η xᵀ δ

    def __repr__(self) -> str:
        return f"Signals({', '.join(f'{name}={described(array)}' for name, array in self._asdict().items())})"


def signals(network: Layer, loss: Loss) -> Callable:
    """Make a compiled function (params, batch) -> one `Signals` for each layer of units, input side first.

    A layer of units is a layer with parameters and the activations that follow it, up to the next one. The arrays are
    those that the forward and backward pass compute anyway: no hooks, no second pass. Activations before the first
    layer with parameters form a layer of units whose net input is its input.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss.
    """
    check_made_of("signals", network, loss)

    @jax.jit
    def textbook(params, batch):
        x, target = batch
        chain = placed_layers(network, params)
        residuals, activations = [], [x]  # layer l has the input activations[l] and the output activations[l + 1]
        for part in chain:
            y, r = part.layer.forward(part.params, activations[-1])
            residuals.append(r)
            activations.append(y)
        errors = [loss.gradient(activations[-1], target)]  # from the last layer's output to the first layer's input
        for part, r in zip(reversed(chain), reversed(residuals), strict=True):
            errors.append(part.layer.backward(part.params, r, errors[-1])[1])
        errors.reverse()

        starts = [l for l, part in enumerate(chain) if jax.tree.leaves(part.params)]
        first = starts[0] if starts else len(chain)
        units = [] if first == 0 else [Signals(x, x, activations[first], errors[0])]
        for start, end in zip(starts, [*starts[1:], len(chain)], strict=True):
            units.append(Signals(activations[start], activations[start + 1], activations[end], errors[start + 1]))
        return tuple(units)

    return textbook
