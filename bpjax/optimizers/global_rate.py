"""One learning rate for all weights, that grows while the error falls and shrinks when a step has raised it.

The bad step is undone (see `bpjax.optimizers.undo`), so these optimizers cannot diverge: too high a rate costs a few
epochs. The error must be that of the same examples at each step, normally all of them: these optimizers would take the
noise of minibatches for failure.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import optax

from bpjax.optimizers.hyperparameters import Number, Rate, check_hyperparameter, check_not_scheduled, scalar
from bpjax.optimizers.transformation import factory, transformation
from bpjax.optimizers.undo import AcceptedPoint, accept, before_first_step
from bpjax.optimizers.weights import each_weight
from bpjax.types import Array


class GlobalRateState(NamedTuple):
    """State of `bold_driver`, `traingda` and `traingdx`."""

    learning_rate: Array  # () η, adapted
    momentum: Array  # () α
    growth: Array  # ()
    shrink: Array  # ()
    tolerance: Array  # ()
    accepted: AcceptedPoint
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@factory
def bold_driver(
    learning_rate: Number,
    momentum: Rate = 0.0,
    growth: Rate = 1.05,
    shrink: Rate = 0.7,
    tolerance: Rate = 1.04,
) -> optax.GradientTransformation:
    """Raise the rate while the error falls; undo the step and lower it otherwise (Vogl et al. 1988).

        E < E_last                η ← growth · η        Δw = −η g + α Δw_last
        E ≤ tolerance · E_last    η unchanged           Δw = −η g + α Δw_last
        else                      η ← shrink · η        w back to w_last, and from there Δw = −η g_last

    E_last is the error at the last accepted point. The step after an undone one has no momentum, as in Vogl, Mangis,
    Rigler, Zink & Alkon 1988.

    Args:
        learning_rate: η at the start, > 0.
        momentum: α from 0 to 1.
        growth: > 1.
        shrink: between 0 and 1.
        tolerance: ≥ 1; Vogl lets the error rise by 1 to 5 %.

    Raises:
        ValueError: a value outside its range; in `update`, when `params` or `value=` is missing.
    """
    return _global_rate("bold_driver", "heavy_ball", learning_rate, momentum, growth, shrink, tolerance)


@factory
def traingda(
    learning_rate: Number = 0.01,
    growth: Rate = 1.05,
    shrink: Rate = 0.7,
    tolerance: Rate = 1.04,
) -> optax.GradientTransformation:
    """MATLAB's `traingda`: gradient descent with an adaptive rate; `bold_driver` without momentum.

    MATLAB accepts a step where E / E_last ≤ max_perf_inc.

    Args:
        learning_rate: MATLAB's lr, at the start, > 0.
        growth: lr_inc > 1.
        shrink: lr_dec, between 0 and 1.
        tolerance: max_perf_inc ≥ 1.

    Raises:
        ValueError: a value outside its range; in `update`, when `params` or `value=` is missing.
    """
    return _global_rate("traingda", "convex", learning_rate, 0.0, growth, shrink, tolerance)


@factory
def traingdx(
    learning_rate: Number = 0.01,
    momentum: Rate = 0.9,
    growth: Rate = 1.05,
    shrink: Rate = 0.7,
    tolerance: Rate = 1.04,
) -> optax.GradientTransformation:
    """MATLAB's `traingdx`: an adaptive rate and momentum in the convex form.

        E ≤ tolerance · E_last    Δw = α Δw_last − (1 − α) η g     with η grown first if E < E_last
        else                      η ← shrink · η,  w back to w_last, and from there Δw = −η g_last

    The first step has no momentum either. This is what MATLAB's source computes; its help text prints a third form,
    α η g.

    Args:
        learning_rate: MATLAB's lr, at the start, > 0.
        momentum: mc, from 0 to 1.
        growth: lr_inc > 1.
        shrink: lr_dec, between 0 and 1.
        tolerance: max_perf_inc ≥ 1.

    Raises:
        ValueError: a value outside its range; in `update`, when `params` or `value=` is missing.
    """
    return _global_rate("traingdx", "convex", learning_rate, momentum, growth, shrink, tolerance)


def _global_rate(who, form, learning_rate, momentum, growth, shrink, tolerance):
    check_not_scheduled(who, "learning_rate", learning_rate)
    check_hyperparameter(who, "learning_rate", learning_rate, above=0.0)
    check_hyperparameter(who, "momentum", momentum, least=0.0, most=1.0)
    check_hyperparameter(who, "growth", growth, above=1.0)
    check_hyperparameter(who, "shrink", shrink, above=0.0, below=1.0)
    check_hyperparameter(who, "tolerance", tolerance, least=1.0)

    def init(params, **hyperparameters):
        return GlobalRateState(scalar(learning_rate), accepted=before_first_step(params), **hyperparameters)

    hyperparameters = {"momentum": momentum, "growth": growth, "shrink": shrink, "tolerance": tolerance}
    adapted = {"learning_rate": learning_rate}
    needs = ("params", "value")
    return transformation(who, GlobalRateState, init, _step(form), hyperparameters, adapted=adapted, needs=needs)


@functools.cache
def _step(form):
    def step(state, g, params, value):
        last = state.accepted
        first = jnp.isinf(last.value)
        point = accept(last, params, g, value, state.tolerance)
        better = ~point.undone & ~first & (value < last.value)
        factor = jnp.where(point.undone, state.shrink, jnp.where(better, state.growth, 1))
        rate = state.learning_rate * factor
        momentum = jnp.where(first | point.undone, 0, state.momentum)
        share = 1 - momentum if form == "convex" else jnp.ones_like(momentum)

        def change_of(rate, momentum, g, here, last):
            return (momentum * (here - last).astype(g.dtype) - rate * g,)

        (change,) = each_weight(change_of, 1, (share * rate, momentum), point.gradient, point.params, last.params)
        return change, state._replace(learning_rate=rate, accepted=point)

    return step
