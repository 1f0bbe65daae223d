"""Recognize classic mistakes by what each does to a gradient.

A mistake is recognized by the gradient that it would have produced, or by the change that undoes it: exchange the
residual, transpose the weights, revert the weight update, and see whether the gradient becomes right.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import relative_error
from bpjax.gradcheck.per_layer import LayerComparison
from bpjax.gradcheck.quantity import Quantity
from bpjax.gradcheck.trace import Trace
from bpjax.layers.layer import Layer
from bpjax.util.float64 import float64_on_host, to_host, widen_to_float64

MISTAKES = {
    "derivative missing": "φ′ is missing: the error signal passes the activation unchanged",
    "derivative of the wrong quantity": "φ′ is evaluated at the net input instead of the output, or the reverse",
    "updated before propagated": "the weights were updated before the error signal was propagated through them",
    "not transposed": "the error signal is propagated through W instead of Wᵀ",
    "bias not summed": "the bias gradient is not summed over the batch",
    "gradient transposed": "the gradient has the right entries, transposed",
    "mean instead of sum": "a mean over the batch instead of a sum: too small by a factor of the number of examples",
    "sum instead of mean": "a sum over the batch instead of a mean: too large by a factor of the number of examples",
    "doubled": "twice too large: a factor ½ is missing, or there is a factor 2 too many",
    "halved": "half as large as it should be: there is a factor ½ too many",
    "sign flipped": "the sign is flipped",
    "zero": "zero: the gradient is not computed, or is cut off",
    "layer skipped": "the layer is skipped: the error signal passes it unchanged and its gradient is zero",
    "wrong error signal": "the gradient was computed from another layer's error signal",
    "scaled": "the right direction, scaled",
    "path missing": "the gradient that passes through one operation is missing",
    "counted twice": "the gradient that passes through one operation is counted twice",
    "derivative incomplete": "a part of the derivative of one operation is missing or has a wrong power",
    "constant missing": "the backward pass computes a value again without a constant of the forward pass",
    "factor missing": "the derivative of a product or quotient lacks the other operand",
    "factor squared": "the derivative of a product or quotient has the other operand twice",
    "wrong operand": "the derivative of a product or quotient has the wrong operand",
    "one row instead of the sum": "the gradient of a broadcast array is one row instead of the sum over them",
    "wrong axis": "a sum along the wrong axis",
    "not reversed": "the gradient of a reversed or cumulative operation runs in the wrong direction",
    "overwritten instead of summed": "entries that are read more than once keep one cotangent instead of the sum",
    "leaves exchanged": "the gradient by one argument stands in the place of another's",
    "conjugated": "the gradient has the right entries, conjugated",
    "shifted": "the gradient has the right entries, shifted by one",
    "unknown": "no classic mistake: the error fits none of the known ones",
}
"""Every mistake that a report names, with an explanation."""


def scale_mistake(wrong: list[Quantity], examples: int, tolerance: float) -> str | None:
    """The mistake where all quantities differ from the truth by the same factor, else None.

    Args:
        wrong: the quantities, each computed and true.
        examples: in the batch.
        tolerance: relative error of the factor, and of the quantities once the factor is taken out.
    """
    pairs = [(np.asarray(q.computed, np.float64), np.asarray(q.truth, np.float64)) for q in wrong]
    pairs = [(a, t) for a, t in pairs if t.any() or a.any()]
    if not pairs or any(a.shape != t.shape or not np.isfinite(a).all() for a, t in pairs):
        return None
    if not any(a.any() for a, _ in pairs):
        return "zero"
    computed = np.concatenate([a.ravel() for a, _ in pairs])
    truth = np.concatenate([t.ravel() for _, t in pairs])
    factor = float(computed @ truth / (truth @ truth)) if truth.any() else 0.0
    if factor == 0 or relative_error(computed, factor * truth) > tolerance:
        return None
    classics = {-1.0: "sign flipped", 2.0: "doubled", 0.5: "halved"}
    classics |= {1 / examples: "mean instead of sum", float(examples): "sum instead of mean"} if examples > 2 else {}
    near = [name for value, name in classics.items() if abs(factor / value - 1) <= tolerance]
    return near[0] if near else "scaled"


def layer_mistake(layer: Layer, comparison: LayerComparison) -> str:
    """The mistake of a layer whose backward does not fit its forward."""
    _, x, dy = comparison.inputs
    if not all(isinstance(tree, np.ndarray) for tree in (x, dy)) or not jnp.issubdtype(x.dtype, jnp.floating):
        return "unknown"
    *leaves, dx = comparison.quantities
    rows = [*comparison.dparams.values(), comparison.dx]
    tolerance = 4 * max(row.tolerance for row in rows)

    def same(a, b):
        return relative_error(a, b) <= tolerance

    wrong = [quantity for quantity, row in zip(comparison.quantities, rows, strict=True) if not row.ok]
    mistake = _shape_mistake(wrong, same)
    if mistake is None and not comparison.dx.ok and same(dx.computed, dy):
        if not leaves:
            return "derivative missing"
        if not any(np.any(leaf.computed) for leaf in leaves):
            return "layer skipped"
    mistake = mistake or scale_mistake(wrong, len(x), tolerance)
    if mistake is None and not comparison.dx.ok:
        mistake = _propagation_mistake(layer, comparison, same)
    return mistake or "unknown"


def _shape_mistake(wrong: list[Quantity], same) -> str | None:
    """The mistake where a gradient has the right entries in the wrong shape, else None."""
    for a, t in ((quantity.computed, quantity.truth) for quantity in wrong):
        if np.ndim(a) == np.ndim(t) + 1 and same(np.sum(np.asarray(a, np.float64), axis=0), t):
            return "bias not summed"
        if np.ndim(a) == 2 and np.shape(a) == np.shape(t)[::-1] and same(np.transpose(a), t):
            return "gradient transposed"
    return None


def _propagation_mistake(layer: Layer, comparison: LayerComparison, same) -> str | None:
    """The mistake that explains a wrong dx, else None."""
    params, x, dy = comparison.inputs
    *leaves, dx = comparison.quantities
    if not leaves:
        fits = _right_with_other_residual(layer, comparison, same)
        return "derivative of the wrong quantity" if fits else None
    with float64_on_host():
        transposed = jax.tree.map(lambda w: w.T if w.ndim == 2 else w, params)
        shapes_fit = all(w.ndim != 2 or w.shape[0] == w.shape[1] for w in jax.tree.leaves(params))
        if shapes_fit and same(dx.computed, _dx(layer, transposed, x, dy)):
            return "not transposed"
        # A gradient step changes the weights by a multiple of dparams, and dx by that multiple of this.
        change = _dx(layer, jax.tree.unflatten(jax.tree.structure(params), [leaf.truth for leaf in leaves]), x, dy)
    difference = np.asarray(dx.computed, np.float64) - dx.truth
    step = float(np.vdot(difference, change) / max(np.vdot(change, change), 1e-300))
    updated = step < 0 and same(dx.computed, dx.truth + step * change)
    return "updated before propagated" if updated else None


def _dx(layer: Layer, params, x, dy) -> np.ndarray:
    """The true dx with other weights in place of the layer's."""
    params, x, dy = widen_to_float64(to_host((params, x, dy)))
    _, vjp = jax.vjp(lambda x: layer.forward(params, x)[0], x)
    return to_host(vjp(dy)[0])


