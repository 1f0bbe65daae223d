"""The momentum term: each change of a weight carries over some of the last one.

Four conventions are in use, under one name and with the same symbols. g = ∂E/∂w, η the learning rate, α the momentum:

    form          rule                                        who uses it
    heavy_ball    v ← α v − η g            Δw = v             Polyak 1964; PDP, Nature 1986; Fahlman; SNNS; scikit-learn
    convex        v ← α v − (1−α) η g      Δw = v             the encyclopedia; MATLAB's traingdm and traingdx
    velocity      v ← α v + g              Δw = −η v          PyTorch's SGD, optax.sgd, Flax
    nesterov      v ← α v − η g            Δw = α v − η g     Sutskever et al. 2013 of Nesterov 1983; scikit-learn

At the same η the convex form takes steps (1 − α) times as long as the others; at α = 1 it never looks at the gradient.
heavy_ball and velocity differ only while η changes: the first keeps the past at the rates of its time, the second puts
all of it at the present one. In the nesterov form the weights in hand are the look-ahead points w + α v, where
Nesterov's method measures its gradient.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import optax

from bpjax.optimizers.transformation import each_weight, transformation, zeros
from bpjax.types import Array, Params
from bpjax.util.checks import check_choice, check_number, is_concrete

Form = Literal["heavy_ball", "convex", "velocity", "nesterov"]
Rate = float | Array | Callable[[Any], float | Array]
"""A number, a traced number, or a schedule: a function of the number of steps taken so far."""


class MomentumState(NamedTuple):
    """State of `momentum`."""

    learning_rate: Array  # () η
    momentum: Array  # () α
    velocity: Params  # v
    steps: Array  # () int32, steps taken


def momentum(learning_rate: Rate, momentum: Rate, form: Form = "heavy_ball") -> optax.GradientTransformation:
    """Gradient descent with momentum, in the convention `form` names; see the table at the head of this file.

    Args:
        learning_rate: η > 0; may be traced, or a schedule.
        momentum: α from 0, plain gradient descent, to 1; may be traced, or a schedule.
        form: "heavy_ball", "convex", "velocity" or "nesterov".

    Raises:
        ValueError: η ≤ 0, α outside 0 … 1, an unknown form.
    """
    check_choice("momentum", "form", form, get_args(Form))
    if not callable(learning_rate):
        check_number("momentum", "learning_rate", learning_rate, above=0.0)
    if not callable(momentum):
        check_number("momentum", "momentum", momentum, least=0.0, most=1.0)

    def init(params, learning_rate, momentum):
        return MomentumState(learning_rate, momentum, zeros(params), jnp.zeros((), jnp.int32))

    return transformation("momentum", init, _step(form), {"learning_rate": learning_rate, "momentum": momentum})


@functools.cache
def _step(form: Form) -> Callable:
    change_of = {"heavy_ball": _heavy_ball, "convex": _convex, "velocity": _velocity, "nesterov": _nesterov}[form]

    def step(state, g, params, value):
        numbers = (state.learning_rate, state.momentum)
        change, velocity = each_weight(change_of, 2, numbers, g, state.velocity)
        return change, state._replace(velocity=velocity, steps=state.steps + 1)

    return step


def _heavy_ball(rate, momentum, g, v):
    v = momentum * v - rate * g
    return v, v


def _convex(rate, momentum, g, v):
    v = momentum * v - (1 - momentum) * rate * g
    return v, v


def _velocity(rate, momentum, g, v):
    v = momentum * v + g
    return -rate * v, v


def _nesterov(rate, momentum, g, v):
    v = momentum * v - rate * g
    return momentum * v - rate * g, v


def convert_momentum(learning_rate: Rate, momentum: Rate, source: Form, target: Form) -> tuple[Rate, Rate]:
    """(η, α) in the form `target` that takes the very steps of (η, α) in the form `source`.

        convex → heavy_ball     (1 − α) η        velocity ↔ heavy_ball     η, while it is constant
        heavy_ball → convex     η / (1 − α)      nesterov                  equals none of the others

    Schedules are converted to schedules.

    Raises:
        ValueError: no (η, α) with α from 0 to 1 does it in general: η varies in time and one of the two is velocity;
            α = 1 and just one of the two is convex; just one of the two is nesterov.
    """
    check_choice("convert_momentum", "source", source, get_args(Form))
    check_choice("convert_momentum", "target", target, get_args(Form))
    if source == target:
        return learning_rate, momentum
    if "nesterov" in (source, target):
        other = target if source == "nesterov" else source
        raise ValueError(
            f"`convert_momentum` expected two forms that can take the same steps, got nesterov and {other}: "
            "nesterov's gradient is weighed twice, which no rate and momentum of another form repeats."
        )
    if "velocity" in (source, target) and callable(learning_rate):
        raise ValueError(
            f"`convert_momentum` expected a constant `learning_rate` between {source} and {target}, got a schedule: "
            "velocity scales all past gradients by the present rate, the other forms each by the rate of its time."
        )
    if "convex" not in (source, target):
        return learning_rate, momentum
    if not callable(momentum):
        check_number("convert_momentum", "momentum", momentum, least=0.0, most=1.0)
        if is_concrete(momentum) and float(momentum) == 1.0:
            raise ValueError(
                f"`convert_momentum` expected `momentum` < 1 between {source} and {target}, got 1: "
                "the convex form then never looks at the gradient, the others always do."
            )
    to_convex = target == "convex"

    def converted(rate: Any, alpha: Any) -> Any:
        return rate / (1 - alpha) if to_convex else (1 - alpha) * rate

    if callable(learning_rate) or callable(momentum):
        if "velocity" in (source, target):
            raise ValueError(
                f"`convert_momentum` expected a constant `momentum` between {source} and {target}, got a schedule: "
                "the converted rate would vary, which velocity applies to the past as well."
            )
        return lambda count: converted(_at(learning_rate, count), _at(momentum, count)), momentum
    return converted(learning_rate, momentum), momentum


def _at(rate: Rate, count):
    return rate(count) if callable(rate) else rate
