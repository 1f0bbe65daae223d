"""Change one thing about a rule's network or target, and see whether the directions of its hidden layers change."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.audit.decoupled import decoupled, map_chain, perturbed_slopes
from bpjax.audit.resampling import CHANGED, DRAWS, resampled
from bpjax.gradcheck.agreement import relative_error
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule
from bpjax.rules.units import merge_units, split_units, units_within
from bpjax.types import Array, Key, Params, RuleState
from bpjax.util.trees import flat

Changes = tuple[float | None, ...]
"""Relative change of each hidden layer's direction; None where the layer has no direction."""


class MakeRule(Protocol):
    """Make a rule, such as `backprop`."""

    def __call__(self, network: Layer, loss: Loss, /) -> Rule:
        """The rule of this network and this loss."""
        ...


class Probe:
    """A rule on one batch, and what its hidden layers do when one thing is different.

    Every run makes the rule's state from the same key and shows it the batch as often, at fixed params.
    """

    def __init__(self, make: MakeRule, network: Layer, loss: Loss, params: Params, batch, key: Key, steps: int):
        self.make, self.network, self.loss, self.params = make, network, loss, params
        self.x, self.target = batch
        self.key_state, self.key_draws = jax.random.split(key)
        self.layers = units_within(network, params)
        self.rule = make(network, loss)
        self.state, self.steps, self.directions = self._until_directions(steps)

    def weight_transport(self) -> Changes:
        """With other weights of later layers in the backward pass only."""
        return self._with_later_weights(self._in_backward_pass)

    def later_layers(self) -> Changes:
        """With other weights of later layers in both passes."""
        return self._with_later_weights(lambda index, params: self._run(self.rule, params, self.target, self.target))

    def derivatives(self) -> Changes:
        """With noise added to the derivatives of the activations; of a few draws, until one changes a direction."""
        rows = []
        for key in jax.random.split(jax.random.fold_in(self.key_draws, len(self.layers)), DRAWS):
            network = perturbed_slopes(self.network, key)
            if network is None:
                return (None,) * len(self.directions)
            rows.append(self._changes(self._run(self.make(network, self.loss), self.params, self.target, self.target)))
            if changed(rows[-1]) is not False:
                break
        return tuple(map(_largest, zip(*rows, strict=True)))

    def other_target(self) -> Changes:
        """With another target, from the first step on."""
        other = self._other_target()
        return self._changes(self._run(self.rule, self.params, other, other))

    def other_target_now(self) -> Changes:
        """With another target at this step, the state being that of the true target."""
        return self._changes(self._directions(self.rule, self.params, self.state, self._other_target()))

    def _until_directions(self, most: int) -> tuple[RuleState, int, list]:
        """The state before the first step at which all hidden layers have a direction, its number, the directions."""
        state, step = self.rule.init(self.key_state, self.params), 0
        while True:
            _, direction, after = self.rule.grads(self.params, state, (self.x, self.target))
            directions = split_units(self.layers, direction)[:-1]
            if step == most or all(map(_any, directions)):
                return state, step, directions
            state, step = after, step + 1

    def _directions(self, rule: Rule, params, state, target) -> list:
        return split_units(self.layers, rule.grads(params, state, (self.x, target))[1])[:-1]

    def _run(self, rule: Rule, params, before, now) -> list:
        """The directions after as many steps with the target `before` as the rule itself has had."""
        state = rule.init(self.key_state, params)
        for _ in range(self.steps):
            state = rule.grads(params, state, (self.x, before))[2]
        return self._directions(rule, params, state, now)

    def _changes(self, others: list) -> Changes:
        return tuple(map(relative_change, others, self.directions))

    def _with_later_weights(self, run: Callable[[int, Params], list]) -> Changes:
        """For each hidden layer the largest change of its direction over some draws of the weights of later layers."""

        def tried(index: int) -> Iterator[float | None]:
            for key in jax.random.split(jax.random.fold_in(self.key_draws, index), DRAWS):
                earlier, later = self.layers[: index + 1], self.layers[index + 1 :]
                other = merge_units(self.params, [unit.params for unit in (*earlier, *resampled(key, later))])
                yield relative_change(run(index, other)[index], self.directions[index])

        return tuple(_first_change(tried(index)) for index in range(len(self.directions)))

    def _in_backward_pass(self, index: int, other: Params) -> list:
        """Later layers receive the weights `other`; their forward pass uses the true ones. Gains and biases stay."""
        other = jax.tree.map(lambda w, true: w if true.ndim >= 2 else true, other, self.params)
        first_later = len(jax.tree.leaves([unit.params for unit in self.layers[: index + 1]]))
        true_leaves, place = jax.tree.leaves(self.params), 0

        def change(layer: Layer, params: Params) -> Layer:
            nonlocal place
            leaves, structure = jax.tree.flatten(params)
            first, place = place, place + len(leaves)
            if first < first_later or not leaves:
                return layer
            true = true_leaves[first:place]
            return decoupled(layer, structure.unflatten([a - b for a, b in zip(leaves, true, strict=True)]))

        network = map_chain(change, self.network, other)
        return self._run(self.make(network, self.loss), other, self.target, self.target)

    def _other_target(self) -> Array:
        outputs = jax.eval_shape(self.network.forward, self.params, self.x)[0].shape[-1]
        return other_target(self.target, outputs)


def other_target(target: Array, outputs: int) -> Array:
    """A target of the same kind that differs in every example: the next class, or high for low with a single output.

    Where that changes nothing, 1 is added.
    """
    if jnp.issubdtype(target.dtype, jnp.integer):
        return (target + 1) % outputs
    rolled = jnp.roll(target, 1, axis=-1) if outputs > 1 else jnp.min(target) + jnp.max(target) - target
    return jnp.where(jnp.any(rolled != target), rolled, target + 1)


def relative_change(other, direction) -> float | None:
    """‖other − direction‖ / ‖direction‖ over all arrays; None where direction is 0, ∞ where other is not finite."""
    size = float(np.linalg.norm(flat(direction)))
    return relative_error(flat(other), flat(direction)) if size and math.isfinite(size) else None


def changed(changes: Changes) -> bool | None:
    """Whether any hidden layer's direction changed; None where no layer has a direction."""
    largest = _largest(changes)
    return None if largest is None else largest > CHANGED


def _any(tree) -> bool:
    return any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(tree))


def _largest(changes: Iterable[float | None]) -> float | None:
    return max((change for change in changes if change is not None), default=None)


def _first_change(changes: Iterator[float | None]) -> float | None:
    """The first that counts as a change, else the largest."""
    seen = []
    for change in changes:
        seen.append(change)
        if change is None or change > CHANGED:
            break
    return _largest(seen)
