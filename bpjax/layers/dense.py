"""The dense layer: each unit's net input is the weighted sum of its inputs, plus a bias."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal, zeros
from bpjax.layers.layer import Kind, Layer, check_in_shape
from bpjax.layers.params import check_params
from bpjax.layers.product import bias_gradient, input_gradient, matmul, weight_gradient
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_features, check_flag, check_same_dtype


class Affine(NamedTuple):
    """The parameters of an affine map."""

    w: Array  # (D, H) weight from input to unit
    b: Array | None = None  # (H,) bias, the weight from the on-neuron; None without bias


def dense(
    features: int, use_bias: bool = True, weights: str | Initializer = lecun_normal, biases: str | Initializer = zeros
) -> Layer:
    """Affine map of a batch, x (N, D) to y (N, H).

    forward    y = x W + b
    backward   dW = xᵀ dy     db = Σₙ dyₙ     dx = dy Wᵀ

    The bias is the weight of an on-neuron whose output is always 1. Residuals: x, which the previous layer has already
    computed.

    Args:
        features: H, the number of units.
        use_bias: Whether there is a bias b.
        weights: The initializer of W, `(key, shape, dtype) -> array`, or the name of one, such as "he".
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: `features` is not a positive integer, or an initializer's name is unknown; in `forward`, `x` is
            not (N, D), is empty or has another dtype than the weights, or the params belong to another layer.
    """
    features = check_count("dense", "features", features)
    return _dense(features, check_flag("dense", "use_bias", use_bias), initializer(weights), initializer(biases))


@functools.cache
def _dense(features: int, use_bias: bool, weights: Initializer, biases: Initializer) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""
    shapes = {"w": ("D", features), "b": (features,) if use_bias else None}
    who = f"`dense({features}, use_bias={use_bias})`"

    def init(key, in_shape):
        (in_features,) = check_in_shape("dense", in_shape, rank=1)
        key_w, key_b = jax.random.split(key)
        dtype = jnp.result_type(float)
        w = weights(key_w, (in_features, features), dtype)
        return Affine(w, biases(key_b, (features,), dtype) if use_bias else None), (features,)

    def forward(params, x):
        check_params(who, params, Affine, shapes)
        x = check_features("dense", x, len(params.w))
        check_same_dtype("dense", x, params.w)
        y = matmul(x, params.w)
        return (y + params.b[None, :] if use_bias else y), x

    def backward(params, x, dy):
        db = bias_gradient(dy) if use_bias else None
        return Affine(w=weight_gradient(x, dy), b=db), input_gradient(dy, params.w)

    options = {"use_bias": (use_bias, True), "weights": (weights, lecun_normal), "biases": (biases, zeros)}
    return Layer("dense", init, forward, backward, Kind.AFFINE, arguments=call_text(features, **options))
