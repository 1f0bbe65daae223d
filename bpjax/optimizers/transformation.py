"""What every rule for changing weights is made of: a step written for one array of weights, and optax around it.

A rule is a pure function `step(state, g, params, value) -> (change, state)` over a `NamedTuple` that holds its
hyperparameters under their names. `transformation` makes it an optax one and sees to what all rules share:

numbers      A Python number given to the factory becomes a leaf of the state: changing it compiles nothing, and two
             optimizers that differ in their numbers share their `update`. A JAX array stays with the caller and is read
             at each step, which is how `optax.inject_hyperparams` and a vmapped factory hand theirs over. A
             function of the number of steps is a schedule. The state always shows what was used last.
dtypes       Half precision is computed in float32 and rounded once; state is kept in float32. The change has the
             gradient's dtype.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bpjax.optimizers.hyperparameters import scalar
from bpjax.optimizers.undo import Departure
from bpjax.types import Params
from bpjax.util.precision import widen


def transformation(
    who: str, init: Callable, step: Callable, numbers: dict, needs: tuple[str, ...] = ()
) -> optax.GradientTransformationExtraArgs:
    """An optax transformation from a rule's step.

    Args:
        who: the factory's name, for messages.
        init: (params, **numbers) -> state, a NamedTuple with a field for each of `numbers`.
        step: (state, g, params, value) -> (change, state), a function of the module, g widened. A rule whose state has
            a `departure` returns the change from there (see `bpjax.optimizers.undo`).
        numbers: hyperparameters that stay what the caller says, by name: a number, an array or a schedule.
        needs: "params" and "value", where `step` looks at them.
    """
    followed = {name: number for name, number in numbers.items() if callable(number) or isinstance(number, jax.Array)}

    def start(params):
        return init(params, **{name: scalar(n(0) if callable(n) else n) for name, n in numbers.items()})

    update = _update(who, step, needs, **followed) if followed else _shared_update(who, step, needs)
    return optax.GradientTransformationExtraArgs(start, update)


def _update(who, step, needs, **followed):
    def update(updates, state, params=None, *, value=None, undo=False, **others):
        if "params" in needs and params is None:
            raise ValueError(f"`{who}` expected the weights, `update(grads, state, params)`, got none.")
        if "value" in needs and value is None:
            raise ValueError(
                f"`{who}` expected the error of the batch, `update(grads, state, params, value=error)`, got none. "
                "`bp.fit` and `bp.make_train_step` hand it over."
            )
        for name, number in followed.items():
            state = state._replace(**{name: scalar(number(state.steps) if callable(number) else number)})
        g = jax.tree.map(widen, updates)
        change, new = step(state, g, params, None if value is None else scalar(value))
        departure: Departure | None = getattr(new, "departure", None)
        if departure is not None and not undo:
            change = departure.seen_from(params, change)
        return jax.tree.map(lambda c, g: c.astype(g.dtype), change, updates), new

    return update


_shared_update = functools.cache(_update)


def each_weight(step: Callable, outputs: int, numbers: tuple, *trees) -> tuple[Params, ...]:
    """`step(*numbers, *arrays) -> arrays` for every array of weights; a pytree for each of the `outputs` arrays.

    The numbers come in the dtype of the arrays, conditions as they are. The first tree is that of the gradients.
    """
    structure = jax.tree.structure(trees[0])
    columns: list[list[Any]] = [[] for _ in range(outputs)]
    for arrays in zip(*(jax.tree.leaves(tree) for tree in trees), strict=True):
        dtype = arrays[0].dtype
        own = [n.astype(dtype) if jnp.issubdtype(n.dtype, jnp.floating) else n for n in numbers]
        for column, array in zip(columns, step(*own, *arrays), strict=True):
            column.append(array)
    return tuple(structure.unflatten(column) for column in columns)


def zeros(params: Params) -> Params:
    """Zeros like the weights, half precision as float32."""
    return jax.tree.map(lambda w: jnp.zeros_like(widen(jnp.asarray(w))), params)


def no_signs(params: Params) -> Params:
    """Signs like the weights, all 0: −1, 0 and 1 fit into an int8, a quarter of the memory traffic of a float32."""
    return jax.tree.map(lambda w: jnp.zeros(jnp.shape(w), jnp.int8), params)


def filled(params: Params, number) -> Params:
    """Arrays like the weights filled with a number, half precision as float32."""
    return jax.tree.map(lambda w: jnp.full_like(w, number), zeros(params))
