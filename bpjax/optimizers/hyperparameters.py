"""Hyperparameters are data: where an optimizer takes its learning rate, momentum coefficient and so on from.

Each factory declares by name which of its arguments are hyperparameters, in the arguments `hyperparameters` and
`adapted` of `transformation`; the others (`form`, `variant`, `split`) are static and choose the program. The Python
type of the value does not matter: `0.1`, `np.float32(0.1)`, `jnp.array(0.1)` and a traced value behave the same.

- `init` copies every hyperparameter into the optimizer state, an array () of explicit dtype, and every step reads it
  there. The state always shows the value used last. A change does not recompile, and `jax.vmap` over states is a sweep.
- A schedule, a function of the number of steps taken, is evaluated at each step and replaces the value in the state.
  Every hyperparameter can be one, except a learning rate that the optimizer adapts itself.
- Both the state and the factory can change between two steps. `set_hyperparameters` changes the state.
  `optax.inject_hyperparams` calls the factory again at each step, with arrays when it runs eagerly and with tracers
  under `jit`. To follow both, the state has a field `given`, the values that the factory had at the last step. Where
  the factory's value differs from it, the factory has changed and its value replaces the one in the state; otherwise
  the value in the state is used. So the latest change counts, whichever side it comes from. An optimizer that is used
  with the state of another one therefore applies its own values. A rate that the optimizer adapts continues to adapt
  from the new value.
- An update that is compiled as above contains the factory's values as constants. `static_part` is the optimizer
  without them: its update reads the state only, and is the same function for optimizers that differ in hyperparameters
  alone. `bp.fit` and sweeps, which make the state themselves, compile this one.

A learning rate of 0 freezes the weights. Schedules begin there, so it is accepted from a schedule, as a JAX array, and
from `set_hyperparameters`. Written as a plain number in the call of a factory it is refused as a mistake; the same
holds for every other open bound.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.optimizers.injected import visible
from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import check_number, check_text, is_concrete

Number = float | np.number | np.ndarray | Array
"""A hyperparameter: a scalar of any of these types, concrete or traced."""


class Schedule(Protocol):
    """A hyperparameter that varies with the number of steps taken."""

    def __call__(self, count: Any, /) -> Any:
        """The value () at step `count`, from 0 on."""
        ...


Rate = Number | Schedule


def check_hyperparameter(
    who: str,
    name: str,
    value,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> None:
    """Raise a `ValueError` unless `value` is a schedule, or a finite number within the bounds.

    above < value < below, least ≤ value ≤ most. The number is compared as it will be used, in the default
    floating-point type. A JAX array may be equal to `above` and `below`: schedules compute such arrays. Of a traced
    value only shape and dtype are known.
    """
    if callable(value):
        return
    if not is_concrete(value):
        if value.shape != () or not _is_real(value):
            raise ValueError(f"`{who}` expected `{name}` to be a real number (), got {shown(value)}.")
        return
    check_number(who, name, value)
    number = float(np.asarray(float(value)).astype(jnp.result_type(float)))  # NumPy: the caller may be tracing
    closed = isinstance(value, jax.Array)
    inside = (above < number < below or (closed and number in (above, below))) and least <= number <= most
    if not inside:
        bounds = {"> ": above, "≥ ": least, "< ": below, "≤ ": most}
        wanted = " and ".join(f"{sign}{bound:g}" for sign, bound in bounds.items() if math.isfinite(bound))
        rounded = "" if number == float(value) else f", which is {number:g} in {jnp.result_type(float)}"
        raise ValueError(f"`{who}` expected `{name}` {wanted}, got {shown(value)}{rounded}.")


def check_order(who: str, lower_name: str, lower, upper_name: str, upper) -> None:
    """Raise a `ValueError` where two plain numbers, the upper one possibly infinite, are in the wrong order."""
    if any(callable(value) or isinstance(value, jax.Array) for value in (lower, upper)):
        return  # from a schedule, which may begin at 0
    if not float(lower) <= float(upper):
        raise ValueError(
            f"`{who}` expected `{lower_name}` ≤ `{upper_name}`, got {lower_name}={shown(lower)} and "
            f"{upper_name}={shown(upper)}."
        )


def check_not_scheduled(who: str, name: str, value) -> None:
    """Raise a `ValueError` where a rate that the optimizer adapts itself is a schedule."""
    if callable(value):
        raise ValueError(
            f"`{who}` expected `{name}` to be a number, the start of what it then adapts itself, got {shown(value)}. "
            "To set it again at some steps, wrap the factory in `optax.inject_hyperparams`; to follow a schedule at "
            "each step, take `bp.momentum`."
        )


def is_infinite(value) -> bool:
    """Whether a value is the real number +∞, for bounds that may be left open."""
    if (
        isinstance(value, int)
        or not isinstance(value, float | np.number | np.ndarray | jax.Array)
        or not is_concrete(value)
    ):
        return False
    return jnp.shape(value) == () and _is_real(value) and float(value) == math.inf


def _is_real(value) -> bool:
    dtype = jnp.result_type(value)
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def _is_floating(value) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jnp.floating)


def scalar(number) -> Array:
    """A hyperparameter as a leaf of a state: a new array () of explicit dtype, which may be donated."""
    number = number if hasattr(number, "dtype") else float(number)
    return jnp.array(number, jnp.result_type(float), copy=True)


def initial_values(who: str, hyperparameters: Mapping[str, Rate]) -> dict[str, Array]:
    """The values before the first step, schedules at step 0."""
    return {
        name: schedule_value(who, name, given, 0) if callable(given) else scalar(given)
        for name, given in hyperparameters.items()
    }


def schedule_value(who: str, name: str, schedule: Schedule, count) -> Array:
    """The value of a schedule at a step, or a `ValueError` where it is not a real number."""
    value = schedule(count)
    if got := not_a_number(value):
        raise ValueError(
            f"`{who}` expected `{name}` to be a number or a schedule, a function from the number of steps to a "
            f"number (), got {shown(schedule)}, which returns {got}."
        )
    return scalar(value)


def not_a_number(value) -> str:
    """What `value` is, where it is no real number (), concrete or traced; otherwise ""."""
    if not hasattr(value, "dtype"):
        return "" if isinstance(value, Real) and not isinstance(value, bool) else shown(value)
    return "" if _is_real(value) and jnp.shape(value) == () else shown(value)


def given_values(hyperparameters: Mapping[str, Rate]) -> tuple[Array, ...]:
    """The field `given` of a state: the factory's values. Schedules have none."""
    return tuple(scalar(given) for given in hyperparameters.values() if not callable(given))


