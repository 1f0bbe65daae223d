"""States inside `optax.inject_hyperparams`, which holds the hyperparameters itself, in `state.hyperparams`.

`optax.tree_utils.tree_get(state, "learning_rate")` searches a whole state and raises an error where it finds a name
twice. The states of bpjax have fields named like the hyperparameters; under `inject_hyperparams` the field and the
entry of `hyperparams` would be two. So `init` there returns the state as an `Injected`: the same leaves and the same
attributes, but no field that optax finds by name.

`inject_hyperparams` calls the factory with every parameter of its signature, defaults filled in. That is how a factory
knows: its signature has the parameter `_injected`, which direct calls leave out.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax

MARK = inspect.Parameter("_injected", inspect.Parameter.KEYWORD_ONLY, default=True)
"""Appended to the signature of a factory. The function itself takes False where it is left out."""


class Injected:
    """An optimizer's state whose fields are attributes, and no names in the search of `optax.tree_utils`."""

    def __init__(self, state: Any):
        """`state` is the NamedTuple."""
        self.state = state

    def __getattr__(self, name: str):
        """A field of the state."""
        if name == "state" or name.startswith("__"):  # not yet set while an object is copied or unpickled
            raise AttributeError(name)
        return getattr(self.state, name)

    def __repr__(self) -> str:
        return f"Injected({self.state!r})"


def _flatten_with_keys(injected: Injected):
    state = injected.state
    keys = [jax.tree_util.GetAttrKey(field) for field in state._fields]
    return list(zip(keys, state, strict=True)), type(state)


def _unflatten(kind: type, children) -> Injected:
    return Injected(kind(*children))


jax.tree_util.register_pytree_with_keys(
    Injected, _flatten_with_keys, _unflatten, lambda injected: (tuple(injected.state), type(injected.state))
)


def visible(tree):
    """The pytree with the state itself in place of every `Injected`; its leaves are the same, in the same order."""

    def is_injected(node):
        return isinstance(node, Injected)

    return jax.tree.map(lambda node: node.state if is_injected(node) else node, tree, is_leaf=is_injected)


def hiding(init: Callable, update: Callable) -> tuple[Callable, Callable]:
    """An optimizer's `init` and `update` on an `Injected`."""

    def init_hidden(params):
        return Injected(init(params))

    def update_hidden(updates, state, params=None, **extra_args):
        updates, state = update(updates, visible(state), params, **extra_args)
        return updates, Injected(state)

    return init_hidden, update_hidden
