"""The data of the page, for JSON: numbers as base64 of float32, the starts and the examples of float64."""

import math
from typing import NamedTuple

import jax
import numpy as np

from bpjax.losses import Loss
from bpjax.results.page_frame import packed
from bpjax.teaching.lesson.live import Descent, loss_kind, why_not_live
from bpjax.teaching.lesson.record import Frame, finite_steps
from bpjax.teaching.lesson.units import DrawnLayer

MOST_VALUES = 172_000
"""Recorded numbers on a page: four bytes each and a third more in base64, so that the page stays below 1 MB."""
FEWEST_EXAMPLES = 4
"""Examples that a page shows at least, if there are as many; beyond that it shows fewer steps."""


class Recorded(NamedTuple):
    """A run, and what is known of it."""

    name: str
    rule: str
    optimizer: str
    frames: Frame
    signals: bool
    """Whether the rule's direction is a sum of inputs times error signals."""
    back: str | None
    """What errors travel back through: "weights", "feedback" (the rule's state), or None where neither holds."""
    exact: bool
    """Whether δ and the direction are those of backpropagation."""
    descent: Descent | None


class Shown(NamedTuple):
    """Which examples and which steps are on the page."""

    examples: list[int]
    steps: list[int]


def chosen(layers: list[DrawnLayer], runs: list[Recorded], examples: int, steps: int) -> Shown:
    """As many examples and steps as fit on the page: first fewer examples, then fewer steps, evenly spaced."""
    weights = sum((layer.inputs + layer.use_bias) * layer.units for layer in layers)
    per_step = weights * sum(3 + (run.back == "feedback") for run in runs)
    per_example = len(runs) * (
        sum((3 + 1.25 * _has_slopes(layer)) * layer.units for layer in layers) + 1 + layers[-1].units
    )
    room = MOST_VALUES - len(runs) * (steps + 1 + 2 * weights) - 2 * examples * (layers[0].inputs + layers[-1].units)
    fitting = (room / (steps + 1) - per_step) / per_example
    count = max(min(examples, FEWEST_EXAMPLES), min(examples, math.floor(fitting)))
    every = max(1, math.ceil((per_step + count * per_example) * (steps + 1) / max(room, 1)))
    return Shown(
        np.linspace(0, examples - 1, count).round().astype(int).tolist(), sorted({*range(0, steps + 1, every), steps})
    )


def _has_slopes(layer: DrawnLayer) -> bool:
    """Whether φ′ and the states of the units are recorded: the page computes those of the activations that it knows."""
    return layer.kind is None and layer.is_elementwise


def page_data(layers: list[DrawnLayer], loss: Loss, batch, runs: list[Recorded]) -> dict:
    """What the page shows, as dictionaries, lists, numbers and texts.

    Args:
        layers: of the network.
        loss: of the runs.
        batch: x (N, D) and targets (N, K), in float64.
        runs: one or two.
    """
    x, target = batch
    steps = len(runs[0].frames.error) - 1
    shown = chosen(layers, runs, len(x), steps)
    sizes = "-".join(map(str, (layers[0].inputs, *(layer.units for layer in layers))))
    return {
        "about": {
            "network": f"{sizes} ({', '.join(_name(layer) for layer in layers)})",
            "loss": loss.name,
            "examples": len(x),
            "steps": steps,
            "shown_examples": len(shown.examples),
            "shown_steps": len(shown.steps),
            "all_shown": len(shown.examples) == len(x) and len(shown.steps) == steps + 1,
        },
        "loss": loss_kind(loss),
        "layers": [_layer_data(layer) for layer in layers],
        "examples": {
            "count": len(x),
            "shown": shown.examples,
            "x": packed(x, "f8"),
            "target": packed(target, "f8"),
        },
        "steps": shown.steps,
        "runs": [_run_data(layers, loss, run, shown) for run in runs],
    }


def _name(layer: DrawnLayer) -> str:
    return ", ".join(activation.name for activation in layer.activations) or "identity"


def _layer_data(layer: DrawnLayer) -> dict:
    return {
        "inputs": layer.inputs,
        "units": layer.units,
        "bias": layer.use_bias,
        "activation": layer.kind,
        "name": _name(layer),
        "elementwise": layer.is_elementwise,
    }


def _run_data(layers: list[DrawnLayer], loss: Loss, run: Recorded, shown: Shown) -> dict:
    frames, finite = run.frames, finite_steps(run.frames)
    at = jax.tree.map(lambda array: array[shown.steps], frames)
    return {
        "name": run.name,
        "rule": run.rule,
        "optimizer": run.optimizer,
        "signals": run.signals,
        "back": run.back,
        "exact": run.exact,
        "descent": None if run.descent is None else run.descent._asdict(),
        "not_live": why_not_live(layers, loss, run.exact, run.descent),
        "not_finite_from": None if finite == len(frames.error) else finite,
        "error": packed(frames.error, "f4"),
        "errors": packed(at.errors[:, shown.examples], "f4"),
        "output_gradient": packed(at.output_gradient[:, shown.examples], "f4"),
        "start": [packed(w[0], "f8") for w in frames.weights],
        "layers": [_recorded_layer(layer, l, run, at, shown.examples) for l, layer in enumerate(layers)],
    }


def _recorded_layer(layer: DrawnLayer, l: int, run: Recorded, frames: Frame, examples: list[int]) -> dict:
    """The arrays of one layer of units over the shown steps; None for those that the page does not need."""

    def of_units(arrays, is_shown=True):
        return packed(arrays[l][:, examples], "f4") if is_shown else None

    def of_weights(arrays, is_shown=True):
        return packed(arrays[l], "f4") if is_shown else None

    return {
        "a": of_units(frames.net_input),
        "o": of_units(frames.output),
        "delta": of_units(frames.error_signal, run.signals),
        "slope": of_units(frames.slope, _has_slopes(layer)),
        "state": packed(layer.states(frames.net_input[l][:, examples]), "u1") if _has_slopes(layer) else None,
        "w": of_weights(frames.weights),
        "gradient": of_weights(frames.gradient),
        "change": of_weights(frames.change),
        "feedback": of_weights(frames.feedback, run.back == "feedback"),
    }
