"""Which classic mistake it is: each leaves its own mark on the gradient.

A mistake is recognised by what it would have given, or by what would cure it: swap the residual, transpose the
weights, put back the change of weights, and see whether the gradient comes right.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import relative_error
from bpjax.gradcheck.float64 import float64_on_host, to_host, widen_to_float64
from bpjax.gradcheck.per_layer import LayerAlone
from bpjax.layers.layer import Layer, Part

MISTAKES = {
    "derivative missing": "φ′ is missing: the error signal passes the activation unchanged",
    "derivative of the wrong quantity": "φ′ is fed the net input where it wants the output, or the reverse",
    "updated before propagated": "the weights were changed before the error signal was propagated through them",
    "not transposed": "the error signal is propagated through W where it wants Wᵀ",
    "bias not summed": "the bias gradient is not summed over the batch",
    "gradient transposed": "the gradient has the right numbers transposed",
    "mean instead of sum": "a mean over the batch where the sum is expected: too small by the number of examples",
    "sum instead of mean": "a sum over the batch where the mean is expected: too large by the number of examples",
    "doubled": "twice too large: a ½ was dropped, or a 2 put in",
    "halved": "half as large as it should be: a ½ too many",
    "sign flipped": "the sign is flipped",
    "zero": "zero: the gradient is not computed, or cut off",
    "layer skipped": "the layer is skipped: the error signal passes it unchanged and its gradient is zero",
    "wrong error signal": "the gradient is that of another layer's error signal",
    "scaled": "the right direction, scaled",
    "unknown": "no classic mistake: the error fits none of those known",
}


def scale_mistake(pairs, examples: int, tolerance: float) -> str | None:
    """The mistake where every (array, truth) pair differs by one and the same factor, else None."""
    pairs = [(np.asarray(a, np.float64), np.asarray(t, np.float64)) for a, t in pairs]
    pairs = [(a, t) for a, t in pairs if t.any() or a.any()]
    if not pairs or any(a.shape != t.shape or not np.isfinite(a).all() for a, t in pairs):
        return None
    if not any(a.any() for a, _ in pairs):
        return "zero"
    truth = np.concatenate([t.ravel() for _, t in pairs])
    found = np.concatenate([a.ravel() for a, _ in pairs])
    factor = float(found @ truth / (truth @ truth)) if truth.any() else 0.0
    if factor == 0 or relative_error(found, factor * truth) > tolerance:
        return None
    classics = {-1.0: "sign flipped", 2.0: "doubled", 0.5: "halved"}
    classics |= {1 / examples: "mean instead of sum", float(examples): "sum instead of mean"} if examples > 2 else {}
    near = [name for value, name in classics.items() if abs(factor / value - 1) <= tolerance]
    return near[0] if near else "scaled"


def layer_mistake(layer: Layer, alone: LayerAlone) -> str:
    """The mistake of a layer whose backward does not fit its forward."""
    params, x, dy = alone.inputs
    (dparams, dx), (true_dparams, true_dx) = alone.hand, alone.truth
    if not all(isinstance(tree, np.ndarray) for tree in (x, dy)) or not jnp.issubdtype(x.dtype, jnp.floating):
        return "unknown"
    tolerance = 4 * max(row.tolerance for row in (*alone.dparams.values(), alone.dx))
    leaves = list(zip(jax.tree.leaves(dparams), jax.tree.leaves(true_dparams), alone.dparams.values(), strict=True))
    wrong = [(a, t) for a, t, row in leaves if not row.ok] + ([] if alone.dx.ok else [(dx, true_dx)])

    def same(a, b):
        return relative_error(a, b) <= tolerance

    for a, t in wrong:
        if np.ndim(a) == np.ndim(t) + 1 and same(np.sum(np.asarray(a, np.float64), axis=0), t):
            return "bias not summed"
        if np.ndim(a) == 2 and np.shape(a) == np.shape(t)[::-1] and same(np.transpose(a), t):
            return "gradient transposed"
    if not alone.dx.ok and same(dx, dy):
        if not leaves:
            return "derivative missing"
        if not any(np.any(a) for a, _, _ in leaves):
            return "layer skipped"
    mistake = scale_mistake(wrong, len(x), tolerance)
    if mistake:
        return mistake
    if not alone.dx.ok and not leaves and _cured_by_other_residual(layer, alone, same):
        return "derivative of the wrong quantity"
    if not alone.dx.ok and leaves:
        with float64_on_host():
            transposed = jax.tree.map(lambda w: w.T if w.ndim == 2 else w, params)
            shapes_fit = all(w.ndim != 2 or w.shape[0] == w.shape[1] for w in jax.tree.leaves(params))
            if shapes_fit and same(dx, _dx(layer, transposed, x, dy)):
                return "not transposed"
            change = _dx(layer, true_dparams, x, dy)  # a step back along the gradient moves dx along this
        step = float(np.vdot(np.asarray(dx, np.float64) - true_dx, change) / max(np.vdot(change, change), 1e-300))
        if step < 0 and same(np.asarray(dx, np.float64), true_dx + step * change):
            return "updated before propagated"
    return "unknown"


def _dx(layer: Layer, params, x, dy) -> np.ndarray:
    """The true dx with other weights in place of the layer's."""
    params, x, dy = widen_to_float64(to_host((params, x, dy)))
    _, vjp = jax.vjp(lambda x: layer.forward(params, x)[0], x)
    return to_host(vjp(dy)[0])


def _cured_by_other_residual(layer: Layer, alone: LayerAlone, same) -> bool:
    """Whether backward comes right when its residual is exchanged: the output for the input, or the reverse."""
    params, x, dy = alone.inputs
    y, kept = layer.forward(params, jnp.asarray(x))
    if not isinstance(kept, jax.Array) or kept.shape != x.shape:
        return False
    return any(same(layer.backward(params, other, jnp.asarray(dy))[1], alone.truth[1]) for other in (y, jnp.asarray(x)))


def wiring_mistake(part: Part, x, errors: list[np.ndarray], own: int, pairs, examples: int) -> str:
    """The mistake where a layer is right alone and its gradient in the network is wrong.

    `x` is what goes into layer `own`, `errors` are the true error signals of all layers, `pairs` the leaves of its
    gradient as (found, truth).
    """
    mistake = scale_mistake(pairs, examples, tolerance=1e-3)
    if mistake:
        return mistake
    for index, dy in enumerate(errors):
        if index != own and dy.shape == errors[own].shape:
            with float64_on_host():
                params, inputs, signal = widen_to_float64((part.params, x, dy))
                _, vjp = jax.vjp(lambda p, inputs=inputs: part.layer.forward(p, inputs)[0], params)
                expected = jax.tree.leaves(to_host(vjp(signal)[0]))
            if all(relative_error(a, e) <= 1e-3 for (a, _), e in zip(pairs, expected, strict=True)):
                return "wrong error signal"
    return "unknown"
