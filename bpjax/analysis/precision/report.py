"""What `precision` returns: numbers for each layer and format, a table and the findings in words."""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bpjax.tape.rounding import Rounding, line_text
from bpjax.util.text_table import table

LARGEST = {"float32": "3.4e38", "tf32": "3.4e38", "bfloat16": "3.4e38", "float16": "65504"}
SMALLEST = {"float32": "1.2e-38", "tf32": "1.2e-38", "bfloat16": "1.2e-38", "float16": "6.1e-05"}
"""The largest and the smallest normal number of each format."""

NOTEWORTHY = 0.01
"""The share of entries that underflow above which a sentence says so."""


class Quantity(NamedTuple):
    """An array of one layer in a number format, compared with float64."""

    error: float  # relative, by norm; NaN where the layer has no such array
    alone: float  # the same of the layer alone, from exact values rounded to the format
    overflow: float  # share of entries that are infinite or NaN
    underflow: float  # share of entries below the smallest normal number where float64 is not 0


class LayerPrecision(NamedTuple):
    """One layer in a number format."""

    path: tuple[int, ...]  # indexes the params of the network
    name: str
    output: Quantity  # y
    error_signal: Quantity  # ∂E/∂x, the error at the input of the layer
    gradient: Quantity  # ∂E/∂w; `alone` is NaN

    @property
    def place(self) -> str:
        """As in messages: "layer 2 (dense)"."""
        return f"layer {'.'.join(map(str, self.path)) or '0'} ({self.name})"


class FormatPrecision(NamedTuple):
    """A whole network in a number format."""

    format: str  # "float32", "tf32", "bfloat16" or "float16"
    value_error: float  # relative error of E
    gradient_error: float  # relative error of the gradient by all params
    layers: tuple[LayerPrecision, ...]  # in forward order
    forecast: Rounding | None  # of E, by the tape

    @property
    def findings(self) -> tuple[str, ...]:
        """What is wrong and where, in sentences; the first says where most digits are lost."""
        return tuple(_findings(self))

    def __str__(self) -> str:
        title = f"{self.format}: error of E {_text(self.value_error)}, of the gradient {_text(self.gradient_error)}"
        header = ("layer", "", "y", "y alone", "∂E/∂x", "alone", "∂E/∂w", "overflow", "underflow")
        return "\n".join([title, "", *table(header, map(_cells, self.layers)), *_wrapped(self.findings)])


@dataclass(frozen=True, repr=False)
class Precision:
    """A network in several number formats, against float64."""

    value: float  # E in float64
    formats: dict[str, FormatPrecision]
    left_out: tuple[str, ...]  # formats that this device lacks
    backend: str

    def __getitem__(self, name: str) -> FormatPrecision:
        """The measurements of a format by its name."""
        return self.formats[name]

    def __repr__(self) -> str:
        return f"<precision of {len(next(iter(self.formats.values())).layers)} layers in {', '.join(self.formats)}>"

    def __str__(self) -> str:
        parts = [f"Relative errors against float64, E = {self.value:.6g}.", *map(str, self.formats.values())]
        if self.left_out:
            parts.append(f"Not measured: {', '.join(self.left_out)}, which the backend {self.backend} does not have.")
        return "\n\n".join(parts)

    def plot(self, axes=None):
        """Draw the errors of outputs, error signals and gradients by depth, one line a format.

        Args:
            axes: three Matplotlib axes; made if None.

        Returns:
            The Matplotlib figure.

        Raises:
            ModuleNotFoundError: Matplotlib is missing; the message names the extra to install.
        """
        from bpjax.analysis.precision.figure import precision_figure

        return precision_figure(self, axes)


def _cells(layer: LayerPrecision) -> tuple[str, ...]:
    y, dx, dw = layer.output, layer.error_signal, layer.gradient
    errors = (y.error, y.alone, dx.error, dx.alone, dw.error)
    shares = (max(q.overflow for q in layer[2:]), max(q.underflow for q in layer[2:]))
    number = ".".join(map(str, layer.path)) or "0"
    return (number, layer.name[:14], *map(_text, errors), *(f"{share:.0%}" if share else "" for share in shares))


