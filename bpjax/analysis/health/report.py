"""What `health` returns: numbers for each layer of units, and findings in words."""

import math
import textwrap
from typing import Literal, NamedTuple

from bpjax.util.text_table import table

FindingKind = Literal["not finite", "no gradient", "dead", "saturated", "equal", "vanishing", "exploding", "input"]

ADVICE: dict[FindingKind, str] = {
    "not finite": "Lower the learning rate, or clip the gradient; `bp.precision` shows whether a number format is to "
    "blame.",
    "no gradient": "Nothing is learnt from here: start from other weights, or use an activation whose derivative is "
    "not 0.",
    "dead": "Lower the learning rate, start from other weights or biases above 0, or use leaky_relu, elu or gelu.",
    "saturated": "Start from smaller weights, scale the inputs to mean 0 and standard deviation 1, or normalize the "
    "layer (`bp.layer_norm`); with a cross-entropy loss a saturated output unit still learns.",
    "equal": "Units with equal weights get equal gradients and stay equal: start from random weights.",
    "vanishing": "Scale the initial weights to the fan-in (lecun_normal, he_normal with relu), use residual blocks "
    "(`bp.residual`) or normalization, or relu in place of sigmoid.",
    "exploding": "Scale the initial weights to the fan-in, use normalization, or clip the gradient "
    "(`optax.clip_by_global_norm`).",
    "input": "Remove these inputs, or check how the data were made.",
}
"""What people do about each kind of finding."""


class Finding(NamedTuple):
    """Something that hinders learning."""

    kind: FindingKind
    layer: int  # of units, from 1; 0 for the inputs or the whole network
    message: str

    @property
    def advice(self) -> str:
        """What people do about it."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        return f"{self.message[0].upper()}{self.message[1:]}. {self.advice}"


class LayerHealth(NamedTuple):
    """One layer of units on a batch: a layer with params and the activations that follow it."""

    number: int  # from 1 at the input
    name: str  # "dense, tanh"
    units: int
    dead: float  # share of the units that are dead on every example; NaN without an elementwise activation
    saturated: float  # share of (unit, example) pairs that are saturated
    equal: int  # units that have the output of another one on every example
    output: float  # root mean square of the output
    error: float  # root mean square of ∂E/∂ the output; NaN without a loss
    gradient: float  # ‖∂E/∂w‖ / ‖w‖; NaN without a loss or where w is 0


class Health(NamedTuple):
    """The state of a network on a batch."""

    layers: tuple[LayerHealth, ...]
    findings: tuple[Finding, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __repr__(self) -> str:
        return f"<health of {len(self.layers)} layers of units: {len(self.findings)} findings>"

    def __str__(self) -> str:
        header = ("", "layer of units", "units", "dead", "saturated", "equal", "output", "∂E/∂o", "‖∂E/∂w‖/‖w‖")
        lines = table(header, map(_cells, self.layers))
        if self.is_healthy:
            return "\n".join([*lines, "Nothing found that hinders learning."])
        for finding in self.findings:
            lines += textwrap.wrap(f"- {finding}", 80, subsequent_indent="  ")
        return "\n".join(lines)


def _cells(layer: LayerHealth) -> tuple[str, ...]:
    shares = (_share(layer.dead), _share(layer.saturated))
    sizes = ("" if math.isnan(size) else f"{size:.1e}" for size in (layer.output, layer.error, layer.gradient))
    return (str(layer.number), layer.name[:18], str(layer.units), *shares, str(layer.equal or ""), *sizes)


def _share(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.0%}"
