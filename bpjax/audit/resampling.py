"""Does a layer's direction of change depend on the weights above it, and on what of them?"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from bpjax.gradcheck.agreement import relative_error
from bpjax.gradcheck.float64 import float64_on_host, to_host, widen_to_float64
from bpjax.rules.rule import Rule
from bpjax.rules.units import Unit, merge_units, split_units, units_within
from bpjax.types import Array, Key, Params, RuleState

CHANGED = 1e-8
"""Relative change of a direction, in float64, that counts as one."""

DRAWS = 3
"""How often weights are drawn: the few of a small layer might keep all their signs."""


class Above:
    """What happens to a layer's direction when all weights above it are others."""

    def __init__(self, rule: Rule, params: Params, state: RuleState, batch, key: Key):
        self.rule, self.params, self.state, self.batch, self.key = rule, params, state, batch, key
        self.grads = jax.jit(rule.grads)
        self.whole = self.grads(params, state, batch)[1]

    def tried(self, index: int) -> tuple[float | None, bool | None]:
        """(relative change with the output held, whether no bit changes without) for the layer of units `index`.

        (None, None) for the last layer, and for one whose direction is 0, of which nothing can be told.
        """
        layers = units_within(self.rule.network, self.params)  # type: ignore[arg-type]
        if index == len(layers) - 1 or not any(map(jnp.any, jax.tree.leaves(split_units(layers, self.whole)[index]))):
            return None, None
        key = jax.random.fold_in(self.key, index)
        other = merge_units(
            self.params, [unit.params for unit in (*layers[: index + 1], *drawn(key, layers[index + 1 :]))]
        )
        changed = self.grads(other, self.state, self.batch)[1]
        local = same_bits(split_units(layers, changed)[index], split_units(layers, self.whole)[index])
        return (0.0 if local else self.between(index)), local

    def between(self, index: int) -> float | None:
        """Relative change of one layer's direction, in float64, on the first examples, their output being held."""
        params, state, batch = to_host((self.params, self.state, self.batch))
        with float64_on_host():
            params, state, (x, target) = widen_to_float64((params, state, batch))
            layers = units_within(self.rule.network, params)  # type: ignore[arg-type]
            below, upper = layers[: index + 1], layers[index + 1 :]
            flat, unravel = ravel_pytree([unit.params for unit in upper])
            width = math.prod(jax.eval_shape(self.rule.network.forward, params, x)[0].shape[1:])  # type: ignore[union-attr]
            examples = min(len(target), 2, (flat.size - 1) // width)
            if examples < 1:
                return None
            few = jax.tree.map(lambda a: a[:examples], (x, target))

            def whole(flat):
                return merge_units(params, [*(unit.params for unit in below), *unravel(flat)])

            def output(flat):
                return self.rule.network.forward(whole(flat), few[0])[0].ravel()  # type: ignore[union-attr]

            def direction(flat):
                return split_units(layers, self.grads(whole(flat), state, few)[1])[index]

            keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(self.key, index), 1), DRAWS)
            starts = [ravel_pytree([unit.params for unit in drawn(key, upper)])[0] for key in keys]
            before, others = direction(flat), brought_back(output, starts, output(flat))
            return max((largest_error(direction(other), before) for other in others), default=None)


def drawn(key: Key, layers: list[Unit]) -> list[Unit]:
    """The same layers of units with other params: normal, each array of the size it had, or 1 where it was 0."""
    leaves, structure = jax.tree.flatten([unit.params for unit in layers])

    def anew(key, w):
        size = jnp.sqrt(jnp.mean(w * w))
        return jnp.where(size > 0, size, 1).astype(w.dtype) * jax.random.normal(key, w.shape, w.dtype)

    params = structure.unflatten(map(anew, jax.random.split(key, len(leaves)), leaves))
    return [unit._replace(params=p) for unit, p in zip(layers, params, strict=True)]


def brought_back(output: Callable, starts: list[Array], wanted: Array, steps: int = 30) -> list[Array]:
    """Near each start a point with the wanted output, by Gauss-Newton steps of least norm, where that finds one."""

    @jax.jit
    def step(flat):
        off = output(flat) - wanted
        return flat - jnp.linalg.lstsq(jax.jacrev(output)(flat), off)[0], jnp.max(jnp.abs(off))

    tolerated, found = 1e-13 * max(1.0, float(jnp.max(jnp.abs(wanted)))), []
    for flat in starts:
        for _ in range(steps):
            after, off = step(flat)
            if float(off) <= tolerated:
                found.append(flat)
                break
            flat = after
    return found


def largest_error(a, b) -> float:
    """The largest relative error by norm of a leaf."""
    a, b = to_host((a, b))
    return max(relative_error(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def same_bits(a, b) -> bool:
    """Whether no entry differs."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)
