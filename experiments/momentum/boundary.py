"""The limit of stability of a minimum, found by bisection of the learning rate, all bisections in one sweep.

No theory is used. A learning rate is tried from the same weights, with velocity 0, until the distance from the minimum
has grown or shrunk by a given factor. The next rate is the geometric mean of the largest stable rate and the smallest
unstable rate.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

import bpjax as bp
from bpjax import theory
from bpjax.types import Array
from bpjax.util.trees import select
from experiments.momentum.forms import FORMS, any_form

REASONS = ("running", "boundary found", "undecided", "no boundary between the ends")


class Search(NamedTuple):
    """The state of a bisection."""

    epoch: Array  # () int32, total steps at all rates
    reason: Array  # () int32, index into REASONS
    low: Array  # () the largest stable rate so far
    high: Array  # () the smallest unstable rate so far
    steps: Array  # () int32, steps at the current rate
    state: Any  # TrainState at the current rate
    start: Any  # params before the first step
    first: Array  # () the distance at the start
    given: Any  # further argument of `distance`


class Record(NamedTuple):
    """What a sweep records of an epoch."""

    error: Array


def bisection(
    rule: bp.Rule, form, momentum, params, batch, distance: Callable, *, given=None, ends: tuple[float, float],
    digits: int, stable: float, unstable: float, steps: int,
) -> bp.training.Trial:  # fmt: skip
    """A trial that finds the limit of stability, the learning rate above which runs from `params` diverge.

    Args:
        rule: the gradient.
        form: index into FORMS, may be traced.
        momentum: momentum coefficient α, may be traced.
        params: weights at which every run starts, with velocity 0.
        batch: examples and targets.
        distance: (params) -> distance from the minimum, or (params, given) with `given`.
        given: arrays passed to `distance`.
        ends: a stable and an unstable learning rate.
        digits: the bisection ends when the two rates differ by less than 10^−digits, relatively.
        stable: a rate is stable when the distance falls below this multiple of the initial distance.
        unstable: a rate is unstable when the distance exceeds this multiple of the initial distance.
        steps: maximum at one rate; a rate still undecided then is taken as the limit, with the reason "undecided".
    """
    optimizer = any_form(form, 1.0, 0.0)  # the state holds the values of each step
    train_step = bp.make_train_step(rule, optimizer)
    close = 10.0**-digits

    def distance_of(params, given):
        return distance(params) if given is None else distance(params, given)

    def begin(params, low, high):
        middle = jnp.sqrt(low * high)
        state = optimizer.init(params)
        state = bp.optimizers.set_hyperparameters(state, learning_rate=middle, momentum=momentum)
        return bp.training.TrainState(params, state, ())

    def init() -> Search:
        zero = jnp.zeros((), jnp.int32)
        low, high = (jnp.asarray(end, jnp.result_type(float)) for end in ends)
        return Search(zero, zero, low, high, zero, begin(params, low, high), params, distance_of(params, given), given)

    def epoch(search: Search):
        state, _ = train_step(search.state, batch)
        now, steps_taken = distance_of(state.params, search.given), search.steps + 1
        is_unstable = ~(now < unstable * search.first)  # also where the distance is not finite
        is_stable = ~is_unstable & (now < stable * search.first)
        tried = jnp.sqrt(search.low * search.high)
        given_up = ~is_unstable & ~is_stable & (steps_taken >= steps)
        low = jnp.where(is_stable | given_up, tried, search.low)
        high = jnp.where(is_unstable | given_up, tried, search.high)
        decided = is_unstable | is_stable | given_up
        found = decided & (high < low * (1 + close))
        outside = found & ((low == ends[0]) | (high == ends[1]))
        reason = jnp.where(found, jnp.where(outside, 3, jnp.where(given_up, 2, 1)), 0).astype(jnp.int32)
        after = search._replace(
            epoch=search.epoch + 1, reason=reason, low=low, high=high,
            steps=jnp.where(decided, 0, steps_taken).astype(jnp.int32),
            state=select(decided, begin(search.start, low, high), state),
        )  # fmt: skip
        running = search.reason == 0
        return select(running, after, search), Record(now)

    def outcome(search: Search):
        return {"low": search.low, "high": search.high, "epochs": search.epoch}

    return bp.training.Trial(init(), bp.training.Program(epoch, outcome, REASONS))


class Boundary(NamedTuple):
    """A measured limit of stability and its closed form."""

    place: str  # "ravine", "xor", "encoder"
    form: str
    condition: float  # λ_max / λ_min of a ravine; for a network, the index of the minimum
    momentum: float
    curvature: float  # λ_max
    low: float  # the largest stable learning rate
    high: float  # the smallest unstable one
    predicted: float  # learning rate
    reason: str

    @property
    def measured(self) -> float:
        """The geometric mean of `low` and `high`."""
        return float(np.sqrt(self.low * self.high))

    @property
    def difference(self) -> float:
        """Relative difference, measured / predicted − 1."""
        return self.measured / self.predicted - 1


def boundaries(result: xr.Dataset, place: str, axis: str, curvature: np.ndarray) -> list[Boundary]:
    """The boundaries of a sweep over form × `axis` × momentum.

    Args:
        result: the sweep.
        place: name of the problem.
        axis: "condition" or "minimum".
        curvature: λ_max for each value of the axis.
    """
    found = []
    for index, form in enumerate(FORMS[i] for i in result.form.values):
        for i, where in enumerate(result[axis].values):
            for j, alpha in enumerate(result.momentum.values):
                at = result.isel({"form": index, axis: i, "momentum": j})
                predicted = float(theory.stability_limit(form, float(alpha))) / float(curvature[i])
                found.append(
                    Boundary(
                        place,
                        form,
                        float(where),
                        float(alpha),
                        float(curvature[i]),
                        float(at.low),
                        float(at.high),
                        predicted,
                        REASONS[int(at.reason)],
                    )  # fmt: skip
                )
    return found
