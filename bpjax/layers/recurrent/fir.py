"""Finite impulse response (FIR) synapses: every connection is a filter of the latest inputs, not a single weight."""

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal, zeros
from bpjax.layers.layer import Kind, Layer, check_in_shape
from bpjax.layers.params import check_params
from bpjax.layers.product import bias_gradient, matmul, weight_gradient
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_count, check_same_dtype


def fir(
    features: int, taps: int, weights: str | Initializer = lecun_normal, biases: str | Initializer = zeros
) -> Layer:
    """Finite impulse response synapses, x (N, T, D) to y (N, T, H); x is 0 before the first time (Wan 1993).

    forward    yₜ = Σₖ xₜ₋ₖ Wₖ + b               k = 0 … taps − 1        a causal filter of x
    backward   dxₜ = Σₖ dyₜ₊ₖ Wₖᵀ                                        the anticausal filter of dy
               dWₖ = Σₙₜ xₙ,ₜ₋ₖᵀ dyₙₜ     db = Σₙₜ dyₙₜ

    In a chain with activations the backward filter is Wan's temporal backpropagation, δₜ = φ′ ⊙ Σₖ δₜ₊ₖ Wₖᵀ. Deviation:
    Wan updates the weights at every time, delayed until the later errors are known; here the weights are constant over
    the sequence, and the gradient is the sum of his steps. His network for the laser series is
    `chain(fir(12, 25), tanh, fir(12, 5), tanh, fir(1, 5))` with 1,105 parameters.

    Params are `Affine(w (taps, D, H), b (H,))`. The delayed inputs are concatenated, (N T, taps D), so that each
    formula is one matrix product. Residuals: x.

    Args:
        features: H, the number of units.
        taps: The number of weights of a filter, which covers the current input and the `taps` − 1 inputs before it.
        weights: The initializer of w (taps, D, H), a kernel of `taps` positions, or the name of one.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: `features` or `taps` is not a positive integer; in `forward`, `x` is not (N, T, D), is empty or
            has another dtype than the weights, or the params belong to another layer.
    """
    features = check_count("fir", "features", features)
    taps = check_count("fir", "taps", taps)
    weights, biases = initializer(weights), initializer(biases)

    def init(key, in_shape):
        steps, in_features = check_in_shape("fir", in_shape, rank=2)
        key_w, key_b = jax.random.split(key)
        dtype = jnp.result_type(float)
        w = weights(key_w, (taps, in_features, features), dtype)
        return Affine(w, biases(key_b, (features,), dtype)), (steps, features)

    def forward(params, x):
        x = check(params, x)
        batch, steps, in_features = x.shape
        y = matmul(delayed(x, taps), params.w.reshape(taps * in_features, features)) + params.b[None, :]
        return y.reshape(batch, steps, features), x

    def backward(params, x, dy):
        dw = weight_gradient(delayed(x, taps), dy).reshape(taps, x.shape[2], features)
        transposed = jnp.swapaxes(params.w, 1, 2).reshape(taps * features, -1)
        return Affine(dw, bias_gradient(dy)), matmul(advanced(dy, taps), transposed).reshape(x.shape)

    def check(params, x):
        check_params(f"`fir({features}, {taps})`", params, Affine, {"w": (taps, "D", features), "b": (features,)})
        w = params.w
        x = as_floating("fir", "x", x)
        if x.ndim != 3 or x.shape[2] != w.shape[1] or 0 in x.shape:
            raise ValueError(
                f"`fir` expected `x` of shape (N, T, {w.shape[1]}), N and T at least 1, got {x.shape}. "
                "Give `init` the `in_shape` of the data."
            )
        check_same_dtype("fir", x, w)
        return x

    return Layer("fir", init, forward, backward, Kind.AFFINE, arguments=call_text(features, taps))


def delayed(x: Array, taps: int) -> Array:
    """[xₜ, xₜ₋₁, …] for every example and time, 0 before the first time: (N, T, D) to (N T, taps D)."""
    steps = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (taps - 1, 0), (0, 0)))
    columns = [padded[:, taps - 1 - k : taps - 1 - k + steps] for k in range(taps)]
    return jnp.concatenate(columns, axis=2).reshape(-1, taps * x.shape[2])


def advanced(dy: Array, taps: int) -> Array:
    """[dyₜ, dyₜ₊₁, …] for every example and time, 0 after the last time: (N, T, H) to (N T, taps H)."""
    steps = dy.shape[1]
    padded = jnp.pad(dy, ((0, 0), (0, taps - 1), (0, 0)))
    columns = [padded[:, k : k + steps] for k in range(taps)]
    return jnp.concatenate(columns, axis=2).reshape(-1, taps * dy.shape[2])
