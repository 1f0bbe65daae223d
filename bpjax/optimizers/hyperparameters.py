"""Learning rates, momentum and the like: traced leaves of an optimizer's state, to be read and to be set.

Nothing is compiled anew when one changes, and a sweep over one is a `jax.vmap` over states.
"""

import jax
import jax.numpy as jnp
import optax

from bpjax.types import Array
from bpjax.util.checks import check_number


def scalar(number) -> Array:
    """A hyperparameter as a leaf of a state: an array () of explicit dtype."""
    return jnp.asarray(number, jnp.result_type(float))


def hyperparameter(state: optax.OptState, name: str) -> Array | None:
    """The current value () of a hyperparameter: `hyperparameter(state, "learning_rate")`.

    Finds it in any state that has a field or an entry of that name, those of `optax.inject_hyperparams` included.
    Where every weight has a rate of its own it is their mean. None where the state does not hold it: optax's own
    optimizers close over their rates.
    """
    found = [jax.tree.leaves(value) for _, value in optax.tree_utils.tree_get_all_with_path(state, name)]
    if not any(found):
        return None
    leaves = [leaves for leaves in found if leaves][-1]  # the innermost: under inject_hyperparams the rule's own
    entries = sum(leaf.size for leaf in leaves)
    return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in leaves])) / entries


def set_hyperparameters(state: optax.OptState, **numbers) -> optax.OptState:
    """The same state with other numbers: `set_hyperparameters(state, learning_rate=0.2)`; compiles nothing anew.

    Where every weight has a rate of its own they all become the number. What a rule adapts itself it goes on adapting.

    Raises:
        ValueError: the state holds no such hyperparameter, or the number is not finite.
    """
    for name, number in numbers.items():
        check_number("set_hyperparameters", name, number)
        found = optax.tree_utils.tree_get_all_with_path(state, name)
        if not found:
            raise ValueError(
                f"`set_hyperparameters` expected a hyperparameter of this state, got {name!r}. optax's own optimizers "
                "hold theirs in the state when wrapped in `optax.inject_hyperparams`."
            )
        for path, value in found:
            filled = jax.tree.map(lambda leaf, number=number: jnp.full(leaf.shape, number, leaf.dtype), value)
            state = optax.tree_utils.tree_set(state, lambda p, _, path=path: p == path, **{name: filled})
    return state
