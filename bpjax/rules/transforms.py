"""Devices of the literature that change any rule's direction of change: functions from a rule to a rule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.dropout import without_dropout
from bpjax.layers.layer import Kind
from bpjax.rules.rule import Rule
from bpjax.types import Array, Key, RuleState
from bpjax.util.checks import check_number
from bpjax.util.precision import widen
from bpjax.util.trees import noise_like


def weight_decay(rule: Rule, rate: float | Array) -> Rule:
    """Every weight is drawn to 0: the rule's direction plus λ w, its value plus ½ λ ‖w‖².

    λ, in units of the loss, works through the learning rate as the gradient does: Δw = −η (∂E/∂w + λ w). To take a
    share of the weights at each step whatever the optimizer, chain `optax.add_decayed_weights` behind it.

    Raises:
        ValueError: `rate` is negative.
    """
    check_number("weight_decay", "rate", rate, least=0.0)

    def grads(params, state, batch):
        value, direction, state = rule.grads(params, state, batch)
        decayed = jax.tree.map(lambda g, w: (widen(g) + rate * widen(w)).astype(g.dtype), direction, params)
        squares = sum(jnp.sum(widen(w) ** 2) for w in jax.tree.leaves(params))
        return (value + 0.5 * rate * squares).astype(value.dtype), decayed, state

    return rule._replace(name=f"{rule.name} with weight decay", grads=grads)


class NoiseState(NamedTuple):
    """State of a rule with `weight_noise`."""

    key: Key
    rule: RuleState


def weight_noise(rule: Rule, deviation: float | Array) -> Rule:
    """The rule at weights shaken anew for every batch: w + ξ, ξ normal with standard deviation σ.

    Its direction of change is applied to the unshaken weights; in the mean this prefers flat minima (Murray & Edwards
    1994).

    Raises:
        ValueError: `deviation` is negative.
    """
    check_number("weight_noise", "deviation", deviation, least=0.0)

    def init(key, params):
        own, inner = jax.random.split(key)
        return NoiseState(own, rule.init(inner, params))

    def grads(params, state, batch):
        key, next_key = jax.random.split(state.key)
        noise = noise_like(key, params, jax.random.normal)
        shaken = jax.tree.map(lambda w, xi: w + jnp.asarray(deviation, w.dtype) * xi, params, noise)
        value, direction, inner = rule.grads(shaken, state.rule, batch)
        return value, direction, NoiseState(next_key, inner)

    return rule._replace(name=f"{rule.name} with weight noise", init=init, grads=grads)


class FreshKeys(NamedTuple):
    """State of a rule with `fresh_keys`."""

    key: Key
    rule: RuleState


def fresh_keys(rule: Rule) -> Rule:
    """A rule of a `keyed` network handed a new key with every batch: how a network with dropout is trained.

        rule = fresh_keys(backprop(keyed(network), loss))

    Batches are `(x, target)` again. Its `network`, which predicts and measures stops and validation, is the network
    without dropout.

    Raises:
        ValueError: the rule's network is not made by `keyed`.
    """
    network = rule.network
    if network is None or network.kind is not Kind.KEYED:
        got = "without a network" if network is None else f"of the network {network.name}"
        raise ValueError(
            f"`fresh_keys` expected a rule of a keyed network, got {rule.name} {got}. Make it so: "
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

    return rule._replace(name=f"{rule.name} with fresh keys", init=init, grads=grads, network=without_dropout(network))