def follow_factory(state, hyperparameters: Mapping[str, Rate]):
    """The state with every value that the factory has changed since the last step, and `given` as it is now."""
    names = [name for name, given in hyperparameters.items() if not callable(given)]
    now = given_values(hyperparameters)

    def latest(new, old, values):
        return jax.tree.map(lambda value: jnp.where(new == old, value, new.astype(value.dtype)), values)

    changed = {
        name: latest(new, old, getattr(state, name)) for name, new, old in zip(names, now, state.given, strict=True)
    }
    return state._replace(**changed, given=now)


def hyperparameter(state: optax.OptState, name: str) -> Array | None:
    """The current value () of a hyperparameter: `hyperparameter(state, "learning_rate")`.

    Finds it in any state that has a field or an entry of that name, including those of `optax.inject_hyperparams`.
    Where every weight has its own rate the result is their mean. None where the state does not hold it: optax's own
    optimizers keep their rates outside the state.

    Raises:
        ValueError: `name` is no text.
    """
    check_text("hyperparameter", "name", name)
    found = [jax.tree.leaves(value) for _, value in optax.tree_utils.tree_get_all_with_path(visible(state), name)]
    if not any(found):
        return None
    leaves = [leaves for leaves in found if leaves][-1]  # the innermost: under inject_hyperparams the optimizer's own
    entries = sum(leaf.size for leaf in leaves)
    return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in leaves])) / entries


def set_hyperparameters(state: optax.OptState, **values: Number) -> optax.OptState:
    """The same state with other values: `set_hyperparameters(state, learning_rate=0.2)`. Does not recompile.

    Where every weight has its own rate, all of them are set. A rate that the optimizer adapts continues to adapt from
    the new value. A learning rate of 0 freezes the weights.

    Raises:
        ValueError: the state holds no such hyperparameter, or the value is not a finite number.
    """
    shown_state = visible(state)
    for name, value in values.items():
        if callable(value):
            raise ValueError(
                f"`set_hyperparameters` expected `{name}` to be a number, got the function {shown(value)}. "
                "Pass a schedule to the factory instead."
            )
        check_hyperparameter("set_hyperparameters", name, value)
        everywhere = optax.tree_utils.tree_get_all_with_path(shown_state, name)
        found = [(path, old) for path, old in everywhere if all(map(_is_floating, jax.tree.leaves(old)))]
        if not found:
            raise ValueError(
                f"`set_hyperparameters` expected a hyperparameter of this state, got {name!r}. optax's own optimizers "
                "hold theirs in the state when wrapped in `optax.inject_hyperparams`."
            )
        for path, old in found:
            new = jax.tree.map(lambda leaf, value=value: jnp.full(leaf.shape, value, leaf.dtype), old)
            shown_state = optax.tree_utils.tree_set(shown_state, lambda p, _, path=path: p == path, **{name: new})
    return jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(shown_state))
