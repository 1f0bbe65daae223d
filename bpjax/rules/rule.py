"""The contract of a learning rule: how a batch becomes an update direction."""

import numbers
import re
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer, check_layer
from bpjax.losses import Loss
from bpjax.types import Array, Batch, Key, Params, RuleState
from bpjax.util.call_text import shown, value_text
from bpjax.util.checks import as_array, check_finite, check_instance


class InitRule(Protocol):
    """Make the initial state of a rule."""

    def __call__(self, key: Key, params: Params, /) -> RuleState:
        """rule_state, `()` for a rule without state."""
        ...


class Grads(Protocol):
    """Compute the loss of a batch, the update direction and the next state."""

    def __call__(self, params: Params, rule_state: RuleState, batch: Batch, /) -> tuple[Array, Params, RuleState]:
        """(value, grads, rule_state), grads in the structure of params; optimizers descend along grads."""
        ...


class Rule(NamedTuple):
    """A learning rule: the signature of `jax.value_and_grad`, plus an explicit state for rules that need one."""

    name: str
    """For people: "feedback alignment"."""
    init: InitRule
    """(key, params) -> rule_state, `()` for a rule without state."""
    grads: Grads
    """(params, rule_state, batch) -> (value, grads, rule_state), grads in the structure of params."""
    network: Layer | None = None
    """The network that the rule trains; gradient checks and diagnostics read it."""
    loss: Loss | None = None
    """The loss that `value` reports."""
    call: str | None = None
    """For `repr`: the call that made the rule; without it, `name(network, loss)`."""

    def __repr__(self) -> str:
        """The call that made the rule: `feedback_alignment(chain(dense(8), tanh, dense(1)), squared_error)`."""
        return self.call or call_of(re.sub(r"\W+", "_", self.name).lower(), self.network, self.loss)


def call_of(function: str, *arguments, **keywords) -> str:
    """The text of a call, for `Rule.call`; positional arguments that are None are left out."""
    shown = [value_text(value) for value in arguments if value is not None]
    shown += [f"{name}={value_text(value)}" for name, value in keywords.items()]
    return f"{function}({', '.join(shown)})"


def check_made_of(who: str, network, loss) -> None:
    """Raise a `ValueError` unless `network` is a Layer and `loss` a Loss, the two things a rule is made from."""
    check_layer(who, network)
    if not isinstance(loss, Loss):
        raise ValueError(
            f"`{who}` expected a Loss as second argument, got {shown(loss)}. For example: `bp.squared_error`."
        )
    if loss.reduction == "none":
        raise ValueError(
            f"`{who}` expected a loss with one value for a batch, got {loss.name}. "
            "Reduce it: `bp.losses.reduced(loss, 'sum')`."
        )


def check_rule(who: str, rule) -> Rule:
    """`rule` itself, or a `ValueError` if it is not a Rule, such as `bp.backprop` without its arguments."""
    return check_instance(who, "rule", rule, Rule, "bp.backprop(network, loss)")


def as_batch(who: str, batch) -> tuple[Any, jax.Array]:
    """A pair (x, target) as arrays, or a `ValueError`."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        present = " Call `present()` of the task." if hasattr(batch, "present") else ""
        raise ValueError(f"`{who}` expected a batch `(x, target)`, got {shown(batch)}.{present}")
    return as_examples(who, batch[0]), as_array(who, "target", batch[1])


def as_examples(who: str, x) -> Any:
    """Examples as arrays, or a `ValueError`: nested lists of numbers are one array, any other x is a pytree."""
    leaves = jax.tree.leaves(x)
    if not leaves:
        raise ValueError(f"`{who}` expected `x` to be an array of examples, got {shown(x)}.")
    if isinstance(x, list) and all(isinstance(leaf, numbers.Number) for leaf in leaves):
        return as_array(who, "x", x)
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else as_array(who, "x", leaf), x)


def check_batch(who: str, rule: Rule, params: Params, batch) -> tuple[Any, jax.Array]:
    """The examples (an array or a pytree of arrays) and the targets as arrays that fit the rule.

    Checks on the host what a compiled program cannot report: NaN and infinity in examples, targets and params, labels
    out of range. Tracing the network and the loss once, without computing, finds wrong shapes, wrong dtypes and params
    that belong to another network.

    Args:
        who: the caller's name, for error messages.
        rule: the rule that will receive the batch; its network and loss are checked where it has them.
        params: of the rule's network.
        batch: (x, target).

    Raises:
        ValueError: the batch is not a pair, is empty, has not as many targets as examples, holds NaN or infinity, or
            has labels out of range; the params are not finite or do not fit the network.
    """
    check_rule(who, rule)
    x, target = as_batch(who, batch)
    examples = [leaf for leaf in jax.tree.leaves(x) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    for shape in map(jnp.shape, examples):
        if not shape or target.ndim == 0 or shape[0] != target.shape[0]:
            raise ValueError(
                f"`{who}` expected as many targets as examples along the first axis, got x {shape} and "
                f"target {target.shape}. Slice both to the same examples."
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
        if loss.check is not None:
            loss.check(who, batch[1], output)  # as given: JAX may narrow its integers
    return x, target
