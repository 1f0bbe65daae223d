"""Protocols of 1986: weight decay after each change, examples that are held out, answers that are right."""

import jax
import jax.numpy as jnp
import optax

import bpjax as bp
from bpjax.types import Array, Key

HELD_OUT = -1.0
"""The target of an example that is not taught."""


def decayed(optimizer: optax.GradientTransformation, decay, start: int = 0) -> optax.GradientTransformation:
    """An optimizer after whose change every weight and bias shrinks, w ← (1 − d)(w + Δw); Δw itself does not.

    Args:
        optimizer: gives Δw.
        decay: d, such as 0.002 for 0.2 %; may be traced.
        start: the number of changes without decay before.
    """

    def init(params):
        return optimizer.init(params), jnp.zeros((), jnp.int32)

    def update(updates, state, params=None):
        changes, inner = optimizer.update(updates, state[0], params)
        d = jnp.where(state[1] < start, 0.0, decay)
        return jax.tree.map(lambda change, w: (1 - d) * change - d * w, changes, params), (inner, state[1] + 1)

    return optax.GradientTransformation(init, update)


def taught(loss: bp.losses.Loss) -> bp.losses.Loss:
    """The loss of the examples that are not held out: a target `HELD_OUT` adds nothing to value and gradient.

    Args:
        loss: summed over outputs, without an error where output and target are equal.
    """

    def value(output, target):
        return loss.value(output, jnp.where(target == HELD_OUT, output, target))

    def gradient(output, target):
        return loss.gradient(output, jnp.where(target == HELD_OUT, output, target))

    return loss._replace(name=f"taught {loss.name}", value=value, gradient=gradient, call=f"taught({loss!r})")


def hold_out(key: Key, target: Array, count) -> tuple[Array, Array]:
    """The targets with `count` random examples held out, and whether (N,) each example is.

    Args:
        key: of the choice.
        target: (N, ...).
        count: of the examples; may be traced.
    """
    chosen = jax.random.permutation(key, len(target)) < count
    return without(target, chosen), chosen


def backprop_with_held_out(network: bp.Layer, loss: bp.losses.Loss, examples: int, count: int) -> bp.Rule:
    """Backpropagation on all but `count` random examples; the state of the rule (N,) says which are held out.

    As a state the choice is made once for each run, not in every epoch.

    Args:
        network: that is trained.
        loss: of the taught examples.
        examples: N.
        count: of the examples that are held out.
    """
    hidden = taught(loss)

    def init(key, params):
        return jax.random.permutation(key, examples) < count

    def grads(params, chosen, batch):
        x, target = batch
        value, dparams, _ = bp.backprop(network, hidden).grads(params, (), (x, without(target, chosen)))
        return value, dparams, chosen

    return bp.Rule("backprop with held-out examples", init, grads, network, loss)


def without(target: Array, chosen: Array) -> Array:
    """The targets (N, ...) with those that are chosen (N,) held out."""
    return jnp.where(chosen.reshape(-1, *(1,) * (target.ndim - 1)), HELD_OUT, target)


def taught_within(tolerance: float) -> bp.training.Stop:
    """Stop when every output of the taught examples is within `tolerance` of its target.

    Args:
        tolerance: as in `bp.outputs_within`.
    """

    def condition(epoch):
        x, target = epoch.data
        output = epoch.rule.network.forward(epoch.params, x)[0]
        return jnp.max(jnp.where(target == HELD_OUT, 0, jnp.abs(target - output))) < tolerance

    return bp.stop_when(condition, "every output right")


def most_active(output: Array, target: Array) -> Array:
    """Whether (...) all units whose target is on are more active than all others, along the last axis."""
    on = jnp.min(jnp.where(target > 0.5, output, jnp.inf), axis=-1)
    return on > jnp.max(jnp.where(target > 0.5, -jnp.inf, output), axis=-1)
