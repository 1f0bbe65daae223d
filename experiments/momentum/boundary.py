"""The learning rate at which runs begin to leave a minimum, found by bisection in one sweep (part of momentum.py).

Nothing of theory goes in: a rate is tried from the same weights, at rest, until the distance from the minimum has
grown or shrunk by a set factor; then the next rate is half-way, on the logarithmic axis, between the largest that came
back and the smallest that left.
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
    """A bisection under way."""

    epoch: Array  # () int32, steps taken at all rates together
    reason: Array  # () int32, index into REASONS
    low: Array  # () the largest rate that came back, so far
    high: Array  # () the smallest that left
    steps: Array  # () int32, taken at the present rate
    state: Any  # TrainState at the present rate
    start: Any  # params, before the first step
    first: Array  # () the distance at the start
    given: Any  # what `size` may look at besides the params


class Record(NamedTuple):
    """What an epoch tells a sweep."""

    error: Array


def bisection(
    rule: bp.Rule, form, momentum, params, batch, size: Callable, *, given=None, ends: tuple[float, float],
    digits: int, returns: float, leaves: float, steps: int,
) -> bp.training.Trial:  # fmt: skip
    """A trial that finds the rate at which runs from `params` begin to leave.

    Args:
        rule: the gradient.
        form: place in FORMS, may be traced, as
        momentum: α may.
        params: where every run begins, at rest.
        batch: examples and targets.
        size: (params) -> distance from the minimum, or (params, given) with `given`.
        given: arrays that `size` looks at.
        ends: rates, one that comes back and one that leaves.
        digits: the boundary is found when the two rates differ by less than 10^−digits of themselves.
        returns: a run has come back when the distance is so many times the first.
        leaves: a run has left when it is so many times the first.
        steps: at most at one rate; where that decides nothing the boundary is this rate, "undecided".
    """
    optimizer = any_form(form, 1.0, 0.0)  # the state holds the values of each step
    train_step = bp.make_train_step(rule, optimizer)
    close = 10.0**-digits

    def distance(params, given):
        return size(params) if given is None else size(params, given)

    def begin(params, low, high):
        middle = jnp.sqrt(low * high)
        state = optimizer.init(params)
        state = bp.optimizers.set_hyperparameters(state, learning_rate=middle, momentum=momentum)
        return bp.training.TrainState(params, state, ())

    def init() -> Search:
        zero = jnp.zeros((), jnp.int32)
        low, high = (jnp.asarray(end, jnp.result_type(float)) for end in ends)
        return Search(zero, zero, low, high, zero, begin(params, low, high), params, distance(params, given), given)

    def epoch(search: Search):
        state, _ = train_step(search.state, batch)
        now, steps_taken = distance(state.params, search.given), search.steps + 1
        left = ~(now < leaves * search.first)  # what is not finite has left
        came_back = ~left & (now < returns * search.first)
        tried = jnp.sqrt(search.low * search.high)
        given_up = ~left & ~came_back & (steps_taken >= steps)
        low = jnp.where(came_back | given_up, tried, search.low)
        high = jnp.where(left | given_up, tried, search.high)
        decided = left | came_back | given_up
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
    """Where runs begin to leave a minimum, against the closed form."""

    place: str  # "gorge", "xor", "encoder"
    form: str
    condition: float  # λ_max / λ_min of a gorge; of a network, the number of the minimum
    momentum: float
    curvature: float  # λ_max, known or measured
    low: float  # the largest rate that came back
    high: float  # the smallest that left
    predicted: float  # rate
    reason: str

    @property
    def measured(self) -> float:
        """The rate between the two."""
        return float(np.sqrt(self.low * self.high))

    @property
    def difference(self) -> float:
        """Measured over predicted, less 1."""
        return self.measured / self.predicted - 1


def boundaries(result: xr.Dataset, place: str, axis: str, curvature: np.ndarray) -> list[Boundary]:
    """The boundaries of a sweep over form × `axis`, with its λ_max each, × momentum."""
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
