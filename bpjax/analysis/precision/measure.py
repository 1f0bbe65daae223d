"""Run a network in several number formats and compare every layer with float64."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.analysis.curvature import check_place
from bpjax.analysis.passes import Passes, both_passes
from bpjax.analysis.precision.report import FormatPrecision, LayerPrecision, Precision, Quantity
from bpjax.layers.layer import Layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import check_made_of
from bpjax.tape.rounding import Rounding
from bpjax.tape.tape import Tape
from bpjax.types import Params
from bpjax.util.checks import check_choice, check_flag
from bpjax.util.float64 import cast_on_host, float64_on_host, to_host, widen_to_float64

FORMATS = ("float32", "tf32", "bfloat16", "float16")
"""The number formats that are measured. TF32 is float32 whose products are computed with 10 bits, on GPUs alone."""


def precision(
    network: Layer,
    loss: Loss,
    params: Params,
    batch,
    formats: Iterable[str] | None = None,
    forecast: bool = True,
) -> Precision:
    """Measure what each layer loses in float32, TF32, bfloat16 and float16, against float64.

        print(bp.precision(network, bp.softmax_cross_entropy, params, batch))

    For each layer of the chain, with ‖·‖ over all entries of the batch:

        error  ‖v − v₆₄‖ / ‖v₆₄‖      v: the output y, the error at its input ∂E/∂x, the gradient ∂E/∂w
        alone  the same for the layer alone, whose exact x and ∂E/∂y are rounded to the format first

    Params and batch are rounded to the format before the pass, so the first row has that rounding in it. Overflow is
    the share of entries that are infinite or NaN where float64 is finite; underflow the share below the smallest normal
    number of the format where float64 is not 0. The forecast is that of `Tape.rounding` for the error E: which
    operation, on which line, loses most.

    Args:
        network: a chain, or any layer, which is then one row.
        loss: compares its output with the target.
        params: of the network. float64 results are computed from these values, whatever their dtype.
        batch: (x, target).
        formats: some of "float32", "tf32", "bfloat16" and "float16"; by default all. TF32 is measured on GPUs alone.
        forecast: whether to record the tape and forecast; it evaluates each operation separately.

    Raises:
        ValueError: not a network, loss, params and batch that fit each other; an unknown format; results that are not
            finite in float64.
    """
    check_made_of("precision", network, loss)
    check_flag("precision", "forecast", forecast)
    chosen = FORMATS if formats is None else tuple([formats] if isinstance(formats, str) else formats)
    for one in chosen:
        check_choice("precision", "formats", one, FORMATS)
    params, batch = check_place("precision", backprop(network, loss), params, batch)
    params, batch = to_host((params, batch))
    run = functools.partial(both_passes, network, loss)
    with float64_on_host():
        truth = to_host(jax.jit(run)(*widen_to_float64((params, batch))))
    if not all(np.isfinite(leaf).all() for leaf in _floating(truth)):
        raise ValueError(
            "`precision` expected results that are finite in float64, got infinite ones or NaN. "
            "Use weights from before the training diverged."
        )
    measured = [one for one in chosen if one != "tf32" or _has_tf32()]
    names = [(part.path, part.layer.name) for part in placed_layers(network, params)]
    found = {}
    for one in measured:
        layers = _compared(names, truth, _run(network, run, params, batch, truth, one), one)
        ahead = _forecast(network, loss, params, batch, one) if forecast and one != "tf32" else None
        found[one] = FormatPrecision(one, *layers, ahead)
    left_out = tuple(one for one in chosen if one not in found)
    return Precision(float(truth.value), found, left_out, jax.default_backend())


class Alone(NamedTuple):
    """The output and the error at the input of each layer, from exact values on its other side."""

    outputs: list
    errors: list


def _alone_of(network: Layer):
    def alone(params, inputs, errors) -> Alone:
        outputs, dinputs = [], []
        for part, x, dy in zip(placed_layers(network, params), inputs[:-1], errors[1:], strict=True):
            y, residuals = part.layer.forward(part.params, x)
            outputs.append(y)
            dinputs.append(part.layer.backward(part.params, residuals, dy)[1])
        return Alone(outputs, dinputs)

    return alone


def _run(network: Layer, run, params, batch, truth: Passes, chosen: str) -> tuple[Passes, Alone]:
    """Both passes in a format, on the default device."""
    dtype = _dtype(chosen)
    with np.errstate(over="ignore", under="ignore"):  # both are measured
        inputs = cast_on_host((params, batch, truth.activations, truth.errors), dtype)
    params, batch, exact_inputs, exact_errors = inputs
    with jax.default_matmul_precision("tensorfloat32" if chosen == "tf32" else "highest"):
        together = jax.jit(lambda p, b, x, dy: (run(p, b), _alone_of(network)(p, x, dy)))
        return to_host(together(params, batch, exact_inputs, exact_errors))


def _compared(names, truth: Passes, run: tuple[Passes, Alone], chosen: str):
    """(error of E, error of the whole gradient, the layers)."""
    passes, alone = run
    smallest = float(jnp.finfo(_dtype(chosen)).tiny)

    def quantity(value, exact, separately=None) -> Quantity:
        alone_error = np.nan if separately is None else _error(separately, exact)
        return Quantity(_error(value, exact), alone_error, *_lost(value, exact, smallest))

    layers = tuple(
        LayerPrecision(
            path,
            name,
            quantity(passes.activations[l + 1], truth.activations[l + 1], alone.outputs[l]),
            quantity(passes.errors[l], truth.errors[l], alone.errors[l]),
            quantity(passes.gradients[l], truth.gradients[l]),
        )
        for l, (path, name) in enumerate(names)
    )
    return _error(passes.value, truth.value), _error(passes.gradients, truth.gradients), layers


def _error(value, exact) -> float:
    """‖value − exact‖ / ‖exact‖ over all entries; NaN where there are none."""
    a, b = _flat(value), _flat(exact)
    if not a.size:
        return np.nan
    with np.errstate(all="ignore"):
        difference, size = np.linalg.norm(a - b), np.linalg.norm(b)
        return 0.0 if difference == 0 else float(difference / size)


def _lost(value, exact, smallest: float) -> tuple[float, float]:
    """The shares of entries that overflow and underflow."""
    a, b = _flat(value), _flat(exact)
    if not a.size:
        return 0.0, 0.0
    return float(np.mean(~np.isfinite(a))), float(np.mean((np.abs(a) < smallest) & (b != 0)))


def _floating(tree) -> list[np.ndarray]:
    """The floating-point leaves in float64: labels, keys and the zeros of dtype float0 have no error."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return [np.asarray(leaf, np.float64) for leaf in leaves]


def _flat(tree) -> np.ndarray:
    return np.concatenate([leaf.ravel() for leaf in _floating(tree)] or [np.zeros(0)])


def _dtype(chosen: str):
    return jnp.dtype("float32" if chosen == "tf32" else chosen)


def _has_tf32() -> bool:
    return jax.default_backend() in ("gpu", "cuda")


def _forecast(network: Layer, loss: Loss, params, batch, chosen: str) -> Rounding:
    """The tape's forecast for E, beside the error that it measures operation by operation."""

    def error(params, x, target):
        return loss.value(network.forward(params, x)[0], target)

    with float64_on_host():
        arguments = widen_to_float64((params, *batch))
        return Tape.record(error, arguments).rounding(chosen)
