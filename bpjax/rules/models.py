"""Small linear models that rules keep in their state: classifiers of a layer, guesses of its error, inverses."""

import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.product import affine, bias_gradient, weight_gradient
from bpjax.types import Array


def predicted(model: Affine, h: Array, out_shape) -> Array:
    """H V + c for every example, all its numbers in a row, in the shape (N, *out_shape)."""
    return affine(h.reshape(len(h), -1), *model).reshape(len(h), *out_shape)


def descended(model: Affine, h: Array, error: Array, rate) -> Affine:
    """The model after a step of gradient descent, `error` (N, ...) the derivative by what it predicted.

    V ← V − ρ hᵀ e     c ← c − ρ Σₙ eₙ
    """
    h, e = h.reshape(len(h), -1), error.reshape(len(h), -1)
    e = e * jnp.asarray(rate, e.dtype)
    return Affine(model.w - weight_gradient(h, e), None if model.b is None else model.b - bias_gradient(e))
