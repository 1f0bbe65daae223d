"""The formulas of activations and losses as text, in the symbols of `bpjax.types`.

They are for people. The numbers of a derivation come from the layers and losses, and `tests/teaching` evaluates the
formulas and compares them with these.
"""

import re
from typing import NamedTuple

from bpjax.layers.layer import Layer
from bpjax.losses import Loss


class Activation(NamedTuple):
    """φ and φ′ as text; a is the net input, o = φ(a)."""

    phi: str
    derivative: str
    constants: str = ""  # "s = 0.01"


ACTIVATIONS = {
    "identity": Activation("a", "1"),
    "sigmoid": Activation("1 / (1 + e⁻ᵃ)", "o (1 − o)"),
    "scaled sigmoid": Activation("l + (h − l) / (1 + e⁻ᵃ)", "(o − l) (h − o) / (h − l)", "l, h = {}"),
    "tanh": Activation("tanh a", "1 − o²"),
    "relu": Activation("max(a, 0)", "1 where a > 0, else 0"),
    "leaky relu": Activation("a where a > 0, else s a", "1 where a > 0, else s", "s = {}"),
    "elu": Activation("a where a > 0, else c (eᵃ − 1)", "1 where a > 0, else c eᵃ", "c = {}"),
    "softplus": Activation("ln(1 + eᵃ)", "1 / (1 + e⁻ᵃ)"),
    "gelu": Activation("a Φ(a)", "Φ(a) + a e^(−a²/2) / √(2π)", "Φ the standard normal distribution function"),
    "gelu tanh": Activation(
        "½ a (1 + tanh u)", "½ (1 + tanh u) + ½ a (1 − tanh² u) u′", "u = √(2/π) (a + 0.044715 a³)"
    ),
    "silu": Activation("a σ(a)", "σ(a) (1 + a (1 − σ(a)))", "σ(a) = 1 / (1 + e⁻ᵃ)"),
    "mish": Activation("a p", "p + a (1 − p²) σ(a)", "p = tanh(ln(1 + eᵃ)), σ(a) = 1 / (1 + e⁻ᵃ)"),
    "log sigmoid": Activation("−ln(1 + e⁻ᵃ)", "1 / (1 + eᵃ)"),
    "softsign": Activation("a / (1 + |a|)", "1 / (1 + |a|)²"),
    "tanhshrink": Activation("a − tanh a", "tanh² a"),
    "celu": Activation("a where a > 0, else c (e^(a/c) − 1)", "1 where a > 0, else e^(a/c)", "c = {}"),
    "selu": Activation("s a where a > 0, else s c (eᵃ − 1)", "s where a > 0, else s c eᵃ", "s = 1.0507, c = 1.67326"),
    "relu6": Activation("min(max(a, 0), 6)", "1 where 0 < a < 6, else 0"),
    "hardtanh": Activation("min(max(a, l), h)", "1 where l < a < h, else 0", "l, h = {}"),
    "hardsigmoid": Activation("min(max(a + 3, 0), 6) / 6", "1/6 where |a| < 3, else 0"),
    "hardswish": Activation(
        "a min(max(a + 3, 0), 6) / 6", "a/3 + ½ where |a| < 3, else 0 where a < 0, else 1", "φ′(−3) = 0, φ′(3) = 1"
    ),
    "softshrink": Activation("a − t where a > t, else a + t where a < −t, else 0", "1 where |a| > t, else 0", "t = {}"),
    "hardshrink": Activation("a where |a| > t, else 0", "1 where |a| > t, else 0", "t = {}"),
    "threshold": Activation("a where a > t, else v", "1 where a > t, else 0", "t, v = {}"),
}

DEFAULTS = {"softshrink": "0.5", "hardshrink": "0.5"}
"""The arguments of factories that leave out their defaults."""


def activation_formula(layer: Layer) -> Activation | None:
    """The formulas of an activation, None for one that is not in the table."""
    found = ACTIVATIONS.get(layer.name)
    if found is None:
        return None
    arguments = re.sub(r"\w+=", "", layer.arguments or DEFAULTS.get(layer.name, "")).replace("-", "−")
    return found._replace(constants=found.constants.format(arguments))


class LossFormula(NamedTuple):
    """E and ∂E/∂o as text; o is the output of the network."""

    value: str
    gradient: str  # of one example
    note: str = ""
    probabilities: str = ""  # "softmax" or "sigmoid": p in the gradient p − t


LOSSES = {
    "squared_error": LossFormula("½ Σₙ Σₖ (tₖ − oₖ)²", "o − t"),
    "mean_squared_error": LossFormula("Σₙ Σₖ (tₖ − oₖ)² / (N K)", "2 (o − t) / (N K)"),
    "softmax_cross_entropy": LossFormula(
        "−Σₙ Σₖ tₖ ln pₖ",
        "p − t",
        "p = softmax(o) are the probabilities that the network gives. The derivative of the softmax and that of the "
        "logarithm cancel: with p as the output this is δ = o − t. (Targets that do not add up to 1: Σₖ tₖ p − t.)",
        "softmax",
    ),
    "binary_cross_entropy": LossFormula(
        "−Σₙ Σₖ tₖ ln pₖ + (1 − tₖ) ln(1 − pₖ)",
        "p − t",
        "p = 1 / (1 + e⁻ᵒ) is the probability that the network gives. The derivative of the sigmoid and that of the "
        "logarithm cancel: with p as the output this is δ = o − t.",
        "sigmoid",
    ),
    "absolute_error": LossFormula("Σₙ Σₖ |tₖ − oₖ|", "sign(o − t)"),
    "hyper_error": LossFormula(
        "Σₙ Σₖ (1 + dₖ) ln(1 + dₖ) + (1 − dₖ) ln(1 − dₖ)", "ln((1 + o − t) / (1 − o + t))", "d = t − o, |d| < 1."
    ),
}


def loss_formula(loss: Loss) -> LossFormula | None:
    """The formulas of a loss, None for one that is not in the table."""
    text = repr(loss)
    if text in LOSSES:
        return LOSSES[text]
    if mean := re.fullmatch(r"batch_mean\((.*)\)", text):
        inner = loss_formula(loss._replace(call=mean[1]))
        return inner and LossFormula(f"({inner.value}) / N", f"({inner.gradient}) / N", inner.note)
    if huber := re.fullmatch(r"huber\((.*)\)", text):
        value = "Σₙ Σₖ ½ dₖ² where |dₖ| ≤ c, else c (|dₖ| − ½ c)"
        return LossFormula(value, "clip(o − t, −c, c)", f"d = t − o, c = {huber[1]}.")
    return None
