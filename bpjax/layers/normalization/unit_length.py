"""Every example divided by its Euclidean length."""

import jax.numpy as jnp

from bpjax.layers.layer import Kind, Layer, check_any_shape
from bpjax.layers.normalization.layer import inverse_root
from bpjax.util.checks import as_floating
from bpjax.util.precision import widen


def _unit_length() -> Layer:
    """Every example divided by its length, so that the next layer receives its direction only.

    forward    y = x / r     r = √(Σ x² + ε) over all axes but the batch axis, ε = 1e-8
    backward   dx = (dy − y Σ(dy y)) / r

    x = 0 gives y = 0. No params. Residuals: y and 1/r.
    """

    def init(key, in_shape):
        return (), check_any_shape("unit_length", in_shape)

    def total(a):
        return jnp.sum(a, axis=tuple(range(1, a.ndim)), keepdims=True)

    def forward(params, x):
        x = as_floating("unit_length", "x", x)
        wide = widen(x)
        _, inverse = inverse_root(wide, total, 1e-8)
        y = (wide * inverse).astype(x.dtype)
        return y, (y, inverse)

    def backward(params, residuals, dy):
        y, inverse = map(widen, residuals)
        wide = widen(dy)
        return (), ((wide - y * total(wide * y)) * inverse).astype(dy.dtype)

    return Layer("unit length", init, forward, backward, Kind.UNIT_LENGTH)


unit_length = _unit_length()
"""Every example divided by its length, y = x / √(Σ x² + 1e-8): the last part of a hidden layer in `forward_forward`."""
