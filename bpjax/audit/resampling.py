"""Test whether a layer's update depends on the weights of later layers, and on which property of them."""

import functools
import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from bpjax.gradcheck.agreement import relative_error
from bpjax.layers.layer import Layer
from bpjax.rules.rule import Rule
from bpjax.rules.units import Unit, merge_units, split_units, units_within
from bpjax.types import Array, Key, Params, RuleState
from bpjax.util.float64 import float64_on_host, to_host, widen_to_float64
from bpjax.util.shared_jit import SharedJit, shared_program

CHANGED = 1e-8
"""A relative change of a direction above this, in float64, counts as a change."""

DRAWS = 3
"""How often weights are resampled: one draw of the few weights of a small layer may keep all their signs."""


class Dependence(NamedTuple):
    """How the direction of one layer of units depends on the weights of later layers; see `Resampling`."""

    change_at_same_output: float | None
    local: bool | None


class Output(Protocol):
    """The output of a network as a function of some of its params."""

    def __call__(self, flat: Array, /, *arguments: Any) -> Array:
        """Output, raveled, for these params, raveled."""
        ...


class Resampling:
    """Resample the weights of later layers, and see whether a layer's direction changes."""

    def __init__(self, rule: Rule, params: Params, state: RuleState, batch, key: Key):
        self.rule, self.params, self.state, self.batch, self.key = rule, params, state, batch, key
        self.grads = SharedJit(rule.grads)
        self.direction = self.grads(params, state, batch)[1]

    def dependence(self, index: int) -> Dependence:
        """Dependence of the layer of units `index`: the relative change at the same output, and whether it is local.

        Both are None for the last layer, and for a layer whose direction is 0.
        """
        layers = units_within(self.rule.network, self.params)  # type: ignore[arg-type]
        direction = split_units(layers, self.direction)
        if index == len(layers) - 1 or not any(map(jnp.any, jax.tree.leaves(direction[index]))):
            return Dependence(None, None)
        key = jax.random.fold_in(self.key, index)
        later = resampled(key, layers[index + 1 :])
        params = merge_units(self.params, [unit.params for unit in (*layers[: index + 1], *later)])
        changed = self.grads(params, self.state, self.batch)[1]
        local = same_bits(split_units(layers, changed)[index], direction[index])
        return Dependence(0.0 if local else self.change_at_same_output(index), local)

    def change_at_same_output(self, index: int) -> float | None:
        """Relative change of one layer's direction on the first examples when later weights change, not the output.

        Computed in float64; the largest over several draws. None where no other weights with the same output are found.
        """
        params, state, batch = to_host((self.params, self.state, self.batch))
        with float64_on_host():
            params, state, (x, target) = widen_to_float64((params, state, batch))
            layers = units_within(self.rule.network, params)  # type: ignore[arg-type]
            later = layers[index + 1 :]
            flat, _ = ravel_pytree([unit.params for unit in later])
            width = math.prod(jax.eval_shape(self.rule.network.forward, params, x)[0].shape[1:])  # type: ignore[union-attr]
            examples = min(len(target), 2, (flat.size - 1) // width)
            if examples < 1:
                return None
            few = jax.tree.map(lambda a: a[:examples], (x, target))

            def direction(flat):
                return split_units(layers, self.grads(_replace_later(layers, params, flat, index), state, few)[1])[
                    index
                ]

            keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(self.key, index), 1), DRAWS)
            starts = [ravel_pytree([unit.params for unit in resampled(key, later)])[0] for key in keys]
            output = _output_by_later_params(self.rule.network, index)  # type: ignore[arg-type]
            arguments = params, few[0]
            others = solve_for_output(output, starts, output(flat, *arguments), arguments)
            before = direction(flat)
            return max((largest_error(direction(other), before) for other in others), default=None)


def _replace_later(layers: list[Unit], params: Params, flat: Array, index: int) -> Params:
    """The network's params with those of the layers of units after `index` replaced by `flat`, raveled."""
    _, unravel = ravel_pytree([unit.params for unit in layers[index + 1 :]])
    return merge_units(params, [*(unit.params for unit in layers[: index + 1]), *unravel(flat)])


@functools.lru_cache(maxsize=64)
def _output_by_later_params(network: Layer, index: int) -> Output:
    """(flat, params, x) -> output: one function per network and layer, so that receipts of many rules share it."""

    def output(flat, *arguments):
        params, x = arguments
        return network.forward(_replace_later(units_within(network, params), params, flat, index), x)[0].ravel()

    return output


def resampled(key: Key, layers: list[Unit]) -> list[Unit]:
    """The layers of units with normally distributed params; each array keeps its root mean square, or gets 1 for 0."""
    leaves, structure = jax.tree.flatten([unit.params for unit in layers])

    def draw(key, w):
        size = jnp.sqrt(jnp.mean(w * w))
        return jnp.where(size > 0, size, 1).astype(w.dtype) * jax.random.normal(key, w.shape, w.dtype)

    params = structure.unflatten(map(draw, jax.random.split(key, len(leaves)), leaves))
    return [unit._replace(params=p) for unit, p in zip(layers, params, strict=True)]


def solve_for_output(
    output: Output, starts: list[Array], wanted: Array, arguments: tuple = (), steps: int = 30
) -> list[Array]:
    """Find points near the starts with the wanted output, by Gauss–Newton steps of least norm.

    Args:
        output: a differentiable function.
        starts: where the steps begin.
        wanted: value of `output` at the solutions.
        arguments: what `output` takes beside the point; they stay the same.
        steps: at most this many from each start; where they do not converge, that start has no solution.
    """
    tolerance, solutions = 1e-13 * max(1.0, float(jnp.max(jnp.abs(wanted)))), []
    step = shared_program(_gauss_newton_step, (output,))
    for flat in starts:
        for _ in range(steps):
            after, error = step(flat, wanted, arguments)
            if float(error) <= tolerance:
                solutions.append(flat)
                break
            flat = after
    return solutions


def _gauss_newton_step(output: Output, flat, wanted, arguments):
    error = output(flat, *arguments) - wanted
    jacobian = jax.jacrev(output)(flat, *arguments)
    return flat - jnp.linalg.lstsq(jacobian, error)[0], jnp.max(jnp.abs(error))


def largest_error(a, b) -> float:
    """The largest relative error by norm of a leaf."""
    a, b = to_host((a, b))
    return max(relative_error(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def same_bits(a, b) -> bool:
    """Whether no entry differs."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)
