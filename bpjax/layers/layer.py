"""The contract of a layer: a differentiable map with its derivative written out."""

import enum
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Key, Params, Residuals, Shape


class Takes(NamedTuple):
    """What a layer can be handed beside x: a key, a mask, statistics."""

    what: str
    bind: Callable
    """(value) -> the layer with it; its params and residuals are those of the layer without."""


class Kind(enum.Enum):
    """What a layer is, for code that treats some layers in a particular way. `Layer.name` is for people."""

    LEAF = "leaf"
    """A layer without parts that is none of the kinds below."""
    ACTIVATION = "activation"
    """y = φ(a), entry by entry: no params, any shape. Its derivative can be exchanged, as by `with_slopes`."""
    AFFINE = "affine"
    """Affine in its params, so that dparams depends on the residuals and dy, not on the params: `dense`, `conv`."""
    UNIT_LENGTH = "unit length"
    """Scales every example to length 1; Forward-Forward reads the goodness before it."""
    DROPOUT = "dropout"
    """Sets entries to 0 at random; `without_dropout` removes it."""
    SPIKING = "spiking"
    """Recurrent units that output spikes, 1 or 0, at every time step; what `stdp` learns from."""
    CHAIN = "chain"
    """Layers one after another; params and residuals are tuples with one entry per layer."""
    KEYED = "keyed"
    """A network with the input (x, key)."""
    HOPFIELD = "hopfield"
    """A network that settles into a fixed point."""
    COMBINATOR = "combinator"
    """Any other combination of layers."""


class Init(Protocol):
    """Make initial params for inputs of one shape, given without the batch axis."""

    def __call__(self, key: Key, in_shape: Any, /) -> tuple[Params, Any]:
        """(params, out_shape)."""
        ...


class Forward(Protocol):
    """Compute the output of a batch and what the backward pass needs."""

    def __call__(self, params: Params, x: Any, /) -> tuple[Any, Residuals]:
        """(y, residuals)."""
        ...


class Backward(Protocol):
    """Turn the cotangent of the output into the cotangents of the params and the input."""

    def __call__(self, params: Params, residuals: Residuals, dy: Any, /) -> tuple[Params, Any]:
        """(dparams, dx)."""
        ...


class Parts(NamedTuple):
    """The layers that a layer is made of, and how to make the same layer of others."""

    layers: tuple["Layer", ...]
    rebuild: Callable[..., Any]
    """(*layers) -> the same combination (a `Layer` or a `Cell`) of other layers."""


class Layer(NamedTuple):
    """A differentiable map with its derivative written out.

    `residuals` never hold parameters: `backward` reads weights only from the `params` it receives. With the network's
    own params it is backpropagation; with another pytree of the same structure it is another learning rule.
    """

    name: str
    """For people: "dense", "max pool", "chain"."""
    init: Init
    """(key, in_shape) -> (params, out_shape), shapes without the batch axis."""
    forward: Forward
    """(params, x) -> (y, residuals)."""
    backward: Backward
    """(params, residuals, dy) -> (dparams, dx)."""
    kind: Kind = Kind.LEAF
    """For code: `layer.kind is Kind.CHAIN`."""
    parts: Parts | None = None
    """The layers it is made of, where it is made of layers."""
    arguments: str | None = None
    """For `repr`: the text between the parentheses, "32" for `dense(32)`; "{parts}" stands for the parts."""
    takes: Takes | None = None
    """What else it can be handed, a key or a mask; see `bind`."""

    @property
    def layers(self) -> tuple["Layer", ...]:
        """The layers it is made of; none for a leaf."""
        return self.parts.layers if self.parts else ()

    def __repr__(self) -> str:
        """The calls that make the layer: `chain(dense(32), tanh, dense(10))`."""
        return call_repr(self)


def call_repr(made) -> str:
    """The calls that made a layer or a cell, from its name, arguments and parts."""
    name = made.name.split("(")[0].replace(" ", "_")
    if made.arguments is None and made.parts is None:
        return name
    arguments = "{parts}" if made.arguments is None else made.arguments
    layers = made.parts.layers if made.parts else ()
    return f"{name}({arguments.replace('{parts}', ', '.join(map(repr, layers)))})"


class PlacedLayer(NamedTuple):
    """A layer of a chain with its place: `path` indexes the network's params, (2,) for `params[2]`."""

    path: tuple[int, ...]
    layer: Layer
    params: Params


def placed_layers(network: Layer, params: Params, path: tuple[int, ...] = ()) -> list[PlacedLayer]:
    """The layers of a chain in forward order, those of nested chains included.

    For a layer that is not a chain the list has one entry, the layer itself.
    """
    if network.kind is not Kind.CHAIN:
        return [PlacedLayer(path, network, params)]
    pairs = enumerate(zip(network.layers, params, strict=True))
    return [placed for i, (layer, p) in pairs for placed in placed_layers(layer, p, (*path, i))]


def map_layers(change: Callable[[Layer], Layer], network: Layer) -> Layer:
    """The network with `change(layer)` in place of every layer that has no parts, in forward order."""
    if network.parts is None:
        return change(network)
    return network.parts.rebuild(*(map_layers(change, layer) for layer in network.layers))


def takers(network: Layer, what: str) -> int:
    """How many layers of the network can be handed `what`; one that takes it for its parts counts once."""
    if network.takes is not None and network.takes.what == what:
        return 1
    return sum(takers(layer, what) for layer in network.layers)


def bind(network: Layer, what: str, values: Iterator[Any]) -> Layer:
    """The network with the next of `values` handed to every layer that takes `what`, in forward order."""
    if network.takes is not None and network.takes.what == what:
        return network.takes.bind(next(values))
    if network.parts is None:
        return network
    return network.parts.rebuild(*(bind(layer, what, values) for layer in network.layers))


def handed(
    name: str,
    network: Layer,
    what: str,
    spread: Callable[[Any], Iterator[Any]],
    check: Callable[[Any], Any],
    kind: Kind,
    rebuild,
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

    return Layer(name, network.init, forward, backward, kind, Parts((network,), rebuild))


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
