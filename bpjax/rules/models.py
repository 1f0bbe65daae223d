"""Small linear models in the state of rules: classifiers, predictors of error signals, inverses of layers."""

import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.product import affine, bias_gradient, weight_gradient
from bpjax.types import Array


def predict(model: Affine, h: Array, out_shape) -> Array:
    """The prediction h V + c for each flattened example, reshaped to (N, *out_shape)."""
    return affine(h.reshape(len(h), -1), *model).reshape(len(h), *out_shape)


def sgd_step(model: Affine, h: Array, error: Array, rate) -> Affine:
    """The model after a step of gradient descent.

    V ← V − ρ hᵀ e     c ← c − ρ Σₙ eₙ

    Args:
        model: `Affine(V, c)`; c may be None.
        h: the model's input (N, ...).
        error: e (N, ...), the derivative of its loss by its prediction.
        rate: ρ.
    """
    h, e = h.reshape(len(h), -1), error.reshape(len(h), -1)
    e = e * jnp.asarray(rate, e.dtype)
    return Affine(model.w - weight_gradient(h, e), None if model.b is None else model.b - bias_gradient(e))
