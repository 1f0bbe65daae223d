"""One pixel: gradient descent from the same weights, and whether it converges."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import bpjax as bp
from bpjax.types import Array, Params
from bpjax.util.trees import select
from experiments.trainability_boundary.conditions import EVERY_STEP, START, Condition, Problem

LAST = 20
"""Steps over which the error at the end is averaged, because it may oscillate."""
CEILING = 1e6
"""Largest error, relative to that of the first step, that enters a sum; errors that are not finite count as this."""


class Descent(NamedTuple):
    """A run of gradient descent. Errors are relative to the error of the first step."""

    params: Params
    epoch: Array  # steps done
    reason: Array  # 0 while the run continues
    first: Array  # E of the first step
    last: Array  # sum of the errors of the last steps
    total: Array  # sum of all errors
    inverse: Array  # sum of their inverses


class Record(NamedTuple):
    """Of one step."""

    error: Array


def make_trial(condition: Condition, problem: Problem, steps: int) -> Callable[..., bp.training.Trial]:
    """(key, right, up) -> Trial; `right` and `up` are powers of ten, the coordinates of a pixel.

    The outcome is `converged`, whether the mean error of the last 20 steps is below the first error, and `speed`: for
    a run that converges the sum of its errors, large if it is slow; for one that does not, the negative sum of their
    inverses, large if it diverges slowly. Errors above 10⁶ count as 10⁶.

    Args:
        condition: what is trained.
        problem: of the condition.
        steps: of gradient descent.
    """
    network, x, y, start, shares = problem

    def trial(key, right, up):
        del key  # every pixel starts from the same weights
        right, up = power_of_ten(right), power_of_ten(up)
        offset = right if condition.offset else 0.0
        first_rate, last_rate = (up, up) if condition.offset else (right, up)

        def shifted(params: Params) -> Params:
            first, unit, last = params
            return (jax.tree.map(lambda w: w + offset, first), unit, last)

        def step(run: Descent) -> tuple[Descent, Record]:
            params = shifted(run.params) if condition.offset == EVERY_STEP else run.params
            o, residuals = network.forward(params, x)
            e = o - y
            share = shares[run.epoch % len(shares)]
            grads, _ = network.backward(params, residuals, 2 * share * e)
            value = jnp.mean(e * e)
            first = jnp.where(run.epoch == 0, value, run.first)
            error = jnp.where(jnp.isfinite(value), jnp.minimum(value / first, CEILING), CEILING)
            epoch = run.epoch + 1
            reason = jnp.where(epoch >= steps, 2, jnp.where(jnp.isfinite(value), 0, 1)).astype(jnp.int32)
            (v, _, w), (dv, _, dw) = params, grads
            new = Descent(
                (descend(v, dv, first_rate), (), descend(w, dw, last_rate)), epoch, reason, first,
                run.last + jnp.where(epoch > steps - LAST, error, 0), run.total + error, run.inverse + 1 / error,
            )  # fmt: skip
            return select(run.reason == 0, new, run), Record(error)

        def outcome(run: Descent) -> dict[str, Array]:
            converged = (run.reason == 2) & (run.last < LAST)
            missing = (steps - run.epoch) / CEILING  # errors that are not finite stay so
            return {"converged": converged, "speed": jnp.where(converged, run.total, -run.inverse - missing)}

        zero, none = jnp.zeros(()), jnp.zeros((), jnp.int32)
        params = shifted(start) if condition.offset == START else start
        run = Descent(params, none, none, zero, zero, zero, zero)
        reasons = "running", "not finite", "done"
        return bp.training.Trial(run, bp.training.Program(step, outcome, reasons, failures=reasons[1:2]))

    return trial


def power_of_ten(exponent: Array) -> Array:
    """10 to this power."""
    return jnp.exp(math.log(10) * exponent)


def descend(weights: Params, grads: Params, rate: Array) -> Params:
    """w − η ∂E/∂w."""
    return jax.tree.map(lambda w, g: w - rate * g, weights, grads)