def _right_with_other_residual(layer: Layer, comparison: LayerComparison, same) -> bool:
    """Whether backward is right once its residual is exchanged: the output for the input, or the reverse."""
    params, x, dy = comparison.inputs
    y, residuals = layer.forward(params, jnp.asarray(x))
    if not isinstance(residuals, jax.Array) or residuals.shape != x.shape:
        return False
    truth = comparison.quantities[-1].truth
    return any(same(layer.backward(params, other, jnp.asarray(dy))[1], truth) for other in (y, jnp.asarray(x)))


def wiring_mistake(trace: Trace, index: int, leaves: list[Quantity], examples: int) -> str:
    """The mistake where layer `index` is right by itself and its gradient in the network is wrong.

    Args:
        trace: of the network.
        index: of the layer, in forward order.
        leaves: its gradient in the network.
        examples: in the batch.
    """
    mistake = scale_mistake(leaves, examples, tolerance=1e-3)
    if mistake:
        return mistake
    part, x = trace.chain[index], trace.inputs[index]
    signals = [quantity.truth for quantity in trace.error_signals]
    for other, dy in enumerate(signals):
        if other != index and dy.ndim > 1 and dy.shape == signals[index].shape:
            with float64_on_host():
                params, inputs, signal = widen_to_float64((part.params, x, dy))
                _, vjp = jax.vjp(lambda p, inputs=inputs: part.layer.forward(p, inputs)[0], params)
                expected = jax.tree.leaves(to_host(vjp(signal)[0]))
            if all(relative_error(leaf.computed, e) <= 1e-3 for leaf, e in zip(leaves, expected, strict=True)):
                return "wrong error signal"
    return "unknown"
