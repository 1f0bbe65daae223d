"""Rule transforms: functions from a rule to a rule that change its direction."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.dropout import without_dropout
from bpjax.layers.layer import Kind
from bpjax.rules.rule import Rule, call_of, check_rule
from bpjax.types import Array, Key, RuleState
from bpjax.util.checks import check_number
from bpjax.util.precision import widen
from bpjax.util.trees import noise_like


def weight_decay(rule: Rule, rate: float | Array) -> Rule:
    """L2 regularization: the rule's direction plus λ w, its value plus ½ λ ‖w‖².

    λ is in units of the loss, and the learning rate scales it with the gradient: Δw = −η (∂E/∂w + λ w). For decay that
    does not depend on the optimizer, chain `optax.add_decayed_weights` after it.

    Raises:
        ValueError: `rate` is negative.
    """
    check_rule("weight_decay", rule)
    check_number("weight_decay", "rate", rate, least=0.0)

    def grads(params, state, batch):
        value, direction, state = rule.grads(params, state, batch)
        decayed = jax.tree.map(lambda g, w: (widen(g) + rate * widen(w)).astype(g.dtype), direction, params)
        squares = sum(jnp.sum(widen(w) ** 2) for w in jax.tree.leaves(params))
        return (value + 0.5 * rate * squares).astype(value.dtype), decayed, state

    return rule._replace(name=f"{rule.name} with weight decay", grads=grads, call=call_of("weight_decay", rule, rate))


class NoiseState(NamedTuple):
    """State of a rule with `weight_noise`."""

    key: Key
    rule: RuleState


def weight_noise(rule: Rule, deviation: float | Array) -> Rule:
    """The rule evaluated at noisy weights w + ξ, ξ normal with standard deviation σ, drawn for every batch.

    The direction updates the weights without noise; on average this favours flat minima (Murray & Edwards 1994).

    Raises:
        ValueError: `deviation` is negative.
    """
    check_rule("weight_noise", rule)
    check_number("weight_noise", "deviation", deviation, least=0.0)

    def init(key, params):
        own, inner = jax.random.split(key)
        return NoiseState(own, rule.init(inner, params))

    def grads(params, state, batch):
        key, next_key = jax.random.split(state.key)
        noise = noise_like(key, params, jax.random.normal)
        noisy = jax.tree.map(lambda w, xi: w + jnp.asarray(deviation, w.dtype) * xi, params, noise)
        value, direction, inner = rule.grads(noisy, state.rule, batch)
        return value, direction, NoiseState(next_key, inner)

    call = call_of("weight_noise", rule, deviation)
    return rule._replace(name=f"{rule.name} with weight noise", init=init, grads=grads, call=call)


class FreshKeys(NamedTuple):
    """State of a rule with `fresh_keys`."""

    key: Key
    rule: RuleState


def fresh_keys(rule: Rule) -> Rule:
    """Pass a new key to a rule of a `keyed` network with every batch, to train a network with dropout.

        rule = fresh_keys(backprop(keyed(network), loss))

    The batches of this rule are `(x, target)`. Its `network`, which `fit` uses for predictions, stops and validation,
    is the network without dropout.

    Raises:
        ValueError: the rule's network is not made by `keyed`.
    """
    check_rule("fresh_keys", rule)
    network = rule.network
    if network is None or network.kind is not Kind.KEYED:
        got = "without a network" if network is None else f"of the network {network.name}"
        raise ValueError(
            f"`fresh_keys` expected a rule of a keyed network, got {rule.name} {got}. Write: "
            "`bp.rules.fresh_keys(bp.backprop(bp.layers.keyed(network), loss))`."
        )

    def init(key, params):
        own, inner = jax.random.split(key)
        return FreshKeys(own, rule.init(inner, params))

    def grads(params, state, batch):
        key, next_key = jax.random.split(state.key)
        x, target = batch
        value, direction, inner = rule.grads(params, state.rule, ((x, key), target))
        return value, direction, FreshKeys(next_key, inner)

    name, call = f"{rule.name} with fresh keys", call_of("fresh_keys", rule)
    return rule._replace(name=name, init=init, grads=grads, network=without_dropout(network), call=call)
