"""Combinations of layers: in sequence, with a residual connection, in parallel, with a shortcut; frozen layers."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, as_shape, check_any_shape, check_layer, uses_of
from bpjax.util.call_text import shown
from bpjax.util.checks import as_floating
from bpjax.util.precision import widen


def chain(*layers: Layer) -> Layer:
    """Layers one after another: the output of each is the input of the next.

    forward    x₀ = x,     xₗ₊₁ = fₗ(xₗ),     y = x_L
    backward   dx_L = dy,  dxₗ = (∂fₗ/∂xₗ)ᵀ dxₗ₊₁     for l = L−1 … 0: the chain rule, last layer first

    Params and residuals are tuples with one entry per layer. A list of params works as well: dparams is then a list.

    Raises:
        ValueError: an argument is not a Layer, or there is none; in `init`, the shapes of consecutive layers do not
            fit; in `forward`, the params belong to another network.
    """
    if not layers:
        raise ValueError("`chain` expected at least one layer, got none.")
    for layer in layers:
        check_layer("chain", layer)

    def init(key, in_shape):
        params, shape = [], in_shape
        for index, (layer, layer_key) in enumerate(zip(layers, jax.random.split(key, len(layers)), strict=True)):
            try:
                layer_params, shape = layer.init(layer_key, shape)
            except ValueError as error:
                before = f"layer {index - 1} ({layers[index - 1].name})" if index else "the input"
                raise ValueError(
                    f"In a chain, layer {index} ({layer.name}) does not fit {before} of shape {shape}: {error}"
                ) from None
            params.append(layer_params)
        return tuple(params), shape

    def forward(params, x, context=EMPTY):
        check_length("chain", layers, params)
        residuals = []
        for index, (layer, layer_params) in enumerate(zip(layers, params, strict=True)):
            x, layer_residuals = layer.forward_in(context.for_part(index), layer_params, x)
            residuals.append(layer_residuals)
        return x, tuple(residuals)

    def backward(params, residuals, dy):
        check_length("chain", layers, params)
        dparams = []
        for layer, layer_params, layer_residuals in zip(layers[::-1], params[::-1], residuals[::-1], strict=True):
            layer_dparams, dy = layer.backward(layer_params, layer_residuals, dy)
            dparams.append(layer_dparams)
        return alike(params, dparams[::-1]), dy

    return Layer("chain", init, forward, backward, Kind.CHAIN, Parts(layers, chain), uses=uses_of(layers))


def residual(layer: Layer) -> Layer:
    """A residual connection: the input is added to the output of the layer.

    forward    y = x + f(x)                 x and y have the same shape (N, ...)
    backward   dx = dy + (∂f/∂x)ᵀ dy        (He et al. 2016)

    Params and residuals are those of the layer.

    Raises:
        ValueError: `layer` is not a Layer; in `init` and `forward`, the layer changes the shape.
    """
    check_layer("residual", layer)

    def init(key, in_shape):
        params, out_shape = layer.init(key, in_shape)
        check_unchanged("residual", layer, as_shape(in_shape), out_shape)
        return params, out_shape

    def forward(params, x, context=EMPTY):
        y, residuals = layer.forward_in(context, params, x)
        check_unchanged("residual", layer, jax.tree.map(jnp.shape, x), jax.tree.map(jnp.shape, y))
        return jax.tree.map(jnp.add, x, y), residuals

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return dparams, add_trees(dy, dx)

    return Layer("residual", init, forward, backward, Kind.COMBINATOR, Parts((layer,), residual), uses=layer.uses)


def parallel(*layers: Layer, combine: Literal["sum", "concatenate"] = "sum") -> Layer:
    """Layers with the same input, whose outputs are added or concatenated along the last axis.

    sum           y = Σᵢ fᵢ(x)            dx = Σᵢ (∂fᵢ/∂x)ᵀ dy
    concatenate   y = [f₁(x), f₂(x), …]   dx = Σᵢ (∂fᵢ/∂x)ᵀ dyᵢ      dyᵢ: the slice of dy for yᵢ

    Params are a tuple with one entry per layer. `parallel(dense(8), chain(dense(8), tanh))` is a residual connection
    with a projection. Residuals: those of the layers, and to split dy an empty array of the width of each yᵢ.

    Args:
        *layers: The branches.
        combine: "sum" or "concatenate".

    Raises:
        ValueError: an argument is not a Layer, there is none, or `combine` is unknown; in `init` and `forward`, the
            outputs cannot be combined; in `forward`, the params belong to another network.
    """
    if not layers:
        raise ValueError("`parallel` expected at least one layer, got none.")
    for layer in layers:
        check_layer("parallel", layer)
    if combine not in ("sum", "concatenate"):
        raise ValueError(f"`parallel` expected `combine` to be 'sum' or 'concatenate', got {shown(combine)}.")

    def init(key, in_shape):
        pairs = [f.init(k, in_shape) for f, k in zip(layers, jax.random.split(key, len(layers)), strict=True)]
        shapes = [shape for _, shape in pairs]
        check_fit(shapes)
        params = tuple(layer_params for layer_params, _ in pairs)
        return params, shapes[0] if combine == "sum" else (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def forward(params, x, context=EMPTY):
        check_length("parallel", layers, params)
        pairs = [
            layer.forward_in(context.for_part(index), layer_params, x)
            for index, (layer, layer_params) in enumerate(zip(layers, params, strict=True))
        ]
        ys, residuals = zip(*pairs, strict=True)
        check_fit([jax.tree.map(jnp.shape, y) for y in ys])
        if combine == "sum":
            return add_trees(*ys), (residuals, ())
        return jnp.concatenate(ys, axis=-1), (residuals, tuple(y[:0] for y in ys))

    def backward(params, residuals, dy):
        check_length("parallel", layers, params)
        layer_residuals, empty = residuals
        dys = jnp.split(dy, np.cumsum([e.shape[-1] for e in empty])[:-1], axis=-1) if empty else [dy] * len(layers)
        pairs = [layer.backward(*given) for layer, *given in zip(layers, params, layer_residuals, dys, strict=True)]
        dparams, dxs = zip(*pairs, strict=True)
        return alike(params, dparams), add_trees(*dxs)

    def check_fit(shapes):
        same = shapes if combine == "sum" else [shape[:-1] if isinstance(shape[0], int) else None for shape in shapes]
        if any(shape != same[0] or shape is None for shape in same):
            got = ", ".join(f"{shape} from {layer.name}" for shape, layer in zip(shapes, layers, strict=True))
            expected = "of the same shape" if combine == "sum" else "that differ at most in the last axis"
            raise ValueError(
                f"`parallel` expected outputs {expected}, got {got}. Change the branches so that their outputs fit."
            )

    parts = Parts(layers, functools.partial(parallel, combine=combine))
    arguments = "{parts}" if combine == "sum" else f"{{parts}}, combine={combine!r}"
    return Layer("parallel", init, forward, backward, Kind.COMBINATOR, parts, arguments, uses_of(layers))


def shortcut(layer: Layer) -> Layer:
    """The output of a layer concatenated to its input, so that the next layer is connected to both.

    forward    y = [x, f(x)]                     x (N, ..., D), f(x) (N, ..., H), y (N, ..., D + H)
    backward   dx = dy[.., :D] + (∂f/∂x)ᵀ dy[.., D:]

    `chain(shortcut(chain(dense(1), sigmoid)), dense(1), sigmoid)` is Rumelhart, Hinton & Williams' XOR net with one
    hidden unit and direct connections from the inputs to the output (PDP chapter 8). A chain of shortcuts connects
    every layer to all later ones. The same map as `parallel(identity, layer, combine="concatenate")`; params are
    those of the layer. Residuals: those of the layer, and an empty array of the width of x.

    Raises:
        ValueError: `layer` is not a Layer; in `init` and `forward`, it changes an axis other than the last.
    """
    check_layer("shortcut", layer)

    def init(key, in_shape):
        in_shape = check_any_shape("shortcut", in_shape)
        params, out_shape = layer.init(key, in_shape)
        check_positions(in_shape, out_shape)
        return params, (*out_shape[:-1], in_shape[-1] + out_shape[-1])

    def forward(params, x, context=EMPTY):
        x = as_floating("shortcut", "x", x)
        y, residuals = layer.forward_in(context, params, x)
        check_positions(x.shape, y.shape)
        return jnp.concatenate([x, y], axis=-1), (x[:0], residuals)

    def backward(params, residuals, dy):
        empty, layer_residuals = residuals
        direct, through = jnp.split(dy, [empty.shape[-1]], axis=-1)
        dparams, dx = layer.backward(params, layer_residuals, through)
        return dparams, direct + dx

    def check_positions(in_shape, out_shape):
        if not in_shape or in_shape[:-1] != out_shape[:-1]:
            raise ValueError(
                f"`shortcut` expected a layer that changes at most the last axis, got {layer.name} from {in_shape} "
                f"to {out_shape}. Make the other axes of its input and output equal, for example with `flatten`."
            )

    return Layer("shortcut", init, forward, backward, Kind.COMBINATOR, Parts((layer,), shortcut), uses=layer.uses)


def freeze(layer: Layer) -> Layer:
    """A layer whose params are not trained: their gradient is 0, and dx is unchanged.

    forward    y = f(x)
    backward   dparams = 0     dx = (∂f/∂x)ᵀ dy

    `jax.grad` gives the same. Weight decay, or momentum from earlier steps, still changes frozen params: exclude them
    from the optimizer with `optax.masked`.

    Raises:
        ValueError: `layer` is not a Layer.
    """
    check_layer("freeze", layer)

    def forward(params, x, context=EMPTY):
        return layer.forward_in(context, jax.lax.stop_gradient(params), x)

    def backward(params, residuals, dy):
        _, dx = layer.backward(params, residuals, dy)
        return jax.tree.map(jnp.zeros_like, params), dx

    return Layer("freeze", layer.init, forward, backward, Kind.COMBINATOR, Parts((layer,), freeze), uses=layer.uses)


def add_trees(*trees):
    """The sum of pytrees, leaf by leaf. Half precision is summed in float32 and rounded once; float0 stays float0."""

    def add(*leaves):
        if len(leaves) == 1 or leaves[0].dtype == jax.dtypes.float0:
            return leaves[0]
        return functools.reduce(jnp.add, map(widen, leaves)).astype(leaves[0].dtype)

    return jax.tree.map(add, *trees)


def check_unchanged(who: str, layer: Layer, in_shape, out_shape) -> None:
    """Raise a `ValueError` unless a layer keeps the shape of its input."""
    if in_shape != out_shape:
        raise ValueError(
            f"`{who}` expected a layer that keeps the shape of its input, got {layer.name} from {in_shape} to "
            f"{out_shape}. Use a projection in parallel with the layer: `parallel(dense(H), layer)`."
        )


def alike(params, dparams):
    """The gradients of several layers as a list where their params are one, otherwise as a tuple."""
    return list(dparams) if isinstance(params, list) else tuple(dparams)


def check_length(who: str, layers: tuple[Layer, ...], params) -> None:
    """Raise a `ValueError` unless there is an entry of params for each layer."""
    if not isinstance(params, tuple | list) or len(params) != len(layers):
        got = f"{len(params)}" if isinstance(params, tuple | list) else f"a {type(params).__name__}"
        raise ValueError(
            f"`{who}` of {len(layers)} layers expected a tuple of {len(layers)} params, got {got}. "
            "Do they belong to another network? Make them with this network's `init`."
        )
