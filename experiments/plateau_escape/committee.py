"""The soft committee machine, trained on-line with a new example in each step.

The student is Σᵢ erf(Jᵢ·x/√2). The teacher is Σₙ erf(xₙ/√2): its weight vectors are the first K axes of the input
space, without loss of generality for x ~ N(0, 1). One epoch is N = `inputs` examples, Δα = 1. Its error is the
generalisation error of the weights after it, computed from the overlaps and not from samples.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

import bpjax as bp
from bpjax.util.trees import select

erf_unit = bp.layers.elementwise(
    "erf",
    lambda a: erf(a / math.sqrt(2)),
    lambda a: math.sqrt(2 / math.pi) * jnp.exp(-0.5 * a * a),
    of="input",
)
"""φ = erf(a/√2), φ′ = √(2/π) e^(−a²/2)."""


def _sum_of_units() -> bp.Layer:
    """Y = Σᵢ xᵢ, x (N, K) to y (N, 1); dx = dy for each unit."""

    def init(key, in_shape):
        return (), (1,)

    def forward(params, x):
        return x.sum(axis=1, keepdims=True), x.shape

    def backward(params, shape, dy):
        return (), jnp.broadcast_to(dy, shape)

    return bp.Layer("sum of units", init, forward, backward)


def committee(units: int, inputs: int, unit: bp.Layer = erf_unit, size: float = 0.3) -> bp.Layer:
    """N-K-1 network whose output is the sum of K units.

    Args:
        units: K.
        inputs: N.
        unit: activation of the hidden units.
        size: approximate initial length of the weight vectors.
    """
    weights = bp.uniform(size * math.sqrt(3 / inputs))
    return bp.chain(bp.dense(units, use_bias=False, weights=weights), unit, _sum_of_units())


def teacher(x, units: int):
    """Σₙ erf(xₙ/√2) over the first `units` inputs, (N, 1)."""
    return erf(x[:, :units] / math.sqrt(2)).sum(axis=1, keepdims=True)


def generalization_error(J):
    """½⟨(student − teacher)²⟩ of weights J (K, N); a traceable form of `theory.generalization_error`."""
    K = len(J)
    Q, R, own = J @ J.T, J[:, :K], 1 + (J * J).sum(axis=1)
    students = jnp.arcsin(Q / jnp.sqrt(own[:, None] * own)).sum()
    both = jnp.arcsin(R / jnp.sqrt(2 * own[:, None])).sum()
    return (students + K * math.asin(0.5) - 2 * both) / math.pi


class OnLine(NamedTuple):
    """The state of a student during training."""

    state: bp.training.TrainState
    key: jax.Array  # () for the examples
    epoch: jax.Array  # () int32, α so far
    reason: jax.Array  # () int32, index into `REASONS`
    error: jax.Array  # () generalisation error
    refused: jax.Array  # () int32, refused steps


class Record(NamedTuple):
    """What a sweep records of an epoch."""

    error: jax.Array


REASONS = ("running", "diverged", "plateau left", "epoch limit")


def committee_trial(
    key, optimizer, units: int, inputs: int, limit, offset: float | jax.Array = 0.0, level: float | jax.Array = 0.0
) -> bp.training.Trial:
    """A trial in which a student learns from new examples until its error is below `level`, or for `limit` epochs.

    Args:
        key: for weights and examples.
        optimizer: of the student.
        units: hidden units K.
        inputs: N.
        limit: maximum number of epochs, may be traced.
        offset: of `bp.layers.flat_spot`, may be traced.
        level: of the error, may be traced.
    """
    network = committee(units, inputs, bp.layers.flat_spot(erf_unit, offset))
    rule = bp.backprop(network, bp.squared_error)
    step = bp.make_train_step(rule, optimizer)
    weights_key, rule_key, example_key = jax.random.split(key, 3)
    params, _ = network.init(weights_key, (inputs,))
    state = bp.training.TrainState(params, optimizer.init(params), rule.init(rule_key, params))
    zero = jnp.zeros((), jnp.int32)
    start = OnLine(state, example_key, zero, zero, generalization_error(params[0].w.T), zero)

    def epoch(run: OnLine):
        x = jax.random.normal(jax.random.fold_in(run.key, run.epoch), (inputs, 1, inputs))
        state, metrics = jax.lax.scan(lambda s, x: step(s, (x, teacher(x, units))), run.state, x)
        error = generalization_error(state.params[0].w.T)
        reason = jnp.where(run.epoch + 1 >= limit, 3, 0)
        reason = jnp.where(error < level, 2, jnp.where(jnp.isfinite(error), reason, 1)).astype(jnp.int32)
        refused = run.refused + metrics.refused.sum(dtype=jnp.int32)
        new = OnLine(state, run.key, run.epoch + 1, reason, error, refused)
        running = run.reason == 0
        return select(running, new, run), Record(jnp.where(running, error, jnp.nan))

    def outcome(run: OnLine):
        return {"epochs": run.epoch, "error": run.error, "refused": run.refused}

    return bp.training.Trial(start, bp.training.Program(epoch, outcome, REASONS))
