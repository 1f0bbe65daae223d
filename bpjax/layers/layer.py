"""The contract of a layer: a differentiable map with its derivative written out."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Params, Shape


class Takes(NamedTuple):
    """What a layer can be handed beside x: a key, a mask, statistics."""

    what: str
    bind: Callable
    """(value) -> the layer with it; its params and residuals are those of the layer without."""


class Layer(NamedTuple):
    """A differentiable map with its derivative written out.

    `residuals` never hold parameters: `backward` reads weights only from the `params` it is handed. Hand
    it the network's own and it is backpropagation; hand it another pytree of the same structure and it is
    another learning rule.
    """

    name: str
    """For reports: "dense", "sigmoid", "chain"."""
    init: Callable
    """(key, in_shape) -> (params, out_shape), shapes without the batch axis."""
    forward: Callable
    """(params, x) -> (y, residuals)."""
    backward: Callable
    """(params, residuals, dy) -> (dparams, dx)."""
    layers: tuple["Layer", ...] = ()
    """The parts, where the layer is made of layers."""
    rebuild: Callable | None = None
    """(*layers) -> the same combination of other layers, where it is made of layers: what `map_layers` calls."""
    takes: Takes | None = None
    """What else it can be handed, a key or a mask; see `bind`."""


class Part(NamedTuple):
    """A layer of a chain with its place: `path` indexes the network's params, (2,) for `params[2]`."""

    path: tuple[int, ...]
    layer: Layer
    params: Params


def parts(network: Layer, params: Params, path: tuple[int, ...] = ()) -> list[Part]:
    """The layers of a chain in forward order; chains within chains are laid flat.

    A layer that is not a chain is its own only part.
    """
    if network.name != "chain":
        return [Part(path, network, params)]
    pairs = enumerate(zip(network.layers, params, strict=True))
    return [part for i, (layer, p) in pairs for part in parts(layer, p, (*path, i))]


def map_layers(change: Callable[[Layer], Layer], network: Layer) -> Layer:
    """The network with `change(layer)` in place of every layer that is not made of layers, in forward order."""
    if network.rebuild is None:
        return change(network)
    return network.rebuild(*(map_layers(change, layer) for layer in network.layers))


def takers(network: Layer, what: str) -> int:
    """How many layers of the network can be handed `what`; one that takes it for its parts counts once."""
    if network.takes is not None and network.takes.what == what:
        return 1
    return sum(takers(layer, what) for layer in network.layers) if network.rebuild is not None else 0


def bind(network: Layer, what: str, values: Iterator[Any]) -> Layer:
    """The network with the next of `values` handed to every layer that takes `what`, in forward order."""
    if network.takes is not None and network.takes.what == what:
        return network.takes.bind(next(values))
    if network.rebuild is None:
        return network
    return network.rebuild(*(bind(layer, what, values) for layer in network.layers))


def handed(
    name: str, network: Layer, what: str, spread: Callable[[Any], Iterator[Any]], check: Callable[[Any], Any], rebuild
) -> Layer:
    """The network with one more input, (x, value), which goes to every layer in it that takes `what`.

    forward    y = f(x; value)
    backward   dparams, (dx, no gradient)

    `spread(value)` gives what each of them is handed, in forward order; `check` makes the pair of what comes in. Kept:
    the value, for layers that go forward once more, and what the network keeps.
    """

    def bound(value) -> Layer:
        return bind(network, what, spread(value))

    def forward(params, pair):
        x, value = check(pair)
        y, kept = bound(value).forward(params, x)
        return y, (value, kept)

    def backward(params, residuals, dy):
        value, kept = residuals
        dparams, dx = bound(value).backward(params, kept, dy)
        return dparams, (dx, no_gradient(value))

    return Layer(name, network.init, forward, backward, (network,), rebuild)


def no_gradient(x):
    """What stands for the gradient of integers, booleans and keys: zeros of JAX's dtype float0."""
    return np.zeros(jnp.shape(x), jax.dtypes.float0)


def check_layer(who: str, layer) -> Layer:
    """`layer` itself, or a `ValueError` where it is something else, such as a factory not yet called."""
    if isinstance(layer, Layer):
        return layer
    got = getattr(layer, "__name__", repr(layer))
    cure = f"Call it first: `{got}(...)`." if callable(layer) else "Layers are made by `bp.dense(...)` and its kin."
    raise ValueError(f"`{who}` expected a Layer, got {got}. {cure}")


def is_shape(tree) -> bool:
    """Whether it is one shape, a tuple of integers, rather than a pytree of shapes."""
    return isinstance(tree, tuple | list) and all(isinstance(n, int) for n in tree)


def check_in_shape(who: str, in_shape: Shape, rank: int) -> Shape:
    """`in_shape` as a tuple of `rank` positive integers, or a `ValueError`."""
    shape = tuple(in_shape) if isinstance(in_shape, tuple | list) else (in_shape,)
    if len(shape) != rank or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(
            f"`{who}` expected an `in_shape` of {rank} positive integer(s), without the batch axis, got {in_shape!r}."
        )
    return shape
