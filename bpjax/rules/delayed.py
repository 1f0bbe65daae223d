"""Delayed updates: each layer is updated with the direction of τ steps ago."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import placed_layers
from bpjax.rules.rule import Rule, call_of, check_rule
from bpjax.types import Array, RuleState
from bpjax.util.checks import check_count


class RingBuffer(NamedTuple):
    """The last τ directions of one parameter array."""

    past: Array  # (τ, ...) the oldest at `place`
    place: Array  # () int32, 0 … τ−1, the entry to read and overwrite next


class DelayedState(NamedTuple):
    """State of a `delayed` rule."""

    buffers: list[RingBuffer]  # one per parameter array
    rule: RuleState  # of the wrapped rule


def delayed(rule: Rule, steps: int | tuple[int, ...]) -> Rule:
    """Apply the direction of τ steps ago: the one computed at w(t−τ) for the batch of that step.

        w(t+1) = w(t) − η g(t−τ),   g(t) = 0 for t < 0:       the first τ steps change nothing

    On a quadratic of curvature λ plain gradient descent is stable for ηλ < 2 sin(π / (2(2τ + 1))), which is 2, 1,
    0.618 … for τ = 0, 1, 2 …: `theory.delay_limit`. τ = 0 is the undelayed rule.

    Delays may differ between layers: with (4, 2, 0) an error needs two steps from each layer to the previous one, as
    in a pipeline.

    The value is the loss of the current batch at the current weights. The state holds τ copies of the direction.

    Args:
        rule: any rule.
        steps: τ, one integer for all params, or a tuple with one integer per layer with parameters, in forward order.

    Raises:
        ValueError: a delay is not an integer ≥ 0; per-layer delays for a rule without a `network`; in `init`, the
            number of delays is not the number of layers with parameters.
    """
    check_rule("delayed", rule)
    by_layer = isinstance(steps, tuple | list)
    own = tuple(steps) if isinstance(steps, tuple | list) else (steps,)
    for delay in own:
        check_count("delayed", "steps", delay, least=0)
    network = rule.network
    if by_layer and network is None:
        raise ValueError(
            f"`delayed` expected a rule with a `network`, for a delay per layer; `{rule.name}` has none. "
            "Make it with `Rule(..., network=...)`, or pass one delay for all params."
        )

    def delays(params) -> list[int]:
        """One delay per parameter array."""
        if network is None or not by_layer:
            return [*own] * len(jax.tree.leaves(params))
        sizes = [len(jax.tree.leaves(part.params)) for part in placed_layers(network, params)]
        sizes = [size for size in sizes if size]
        if len(sizes) != len(own):
            raise ValueError(
                f"`delayed` expected one delay for each of the {len(sizes)} layers with parameters, got {own}."
            )
        return [delay for delay, size in zip(own, sizes, strict=True) for _ in range(size)]

    def init(key, params):
        leaves = jax.tree.leaves(params)
        buffers = [
            RingBuffer(jnp.zeros((delay, *w.shape), w.dtype), jnp.zeros((), jnp.int32))
            for delay, w in zip(delays(params), leaves, strict=True)
        ]
        return DelayedState(buffers, rule.init(key, params))

    def grads(params, state, batch):
        value, newest, inner = rule.grads(params, state.rule, batch)
        leaves, structure = jax.tree.flatten(newest)
        pushed = [push(buffer, leaf) for buffer, leaf in zip(state.buffers, leaves, strict=True)]
        late, buffers = [oldest for oldest, _ in pushed], [buffer for _, buffer in pushed]
        return value, structure.unflatten(late), DelayedState(buffers, inner)

    name = f"{rule.name} delayed by layer" if by_layer else f"{rule.name} delayed by {steps}"
    return rule._replace(name=name, init=init, grads=grads, call=call_of("delayed", rule, steps))


def push(buffer: RingBuffer, newest: Array) -> tuple[Array, RingBuffer]:
    """The oldest direction, and the buffer with the newest one in its place."""
    delay = len(buffer.past)
    if delay == 0:
        return newest, buffer
    oldest = jax.lax.dynamic_index_in_dim(buffer.past, buffer.place, keepdims=False)
    past = jax.lax.dynamic_update_index_in_dim(buffer.past, newest, buffer.place, 0)
    return oldest, RingBuffer(past, (buffer.place + 1) % delay)
