"""A learning rate for every weight, adapted by the signs of its own gradients.

While the gradient of a weight keeps its sign, the minimum is still far and its rate grows. Where the sign changes, the
step has passed a minimum and the rate shrinks (Jacobs 1988 gives the reasons). g = ∂E/∂w, s = g · g_last; every weight
is treated separately.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import optax

from bpjax.optimizers.hyperparameters import (
    Number,
    Rate,
    check_hyperparameter,
    check_not_scheduled,
    check_order,
    is_infinite,
    scalar,
)
from bpjax.optimizers.transformation import factory, transformation
from bpjax.optimizers.undo import AcceptedPoint, accept, before_first_step
from bpjax.optimizers.weights import each_weight, filled, no_signs, zeros
from bpjax.types import Array, Params


class DeltaBarDeltaState(NamedTuple):
    """State of `delta_bar_delta`."""

    learning_rate: Params  # η of each weight
    increase: Array  # () κ
    decrease: Array  # () φ
    averaging: Array  # () θ
    average: Params  # δ̄, trace of past gradients
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@factory
def delta_bar_delta(
    learning_rate: Number,
    increase: Rate = 0.035,
    decrease: Rate = 0.333,
    averaging: Rate = 0.7,
) -> optax.GradientTransformation:
    """Delta-bar-delta: rates grow by steps and shrink by factors (Jacobs 1988).

        η ← η + κ          where δ̄ g > 0
        η ← η (1 − φ)      where δ̄ g < 0
        Δw = −η g
        δ̄ ← (1 − θ) g + θ δ̄

    Args:
        learning_rate: η at the start, > 0.
        increase: κ > 0.
        decrease: φ between 0 and 1.
        averaging: θ from 0 to below 1.

    Raises:
        ValueError: a value outside its range.
    """
    check_not_scheduled("delta_bar_delta", "learning_rate", learning_rate)
    check_hyperparameter("delta_bar_delta", "learning_rate", learning_rate, above=0.0)
    check_hyperparameter("delta_bar_delta", "increase", increase, above=0.0)
    check_hyperparameter("delta_bar_delta", "decrease", decrease, above=0.0, below=1.0)
    check_hyperparameter("delta_bar_delta", "averaging", averaging, least=0.0, below=1.0)

    def init(params, **hyperparameters):
        return DeltaBarDeltaState(filled(params, scalar(learning_rate)), average=zeros(params), **hyperparameters)

    hyperparameters = {"increase": increase, "decrease": decrease, "averaging": averaging}
    adapted = {"learning_rate": learning_rate}
    return transformation(
        "delta_bar_delta", DeltaBarDeltaState, init, _delta_bar_delta_step, hyperparameters, adapted=adapted
    )


def _delta_bar_delta_step(state, g, params, value):
    scalars = (state.increase, state.decrease, state.averaging)
    change, rate, average = each_weight(_delta_bar_delta, 3, scalars, g, state.learning_rate, state.average)
    return change, state._replace(learning_rate=rate, average=average)


def _delta_bar_delta(increase, decrease, averaging, g, rate, average):
    s = average * g
    rate = jnp.where(s > 0, rate + increase, jnp.where(s < 0, rate * (1 - decrease), rate))
    return -rate * g, rate, (1 - averaging) * g + averaging * average


class SuperSABState(NamedTuple):
    """State of `supersab`."""

    learning_rate: Params  # η of each weight
    momentum: Array  # () α
    growth: Array  # ()
    shrink: Array  # ()
    largest: Array  # () bound of η
    sign: Params  # of g_last, int8; 0 after an undone step
    change: Params  # Δw_last, 0 after an undone step
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@factory
def supersab(
    learning_rate: Number,
    momentum: Rate = 0.0,
    growth: Rate = 1.05,
    shrink: Rate = 0.5,
    largest: Rate = math.inf,
) -> optax.GradientTransformation:
    """SuperSAB: rates grow and shrink by factors, and a weight that passed a minimum goes back (Tollenaere 1990).

        s ≥ 0    η ← min(growth · η, largest) where s > 0      Δw = −η g + α Δw_last
        s < 0    η ← shrink · η                                Δw = −Δw_last; then g_last ← 0, Δw_last ← 0

    Args:
        learning_rate: η at the start, > 0.
        momentum: α from 0 to 1.
        growth: Tollenaere's η⁺ > 1.
        shrink: between 0 and 1, Tollenaere's 1 / η⁻.
        largest: bound of the rates, ≥ the learning rate; infinite for none.

    Raises:
        ValueError: a value outside its range.
    """
    check_not_scheduled("supersab", "learning_rate", learning_rate)
    check_hyperparameter("supersab", "learning_rate", learning_rate, above=0.0)
    check_hyperparameter("supersab", "momentum", momentum, least=0.0, most=1.0)
    check_hyperparameter("supersab", "growth", growth, above=1.0)
    check_hyperparameter("supersab", "shrink", shrink, above=0.0, below=1.0)
    if not is_infinite(largest):
        check_hyperparameter("supersab", "largest", largest, above=0.0)
    check_order("supersab", "learning_rate", learning_rate, "largest", largest)

    def init(params, **hyperparameters):
        rates, nothing = filled(params, scalar(learning_rate)), zeros(params)
        return SuperSABState(rates, sign=no_signs(params), change=nothing, **hyperparameters)

    hyperparameters = {"momentum": momentum, "growth": growth, "shrink": shrink, "largest": largest}
    adapted = {"learning_rate": learning_rate}
    return transformation("supersab", SuperSABState, init, _supersab_step, hyperparameters, adapted=adapted)


def _supersab_step(state, g, params, value):
    scalars = (state.momentum, state.growth, state.shrink, state.largest)
    trees = (g, state.learning_rate, state.sign, state.change)
    change, rate, sign, last_change = each_weight(_supersab, 4, scalars, *trees)
    return change, state._replace(learning_rate=rate, sign=sign, change=last_change)


def _supersab(momentum, growth, shrink, largest, g, rate, last_sign, last_change):
    s = g * last_sign.astype(g.dtype)
    passed = s < 0
    grown = jnp.where(s > 0, jnp.minimum(rate * growth, largest), rate)
    rate = jnp.where(passed, rate * shrink, grown)
    onward = momentum * last_change - rate * g
    change = jnp.where(passed, -last_change, onward)
    return change, rate, jnp.where(passed, 0, jnp.sign(g)).astype(jnp.int8), jnp.where(passed, 0, change)


class SilvaAlmeidaState(NamedTuple):
    """State of `silva_almeida`."""

    learning_rate: Params  # η of each weight
    growth: Array  # () u
    shrink: Array  # () d
    backoff: Array  # ()
    accepted: AcceptedPoint
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@factory
def silva_almeida(
    learning_rate: Number,
    growth: Rate = 1.2,
    shrink: Rate = 0.8,
    backoff: Rate = 0.5,
) -> optax.GradientTransformation:
    """Rates adapted by the signs of the gradients; a step that raised the error is undone (Silva & Almeida 1990).

        E ≤ E_last    η ← growth · η where s > 0,  shrink · η where s < 0,      Δw = −η g
        E > E_last    every η ← backoff · η,  w back to w_last, and from there Δw = −η g_last

    E_last and g_last are those of the last accepted point. The error must be that of all examples, at each step.

    Args:
        learning_rate: η at the start, > 0.
        growth: u > 1.
        shrink: d between 0 and 1.
        backoff: between 0 and 1.

    Raises:
        ValueError: a value outside its range; in `update`, when `params` or `value=` is missing.
    """
    check_not_scheduled("silva_almeida", "learning_rate", learning_rate)
    check_hyperparameter("silva_almeida", "learning_rate", learning_rate, above=0.0)
    check_hyperparameter("silva_almeida", "growth", growth, above=1.0)
    check_hyperparameter("silva_almeida", "shrink", shrink, above=0.0, below=1.0)
    check_hyperparameter("silva_almeida", "backoff", backoff, above=0.0, below=1.0)

    def init(params, **hyperparameters):
        rates = filled(params, scalar(learning_rate))
        return SilvaAlmeidaState(rates, accepted=before_first_step(params), **hyperparameters)

    hyperparameters = {"growth": growth, "shrink": shrink, "backoff": backoff}
    return transformation(
        "silva_almeida",
        SilvaAlmeidaState,
        init,
        _silva_almeida_step,
        hyperparameters,
        adapted={"learning_rate": learning_rate},
        needs=("params", "value"),
    )


def _silva_almeida_step(state, g, params, value):
    last = state.accepted
    point = accept(last, params, g, value, jnp.ones_like(value))
    scalars = (state.growth, state.shrink, state.backoff, point.undone)
    change, rate = each_weight(_silva_almeida, 2, scalars, point.gradient, last.gradient, state.learning_rate)
    return change, state._replace(learning_rate=rate, accepted=point)


def _silva_almeida(growth, shrink, backoff, undone, g, last_g, rate):
    s = g * last_g
    factor = jnp.where(s > 0, growth, jnp.where(s < 0, shrink, jnp.ones_like(g)))
    rate = rate * jnp.where(undone, backoff, factor)
    return -rate * g, rate
