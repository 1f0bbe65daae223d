"""Hyperparameters are data: where an optimizer takes its learning rate, momentum coefficient and so on from.

Each factory declares by name which of its arguments are hyperparameters, in the argument `hyperparameters` of
`transformation`; the others (`form`, `variant`, `split`) are static and choose the program. The Python type of the
value does not matter: `0.1`, `np.float32(0.1)`, `jnp.array(0.1)` and a traced value behave the same.

- `init` copies every hyperparameter into the optimizer state, an array () of explicit dtype, and every step reads it
  there. The state always shows the value used last. A change does not recompile, and `jax.vmap` over states is a sweep.
- A schedule, a function of the number of steps taken, is evaluated at each step and replaces the value in the state.
- Both the state and the factory can change between two steps. `set_hyperparameters` changes the state.
  `optax.inject_hyperparams` calls the factory again at each step, with arrays when it runs eagerly and with tracers
  under `jit`. To follow both, the state has a field `given`, the values that the factory had at the last step. Where
  the factory's value differs from it, the factory has changed and its value replaces the one in the state; otherwise
  the value in the state is used. So the latest change counts, whichever side it comes from. An optimizer that is used
  with the state of another one therefore applies its own values.
- An update that is compiled as above contains the factory's values as constants. `static_part` is the optimizer
  without them: its update reads the state only, and is the same function for optimizers that differ in hyperparameters
  alone. `bp.fit` and sweeps, which make the state themselves, compile this one.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.types import Array
from bpjax.util.checks import check_number

Number = float | np.number | np.ndarray | Array
"""A hyperparameter: a scalar of any of these types, concrete or traced."""


class Schedule(Protocol):
    """A hyperparameter that varies with the number of steps taken."""

    def __call__(self, count: Any, /) -> Any:
        """The value () at step `count`, from 0 on."""
        ...


def scalar(number) -> Array:
    """A hyperparameter as a leaf of a state: an array () of explicit dtype."""
    return jnp.asarray(number, jnp.result_type(float))


def initial_values(hyperparameters: Mapping[str, Number | Schedule]) -> dict[str, Array]:
    """The values before the first step, schedules at step 0."""
    return {name: scalar(given(0) if callable(given) else given) for name, given in hyperparameters.items()}


def given_values(hyperparameters: Mapping[str, Number | Schedule]) -> tuple[Array, ...]:
    """The field `given` of a state: the factory's values. Schedules have none."""
    return tuple(scalar(given) for given in hyperparameters.values() if not callable(given))


def follow_factory(state, hyperparameters: Mapping[str, Number | Schedule]):
    """The state with every value that the factory has changed since the last step, and `given` as it is now."""
    names = [name for name, given in hyperparameters.items() if not callable(given)]
    now = given_values(hyperparameters)
    changed = {
        name: jnp.where(new == old, getattr(state, name), new)
        for name, new, old in zip(names, now, state.given, strict=True)
    }
    return state._replace(**changed, given=now)


def hyperparameter(state: optax.OptState, name: str) -> Array | None:
    """The current value () of a hyperparameter: `hyperparameter(state, "learning_rate")`.

    Finds it in any state that has a field or an entry of that name, including those of `optax.inject_hyperparams`.
    Where every weight has its own rate the result is their mean. None where the state does not hold it: optax's own
    optimizers keep their rates outside the state.
    """
    found = [jax.tree.leaves(value) for _, value in optax.tree_utils.tree_get_all_with_path(state, name)]
    if not any(found):
        return None
    leaves = [leaves for leaves in found if leaves][-1]  # the innermost: under inject_hyperparams the optimizer's own
    entries = sum(leaf.size for leaf in leaves)
    return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in leaves])) / entries


def set_hyperparameters(state: optax.OptState, **values: Number) -> optax.OptState:
    """The same state with other values: `set_hyperparameters(state, learning_rate=0.2)`. Does not recompile.

    Where every weight has its own rate, all of them are set. A rate that the optimizer adapts continues to adapt from
    the new value.

    Raises:
        ValueError: the state holds no such hyperparameter, or the value is not finite.
    """
    for name, value in values.items():
        check_number("set_hyperparameters", name, value)
        found = optax.tree_utils.tree_get_all_with_path(state, name)
        if not found:
            raise ValueError(
                f"`set_hyperparameters` expected a hyperparameter of this state, got {name!r}. optax's own optimizers "
                "hold theirs in the state when wrapped in `optax.inject_hyperparams`."
            )
        for path, old in found:
            new = jax.tree.map(lambda leaf, value=value: jnp.full(leaf.shape, value, leaf.dtype), old)
            state = optax.tree_utils.tree_set(state, lambda p, _, path=path: p == path, **{name: new})
    return state
