"""Probabilities along the last axis, and their logarithms."""

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer, check_any_shape
from bpjax.util.checks import as_floating
from bpjax.util.precision import widen


def _softmax() -> Layer:
    """Probabilities along the last axis: y = eᵃ / Σ eᵃ,  da = y ⊙ (dy − Σ y dy). Residuals: y."""

    def init(key, in_shape):
        return (), check_any_shape("softmax", in_shape)

    def forward(params, a):
        a = as_floating("softmax", "x", a)
        y = jax.nn.softmax(widen(a), axis=-1).astype(a.dtype)
        return y, y

    def backward(params, y, dy):
        p, dp = widen(y), widen(dy)
        return (), (p * (dp - jnp.sum(p * dp, axis=-1, keepdims=True))).astype(dy.dtype)

    return Layer("softmax", init, forward, backward)


softmax = _softmax()
"""Probabilities along the last axis: y = eᵃ / Σ eᵃ,  da = y ⊙ (dy − Σ y dy)."""


def _log_softmax() -> Layer:
    """Logarithms of probabilities along the last axis: y = a − ln Σ eᵃ,  da = dy − eʸ Σ dy. Residuals: y."""

    def init(key, in_shape):
        return (), check_any_shape("log_softmax", in_shape)

    def forward(params, a):
        a = as_floating("log_softmax", "x", a)
        y = jax.nn.log_softmax(widen(a), axis=-1).astype(a.dtype)
        return y, y

    def backward(params, y, dy):
        wide = widen(dy)
        return (), (wide - jnp.exp(widen(y)) * jnp.sum(wide, axis=-1, keepdims=True)).astype(dy.dtype)

    return Layer("log softmax", init, forward, backward)


log_softmax = _log_softmax()
"""Logarithms of probabilities along the last axis: y = a − ln Σ eᵃ,  da = dy − eʸ Σ dy."""
