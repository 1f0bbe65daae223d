"""Networks whose forward and backward pass use different weights or derivatives, to test which of them a rule reads."""

from typing import Protocol

import jax
from jax.flatten_util import ravel_pytree

from bpjax.layers.layer import Kind, Layer, map_layers
from bpjax.rules.slopes import is_activation, noisy_slope
from bpjax.rules.units import inner_chain
from bpjax.types import Key, Params


def decoupled(layer: Layer, offset: Params) -> Layer:
    """A layer whose backward pass uses its params θ, and whose forward pass uses θ − offset.

    forward    y = f(x, θ − offset)
    backward   that of the layer, at θ

    JAX's own derivatives behave alike: `jax.jvp` uses θ − offset, `jax.vjp` uses θ.
    """

    def forward_params(params):
        return jax.tree.map(lambda p, o: p - o, params, offset)

    @jax.custom_jvp
    def output(params, x):
        return layer.forward(forward_params(params), x)[0]

    @output.defjvp
    def _(primals, tangents):
        return output(*primals), sum(_through(place, primals, tangent) for place, tangent in enumerate(tangents))

    def _through(place: int, primals, tangent):
        """The tangent of the output for the tangent of one argument, raveled: transposition needs one linear input."""
        flat, unravel = ravel_pytree(tangent)

        def jvp(primals, flat):
            params, x = primals
            of_one = [lambda p: layer.forward(p, x)[0], lambda x: layer.forward(forward_params(params), x)[0]][place]
            return jax.jvp(of_one, ((forward_params(params), x)[place],), (unravel(flat),))[1]

        def vjp(primals, dy):
            params, x = primals
            residuals = layer.forward(forward_params(params), x)[1]
            return ravel_pytree(layer.backward(params, residuals, dy)[place])[0]

        return jax.custom_derivatives.linear_call(jvp, vjp, primals, flat)

    def forward(params, x):
        return output(params, x), layer.forward(forward_params(params), x)[1]

    return layer._replace(forward=forward, parts=None, uses=frozenset())


def perturbed_slopes(network: Layer, key: Key, deviation: float = 0.5) -> Layer | None:
    """The network with noise added to the derivative of every activation; None where there is no activation.

    `backward` and JAX's own derivatives are perturbed, the forward pass is not. Names and kinds of layers stay, so that
    rules which look for certain layers find them.

    Args:
        network: a chain, or a combination of one.
        key: for the noise.
        deviation: its standard deviation.
    """
    activations = []

    def perturbed(layer: Layer) -> Layer:
        if not is_activation(layer):
            return layer
        activations.append(layer)
        noisy = noisy_slope(layer, jax.random.fold_in(key, len(activations)), deviation)

        @jax.custom_jvp
        def phi(a):
            return layer.forward((), a)[0]

        @phi.defjvp
        def _(primals, tangents):
            return phi(*primals), noisy.backward((), layer.forward((), *primals)[1], *tangents)[1]

        return noisy._replace(name=layer.name, forward=lambda params, a: (phi(a), layer.forward((), a)[1]))

    network = map_layers(perturbed, network)
    return network if activations else None


class Change(Protocol):
    """Replace a layer."""

    def __call__(self, layer: Layer, params: Params, /) -> Layer:
        """The replacement of a layer that has these params."""
        ...


def map_chain(change: Change, network: Layer, params: Params) -> Layer:
    """The network with `change(layer, params)` in place of every layer of its chain, in forward order.

    Args:
        change: called with each layer and its entry of `params`.
        network: a chain, or a combination of one.
        params: any pytree of the structure of the network's params.
    """
    if network.kind is Kind.CHAIN:
        pairs = zip(network.layers, params, strict=True)
        return network.parts.rebuild(*(map_chain(change, layer, p) for layer, p in pairs))  # type: ignore[union-attr]
    inner = inner_chain(network)
    if inner is not network:
        return network.parts.rebuild(map_chain(change, inner, params))  # type: ignore[union-attr]
    return change(network, params)
