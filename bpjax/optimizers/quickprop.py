"""Quickprop: each weight moves to the minimum of the parabola through its last two slopes (Fahlman 1988)."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bpjax.optimizers.hyperparameters import Rate, check_hyperparameter
from bpjax.optimizers.transformation import Step, factory, transformation
from bpjax.optimizers.weights import ComplexParts, each_weight, is_complex, zeros
from bpjax.types import Array, Params
from bpjax.util.checks import check_arguments, check_flag


class QuickpropState(NamedTuple):
    """State of `quickprop`."""

    learning_rate: Array  # () ε
    growth: Array  # () μ
    momentum: Array  # ()
    decay: Array  # ()
    mode_switch: Array  # ()
    change: Params  # D, the last step
    slope: Params  # S_last
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@factory
def quickprop(
    learning_rate: Rate,
    growth: Rate = 1.75,
    momentum: Rate = 0.0,
    decay: Rate = 0.0,
    split: bool = False,
    mode_switch: Rate = 0.0,
) -> optax.GradientTransformation:
    """Quickprop as in Fahlman's program (CMU-CS-88-162, and the C translation of September 1988).

    With the slope S = −∂E/∂w + decay · w, the last step D, and q = μ / (1 + μ):

        D > 0    Δw = [S > 0] ε S + (μ D  if S > q S_last,  else  D S / (S_last − S))
        D < 0    Δw = [S < 0] ε S + (μ D  if S < q S_last,  else  D S / (S_last − S))
        D = 0    Δw = ε S + momentum · D

    |D| ≤ `mode_switch` counts as D = 0, so that momentum acts only where `mode_switch` is above 0, as in the program.
    Where S_last = S = 0 the program divides 0 by 0; here that weight does not change. Where S_last = S ≠ 0 it divides
    by 0; here the step is μ D. The flat-spot offset, the hyper-error and the error tolerance of Fahlman's program are
    `bp.layers.flat_spot`, `bp.losses.hyper_error` and `bp.losses.error_tolerance`.

    Args:
        learning_rate: ε > 0, of the gradient step.
        growth: μ > 0, the largest ratio of a step to the last one.
        momentum: from 0 to 1.
        decay: ≤ 0, Fahlman's −1e-4: times the weight, added to its slope; it keeps weights small.
        split: divide ε by each unit's fan-in, its bias included ("split epsilon"); see `fan_in`.
        mode_switch: ≥ 0.

    Raises:
        ValueError: a value outside its range; in `update`, when `params` is missing.
    """
    check_hyperparameter("quickprop", "learning_rate", learning_rate, above=0.0)
    check_hyperparameter("quickprop", "growth", growth, above=0.0)
    check_hyperparameter("quickprop", "momentum", momentum, least=0.0, most=1.0)
    check_hyperparameter("quickprop", "decay", decay, most=0.0)
    check_hyperparameter("quickprop", "mode_switch", mode_switch, least=0.0)

    split = check_flag("quickprop", "split", split)

    def init(params, **hyperparameters):
        return QuickpropState(change=zeros(params), slope=zeros(params), **hyperparameters)

    hyperparameters = {
        "learning_rate": learning_rate,
        "growth": growth,
        "momentum": momentum,
        "decay": decay,
        "mode_switch": mode_switch,
    }
    return transformation("quickprop", QuickpropState, init, _step(split), hyperparameters, needs=("params",))


@functools.cache
def _step(split: bool) -> Step:
    def step(state, g, params, value):
        scalars = (state.learning_rate, state.growth, state.momentum, state.decay, state.mode_switch)
        inputs = fan_in(params) if split else jax.tree.map(lambda _: 1, params)
        change, slope = each_weight(_quickprop, 2, scalars, g, params, state.change, state.slope, inputs)
        return change, state._replace(change=change, slope=slope)

    return step


def _quickprop(epsilon, mu, momentum, decay, mode_switch, g, w, d, last_slope, fan_in):
    slope = decay * w.astype(g.dtype) - g
    descent = epsilon / fan_in * slope
    bound = mu / (1 + mu) * last_slope
    bend = last_slope - slope
    tiny = jnp.finfo(g.dtype).tiny
    parabola = d * slope / jnp.where(bend == 0, (1 / mu) * slope + tiny, bend)  # 0 / 0 is 0, and D S / 0 is μ D
    upward = jnp.where(slope > 0, descent, 0) + jnp.where(slope > bound, mu * d, parabola)
    downward = jnp.where(slope < 0, descent, 0) + jnp.where(slope < bound, mu * d, parabola)
    change = jnp.where(d > mode_switch, upward, jnp.where(d < -mode_switch, downward, descent + momentum * d))
    return change, slope


def fan_in(params: Params) -> Params:
    """The number of inputs of a unit, for every array of weights: D for a matrix (D, H), D + 1 with a bias.

    Arrays in one container belong together: (w, b) of `bp.dense`, {"kernel", "bias"} of Flax. The last axis is the
    units; a vector without a matrix has a fan-in of 1.

    Raises:
        ValueError: a leaf that is no array.
    """
    check_arguments("fan_in", params, "`params`")
    flat, structure = jax.tree.flatten_with_path(params, is_leaf=is_complex)
    inputs, biased = {}, set()
    for path, w in flat:
        shape = jnp.shape(w.real if is_complex(w) else w)
        if len(shape) >= 2:
            inputs[path[:-1]] = math.prod(shape[:-1])
        else:
            biased.add(path[:-1])

    def of_unit(path, w):
        n = inputs.get(path[:-1], 0) + (path[:-1] in biased)
        return ComplexParts(n, n) if is_complex(w) else n

    return structure.unflatten(of_unit(path, w) for path, w in flat)
