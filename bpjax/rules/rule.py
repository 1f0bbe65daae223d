"""The contract of a learning rule: how a batch becomes a direction of change."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer, check_layer
from bpjax.losses import Loss, check_labels
from bpjax.types import Params
from bpjax.util.checks import check_finite


class Rule(NamedTuple):
    """Anything with the meaning of `jax.value_and_grad`, and a state of its own where it needs one."""

    name: str
    init: Callable
    """(key, params) -> rule_state, `()` where there is none."""
    grads: Callable
    """(params, rule_state, batch) -> (value, grads, rule_state), grads in the structure of params."""
    network: Layer | None = None
    """What it was made from, so that diagnostics can look inside."""
    loss: Loss | None = None


def check_made_of(who: str, network, loss) -> None:
    """Raise a `ValueError` unless a rule is made from a Layer and a Loss."""
    check_layer(who, network)
    if not isinstance(loss, Loss):
        got = getattr(loss, "__name__", repr(loss))
        raise ValueError(f"`{who}` expected a Loss as second argument, got {got}. For example: `bp.squared_error`.")


def check_batch(who: str, rule: Rule, params: Params, batch) -> tuple[Any, jax.Array]:
    """Examples, an array or a pytree of arrays, and targets that fit the rule, or a `ValueError`.

    Looks, before anything is compiled, at what a compiled program cannot: NaN and infinity in examples, targets and
    params, labels out of range. Shapes, dtypes and params of another network are found by tracing the rule once,
    without computing.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(f"`{who}` expected a batch `(x, target)`, got {type(batch).__name__}.")
    x, target = jax.tree.map(jnp.asarray, batch[0]), jnp.asarray(batch[1])
    examples = [leaf for leaf in jax.tree.leaves(x) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    for shape in map(jnp.shape, examples):
        if not shape or target.ndim == 0 or shape[0] != target.shape[0]:
            raise ValueError(
                f"`{who}` expected as many targets as examples along the first axis, got x {shape} and "
                f"target {target.shape}."
            )
        if shape[0] == 0:
            raise ValueError(f"`{who}` expected at least one example, got an empty batch of shape {shape}.")
    check_finite(who, "x", x)
    check_finite(who, "target", target)
    check_finite(who, "params", params)
    network, loss = rule.network, rule.loss
    if network is not None and loss is not None:
        output = jax.eval_shape(lambda p, x: network.forward(p, x)[0], params, x)
        jax.eval_shape(loss.value, output, target)
        if jnp.issubdtype(target.dtype, jnp.integer) and output.ndim >= 2:
            check_labels(who, target, output.shape[-1])
    return x, target
