"""A layer whose output is multiplied by a constant."""

import functools

import jax
import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer
from bpjax.types import Array
from bpjax.util.checks import check_number


def scaled(layer: Layer, factor: float | Array) -> Layer:
    """The output of a layer times a constant, as in parameterizations by width and depth.

    forward    y = c f(x)
    backward   dx = (∂f/∂x)ᵀ (c dy),   dparams likewise

    Params and residuals are those of the layer.

    Args:
        layer: f.
        factor: c.

    Raises:
        ValueError: `layer` is not a Layer or `factor` not a finite number.
    """
    check_layer("scaled", layer)
    check_number("scaled", "factor", factor)

    def times(tree):
        return jax.tree.map(lambda leaf: leaf * jnp.asarray(factor, leaf.dtype), tree)

    def forward(params, x, context=EMPTY):
        y, residuals = layer.forward_in(context, params, x)
        return times(y), residuals

    def backward(params, residuals, dy):
        return layer.backward(params, residuals, times(dy))

    parts = Parts((layer,), functools.partial(scaled, factor=factor))
    arguments = f"{{parts}}, {factor}"
    return Layer("scaled", layer.init, forward, backward, Kind.COMBINATOR, parts, arguments, layer.uses)
