"""Networks that do one thing forward and another backward: made to see which of the two a rule looks at."""

from collections.abc import Callable

import jax
from jax.flatten_util import ravel_pytree

from bpjax.layers.layer import Kind, Layer, map_layers
from bpjax.rules.slopes import is_activation, noisy_slope
from bpjax.rules.units import inner_chain
from bpjax.types import Key, Params


def crossed(layer: Layer, offset: Params) -> Layer:
    """A layer whose way back is through the params it is handed, its way forward through those less `offset`.

    forward    y = f(x, θ − offset)
    backward   that of the layer, handed θ

    JAX's own derivative, too, goes forward (`jax.jvp`) with θ − offset and back (`jax.vjp`) with θ.
    """

    def true(params):
        return jax.tree.map(lambda p, o: p - o, params, offset)

    @jax.custom_jvp
    def propagated(params, x):
        return layer.forward(true(params), x)[0]

    @propagated.defjvp
    def _(at, along):
        return propagated(*at), sum(_through(place, at, tangent) for place, tangent in enumerate(along))

    def _through(place: int, at, tangent):
        """What comes of one argument's tangent, as one flat vector: it is linear in all of it, or not at all."""
        flat, unravel = ravel_pytree(tangent)

        def ahead(at, flat):
            params, x = at
            of_one = [lambda p: layer.forward(p, x)[0], lambda x: layer.forward(true(params), x)[0]][place]
            return jax.jvp(of_one, ((true(params), x)[place],), (unravel(flat),))[1]

        def back(at, dy):
            params, x = at
            return ravel_pytree(layer.backward(params, layer.forward(true(params), x)[1], dy)[place])[0]

        return jax.custom_derivatives.linear_call(ahead, back, at, flat)

    def forward(params, x):
        return propagated(params, x), layer.forward(true(params), x)[1]

    return layer._replace(forward=forward, parts=None, uses=frozenset())


def other_slopes(network: Layer, key: Key, deviation: float = 0.5) -> Layer | None:
    """The network with every derivative of an activation off by noise, JAX's own too; None where there is none.

    The names stay those of the network, so that rules that ask for certain layers find them.
    """
    found = []

    def changed(layer: Layer) -> Layer:
        if not is_activation(layer):
            return layer
        found.append(layer)
        noisy = noisy_slope(layer, jax.random.fold_in(key, len(found)), deviation)

        @jax.custom_jvp
        def phi(a):
            return layer.forward((), a)[0]

        @phi.defjvp
        def _(at, along):
            return phi(*at), noisy.backward((), layer.forward((), *at)[1], *along)[1]

        return noisy._replace(name=layer.name, forward=lambda params, a: (phi(a), layer.forward((), a)[1]))

    network = map_layers(changed, network)
    return network if found else None


def part_by_part(network: Layer, params: Params, change: Callable[[Layer, Params], Layer]) -> Layer:
    """The network with `change(layer, params)` in place of every layer of its chain, in forward order."""
    if network.kind is Kind.CHAIN:
        pairs = zip(network.layers, params, strict=True)
        return network.parts.rebuild(*(part_by_part(layer, p, change) for layer, p in pairs))  # type: ignore[misc]
    inner = inner_chain(network)
    if inner is not network:
        return network.parts.rebuild(part_by_part(inner, params, change))  # type: ignore[misc]
    return change(network, params)
