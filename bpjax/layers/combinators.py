"""Layers made of layers."""

import jax
import jax.numpy as jnp

from bpjax.checks import check_features
from bpjax.layers.layer import Layer, check_in_shape, check_layer


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

    def forward(params, x):
        check_length(params)
        residuals = []
        for layer, layer_params in zip(layers, params, strict=True):
            x, kept = layer.forward(layer_params, x)
            residuals.append(kept)
        return x, tuple(residuals)

    def backward(params, residuals, dy):
        check_length(params)
        dparams = []
        for layer, layer_params, kept in zip(layers[::-1], params[::-1], residuals[::-1], strict=True):
            layer_dparams, dy = layer.backward(layer_params, kept, dy)
            dparams.append(layer_dparams)
        return tuple(dparams[::-1]), dy

    def check_length(params):
        if not isinstance(params, tuple | list) or len(params) != len(layers):
            got = f"{len(params)}" if isinstance(params, tuple | list) else f"a {type(params).__name__}"
            raise ValueError(
                f"`chain` of {len(layers)} layers expected a tuple of {len(layers)} params, got {got}. "
                "Are they another network's? Make them with this network's `init`."
            )

    return Layer("chain", init, forward, backward, tuple(layers), rebuild=chain)


def with_shortcut(layer: Layer) -> Layer:
    """A layer with its input beside its output, so that what follows has direct links to both.

    forward    y = [x, f(x)]                 x (N, D), f(x) (N, H), y (N, D + H)
    backward   dx = dy[:, :D] + (∂f/∂x)ᵀ dy[:, D:]

    `chain(with_shortcut(chain(dense(1), sigmoid)), dense(1), sigmoid)` is Rumelhart, Hinton & Williams' XOR net with
    one hidden unit and direct links from the inputs to the output (PDP chapter 8).

    Raises:
        ValueError: `layer` is not a Layer; in `init` and `forward`, shapes other than (D,) and (N, D).
    """
    check_layer("with_shortcut", layer)

    def init(key, in_shape):
        (in_features,) = check_in_shape("with_shortcut", in_shape, rank=1)
        params, out_shape = layer.init(key, in_shape)
        (out_features,) = check_in_shape("with_shortcut", out_shape, rank=1)
        return params, (in_features + out_features,)

    def forward(params, x):
        x = check_features("with_shortcut", x, jnp.shape(x)[-1])
        y, kept = layer.forward(params, x)
        return jnp.concatenate([x, y], axis=1), (x[:0], kept)  # of x its width alone

    def backward(params, residuals, dy):
        empty, kept = residuals
        in_features = empty.shape[1]
        dparams, dx = layer.backward(params, kept, dy[:, in_features:])
        return dparams, dy[:, :in_features] + dx

    return Layer("with shortcut", init, forward, backward)
