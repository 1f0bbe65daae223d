"""The contract of a layer: a differentiable map with its derivative written out."""

import enum
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array, Key, Params, Residuals, Shape
from bpjax.util.call_text import is_function, shown
from bpjax.util.checks import check_function, other_params


class Context(NamedTuple):
    """What some layers need beside their input; combinators pass it to those of their parts that use it.

    `keyed` sets the key, `masked` a mask, `with_statistics` the statistics of every batch norm.
    """

    key: Key | None = None
    """For dropout."""
    mask: Array | None = None
    """(N, T) booleans, true where a position of x is real; for attention."""
    memory_mask: Array | None = None
    """(N, S) booleans, true where a position of the memory is real; for cross attention."""
    statistics: Any = None
    """(mean, variance) by which a batch norm normalizes, in place of those of the batch."""

    def for_part(self, index: int) -> "Context":
        """The context of one of several parts: the index is folded into the key, so that no two parts share one."""
        return self if self.key is None else self._replace(key=jax.random.fold_in(self.key, index))


EMPTY = Context()


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
    GRAPH = "graph"
    """Nodes that predict each other along edges, cycles included."""
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


class ForwardInContext(Protocol):
    """The forward pass of a layer that uses a context, or has parts that do."""

    def __call__(self, params: Params, x: Any, context: Context = EMPTY, /) -> tuple[Any, Residuals]:
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
    """(params, x) -> (y, residuals); (params, x, context) for a layer with `uses`."""
    backward: Backward
    """(params, residuals, dy) -> (dparams, dx). What it needs of the context is in the residuals."""
    kind: Kind = Kind.LEAF
    """For code: `layer.kind is Kind.CHAIN`."""
    parts: Parts | None = None
    """The layers it is made of, where it is made of layers."""
    arguments: str | None = None
    """For `repr`: the text between the parentheses, "32" for `dense(32)`; "{parts}" stands for the parts."""
    uses: frozenset[str] = frozenset()
    """The fields of the context that the layer or one of its parts reads, such as {"key"}."""
    settings: Any = None
    """What the factory was given, as a hashable record, where another program is told: the constants of neurons."""
    made_from: Any = None
    """What the layer was made from, for rules that work inside it: the `Cell` of `unroll`, the `Graph` of `graph`."""

    def forward_in(self, context: Context, params: Params, x) -> tuple[Any, Residuals]:
        """`forward` in a context: how combinators run their parts, of which few take a context."""
        if not self.uses:
            return self.forward(params, x)
        return cast(ForwardInContext, self.forward)(params, x, context)

    @property
    def layers(self) -> tuple["Layer", ...]:
        """The layers it is made of; none for a leaf."""
        return self.parts.layers if self.parts else ()

    refuses_calls = True  # for `is_function`

    def __call__(self, *args, **options) -> NoReturn:
        """Layers are records, not functions: raises a `ValueError` that says what to write instead."""
        if not args and not options:
            raise ValueError(f"`{self.name}` is a layer already. Use it without parentheses: `{self!r}`.")
        raise ValueError(
            f"`{self.name}` is a layer, which is a record and not a function. Compute its output by "
            f"`y, residuals = layer.forward(params, x)`, with params from `layer.init(key, in_shape)`."
        )

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
    if not isinstance(params, tuple | list) or len(params) != len(network.layers):
        raise other_params(f"`{network.name}`", f"of {len(network.layers)} layers", params)
    pairs = enumerate(zip(network.layers, params, strict=True))
    return [placed for i, (layer, p) in pairs for placed in placed_layers(layer, p, (*path, i))]


def map_layers(change: Callable[[Layer], Layer], network: Layer) -> Layer:
    """The network with `change(layer)` in place of every layer that has no parts, in forward order."""
    check_function("map_layers", "change", change)
    check_layer("map_layers", network)
    if network.parts is None:
        return change(network)
    return network.parts.rebuild(*(map_layers(change, layer) for layer in network.layers))


def leaf_layers(network: Layer) -> list[Layer]:
    """All layers without parts, in forward order."""
    return [leaf for part in network.layers for leaf in leaf_layers(part)] if network.parts else [network]


def uses_of(layers: Iterable[Layer]) -> frozenset[str]:
    """The fields of the context that at least one of the layers reads."""
    return frozenset().union(*(layer.uses for layer in layers))


def with_context(layer: Layer, context: Context) -> Layer:
    """The layer with a fixed context; it takes none itself."""
    return layer._replace(forward=lambda params, x: layer.forward_in(context, params, x), uses=frozenset())


def no_gradient(x):
    """The gradient of integers, booleans and keys: zeros of dtype float0, as JAX requires."""
    return np.zeros(jnp.shape(x), jax.dtypes.float0)


def check_layer(who: str, layer) -> Layer:
    """`layer` itself, or a `ValueError` if it is not a Layer, such as a factory that was not called."""
    if isinstance(layer, Layer):
        return layer
    got = shown(layer)
    cure = f"Call it first: `{got}(...)`." if is_function(layer) else "Make one: `bp.dense(32)`."
    raise ValueError(f"`{who}` expected a Layer, got {got}. {cure}")


def is_shape(tree) -> bool:
    """Whether it is one shape, a tuple of integers, rather than a pytree of shapes."""
    return isinstance(tree, tuple | list) and all(isinstance(n, int | np.integer) for n in tree)


def as_shape(in_shape) -> tuple:
    """A shape as a tuple; one number is a shape of one axis, and so is `x.shape` as an array."""
    if isinstance(in_shape, np.ndarray | jax.Array) and in_shape.ndim == 1:
        return tuple(np.asarray(in_shape))
    return tuple(in_shape) if isinstance(in_shape, tuple | list) else (in_shape,)


def check_any_shape(who: str, in_shape) -> Shape:
    """`in_shape` of any rank as a tuple of positive `int`, or a `ValueError`."""
    return check_in_shape(who, in_shape, len(as_shape(in_shape)))


def check_in_shape(who: str, in_shape, rank: int) -> Shape:
    """`in_shape` as a tuple of `rank` positive `int`, or a `ValueError`; NumPy's integers are integers."""
    shape = as_shape(in_shape)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in shape)
    if len(shape) != rank or not whole:
        raise ValueError(
            f"`{who}` expected an `in_shape` of {rank} positive integer(s), without the batch axis, got "
            f"{shown(in_shape)}."
        )
    return tuple(map(int, shape))
