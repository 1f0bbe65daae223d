"""Layers made of layers."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer, uses_of
from bpjax.util.checks import as_floating
from bpjax.util.precision import widen


def chain(*layers: Layer) -> Layer:
    """Layers one after another: what goes out of each comes into the next.

    forward    x₀ = x,     xₗ₊₁ = fₗ(xₗ),     y = x_L
    backward   dx_L = dy,  dxₗ = (∂fₗ/∂xₗ)ᵀ dxₗ₊₁     for l = L−1 … 0: the chain rule, last layer first

    Params and residuals are tuples with an entry for each layer.

    Raises:
        ValueError: there is no layer, or something that is not a layer; in `init`, shapes that do not fit,
            naming the layer; in `forward`, params that are another network's.
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
        for layer, layer_params, kept in zip(layers[::-1], params[::-1], residuals[::-1], strict=True):
            layer_dparams, dy = layer.backward(layer_params, kept, dy)
            dparams.append(layer_dparams)
        return tuple(dparams[::-1]), dy

    return Layer("chain", init, forward, backward, Kind.CHAIN, Parts(layers, chain), uses=uses_of(layers))


def residual(layer: Layer) -> Layer:
    """A layer around which its input goes too: what the layer learns is the difference.

    forward    y = x + f(x)                 x and y of one shape (N, ...)
    backward   dx = dy + (∂f/∂x)ᵀ dy        (He et al. 2016)

    Params and kept: the layer's own.

    Raises:
        ValueError: `layer` is not a Layer; in `init`, it changes the shape; in `forward` too.
    """
    check_layer("residual", layer)

    def init(key, in_shape):
        params, out_shape = layer.init(key, in_shape)
        check_unchanged("residual", layer, tuple(in_shape), out_shape)
        return params, out_shape

    def forward(params, x, context=EMPTY):
        y, kept = layer.forward_in(context, params, x)
        check_unchanged("residual", layer, jax.tree.map(jnp.shape, x), jax.tree.map(jnp.shape, y))
        return jax.tree.map(jnp.add, x, y), kept

    def backward(params, kept, dy):
        dparams, dx = layer.backward(params, kept, dy)
        return dparams, add_gradients(dy, dx)

    return Layer("residual", init, forward, backward, Kind.COMBINATOR, Parts((layer,), residual), uses=layer.uses)


def parallel(*layers: Layer, combine: Literal["sum", "concatenate"] = "sum") -> Layer:
    """Layers side by side: all see the same x, what they give is added, or laid side by side along the last axis.

    sum           y = Σᵢ fᵢ(x)            dx = Σᵢ (∂fᵢ/∂x)ᵀ dy
    concatenate   y = [f₁(x), f₂(x), …]   dx = Σᵢ (∂fᵢ/∂x)ᵀ dyᵢ      dyᵢ: the part of dy that belongs to fᵢ

    Params and residuals are tuples with an entry for each layer. `parallel(dense(8), chain(dense(8), tanh))` is a
    residual connection with a projection. Kept: what the layers keep; to divide dy, an empty array of each yᵢ's width.

    Raises:
        ValueError: there is no layer, something that is not a layer, or `combine` is neither; in `init` and
            `forward`, shapes that cannot be added, or laid side by side; in `forward`, another network's params.
    """
    if not layers:
        raise ValueError("`parallel` expected at least one layer, got none.")
    for layer in layers:
        check_layer("parallel", layer)
    if combine not in ("sum", "concatenate"):
        raise ValueError(f"`parallel` expected `combine` to be 'sum' or 'concatenate', got {combine!r}.")

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
        ys, kept = zip(*pairs, strict=True)
        check_fit([jax.tree.map(jnp.shape, y) for y in ys])
        if combine == "sum":
            return add_gradients(*ys), (kept, ())
        return jnp.concatenate(ys, axis=-1), (kept, tuple(y[:0] for y in ys))

    def backward(params, residuals, dy):
        check_length("parallel", layers, params)
        kept, empty = residuals
        dys = jnp.split(dy, np.cumsum([e.shape[-1] for e in empty])[:-1], axis=-1) if empty else [dy] * len(layers)
        pairs = [layer.backward(*parts) for layer, *parts in zip(layers, params, kept, dys, strict=True)]
        dparams, dxs = zip(*pairs, strict=True)
        return dparams, add_gradients(*dxs)

    def check_fit(shapes):
        same = shapes if combine == "sum" else [shape[:-1] if isinstance(shape[0], int) else None for shape in shapes]
        if any(shape != same[0] or shape is None for shape in same):
            got = ", ".join(f"{shape} from {layer.name}" for shape, layer in zip(shapes, layers, strict=True))
            expected = "of one shape" if combine == "sum" else "that differ in the last axis at most"
            raise ValueError(
                f"`parallel` expected outputs {expected}, got {got}. Give each branch an output that fits."
            )

    parts = Parts(layers, functools.partial(parallel, combine=combine))
    arguments = "{parts}" if combine == "sum" else f"{{parts}}, combine={combine!r}"
    return Layer("parallel", init, forward, backward, Kind.COMBINATOR, parts, arguments, uses_of(layers))