def _text(error: float) -> str:
    return "" if math.isnan(error) else f"{error:.1e}"


def _wrapped(sentences) -> Iterator[str]:
    for sentence in sentences:
        yield from textwrap.wrap(sentence, 80)


# --- Findings --------------------------------------------------------------------------------------------------------


def _findings(found: FormatPrecision) -> Iterator[str]:
    yield from _overflow(found)
    yield from _underflow(found)
    yield from _saturation(found)
    yield from _largest_loss(found)
    yield from _operation(found)


def _overflow(found: FormatPrecision) -> Iterator[str]:
    for quantity, what, layers in (
        ("output", "outputs", found.layers),
        ("error_signal", "errors at the input", found.layers[::-1]),
        ("gradient", "gradients", found.layers[::-1]),
    ):
        first = next((layer for layer in layers if getattr(layer, quantity).overflow), None)
        if first is not None:
            share = getattr(first, quantity).overflow
            yield (
                f"{share:.0%} of the {what} of {first.place} are infinite or NaN: the largest number of {found.format} "
                f"is {LARGEST[found.format]}. Normalize the inputs or this layer, or use bfloat16."
            )
            return


def _underflow(found: FormatPrecision) -> Iterator[str]:
    for quantity, what, cure in (
        ("output", "outputs", "Scale the inputs, or use bfloat16."),
        ("error_signal", "errors at the input", "Multiply the loss by a constant and divide the gradient by it."),
        ("gradient", "gradients", "Multiply the loss by a constant and divide the gradient by it."),
    ):
        worst = max(found.layers, key=lambda layer: getattr(layer, quantity).underflow)
        share = getattr(worst, quantity).underflow
        if share > NOTEWORTHY:
            yield (
                f"{share:.0%} of the {what} of {worst.place} are below {SMALLEST[found.format]}, the smallest normal "
                f"number of {found.format}, and lose digits or vanish. {cure}"
            )


def _saturation(found: FormatPrecision) -> Iterator[str]:
    for layer in found.layers:
        if layer.error_signal.alone > 0.1 and layer.output.alone < 0.01 and layer.error_signal.overflow == 0:
            yield (
                f"The backward pass of {layer.place} alone loses {min(layer.error_signal.alone, 1):.0%} of the error "
                "while its output is right: its units are saturated, and the slope of the rounded output is not that "
                "of the exact one. This is rounding, not a mistake in the derivative."
            )


def _largest_loss(found: FormatPrecision) -> Iterator[str]:
    passes = [(layer, name) for layer in found.layers for name in ("output", "error_signal")]
    losses = [(getattr(layer, name).alone, name, layer) for layer, name in passes]
    finite = [loss for loss in losses if np.isfinite(loss[0])]
    if finite:
        error, name, worst = max(finite, key=lambda loss: loss[0])
        where = "forward" if name == "output" else "backward"
        yield f"Alone, the {where} pass of {worst.place} loses most: a relative error of {error:.1e}."


def _operation(found: FormatPrecision) -> Iterator[str]:
    forecast = found.forecast
    if forecast is None or not forecast.losses:
        return
    loss = forecast.losses[0]
    line = line_text(loss.source, forecast.file)
    size = abs(forecast.value) or 1.0
    yield (
        f"In E the operation {loss.operation[:40]}{' in ' + line if line else ''} loses most: {loss.share:.0%} of the "
        f"expected error. Relative error of E as the tape forecasts it {_relative(forecast.expected, size)}, at most "
        f"{_relative(forecast.bound, size)}; measured {abs(forecast.measured) / size:.1e}."
    )


def _relative(error: float, size: float) -> str:
    return "none: see `.forecast`" if math.isnan(error) else f"{error / size:.1e}"
