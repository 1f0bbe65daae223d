"""From a step written for one array of weights to an optax transformation: what all optimizers share.

An optimizer is a pure function `step(state, g, params, value) -> (change, state)` over a `NamedTuple` that holds its
hyperparameters as fields. `transformation` makes an optax transformation of it, `each_weight` maps over a pytree.

Half precision is computed in float32 and rounded once; the state is kept in float32. The change has the gradient's
dtype. How hyperparameters reach the step is described in `bpjax.optimizers.hyperparameters`.
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
    Schedule,
    follow_factory,
    given_values,
    initial_values,
    scalar,
)
from bpjax.optimizers.undo import AcceptedPoint
from bpjax.types import Array, Params
from bpjax.util.checks import is_concrete
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
    init: InitState,
    step: Step,
    hyperparameters: Mapping[str, Number | Schedule],
    needs: tuple[str, ...] = (),
) -> Optimizer:
    """An optax transformation from an optimizer's step.

    Args:
        who: the factory's name, for messages.
        init: makes the state.
        step: a function of the module, or cached, so that optimizers share it. Where its state has a field `accepted`
            it returns the change from that point (see `bpjax.optimizers.undo`).
        hyperparameters: by name, the values that `step` reads from the state and does not change itself.
        needs: "params" and "value", where `step` reads them.
    """
    schedules = {name: given for name, given in hyperparameters.items() if callable(given)}
    from_state = _update(who, step, needs, **schedules) if schedules else _shared_update(who, step, needs)

    def start(params):
        return init(params, **initial_values(hyperparameters))._replace(given=given_values(hyperparameters))

    def update(updates, state, params=None, **extra_args):
        return from_state(updates, follow_factory(state, hyperparameters), params, **extra_args)

    optimizer = Optimizer(start, update)
    optimizer.static = optax.GradientTransformationExtraArgs(None, from_state)  # type: ignore[arg-type]
    return optimizer


def _update(who, step, needs, **schedules):
    def update(updates, state, params=None, *, value=None, undo=False, **others):
        if "params" in needs and params is None:
            raise ValueError(f"`{who}` expected the weights, `update(grads, state, params)`, got none.")
        if "value" in needs and value is None:
            raise ValueError(
                f"`{who}` expected the error of the batch, `update(grads, state, params, value=error)`, got none. "
                "`bp.fit` and `bp.make_train_step` pass it."
            )
        state = state._replace(**{name: scalar(schedule(state.steps)) for name, schedule in schedules.items()})
        g = jax.tree.map(widen, updates)
        change, new = step(state, g, params, None if value is None else scalar(value))
        accepted: AcceptedPoint | None = getattr(new, "accepted", None)
        if accepted is not None and not undo:
            change = accepted.change_from(params, change)
        return jax.tree.map(lambda c, g: c.astype(g.dtype), change, updates), new

    return update


_shared_update = functools.cache(_update)


def static_part(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer without `init` and without the values of its hyperparameters, which `update` reads from the state.

    Equal for optimizers of one factory that differ in hyperparameters alone, so that it can be the key of a cache of
    compiled programs. For an optimizer of another library only `init` is taken away.
    """
    static = optimizer.static if isinstance(optimizer, Optimizer) else optimizer
    return static._replace(init=None)  # type: ignore[arg-type]


def prints_its_call(factory: Factory) -> Factory:
    """A decorator: the optimizers of the factory print as the call that made them, defaults left out."""
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args, **kwargs):
        optimizer = factory(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        shown = [
            _described(value) if parameter.default is parameter.empty else f"{name}={_described(value)}"
            for name, value in arguments.items()
            if not _equal(value, (parameter := signature.parameters[name]).default)
        ]
        optimizer.call = f"{factory.__name__}({', '.join(shown)})"
        return optimizer

    return make  # type: ignore[return-value]


def _equal(value, default) -> bool:
    return is_concrete(value) and not callable(value) and bool(value == default)


def _described(value) -> str:
    if not is_concrete(value):
        return "<traced>"
    if callable(value):
        return getattr(value, "__name__", "<schedule>")
    return repr(value) if isinstance(value, str | bool) else f"{float(value):g}"


def each_weight(step: Callable, outputs: int, scalars: tuple, *trees) -> tuple[Params, ...]:
    """Apply `step(*scalars, *arrays) -> arrays` to every array of weights.

    Args:
        step: written for the arrays of one place in the pytrees.
        outputs: how many arrays it returns.
        scalars: hyperparameters, converted to the dtype of the arrays, and booleans, passed as they are.
        *trees: pytrees of one structure; the first one holds the gradients.

    Returns:
        A pytree for each of the `outputs`.
    """
    structure = jax.tree.structure(trees[0])
    columns: list[list[Any]] = [[] for _ in range(outputs)]
    for arrays in zip(*(jax.tree.leaves(tree) for tree in trees), strict=True):
        dtype = arrays[0].dtype
        converted = [s.astype(dtype) if jnp.issubdtype(s.dtype, jnp.floating) else s for s in scalars]
        for column, array in zip(columns, step(*converted, *arrays), strict=True):
            column.append(array)
    return tuple(structure.unflatten(column) for column in columns)


def zeros(params: Params) -> Params:
    """Zeros like the weights, half precision as float32."""
    return jax.tree.map(lambda w: jnp.zeros_like(widen(jnp.asarray(w))), params)


def no_signs(params: Params) -> Params:
    """Signs like the weights, all 0: −1, 0 and 1 fit into an int8, a quarter of the memory traffic of a float32."""
    return jax.tree.map(lambda w: jnp.zeros(jnp.shape(w), jnp.int8), params)


def filled(params: Params, number: Number) -> Params:
    """Arrays like the weights filled with a number, half precision as float32."""
    return jax.tree.map(lambda w: jnp.full_like(w, number), zeros(params))
