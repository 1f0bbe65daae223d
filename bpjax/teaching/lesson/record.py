"""One training, recorded step by step: every quantity of the textbook for every example, in one compiled scan."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.analysis.signals import signals
from bpjax.losses import Loss
from bpjax.losses.loss import share
from bpjax.optimizers.undo import take_step
from bpjax.rules.rule import Rule
from bpjax.teaching.lesson.units import DrawnLayer
from bpjax.types import Array, Batch, Params
from bpjax.util.compilation import FAST_COMPILATION


class Frame(NamedTuple):
    """All quantities at the weights before one step; lists have one entry per layer of units.

    In a `Frame` of a whole run each array has one more axis in front, the steps.
    """

    error: Array  # () E of the batch
    errors: Array  # (N,) each example's part of E
    output_gradient: Array  # (N, K) ∂E/∂o
    net_input: list[Array]  # (N, H) a
    output: list[Array]  # (N, H) o = φ(a)
    slope: list[Array]  # (N, H) φ′(a)
    error_signal: list[Array]  # (N, H) δ = ∂E/∂a, or what the rule has in its place
    weights: list[Array]  # (D + 1, H) w, with the bias as last row, or (D, H)
    gradient: list[Array]  # as weights: ∂E/∂w, or the direction of the rule
    change: list[Array]  # as weights: Δw
    feedback: list[Array] | None  # as weights: the rule's state, where it has the structure of the params
    refused: Array  # () bool: the step was not taken, because the gradient was not finite


class Start(NamedTuple):
    """What changes from step to step, before the first one."""

    params: Params
    optimizer: optax.OptState
    rule: Any


def record(rule: Rule, optimizer: optax.GradientTransformation, layers: list[DrawnLayer], **options) -> Frame:
    """Train on the whole batch and return a `Frame` of NumPy arrays (steps + 1, ...).

    The last frame is at the weights after the last step; its Δw is the change that one more step would make.

    Args:
        rule: with its network and loss.
        optimizer: any optax transformation.
        layers: of the network.
        **options: `start`, a `Start`; `batch`, (x, target); `steps`; `exact`, whether δ is that of backpropagation.
    """
    start, batch, steps = options["start"], options["batch"], options["steps"]
    frame_of = _make_frame(rule, layers, options["exact"])

    def step(state, batch):
        value, grads, rule_state = rule.grads(state.params, state.rule, batch)
        params, opt_state, refused = take_step(optimizer, grads, state.optimizer, state.params, value)
        frame = frame_of(state, params, grads, batch)._replace(error=value, refused=refused)
        return Start(params, opt_state, rule_state), frame

    def run(start, batch):
        return jax.lax.scan(lambda state, _: step(state, batch), start, length=steps + 1)[1]

    frames = jax.jit(run, compiler_options=FAST_COMPILATION)(start, batch)
    return jax.tree.map(np.asarray, frames)


def _make_frame(rule: Rule, layers: list[DrawnLayer], exact: bool):
    """(state, params after the step, grads, batch) -> Frame."""
    assert rule.network is not None and rule.loss is not None
    textbook = signals(rule.network, rule.loss)
    loss = rule.loss

    def frame(state: Start, after: Params, grads: Params, batch: Batch) -> Frame:
        units = textbook(state.params, batch)
        output = units[-1].output
        deltas = [u.error_signal for u in units] if exact else _error_signals(rule, layers, state, batch)
        is_feedback = jax.tree.structure(state.rule) == jax.tree.structure(state.params)
        return Frame(
            error=jnp.zeros(()),
            errors=_errors(loss, output, batch[1]),
            output_gradient=loss.gradient(output, batch[1]),
            net_input=[u.net_input for u in units],
            output=[u.output for u in units],
            slope=[layer.slope(u.net_input) for layer, u in zip(layers, units, strict=True)],
            error_signal=deltas,
            weights=[layer.weights(state.params) for layer in layers],
            gradient=[layer.weights(grads) for layer in layers],
            change=[layer.weights(after) - layer.weights(state.params) for layer in layers],
            feedback=[layer.weights(state.rule) for layer in layers] if is_feedback else None,
            refused=jnp.zeros((), bool),
        )

    return frame


def _errors(loss: Loss, output: Array, target: Array) -> Array:
    """(N,) the part of each example in the error of the batch."""
    each = jax.vmap(lambda o, t: loss.value(o[None], t[None]))(output, target)
    return each * share(loss, len(output))


def _error_signals(rule: Rule, layers: list[DrawnLayer], state: Start, batch: Batch) -> list[Array]:
    """(N, H) per layer: δ of a rule that does not show it, from its direction for each example alone.

    A rule with error signals changes the weights by g = x δᵀ for one example, so that δ = gᵀ x / (xᵀ x), where x
    includes the 1 of the on-neuron. `has_error_signals` tests whether the batch's direction is the sum of these.
    """
    assert rule.network is not None and rule.loss is not None
    part = share(rule.loss, len(batch[1]))
    grads = jax.vmap(lambda x, t: rule.grads(state.params, state.rule, (x[None], t[None]))[1])(*batch)
    outputs = [u.output for u in signals(rule.network, rule.loss)(state.params, batch)]
    deltas = []
    for layer, x in zip(layers, inputs_of(layers, batch[0], outputs), strict=True):
        g = jax.vmap(layer.weights)(grads) * part  # (N, D + 1, H)
        squared = jnp.sum(x * x, axis=1, keepdims=True)
        deltas.append(jnp.einsum("ndh,nd->nh", g, x) / jnp.where(squared > 0, squared, 1.0))
    return deltas


def inputs_of(layers: list[DrawnLayer], x: Array, outputs: list[Array]) -> list[Array]:
    """(..., D + 1) per layer of units: its inputs, and the 1 of the on-neuron where the layer has a bias."""
    inputs = []
    for layer, values in zip(layers, [x, *outputs[:-1]], strict=True):
        one = jnp.ones((*values.shape[:-1], 1), values.dtype)
        inputs.append(jnp.concatenate([values, one], axis=-1) if layer.use_bias else values)
    return inputs


def has_error_signals(layers: list[DrawnLayer], x: Array, frames: Frame) -> bool:
    """Whether the rule's direction is Σₙ xₙ δₙᵀ in every layer and at every finite step."""
    rows = finite_steps(frames)
    repeated: Any = np.broadcast_to(np.asarray(x), (rows, *np.shape(x)))
    inputs = inputs_of(layers, repeated, [o[:rows] for o in frames.output])
    products = [np.einsum("snd,snh->sdh", i, d[:rows]) for i, d in zip(inputs, frames.error_signal, strict=True)]
    return all(close(p, g[:rows]) for p, g in zip(products, frames.gradient, strict=True))


