"""What `fit` and `trial` are given, checked before anything is compiled."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.layers.layer import Layer
from bpjax.rules.rule import Rule, check_batch
from bpjax.types import Batch, Params
from bpjax.util.call_text import is_function, shown
from bpjax.util.checks import check_count, check_key, is_concrete
from bpjax.util.trees import described


class Inputs(NamedTuple):
    """Arrays that fit each other."""

    params: Params
    data: Batch
    validation: Batch | None


def check_inputs(who: str, rule, optimizer, params, data, validation, key) -> Inputs:
    """The arguments that `fit` and `trial` share, as arrays, or a `ValueError` for the first that does not fit.

    Lists among the params become what the network's `init` makes in their place.
    """
    check_rule(who, rule)
    check_optimizer(who, optimizer)
    check_key(who, "key", key)
    params = as_params(who, params)
    data = check_batch(who, rule, params, data)
    validation = None if validation is None else check_batch(who, rule, params, validation)
    return Inputs(without_lists(who, rule, params, data, key), data, validation)


def check_rule(who: str, rule) -> None:
    """Raise a `ValueError` unless `rule` is a learning rule."""
    if isinstance(rule, Rule):
        return
    cure = "Make one: `bp.backprop(network, loss)`."
    if isinstance(rule, optax.GradientTransformation):
        cure = f"The order is `{who}(rule, optimizer, params, data, key=key)`."
    elif is_function(rule):
        cure = f"Call it first: `{shown(rule)}(network, loss)`."
    raise ValueError(f"`{who}` expected a learning rule as its first argument, got {shown(rule)}. {cure}")


def check_optimizer(who: str, optimizer) -> None:
    """Raise a `ValueError` unless `optimizer` is an optax transformation."""
    if isinstance(optimizer, optax.GradientTransformation):
        return
    cure = "For example: `optax.adam(0.01)`."
    if isinstance(optimizer, Rule):
        cure = f"The order is `{who}(rule, optimizer, params, data, key=key)`."
    elif is_function(optimizer):
        cure = f"Call it first, with its hyperparameters: `{shown(optimizer)}(...)`."
    raise ValueError(f"`{who}` expected an optax optimizer as its second argument, got {shown(optimizer)}. {cure}")


def as_params(who: str, params) -> Params:
    """The params as a pytree of arrays, or a `ValueError`."""
    if isinstance(params, Layer) or (callable(params) and jax.tree_util.all_leaves([params])):  # not modules
        raise ValueError(
            f"`{who}` expected `params`, the weights, got {shown(params)}. "
            "Make them: `params, out_shape = network.init(key, in_shape)`."
        )
    try:
        return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), params)
    except (TypeError, ValueError):
        raise ValueError(f"`{who}` expected `params` to be a pytree of arrays, got {shown(params)}.") from None


def without_lists(who: str, rule: Rule, params: Params, data: Batch, key) -> Params:
    """The params with the containers of their gradient in place of lists: a list is not the tuple that `chain` makes.

    Optimizers need one structure for params and gradient.
    """
    if not any(isinstance(node, list) for node in jax.tree.leaves(params, is_leaf=lambda node: type(node) is list)):
        return params
    _, gradient, _ = jax.eval_shape(rule.grads, params, jax.eval_shape(rule.init, key, params), data)
    if [leaf.shape for leaf in jax.tree.leaves(gradient)] != [leaf.shape for leaf in jax.tree.leaves(params)]:
        raise ValueError(
            f"`{who}` expected params in the structure of their gradient, {described(gradient)}, got "
            f"{described(params)}. Make them with the network's `init`."
        )
    return jax.tree.unflatten(jax.tree.structure(gradient), jax.tree.leaves(params))


def as_count(who: str, name: str, value) -> int:
    """`value` as an `int`: a Python or NumPy integer or an array () of one, from 1; otherwise a `ValueError`."""
    is_number = isinstance(value, np.ndarray | jax.Array) and jnp.issubdtype(value.dtype, np.number)
    if is_number and is_concrete(value) and value.shape == ():
        value = np.asarray(value)[()]
    return check_count(who, name, value)


def as_epochs(who: str, epochs) -> Any:
    """The limit of epochs, an `int` or a traced integer (), or a `ValueError`."""
    if is_concrete(epochs):
        return as_count(who, "epochs", epochs)
    if epochs.shape != () or not jnp.issubdtype(epochs.dtype, jnp.integer):
        raise ValueError(
            f"`{who}` expected `epochs` to be an integer, got {epochs.dtype}{list(epochs.shape)} while it is traced. "
            "Give the axis integers, for example `np.array([100, 200])`, or round: `epochs.astype(int)`."
        )
    return epochs
