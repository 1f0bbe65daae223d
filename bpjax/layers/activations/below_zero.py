"""The identity above 0, and below 0 a line or an exponential: leaky relu and the exponential linear units."""

import jax
import jax.numpy as jnp

from bpjax.layers.activations.elementwise import elementwise
from bpjax.layers.layer import Layer
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_number


def leaky_relu(slope: float = 0.01) -> Layer:
    """y = a where a > 0, else slope · a; φ′ = 1 where y > 0, else slope, also at the kink a = 0.

    Raises:
        ValueError: `slope` is not above 0 (with slope 0 it is `relu`).
    """
    check_number("leaky_relu", "slope", slope, above=0.0)
    return elementwise(
        "leaky relu",
        lambda a: jnp.where(a > 0, a, slope * a),
        lambda y: jnp.where(y > 0, 1.0, jnp.where(y <= 0, slope, y)).astype(y.dtype),
        of="output",
        arguments=call_text(slope),
    )


def elu(scale: float = 1.0) -> Layer:
    """y = a where a > 0, else c (eᵃ − 1); φ′ = 1 where a > 0, else c eᵃ, which is c at a = 0. c is `scale`.

    φ′ is computed from a: y + c would be 0 below a = −17 in float32.

    Raises:
        ValueError: `scale` is not above 0.
    """
    check_number("elu", "scale", scale, above=0.0)
    return elementwise(
        "elu",
        lambda a: jax.nn.elu(a, scale),
        lambda a: jnp.where(a > 0, 1.0, scale * jnp.exp(jnp.minimum(a, 0))).astype(a.dtype),
        of="input",
        arguments=call_text(scale),
    )


def celu(scale: float = 1.0) -> Layer:
    """y = a where a > 0, else c (e^(a/c) − 1); φ′ = 1 where a ≥ 0, else e^(a/c). c is `scale`.

    Barron 2017: an `elu` whose derivative is continuous for every c, not for c = 1 alone.

    Raises:
        ValueError: `scale` is not above 0.
    """
    check_number("celu", "scale", scale, above=0.0)
    return elementwise(
        "celu",
        lambda a: jnp.where(a > 0, a, scale * jnp.expm1(jnp.minimum(a, 0) / scale)),
        lambda a: jnp.where(a > 0, 1.0, jnp.exp(jnp.minimum(a, 0) / scale)).astype(a.dtype),
        of="input",
        arguments=call_text(scale),
    )


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
"""s and c of Klambauer et al. 2017: with them mean 0 and variance 1 are a fixed point of deep networks."""

selu = elementwise(
    "selu",
    lambda a: SELU_SCALE * jax.nn.elu(a, SELU_ALPHA),
    lambda a: SELU_SCALE * jnp.where(a > 0, 1.0, SELU_ALPHA * jnp.exp(jnp.minimum(a, 0))).astype(a.dtype),
    of="input",
)
"""y = s a where a > 0, else s c (eᵃ − 1),  da = s dy where a > 0, else s c eᵃ dy (Klambauer et al. 2017)."""