def travels_through(layers: list[DrawnLayer], frames: Frame, weights: list[Array] | None) -> bool:
    """Whether δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Wₗ₊₁ᵀ) with these weights W, at every finite step."""
    if weights is None or not all(layer.is_elementwise for layer in layers[:-1]):
        return False
    rows, deltas = finite_steps(frames), frames.error_signal
    for l, layer in enumerate(layers[:-1]):
        through = weights[l + 1][:rows, : layer.units]  # without the bias
        expected = frames.slope[l][:rows] * np.einsum("snh,sdh->snd", deltas[l + 1][:rows], through)
        if not close(expected, deltas[l][:rows]):
            return False
    return True


def finite_steps(frames: Frame) -> int:
    """The number of frames before the first one with a number that is not finite, or with a refused step."""
    steps = len(frames.error)
    leaves = [leaf for leaf in jax.tree.leaves(frames._replace(feedback=None, refused=np.zeros(steps)))]
    finite = np.all([np.isfinite(leaf).reshape(steps, -1).all(axis=1) for leaf in leaves], axis=0) & ~frames.refused
    return int(finite.argmin()) if not finite.all() else steps


def close(a: Any, b: Any) -> bool:
    """Whether two arrays of float64 agree to rounding, relative to the largest entry."""
    largest = max(float(np.abs(b).max(initial=0.0)), 1e-300)
    return bool(np.abs(a - b).max(initial=0.0) <= 1e-9 * largest)
