"""Momentum: each change of a weight contains a part of the previous change.

Four conventions are in use, all called momentum and written with the same symbols. g = ∂E/∂w, η is the learning rate,
α the momentum coefficient, which the encyclopedia article on backpropagation calls the inertia term:

    form          rule                                        who uses it
    heavy_ball    v ← α v − η g            Δw = v             Polyak 1964; PDP, Nature 1986; Fahlman; SNNS; scikit-learn
    convex        v ← α v − (1−α) η g      Δw = v             the encyclopedia; MATLAB's traingdm and traingdx
    velocity      v ← α v + g              Δw = −η v          PyTorch's SGD, optax.sgd, Flax
    nesterov      v ← α v − η g            Δw = α v − η g     Sutskever et al. 2013 of Nesterov 1983; scikit-learn

At the same η the convex form takes steps (1 − α) times as long as the others; at α = 1 it ignores the gradient.
heavy_ball and velocity differ only while η changes: the first scales each past gradient by the rate of its time, the
second scales all of them by the current rate. In the nesterov form the weights are the look-ahead points w + α v, where
Nesterov's method evaluates its gradient.
"""

import functools
from typing import Any, Literal, NamedTuple, get_args

import optax

from bpjax.optimizers.hyperparameters import Rate, check_hyperparameter
from bpjax.optimizers.transformation import Step, factory, transformation
from bpjax.optimizers.weights import each_weight, zeros
from bpjax.types import Array, Params
from bpjax.util.checks import check_choice, is_concrete

Form = Literal["heavy_ball", "convex", "velocity", "nesterov"]


class MomentumState(NamedTuple):
    """State of `momentum`."""

    learning_rate: Array  # () η
    momentum: Array  # () α
    velocity: Params  # v
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@functools.partial(factory, shows=("momentum",))
def momentum(learning_rate: Rate, momentum: Rate = 0.9, form: Form = "heavy_ball") -> optax.GradientTransformation:
    """Gradient descent with momentum, in one of four conventions, `form`; see the table at the head of this file.

    Args:
        learning_rate: η > 0, or a schedule, which may begin at 0.
        momentum: α from 0, plain gradient descent, to 1, or a schedule.
        form: "heavy_ball", "convex", "velocity" or "nesterov".

    Raises:
        ValueError: η ≤ 0, α outside 0 … 1, an unknown form.
    """
    check_choice("momentum", "form", form, get_args(Form))
    check_hyperparameter("momentum", "learning_rate", learning_rate, above=0.0)
    check_hyperparameter("momentum", "momentum", momentum, least=0.0, most=1.0)

    def init(params, **hyperparameters):
        return MomentumState(velocity=zeros(params), **hyperparameters)

    hyperparameters = {"learning_rate": learning_rate, "momentum": momentum}
    return transformation("momentum", MomentumState, init, _step(form), hyperparameters)


@functools.cache
def _step(form: Form) -> Step:
    change_of = {"heavy_ball": _heavy_ball, "convex": _convex, "velocity": _velocity, "nesterov": _nesterov}[form]

    def step(state, g, params, value):
        scalars = (state.learning_rate, state.momentum)
        change, velocity = each_weight(change_of, 2, scalars, g, state.velocity)
        return change, state._replace(velocity=velocity)

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
    """(η, α) in the form `target` that takes the same steps as (η, α) in the form `source`.

        convex → heavy_ball     (1 − α) η        velocity ↔ heavy_ball     η, while it is constant
        heavy_ball → convex     η / (1 − α)      nesterov                  equals none of the others

    Schedules are converted to schedules.

    Args:
        learning_rate: η, or a schedule.
        momentum: α, or a schedule.
        source: the form they belong to.
        target: the form to convert them to.

    Raises:
        ValueError: no (η, α) with α from 0 to 1 takes the same steps: η varies in time and one of the two forms is
            velocity; α = 1 and only one of the two is convex; only one of the two is nesterov.
    """
    check_choice("convert_momentum", "source", source, get_args(Form))
    check_choice("convert_momentum", "target", target, get_args(Form))
    check_hyperparameter("convert_momentum", "learning_rate", learning_rate, least=0.0)
    check_hyperparameter("convert_momentum", "momentum", momentum, least=0.0, most=1.0)
    if source == target:
        return learning_rate, momentum
    if "nesterov" in (source, target):
        other = target if source == "nesterov" else source
        raise ValueError(
            f"`convert_momentum` expected two forms that can take the same steps, got nesterov and {other}: "
            "nesterov uses each gradient twice, which no rate and momentum of another form can do."
        )
    if "velocity" in (source, target) and callable(learning_rate):
        raise ValueError(
            f"`convert_momentum` expected a constant `learning_rate` between {source} and {target}, got a schedule: "
            "velocity scales all past gradients by the current rate, the other forms each by the rate of its time."
        )
    if "convex" not in (source, target):
        return learning_rate, momentum
    if not callable(momentum) and is_concrete(momentum) and float(momentum) == 1.0:
        raise ValueError(
            f"`convert_momentum` expected `momentum` < 1 between {source} and {target}, got 1: "
            "the convex form then ignores the gradient, the others do not."
        )
    to_convex = target == "convex"

    def converted(rate: Any, alpha: Any) -> Any:
        return rate / (1 - alpha) if to_convex else (1 - alpha) * rate

    if callable(learning_rate) or callable(momentum):
        if "velocity" in (source, target):
            raise ValueError(
                f"`convert_momentum` expected a constant `momentum` between {source} and {target}, got a schedule: "
                "the converted rate would vary, and velocity applies it to past gradients as well."
            )
        return lambda count: converted(_at(learning_rate, count), _at(momentum, count)), momentum
    return converted(learning_rate, momentum), momentum


def _at(rate: Rate, count) -> Any:
    return rate(count) if callable(rate) else rate
