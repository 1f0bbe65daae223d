"""The Rprop family: the sign of the gradient gives the direction, a step size per weight gives the length.

For every weight, with s = g · g_last and Δ its step size:

    s > 0    Δ ← min(growth · Δ, largest)
    s < 0    Δ ← max(shrink · Δ, smallest)

    variant    s ≥ 0              s < 0
    rprop-     Δw = −sign(g) Δ    Δw = −sign(g) Δ
    irprop-    Δw = −sign(g) Δ    no step,                     g_last ← 0
    rprop+     Δw = −sign(g) Δ    the last step is undone,     g_last ← 0
    irprop+    Δw = −sign(g) Δ    it is undone if E > E_last,  g_last ← 0

rprop+ is Riedmiller & Braun 1993, rprop- the simpler variant of Riedmiller 1994, irprop- and irprop+ are Igel & Hüsken
2000 and 2003. They use only the signs of the gradient, and irprop+ the order of the errors, so any increasing function
of a loss gives the same path as the loss.
"""

import functools
from typing import Literal, NamedTuple, get_args

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
from bpjax.optimizers.transformation import Step, factory, transformation
from bpjax.optimizers.weights import each_weight, filled, no_signs
from bpjax.types import Array, Params
from bpjax.util.checks import check_choice

Variant = Literal["rprop-", "rprop+", "irprop-", "irprop+"]


class RpropState(NamedTuple):
    """State of `rprop`."""

    growth: Array  # () η⁺
    shrink: Array  # () η⁻
    smallest: Array  # () Δ_min
    largest: Array  # () Δ_max
    step_size: Params  # Δ of each weight
    sign: Params  # of g_last: −1, 0 or 1, int8
    value: Array  # () E_last, for irprop+
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@factory
def rprop(
    initial: Number = 0.1,
    variant: Variant = "rprop+",
    growth: Rate = 1.2,
    shrink: Rate = 0.5,
    smallest: Rate = 1e-6,
    largest: Rate = 50.0,
) -> optax.GradientTransformation:
    """Resilient backpropagation, in one of four variants; see the table at the head of this file.

    `optax.rprop` computes something else: it adapts the step size one step late, and it has only one variant.

    Args:
        initial: Δ₀ > 0, the first step of every weight.
        variant: "rprop-", "rprop+", "irprop-" or "irprop+".
        growth: η⁺ > 1.
        shrink: η⁻ between 0 and 1.
        smallest: Δ_min from 0 to Δ₀.
        largest: Δ_max ≥ Δ₀.

    Raises:
        ValueError: a value outside its range, an unknown variant; in `update`, when `value=` is missing for irprop+.
    """
    check_choice("rprop", "variant", variant, get_args(Variant))
    check_not_scheduled("rprop", "initial", initial)
    check_hyperparameter("rprop", "initial", initial, above=0.0)
    check_hyperparameter("rprop", "growth", growth, above=1.0)
    check_hyperparameter("rprop", "shrink", shrink, above=0.0, below=1.0)
    check_hyperparameter("rprop", "smallest", smallest, least=0.0)
    if not is_infinite(largest):
        check_hyperparameter("rprop", "largest", largest, above=0.0)
    check_order("rprop", "initial", initial, "largest", largest)
    check_order("rprop", "smallest", smallest, "initial", initial)

    def init(params, **hyperparameters):
        unknown = jnp.asarray(jnp.inf, jnp.result_type(float))
        return RpropState(
            step_size=filled(params, scalar(initial)), sign=no_signs(params), value=unknown, **hyperparameters
        )

    hyperparameters = {"growth": growth, "shrink": shrink, "smallest": smallest, "largest": largest}
    needs = ("value",) if variant == "irprop+" else ()
    adapted = {"step_size": initial}
    return transformation("rprop", RpropState, init, _step(variant), hyperparameters, adapted=adapted, needs=needs)


@functools.cache
def _step(variant: Variant) -> Step:
    forgets = variant != "rprop-"

    def of_weight(growth, shrink, smallest, largest, undoes, g, step_size, last_sign):
        last_sign = last_sign.astype(g.dtype)
        sign = jnp.sign(g)
        s = g * last_sign
        passed = s < 0
        grown = jnp.where(s > 0, jnp.minimum(growth * step_size, largest), step_size)
        new_size = jnp.where(passed, jnp.maximum(shrink * step_size, smallest), grown)
        change = -sign * new_size
        if forgets:
            back = last_sign * step_size  # −Δw_last
            change = jnp.where(passed, jnp.where(undoes, back, 0), change)
            sign = jnp.where(passed, 0, sign)
        return change, new_size, sign.astype(jnp.int8)

    def step(state, g, params, value):
        undoes = value > state.value if variant == "irprop+" else jnp.asarray(variant == "rprop+")
        scalars = (state.growth, state.shrink, state.smallest, state.largest, undoes)
        change, step_size, sign = each_weight(of_weight, 3, scalars, g, state.step_size, state.sign)
        last = value if variant == "irprop+" else state.value
        return change, state._replace(step_size=step_size, sign=sign, value=last)

    return step
