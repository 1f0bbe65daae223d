"""Random Fourier features."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer, check_in_shape
from bpjax.layers.params import check_params
from bpjax.layers.product import affine, input_gradient, weight_gradient
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_features, check_flag, check_number, check_same_dtype
from bpjax.util.precision import widen


class Frequencies(NamedTuple):
    """The parameters of `fourier_features`."""

    w: Array  # (D, F)


def fourier_features(features: int, scale: float = 1.0, learn: bool = False) -> Layer:
    """Cosines and sines of random projections, x (N, D) to y (N, 2 F).

    forward    y = [cos p, sin p]      p = 2π x W       W normal with standard deviation `scale`
    backward   dp = cos p ⊙ dy_sin − sin p ⊙ dy_cos     dx = 2π dp Wᵀ     dW = 2π xᵀ dp, or 0 where W is not learnt

    Rahimi & Recht 2007; Tancik et al. 2020: in front of a network of coordinates they let it learn fine detail, and
    `scale` says how fine. Weight decay, or momentum of earlier steps, would change W even if it is not learnt: exclude
    it from the optimizer with `optax.masked`. Residuals: x and y.

    Args:
        features: F, the number of frequencies.
        scale: The standard deviation of the frequencies, in periods per unit of x.
        learn: Whether W is trained.

    Raises:
        ValueError: `features` is not a positive integer or `scale` not above 0; in `forward`, `x` is not (N, D), is
            empty or has another dtype than W, or the params belong to another layer.
    """
    features = check_count("fourier_features", "features", features)
    check_number("fourier_features", "scale", scale, above=0.0)
    return _fourier_features(features, float(scale), check_flag("fourier_features", "learn", learn))


@functools.cache
def _fourier_features(features: int, scale: float, learn: bool) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        (d,) = check_in_shape("fourier_features", in_shape, rank=1)
        return Frequencies(scale * jax.random.normal(key, (d, features), jnp.result_type(float))), (2 * features,)

    def forward(params, x):
        check_params(f"`fourier_features({features})`", params, Frequencies, {"w": ("D", features)})
        x = check_features("fourier_features", x, len(params.w))
        check_same_dtype("fourier_features", x, params.w)
        w = widen(params.w if learn else jax.lax.stop_gradient(params.w))
        p = 2 * math.pi * affine(widen(x), w)
        y = jnp.concatenate([jnp.cos(p), jnp.sin(p)], axis=-1).astype(x.dtype)
        return y, (x, y)

    def backward(params, residuals, dy):
        x, y = residuals
        (cos, sin), (dcos, dsin) = (jnp.split(widen(a), 2, axis=-1) for a in (y, dy))
        dp = 2 * math.pi * (cos * dsin - sin * dcos)
        dw = weight_gradient(widen(x), dp) if learn else jnp.zeros_like(params.w)
        dx = input_gradient(dp, widen(params.w))
        return Frequencies(dw.astype(params.w.dtype)), dx.astype(x.dtype)

    arguments = call_text(features, scale=(scale, 1.0), learn=(learn, False))
    return Layer("fourier features", init, forward, backward, arguments=arguments)
