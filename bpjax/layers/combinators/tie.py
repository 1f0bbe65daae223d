"""Weights that several layers share."""

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import add_gradients, chain, check_length
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count


def tie(network: Layer, *groups: tuple[int, ...]) -> Layer:
    """A chain whose layers at the given places share one set of parameters, such as `tie(chain(f, f, f), (0, 2))`.

    forward    wⱼ = wᵢ for all places i, j of a group
    backward   dwᵢ = Σⱼ dwⱼ                                 dx as ever

    Locally shared weights, whose changes are summed (Rumelhart, Hinton & Williams 1986, in PDP chapter 8, on T and C,
    where units with receptive fields at different places share their weights; that is what `conv` does along the
    places of one layer). The params are the chain's, a group's at its first place and `()` at its others. Feedback
    weights, in the same structure, are shared likewise.

    Raises:
        ValueError: `network` is not a chain; a group has not at least two places, or they are none of the chain's, or
            in two groups; in `init`, layers of a group whose params are not of one structure and shape; in
            `forward`, params that are another network's.
    """
    check_layer("tie", network)
    if network.kind is not Kind.CHAIN:
        raise ValueError(f"`tie` expected a chain, got {network.name}. Tie layers within `chain(...)`.")
    first = _first_places(network, groups)

    def init(key, in_shape):
        params, out_shape = network.init(key, in_shape)
        for place, shared in first.items():
            kinds = [jax.tree.map(lambda leaf: (jnp.shape(leaf), leaf.dtype), params[i]) for i in (shared, place)]
            if kinds[0] != kinds[1]:
                shapes = [jax.tree.map(jnp.shape, params[i]) for i in (shared, place)]
                raise ValueError(
                    f"`tie` expected layers with params of one structure and shape, got layer {shared} "
                    f"({network.layers[shared].name}) with {shapes[0]} and layer {place} "
                    f"({network.layers[place].name}) with {shapes[1]}."
                )
        return without_copies(params), out_shape

    def forward(params, x, context=EMPTY):
        return network.forward_in(context, with_copies(params), x)

    def backward(params, residuals, dy):
        dparams, dx = network.backward(with_copies(params), residuals, dy)
        places = {shared: [shared, *(p for p, s in first.items() if s == shared)] for shared in first.values()}
        summed = {shared: add_gradients(*(dparams[p] for p in group)) for shared, group in places.items()}
        return without_copies(summed.get(i, d) for i, d in enumerate(dparams)), dx

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
    """Of every place but a group's first, where its params are."""
    if not groups:
        raise ValueError("`tie` expected at least one group of places, such as `(0, 2)`, got none.")
    seen, first = set(), {}
    for group in groups:
        if not isinstance(group, tuple | list) or len(group) < 2:
            raise ValueError(f"`tie` expected a group to be a tuple of at least two places, got {group!r}.")
        for place in group:
            check_count("tie", "place", place, least=0)
            if place >= len(network.layers):
                raise ValueError(f"`tie` expected places below {len(network.layers)}, the chain's length, got {place}.")
            if place in seen:
                raise ValueError(f"`tie` expected every place once, got {place} twice in {groups}.")
            seen.add(place)
        first |= {place: group[0] for place in group[1:]}
    return first
