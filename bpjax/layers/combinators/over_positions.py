"""One layer applied at every position of a sequence or an image."""

import jax

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_any_shape, check_layer
from bpjax.util.checks import as_floating


def over_positions(layer: Layer) -> Layer:
    """A layer applied at every position, with shared weights: x (N, T, D) to y (N, T, H).

    forward    yₙₜ = f(xₙₜ)
    backward   dparams = Σₙₜ dparamsₙₜ     dxₙₜ = (∂f/∂x)ᵀ dyₙₜ

    The position axes are merged with the batch axis, (N · T, D), so `over_positions(dense(4))` is one matrix product.
    Any number of position axes (N, ..., D). Residuals: those of the layer.

    Raises:
        ValueError: `layer` is not a Layer; in `forward`, `x` has no position axis.
    """
    check_layer("over_positions", layer)

    def init(key, in_shape):
        in_shape = check_any_shape("over_positions", in_shape)
        if len(in_shape) < 2:
            raise ValueError(
                f"`over_positions` expected an `in_shape` (T, ..., D), positions before features, got {in_shape!r}. "
                "Without positions, use the layer itself."
            )
        params, out_shape = layer.init(key, in_shape[-1:])
        return params, (*in_shape[:-1], *out_shape)

    def forward(params, x, context=EMPTY):
        x = as_floating("over_positions", "x", x)
        if x.ndim < 3:
            raise ValueError(
                f"`over_positions` expected `x` of shape (N, T, ..., D), got {x.shape}. Add the missing axes."
            )
        y, residuals = layer.forward_in(context, params, x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], *y.shape[1:]), residuals

    def backward(params, residuals, dy):
        positions = dy.reshape(-1, dy.shape[-1])
        dparams, dx = layer.backward(params, residuals, positions)
        return dparams, jax.tree.map(lambda d: d.reshape(*dy.shape[:-1], d.shape[-1]), dx)

    parts = Parts((layer,), over_positions)
    return Layer("over_positions", init, forward, backward, Kind.COMBINATOR, parts, uses=layer.uses)
