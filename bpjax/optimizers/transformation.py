"""From a step written for one array of weights to an optax transformation: what all optimizers share.

An optimizer is a pure function `step(state, g, params, value) -> (change, state)` over a `NamedTuple` that holds its
hyperparameters as fields. `transformation` makes an optax transformation of it.

Half precision is computed in float32 and rounded once; the state is kept in float32. The change has the gradient's
dtype. How hyperparameters reach the step is described in `bpjax.optimizers.hyperparameters`, what the step sees of the
weights in `bpjax.optimizers.weights`.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax

from bpjax.optimizers.hyperparameters import (
    Number,
    Rate,
    follow_factory,
    given_values,
    initial_values,
    not_a_number,
    schedule_value,
)
from bpjax.optimizers.injected import MARK, hiding
from bpjax.optimizers.undo import AcceptedPoint
from bpjax.optimizers.weights import complex_again, real_weights
from bpjax.types import Array, Params
from bpjax.util.checks import check_instance, is_concrete
from bpjax.util.precision import widen

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Optimizer(optax.GradientTransformationExtraArgs):
    """An optax transformation that prints as the call that made it, `momentum(0.1, 0.9)`."""

    call: str = "optimizer"
    static: optax.GradientTransformationExtraArgs  # see `static_part`

    def __repr__(self) -> str:
        return self.call


class InitState(Protocol):
    """Makes the state of an optimizer before its first step."""

    def __call__(self, params: Params, **hyperparameters: Array) -> Any:
        """A NamedTuple with a field for each hyperparameter, and a field `given`, set by `transformation`."""
        ...


class Step(Protocol):
    """One step of an optimizer."""

    def __call__(self, state: Any, g: Params, params: Params, value: Array | None) -> tuple[Params, Any]:
        """(change of the weights, state), from the gradient g in float32 or wider, the weights and the error."""
        ...


def transformation(
    who: str,
    kind: type,
    init: InitState,
    step: Step,
    hyperparameters: Mapping[str, Rate],
    *,
    adapted: Mapping[str, Number] = {},  # noqa: B006  (never changed)
    needs: tuple[str, ...] = (),
) -> Optimizer:
    """An optax transformation from an optimizer's step.

    Args:
        who: the factory's name, for messages.
        kind: the NamedTuple of the state.
        init: makes the state.
        step: a function of the module, or cached, so that optimizers share it. Where its state has a field `accepted`
            it returns the change from that point (see `bpjax.optimizers.undo`).
        hyperparameters: by name, the values that `step` reads from the state and does not change itself.
        adapted: by field of the state, the values at the start that `step` changes itself.
        needs: "params" and "value", where `step` reads them.
    """
    schedules = {name: given for name, given in hyperparameters.items() if callable(given)}
    from_state = (_update if schedules else _shared_update)(who, kind, step, needs, **schedules)
    from_factory = {**hyperparameters, **adapted}

    def start(params):
        values = initial_values(who, hyperparameters)
        state = init(real_weights(who, params), steps=jnp.zeros((), jnp.int32), **values)
        return state._replace(given=given_values(from_factory))

    def update(updates, state, params=None, **extra_args):
        check_state(who, kind, state)
        return from_state(updates, follow_factory(state, from_factory), params, **extra_args)

    optimizer = Optimizer(start, update)
    optimizer.static = optax.GradientTransformationExtraArgs(None, from_state)  # type: ignore[arg-type]
    return optimizer


def _update(who, kind, step, needs, **schedules):
    def update(updates, state, params=None, *, value=None, undo=False, **others):
        check_state(who, kind, state)
        if "params" in needs and params is None:
            raise ValueError(f"`{who}` expected the weights, `update(grads, state, params)`, got none.")
        if "value" in needs and value is None:
            raise ValueError(
                f"`{who}` expected the error of the batch, `update(grads, state, params, value=error)`, got none. "
                "`bp.fit` and `bp.make_train_step` pass it."
            )
        now = {name: schedule_value(who, name, schedule, state.steps) for name, schedule in schedules.items()}
        state = state._replace(steps=optax.safe_increment(state.steps), **now)
        g = jax.tree.map(widen, real_weights(who, updates, "gradients"))
        w = real_weights(who, params) if "params" in needs else None
        change, new = step(state, g, w, None if value is None else error_value(who, value))
        accepted: AcceptedPoint | None = getattr(new, "accepted", None)
        if accepted is not None and not undo:
            change = accepted.change_from(w, change)
        return jax.tree.map(lambda c, g: c.astype(jnp.result_type(g)), complex_again(change), updates), new

    return update


_shared_update = functools.cache(_update)


def check_state(who: str, kind: type, state) -> None:
    """Raise a `ValueError` unless the state is one of this optimizer."""
    if not isinstance(state, kind):
        raise ValueError(
            f"`{who}` expected the state that its `init` makes, a {kind.__name__}, got {type(state).__name__}. "
            "The order is `update(grads, state, params)`."
        )


def error_value(who: str, value) -> Array:
    """The error of the batch as an array () of explicit dtype, or a `ValueError`."""
    if got := not_a_number(value):
        raise ValueError(f"`{who}` expected `value` to be the error of the batch, a real number (), got {got}.")
    return jnp.asarray(value, jnp.result_type(float))


def static_part(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer without `init` and without the values of its hyperparameters, which `update` reads from the state.

    Equal for optimizers of one factory that differ in hyperparameters alone, so that it can be the key of a cache of
    compiled programs. For an optimizer of another library only `init` is taken away.
    """
    check_instance("static_part", "optimizer", optimizer, optax.GradientTransformation, "bp.momentum(0.1)")
    static = optimizer.static if isinstance(optimizer, Optimizer) else optimizer
    return static._replace(init=None)  # type: ignore[arg-type]


def factory(make: Factory, shows: tuple[str, ...] = ()) -> Factory:
    """A decorator of factories: their optimizers print as the call that made them.

    Defaults are left out, except those of the arguments in `shows`. Under `optax.inject_hyperparams` the states hide
    the hyperparameters (see `bpjax.optimizers.injected`).
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def call(*args, _injected=False, **kwargs):
        optimizer = make(*args, **kwargs)
        optimizer.call = f"{make.__name__}({', '.join(_arguments(signature.bind(*args, **kwargs), shows))})"
        return hidden(optimizer) if _injected else optimizer

    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), MARK])  # type: ignore
    return call  # type: ignore[return-value]


def _arguments(bound: inspect.BoundArguments, shows: tuple[str, ...]):
    bound.apply_defaults()
    for name, value in bound.arguments.items():
        default = bound.signature.parameters[name].default
        if default is inspect.Parameter.empty or name in shows:
            yield _described(value)
        elif not _equal(value, default):
            yield f"{name}={_described(value)}"


def hidden(optimizer: Optimizer) -> Optimizer:
    """The optimizer on states in which optax finds no hyperparameter by name."""
    other = Optimizer(*hiding(*optimizer))
    other.call = optimizer.call
    _, update = hiding(optimizer.init, optimizer.static.update)
    other.static = optax.GradientTransformationExtraArgs(None, update)  # type: ignore[arg-type]
    return other


def _equal(value, default) -> bool:
    return is_concrete(value) and not callable(value) and bool(value == default)


def _described(value) -> str:
    if not is_concrete(value):
        return "<traced>"
    if callable(value):
        return getattr(value, "__name__", "<schedule>")
    return repr(value) if isinstance(value, str | bool) else f"{float(value):g}"