def shortcut(layer: Layer) -> Layer:
    """A layer with its input beside its output, so that what follows has direct links to both.

    forward    y = [x, f(x)]                     x (N, ..., D), f(x) (N, ..., H), y (N, ..., D + H)
    backward   dx = dy[.., :D] + (∂f/∂x)ᵀ dy[.., D:]

    `chain(shortcut(chain(dense(1), sigmoid)), dense(1), sigmoid)` is Rumelhart, Hinton & Williams' XOR net with one
    hidden unit and direct links from the inputs to the output (PDP chapter 8). Shortcuts one after another link every
    layer to all later ones. As `parallel(identity, layer, combine="concatenate")`, with the params the layer's own and
    of x its width alone kept.

    Raises:
        ValueError: `layer` is not a Layer; in `init` and `forward`, it changes another axis than the last.
    """
    check_layer("shortcut", layer)

    def init(key, in_shape):
        params, out_shape = layer.init(key, in_shape)
        check_positions(tuple(in_shape), out_shape)
        return params, (*out_shape[:-1], in_shape[-1] + out_shape[-1])

    def forward(params, x, context=EMPTY):
        x = as_floating("shortcut", "x", x)
        y, kept = layer.forward_in(context, params, x)
        check_positions(x.shape, y.shape)
        return jnp.concatenate([x, y], axis=-1), (x[:0], kept)

    def backward(params, residuals, dy):
        empty, kept = residuals
        direct, through = jnp.split(dy, [empty.shape[-1]], axis=-1)
        dparams, dx = layer.backward(params, kept, through)
        return dparams, direct + dx

    def check_positions(in_shape, out_shape):
        if not in_shape or in_shape[:-1] != out_shape[:-1]:
            raise ValueError(
                f"`shortcut` expected a layer that changes the last axis at most, got {layer.name} from {in_shape} "
                f"to {out_shape}. Give both the same axes before the last, such as by `flatten`."
            )

    return Layer("shortcut", init, forward, backward, Kind.COMBINATOR, Parts((layer,), shortcut), uses=layer.uses)


def freeze(layer: Layer) -> Layer:
    """A layer that does not learn: its gradient is 0, the error passes through it as ever.

    forward    y = f(x)
    backward   dparams = 0     dx = (∂f/∂x)ᵀ dy

    So under `jax.grad` too. What an optimizer does without a gradient (weight decay, a momentum that still carries) it
    does to frozen weights too: mask those with `optax.masked`.

    Raises:
        ValueError: `layer` is not a Layer.
    """
    check_layer("freeze", layer)

    def forward(params, x, context=EMPTY):
        return layer.forward_in(context, jax.lax.stop_gradient(params), x)

    def backward(params, kept, dy):
        _, dx = layer.backward(params, kept, dy)
        return jax.tree.map(jnp.zeros_like, params), dx

    return Layer("freeze", layer.init, forward, backward, Kind.COMBINATOR, Parts((layer,), freeze), uses=layer.uses)


def add_gradients(*trees):
    """The sum of pytrees, leaf by leaf, taken wide and rounded once; what has no gradient (float0) stays without."""

    def add(*leaves):
        if len(leaves) == 1 or leaves[0].dtype == jax.dtypes.float0:
            return leaves[0]
        return functools.reduce(jnp.add, map(widen, leaves)).astype(leaves[0].dtype)

    return jax.tree.map(add, *trees)


def check_unchanged(who: str, layer: Layer, in_shape, out_shape) -> None:
    """Raise a `ValueError` unless a layer leaves the shape as it is."""
    if in_shape != out_shape:
        raise ValueError(
            f"`{who}` expected a layer that leaves the shape as it is, got {layer.name} from {in_shape} to "
            f"{out_shape}. "
            "Bring both to one shape, with a projection beside the layer: `parallel(dense(H), layer)`."
        )


def check_length(who: str, layers: tuple[Layer, ...], params) -> None:
    """Raise a `ValueError` unless there is an entry of params for each layer."""
    if not isinstance(params, tuple | list) or len(params) != len(layers):
        got = f"{len(params)}" if isinstance(params, tuple | list) else f"a {type(params).__name__}"
        raise ValueError(
            f"`{who}` of {len(layers)} layers expected a tuple of {len(layers)} params, got {got}. "
            "Do they belong to another network? Make them with this network's `init`."
        )
