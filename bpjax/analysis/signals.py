"""Every quantity of the textbook, as ordinary arrays."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import optax

from bpjax.analysis.passes import both_passes, unit_spans
from bpjax.analysis.signals_table import as_text
from bpjax.analysis.weight_change import WeightChange, as_optimizer, weight_change
from bpjax.layers.layer import Layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.rule import check_made_of
from bpjax.types import Array
from bpjax.util.checks import check_choice
from bpjax.util.trees import described

Sign = Literal["gradient", "textbook"]


class Signals(NamedTuple):
    """The textbook's quantities of one layer of units, for a batch of N examples."""

    input: Array  # (N, D) x, the output of the previous layer of units
    net_input: Array  # (N, H) a = x W + b, the weighted sum
    output: Array  # (N, H) o = φ(a)
    error_signal: Array  # (N, H) δ = ∂E/∂a; ΔW = −η xᵀ δ

    def __repr__(self) -> str:
        return _repr(self)


class SignalsAndChange(NamedTuple):
    """`Signals`, with the change of the layer's weights in one step of an optimizer."""

    input: Array  # (N, D) x, the output of the previous layer of units
    net_input: Array  # (N, H) a = x W + b, the weighted sum
    output: Array  # (N, H) o = φ(a)
    error_signal: Array  # (N, H) δ = ∂E/∂a
    change: WeightChange  # of the weights, each in the structure of the layer's params

    def __repr__(self) -> str:
        return _repr(self)


def _repr(signals) -> str:
    return f"{type(signals).__name__}({', '.join(f'{name}={described(x)}' for name, x in signals._asdict().items())})"


class LayerSignals(tuple):
    """The signals of all layers of units, input side first: a tuple that prints as a table."""

    sign: Sign

    def __new__(cls, layers=(), sign: Sign = "gradient"):
        """One entry per layer of units; `sign` says which sign δ has."""
        made = super().__new__(cls, layers)
        made.sign = sign
        return made

    def table(self, rows: int = 16) -> str:
        """The signals as text.

        Args:
            rows: at most so many rows of units, and of weights, for each layer.
        """
        return as_text(self, self.sign, rows)

    def __str__(self) -> str:
        return self.table()


jax.tree_util.register_pytree_node(
    LayerSignals,
    lambda layers: (tuple(layers), layers.sign),
    lambda sign, layers: LayerSignals(layers, sign),  # type: ignore[arg-type]
)


def signals(
    network: Layer,
    loss: Loss,
    optimizer: optax.GradientTransformation | float | Array | None = None,
    sign: Sign = "gradient",
) -> Callable:
    """Make a compiled function (params, batch) -> one `Signals` for each layer of units, input side first.

    A layer of units is a layer with parameters and the activations that follow it, up to the next one. The arrays are
    those that the forward and backward pass compute anyway: no hooks, no second pass. Activations before the first
    layer with parameters form a layer of units whose net input is its input. The result is a tuple that prints as a
    table.

    With an optimizer the function is (params, batch, optimizer_state=None) -> one `SignalsAndChange` for each layer of
    units; without a state the step is the optimizer's first. `change` has Δw and its two terms, see `WeightChange`.

    Args:
        network: a network; the layers of its chain are taken apart.
        loss: E.
        optimizer: an optimizer, or η for gradient descent, Δw = −η ∂E/∂w.
        sign: of the error signals: "gradient" δ = ∂E/∂a, "textbook" δ = −∂E/∂a, so that ΔW = +η xᵀ δ. Δw is the same.

    Raises:
        ValueError: `network` is not a Layer, `loss` not a Loss, `optimizer` neither an optimizer nor a rate above 0, or
            `sign` neither word.
    """
    check_made_of("signals", network, loss)
    check_choice("signals", "sign", sign, ("gradient", "textbook"))
    direction = -1 if sign == "textbook" else 1

    def layers_of(params, batch):
        """(signals of each layer of units, gradient by the params, error)."""
        chain, found = placed_layers(network, params), both_passes(network, loss, params, batch)
        activations, errors, spans = found.activations, found.errors, unit_spans(chain)
        first = spans[0][0] if spans else len(chain)
        units = [] if first == 0 else [(activations[0], activations[0], activations[first], errors[0])]
        for start, end in spans:
            units.append((activations[start], activations[start + 1], activations[end], errors[start + 1]))
        layers = [Signals(x, a, o, direction * delta) for x, a, o, delta in units]
        return layers, [chain[start].path for start, _ in spans], found.gradient(params), found.value

    if optimizer is None:
        return jax.jit(lambda params, batch: LayerSignals(layers_of(params, batch)[0], sign))
    step = as_optimizer("signals", optimizer)

    @jax.jit
    def with_change(params, batch, state):
        found, paths, grads, value = layers_of(params, batch)
        change = weight_change(step, grads, state, params, value)
        changes = [WeightChange(*(_at(tree, path) for tree in change)) for path in paths]
        without = [WeightChange((), (), ())] * (len(found) - len(changes))  # activations before the first weights
        pairs = zip(found, [*without, *changes], strict=True)
        return LayerSignals([SignalsAndChange(*layer, change) for layer, change in pairs], sign)

    def textbook(params, batch, optimizer_state=None):
        return with_change(params, batch, step.init(params) if optimizer_state is None else optimizer_state)

    return textbook


def _at(tree, path: tuple[int, ...]):
    """The params of one layer of a chain."""
    return functools.reduce(lambda part, index: part[index], path, tree)
