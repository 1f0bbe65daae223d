"""What is wrong with a network, from the numbers of its layers."""

import math
from collections.abc import Iterator

import numpy as np

from bpjax.analysis.health.report import Finding, LayerHealth
from bpjax.analysis.units import UnitStates, unit_sentences

FACTOR = 1e3
"""A root mean square that changes by this factor between the first and the last layer vanishes or explodes."""


def findings_of(layers: tuple[LayerHealth, ...], states: dict[int, UnitStates], measured) -> Iterator[Finding]:
    """All findings, the gravest first.

    Args:
        layers: in forward order.
        states: the dead and saturated units by the number of their layer.
        measured: a `Measured` with the arrays on the host.
    """
    broken = list(_not_finite(layers, measured))
    if broken:
        yield from broken[:1]
        return
    gradients = [layer.gradient for layer in layers if not math.isnan(layer.gradient)]
    if gradients and not any(gradients):
        yield Finding("no gradient", 0, "the gradient of the error is exactly 0 by every weight")
    for number, found in states.items():
        for sentence in unit_sentences(number, found):
            kind = "dead" if " dead on " in sentence else "saturated"
            yield Finding(kind, number, sentence)
    yield from _equal_units(layers, measured)
    yield from _signals(layers)
    yield from _inputs(measured)


def _not_finite(layers, measured) -> Iterator[Finding]:
    """Layers with infinite values or NaN, in the order of the computation."""
    for what, finite, order in (
        ("outputs", measured.finite_output, 1),
        ("errors ∂E/∂o", measured.finite_error, -1),
    ):
        for layer, is_finite in list(zip(layers, finite, strict=True))[::order]:
            if not is_finite:
                message = f"the {what} of layer {layer.number} ({layer.name}) are infinite or NaN"
                yield Finding("not finite", layer.number, message)


def _equal_units(layers, measured) -> Iterator[Finding]:
    for layer, equal in zip(layers, measured.equal, strict=True):
        if equal.any():
            which = _listed(np.flatnonzero(equal) + 1)
            copies = "has the output" if equal.sum() == 1 else "have the outputs"
            yield Finding(
                "equal",
                layer.number,
                f"unit{'s' if equal.sum() > 1 else ''} {which} of layer {layer.number} {copies} of another unit of the "
                "layer on all examples",
            )


def _signals(layers: tuple[LayerHealth, ...]) -> Iterator[Finding]:
    """Outputs that vanish or explode on their way forward, errors on their way back."""
    for name, what, order in (("output", "outputs", layers), ("error", "errors ∂E/∂o", layers[::-1])):
        there = [layer for layer in order if getattr(layer, name) > 0]
        if len(there) < 2:
            continue
        first, last = there[0], there[-1]
        factor = getattr(last, name) / getattr(first, name)
        if not 1 / FACTOR < factor < FACTOR:
            steps = abs(last.number - first.number)
            change = factor ** (1 / steps)
            kind, verb = ("exploding", "grow") if factor > 1 else ("vanishing", "shrink")
            yield Finding(
                kind,
                last.number,
                f"the {what} {verb} from {getattr(first, name):.1e} at layer {first.number} to "
                f"{getattr(last, name):.1e} at layer {last.number}, {max(change, 1 / change):.1f} times a layer",
            )


def _inputs(measured) -> Iterator[Finding]:
    x, unconnected = measured.first, measured.unconnected
    if x is not None and len(x) > 1:
        zero, constant = np.all(x == 0, axis=0), np.all(x == x[0], axis=0)
        yield from _about_inputs(zero, "0 on all examples: {their} weights never change")
        yield from _about_inputs(constant & ~zero, "constant on all examples and {act} as a second bias")
    if unconnected is not None:
        yield from _about_inputs(unconnected, "without effect: all {their} weights are 0")


def _about_inputs(which: np.ndarray, text: str) -> Iterator[Finding]:
    """A finding such as "inputs 1 and 3 are …" where there are such inputs."""
    count = int(which.sum())
    if count:
        word, verb, their, act = ("inputs", "are", "their", "act") if count > 1 else ("input", "is", "its", "acts")
        rest = text.format(their=their, act=act)
        yield Finding("input", 0, f"{word} {_listed(np.flatnonzero(which) + 1)} {verb} {rest}")


def _listed(numbers, most: int = 8) -> str:
    """In words: "1, 3 and 4", or "1, 3, 4, … (12 in all)" where there are many."""
    words = [str(number) for number in numbers]
    if len(words) > most:
        return f"{', '.join(words[:most])}, … ({len(words)} in all)"
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
