"""Late error signals: layers that do not wait for each other, or for the target."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import placed_layers
from bpjax.rules.rule import Rule
from bpjax.types import Array, RuleState
from bpjax.util.checks import check_count


class Ring(NamedTuple):
    """The last τ directions of one array of weights, in the order they are wanted."""

    past: Array  # (τ, ...) the oldest at `place`
    place: Array  # () int32, 0 … τ−1


class DelayedState(NamedTuple):
    """State of a `delayed` rule."""

    rings: list[Ring]  # for each array of weights
    rule: RuleState


def delayed(rule: Rule, steps: int | tuple[int, ...]) -> Rule:
    """Every layer learns from the signal of τ steps ago: the direction at w(t−τ), for the batch presented then.

        w(t+1) = w(t) − η g(t−τ),   g(t) = 0 for t < 0:       the first τ steps change nothing

    On a quadratic of curvature λ plain gradient descent is stable for ηλ < 2 sin(π / (2(2τ + 1))), 2, 1, 0.618 … for
    τ = 0, 1, 2 …: `theory.delay_limit`. The article's synchronized discrete steps are τ = 0.

    With a delay for each layer they are out of step with each other: (4, 2, 0) is a network in which an error takes two
    steps from a layer to the one below, as in a pipeline.

    The value is that of the present batch and weights. The state holds τ copies of the direction.

    Args:
        rule: any rule.
        steps: τ, for all weights, or for each layer with parameters of the rule's network, in forward order.

    Raises:
        ValueError: a delay is not an integer ≥ 0; delays by layer for a rule that does not know its network; in
            `init`, not as many delays as layers with parameters.
    """
    by_layer = isinstance(steps, tuple | list)
    own = tuple(steps) if isinstance(steps, tuple | list) else (steps,)
    for delay in own:
        check_count("delayed", "steps", delay, least=0)
    network = rule.network
    if by_layer and network is None:
        raise ValueError(
            f"`delayed` expected a rule that knows its network, to tell its layers apart; `{rule.name}` does not. "
            "Give `Rule(..., network=...)`, or one delay for all."
        )

    def delays(params) -> list[int]:
        """One for each array of weights."""
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
        rings = [
            Ring(jnp.zeros((delay, *w.shape), w.dtype), jnp.zeros((), jnp.int32))
            for delay, w in zip(delays(params), leaves, strict=True)
        ]
        return DelayedState(rings, rule.init(key, params))

    def grads(params, state, batch):
        value, present, inner = rule.grads(params, state.rule, batch)
        leaves, structure = jax.tree.flatten(present)
        exchanged = [exchange(ring, leaf) for ring, leaf in zip(state.rings, leaves, strict=True)]
        late, rings = [old for old, _ in exchanged], [ring for _, ring in exchanged]
        return value, structure.unflatten(late), DelayedState(rings, inner)

    told = "by layer" if by_layer else f"by {steps}"
    return rule._replace(name=f"{rule.name} delayed {told}", init=init, grads=grads)


def exchange(ring: Ring, present: Array) -> tuple[Array, Ring]:
    """The oldest direction, and the ring with the present one in its place."""
    delay = len(ring.past)
    if delay == 0:
        return present, ring
    oldest = jax.lax.dynamic_index_in_dim(ring.past, ring.place, keepdims=False)
    past = jax.lax.dynamic_update_index_in_dim(ring.past, present, ring.place, 0)
    return oldest, Ring(past, (ring.place + 1) % delay)
