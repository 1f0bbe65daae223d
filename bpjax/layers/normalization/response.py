"""Normalization by the response of other channels: at the same position, or over the whole image."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from bpjax.layers.layer import Layer, check_any_shape
from bpjax.layers.normalization.layer import (
    Gains,
    along_last,
    check_normalized,
    check_positions,
    stretch_backward,
)
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_count, check_number
from bpjax.util.precision import widen


def local_response_norm(size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Layer:
    """Each channel divided by a power of the responses of its neighbouring channels, x (N, ..., C).

    forward    y_c = x_c s_c^(−β)      s_c = k + α / size · Σ x_j² over `size` channels j from c − ⌊size / 2⌋ on
    backward   dx_j = dy_j s_j^(−β) − 2 α β / size · x_j Σ dy_c x_c s_c^(−β−1) over the c whose window contains j

    Krizhevsky, Sutskever & Hinton 2012, with the window and the division by `size` of `torch.nn.LocalResponseNorm`;
    channels outside count as 0. No params. Residuals: x.

    Args:
        size: The number of channels in a window.
        alpha: α.
        beta: β.
        k: The constant that keeps the division away from 0.

    Raises:
        ValueError: `size` is not a positive integer, `alpha` is negative, `k` not above 0, or `beta` not finite.
    """
    size = check_count("local_response_norm", "size", size)
    check_number("local_response_norm", "alpha", alpha, least=0.0)
    check_number("local_response_norm", "beta", beta)
    check_number("local_response_norm", "k", k, above=0.0)
    return _local_response_norm(size, float(alpha), float(beta), float(k))


@functools.cache
def _local_response_norm(size: int, alpha: float, beta: float, k: float) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""
    before, after = size // 2, (size - 1) // 2

    def init(key, in_shape):
        return (), check_any_shape("local_response_norm", in_shape)

    def forward(params, x):
        x = as_floating("local_response_norm", "x", x)
        wide = widen(x)
        return (wide * responses(wide) ** -beta).astype(x.dtype), x

    def backward(params, x, dy):
        wide, error = widen(x), widen(dy)
        s = responses(wide)
        shared = window_sums(error * wide * s ** (-beta - 1), after, before)
        return (), (error * s**-beta - 2 * alpha * beta / size * wide * shared).astype(dy.dtype)

    def responses(x):
        return k + alpha / size * window_sums(jnp.square(x), before, after)

    def window_sums(a, low, high):
        """The sum over the channels from `low` before to `high` after each."""
        around = lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0)] * (a.ndim - 1) + [(low, high, 0)])
        parts = [lax.slice_in_dim(around, t, t + a.shape[-1], axis=-1) for t in range(low + high + 1)]
        return functools.reduce(jnp.add, parts)

    arguments = call_text(size, alpha=(alpha, 1e-4), beta=(beta, 0.75), k=(k, 1.0))
    return Layer("local response norm", init, forward, backward, arguments=arguments)


class ResponseResiduals(NamedTuple):
    """The residuals of `global_response_norm`."""

    x: Array  # (N, ..., C)
    length: Array  # (N, 1, ..., C) the Euclidean norm over the positions
    relative: Array  # (N, 1, ..., C) length / (mean over the channels + ε)


def global_response_norm(epsilon: float = 1e-6) -> Layer:
    """Each channel scaled by its share in the response of the whole image, added to the image, x (N, ..., C).

    forward    l_c = √(Σ x²) over the positions     n_c = l_c / (mean_c l + ε)     y = x + g x n + b
    backward   dg = Σ dy x n     db = Σ dy     dn_c = Σ g dy x over the positions
               dl_c = (dn_c − mean_c(dn n)) / (mean_c l + ε)     dx = dy + g dy n + dl x / l      x / l = 0 where l = 0

    Woo et al. 2023 (ConvNeXt V2): channels compete. Gains and biases are 0 initially, so that y = x. Residuals: x, and
    l and n of each example and channel.

    Args:
        epsilon: ε, added to the mean.

    Raises:
        ValueError: `epsilon` is not above 0; in `init`, `in_shape` is not (..., C); in `forward`, `x` is not
            (N, ..., C), is empty or has another dtype than the gains, or the params belong to another layer.
    """
    check_number("global_response_norm", "epsilon", epsilon, above=0.0)
    return _global_response_norm(float(epsilon))


@functools.cache
def _global_response_norm(epsilon: float) -> Layer:
    """The cached factory, as `_local_response_norm`."""

    def init(key, in_shape):
        shape = check_positions("global_response_norm", in_shape)
        zeros = jnp.zeros(shape[-1], jnp.result_type(float))
        return Gains(zeros, zeros), shape

    def forward(params, x):
        x = check_normalized("global_response_norm", params, x, use_bias=True)
        wide = widen(x)
        length = _lengths(wide)
        relative = length / (length.mean(axis=-1, keepdims=True) + epsilon)
        gain, bias = along_last(params.gain, wide), along_last(params.bias, wide)
        return (wide + gain * wide * relative + bias).astype(x.dtype), ResponseResiduals(x, length, relative)

    def backward(params, residuals, dy):
        x, length, relative = residuals
        wide, error = widen(x), widen(dy)
        dparams, scaled = stretch_backward(params, wide * relative, dy)
        drelative = (scaled * wide).sum(axis=tuple(range(1, x.ndim - 1)), keepdims=True)
        mean = length.mean(axis=-1, keepdims=True) + epsilon
        dlength = (drelative - (drelative * relative).mean(axis=-1, keepdims=True)) / mean
        direction = wide / jnp.where(length == 0, 1.0, length)
        return dparams, (error + scaled * relative + dlength * direction).astype(x.dtype)

    arguments = call_text(epsilon=(epsilon, 1e-6))
    return Layer("global response norm", init, forward, backward, arguments=arguments)


def _lengths(x: Array) -> Array:
    """√(Σ x²) over the positions, computed from x / max |x|, so that nothing overflows."""
    positions = tuple(range(1, x.ndim - 1))
    largest = lax.stop_gradient(jnp.abs(x).max(axis=positions, keepdims=True))
    scale = jnp.where((largest == 0) | (largest == jnp.inf), 1.0, largest)
    square = jnp.square(x / scale).sum(axis=positions, keepdims=True)
    return jnp.where(largest == 0, 0.0, scale * jnp.sqrt(jnp.where(largest == 0, 1.0, square)))
