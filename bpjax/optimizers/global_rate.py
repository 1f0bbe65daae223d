"""One learning rate for all weights, that grows while the error falls and shrinks when a step has made it worse.

The bad step is undone (see `bpjax.optimizers.undo`), so these rules cannot diverge: too high a rate costs a few epochs.
The error must be that of the same examples at each step, all of them: with minibatches its noise is taken for failure.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import optax

from bpjax.optimizers.hyperparameters import scalar
from bpjax.optimizers.transformation import each_weight, transformation
from bpjax.optimizers.undo import Departure, first_departure, judge
from bpjax.types import Array
from bpjax.util.checks import check_between, check_number


class GlobalRateState(NamedTuple):
    """State of `bold_driver`, `traingda` and `traingdx`."""

    learning_rate: Array  # () η, adapted
    momentum: Array  # () α
    growth: Array  # ()
    shrink: Array  # ()
    tolerance: Array  # ()
    departure: Departure


def bold_driver(
    learning_rate: float | Array,
    momentum: float | Array = 0.0,
    growth: float | Array = 1.05,
    shrink: float | Array = 0.7,
    tolerance: float | Array = 1.04,
) -> optax.GradientTransformation:
    """Faster while it goes well, back and slower when it does not (Vogl, Mangis, Rigler, Zink & Alkon 1988).

        E < E_last                η ← growth · η        Δw = −η g + α Δw_last
        E ≤ tolerance · E_last    η stays               Δw = −η g + α Δw_last
        else                      η ← shrink · η        w back to w_last, and from there Δw = −η g_last

    E_last is the error at the last point accepted. The momentum rests for the step after an undone one, as Vogl has it.

    Args:
        learning_rate: η at the start, > 0.
        momentum: α from 0 to 1.
        growth: > 1.
        shrink: between 0 and 1.
        tolerance: ≥ 1; Vogl lets the error rise by 1 to 5 %.

    Raises:
        ValueError: a number outside its range; in `update`, when `params` or `value=` is missing.
    """
    return _global_rate("bold_driver", "heavy_ball", learning_rate, momentum, growth, shrink, tolerance)


def traingda(
    learning_rate: float | Array = 0.01,
    growth: float | Array = 1.05,
    shrink: float | Array = 0.7,
    tolerance: float | Array = 1.04,
) -> optax.GradientTransformation:
    """MATLAB's `traingda`: gradient descent with an adaptive rate; `bold_driver` without momentum.

    Its lr, lr_inc, lr_dec and max_perf_inc, with its defaults. MATLAB goes on with E / E_last ≤ max_perf_inc.

    Raises:
        ValueError: a number outside its range; in `update`, when `params` or `value=` is missing.
    """
    return _global_rate("traingda", "convex", learning_rate, 0.0, growth, shrink, tolerance)


def traingdx(
    learning_rate: float | Array = 0.01,
    momentum: float | Array = 0.9,
    growth: float | Array = 1.05,
    shrink: float | Array = 0.7,
    tolerance: float | Array = 1.04,
) -> optax.GradientTransformation:
    """MATLAB's `traingdx`: an adaptive rate and momentum in the convex form.

        E ≤ tolerance · E_last    Δw = α Δw_last − (1 − α) η g     η grown before, if E < E_last
        else                      η ← shrink · η,  w back to w_last, and from there Δw = −η g_last

    The first step is plain too. This is what MATLAB's source computes; its help text prints a third form, α η g.

    Raises:
        ValueError: a number outside its range; in `update`, when `params` or `value=` is missing.
    """
    return _global_rate("traingdx", "convex", learning_rate, momentum, growth, shrink, tolerance)


def _global_rate(who, form, learning_rate, momentum, growth, shrink, tolerance):
    check_number(who, "learning_rate", learning_rate, above=0.0)
    check_number(who, "momentum", momentum, least=0.0, most=1.0)
    check_number(who, "growth", growth, above=1.0)
    check_between(who, "shrink", shrink, 0.0, 1.0)
    check_number(who, "tolerance", tolerance, least=1.0)

    def init(params, **numbers):
        return GlobalRateState(scalar(learning_rate), departure=first_departure(params), **numbers)

    numbers = {"momentum": momentum, "growth": growth, "shrink": shrink, "tolerance": tolerance}
    return transformation(who, init, _step(form), numbers, needs=("params", "value"))


@functools.cache
def _step(form):
    def step(state, g, params, value):
        last = state.departure
        first = jnp.isinf(last.value)
        at = judge(last, params, g, value, state.tolerance)
        better = ~at.undone & ~first & (value < last.value)
        factor = jnp.where(at.undone, state.shrink, jnp.where(better, state.growth, 1))
        rate = state.learning_rate * factor
        momentum = jnp.where(first | at.undone, 0, state.momentum)
        share = 1 - momentum if form == "convex" else jnp.ones_like(momentum)

        def change_of(rate, momentum, g, here, last):
            return (momentum * (here - last).astype(g.dtype) - rate * g,)

        (change,) = each_weight(change_of, 1, (share * rate, momentum), at.gradient, at.params, last.params)
        return change, state._replace(learning_rate=rate, departure=at)

    return step
