"""Weights that several layers share."""

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import add_trees, alike, chain, check_length
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import check_count


def tie(network: Layer, *groups: tuple[int, ...]) -> Layer:
    """A chain in which layers share parameters: in `tie(chain(f, g, f), (0, 2))` the first and the last.

    forward    wⱼ = wᵢ for all places i, j of a group
    backward   dwᵢ = Σⱼ dwⱼ                                 dx is that of the chain

    Weight changes of a group are summed, as in Rumelhart, Hinton & Williams 1986 (PDP chapter 8, the T and C problem,
    where units with receptive fields at different positions share weights; `conv` does this within one layer). Params
    are those of the chain, with the params of a group at its first place and `()` at its other places. Feedback
    weights have the same structure and are shared in the same way.

    Args:
        network: The chain.
        *groups: Tuples of places in the chain, counted from 0.

    Raises:
        ValueError: `network` is not a chain; a group has fewer than two places, a place outside the chain or a place of
            another group; in `init`, the params of a group differ in structure or shape; in `forward`, the params
            belong to another network.
    """
    check_layer("tie", network)
    if network.kind is not Kind.CHAIN:
        raise ValueError(f"`tie` expected a chain, got {network.name}. Put the layers into `chain(...)`.")
    first = _first_places(network, groups)

    def init(key, in_shape):
        params, out_shape = network.init(key, in_shape)
        for place, shared in first.items():
            kinds = [jax.tree.map(lambda leaf: (jnp.shape(leaf), leaf.dtype), params[i]) for i in (shared, place)]
            if kinds[0] != kinds[1]:
                shapes = [jax.tree.map(jnp.shape, params[i]) for i in (shared, place)]
                raise ValueError(
                    f"`tie` expected layers with params of the same structure and shape, got layer {shared} "
                    f"({network.layers[shared].name}) with {shapes[0]} and layer {place} "
                    f"({network.layers[place].name}) with {shapes[1]}."
                )
        return without_copies(params), out_shape

    def forward(params, x, context=EMPTY):
        return network.forward_in(context, with_copies(params), x)

    def backward(params, residuals, dy):
        dparams, dx = network.backward(with_copies(params), residuals, dy)
        places = {shared: [shared, *(p for p, s in first.items() if s == shared)] for shared in first.values()}
        summed = {shared: add_trees(*(dparams[p] for p in group)) for shared, group in places.items()}
        return alike(params, without_copies(summed.get(i, d) for i, d in enumerate(dparams))), dx

    def with_copies(params):
        check_length("tie", network.layers, params)
        for place, shared in first.items():
            if jax.tree.leaves(params[place]):
                raise ValueError(
                    f"`tie` expected `()` as the params of layer {place}, which shares those of layer {shared}, got "
                    f"{jax.tree.map(jnp.shape, params[place])}. Make the params with this network's `init`."
                )
        return tuple(params[first.get(i, i)] for i in range(len(params)))

    def without_copies(params):
        return tuple(() if i in first else p for i, p in enumerate(params))

    parts = Parts(network.layers, lambda *layers: tie(chain(*layers), *groups))
    arguments = f"chain({{parts}}), {call_text(*groups)}"
    return Layer("tie", init, forward, backward, Kind.COMBINATOR, parts, arguments, network.uses)


def _first_places(network: Layer, groups) -> dict[int, int]:
    """{place: first place of its group} for every place except the first of each group."""
    if not groups:
        raise ValueError("`tie` expected at least one group of places, such as `(0, 2)`, got none.")
    seen, first = set(), {}
    for group in groups:
        if not isinstance(group, tuple | list) or len(group) < 2:
            raise ValueError(f"`tie` expected a group to be a tuple of at least two places, got {shown(group)}.")
        for place in group:
            check_count("tie", "place", place, least=0)
            if place >= len(network.layers):
                raise ValueError(f"`tie` expected places below {len(network.layers)}, the chain's length, got {place}.")
            if place in seen:
                raise ValueError(f"`tie` expected every place once, got {place} twice in {groups}.")
            seen.add(place)
        first |= {place: group[0] for place in group[1:]}
    return first
