"""Activations y = φ(a), each with its derivative φ′ written by hand beside it.

φ′ is written as a function of the output y where that is simpler: y is stored anyway, as the input of the next layer.
Half-precision inputs are computed in float32 and rounded once. All values are finite from −10⁴ to 10⁴ in every dtype,
and at ±∞ they are the limits. NaN stays NaN, in y and in φ′.

Each φ has full relative precision, and so has φ′ where it is a function of a. For sigmoids and tanh it is a function of
y, and 0 where y rounds to a bound, in float32 from a = 17 (sigmoid) and ±9 (tanh) on: the flat spots of the literature,
the same in `jax.grad` and PyTorch.

    name              y = φ(a)                      φ′              at its kink
    identity          a                             1
    sigmoid           1 / (1 + e⁻ᵃ)                 y (1 − y)
    scaled_sigmoid    low + (high − low) σ(a)       (y − low) (high − y) / (high − low)
    tanh              tanh a                        1 − y²
    relu              max(a, 0)                     [y > 0]         0 at a = 0
    leaky_relu        a, s a below 0                1, s below 0    s at a = 0
    elu               a, c (eᵃ − 1) below 0         1, c eᵃ below   c at a = 0
    softplus          ln(1 + eᵃ)                    σ(a)
    gelu              a Φ(a)                        Φ(a) + a e^(−a²/2) / √(2π)
    gelu_tanh         ½ a (1 + tanh u)              ½ (1 + tanh u) + ½ a (1 − tanh² u) u′
    silu              a σ(a)                        σ(a) (1 + a (1 − σ(a)))
    softmax           eᵃ / Σ eᵃ                     (da = y ⊙ (dy − Σ y dy): no single φ′)
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc

from bpjax.layers.layer import Kind, Layer, check_any_shape
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_choice, check_function, check_number, check_text
from bpjax.util.precision import widen


def elementwise(
    name: str,
    phi: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
    of: Literal["input", "output"],
    arguments: str | None = None,
) -> Layer:
    """An activation made from φ and φ′, for inputs of any shape (N, ...).

    forward    y = φ(a)
    backward   da = φ′ ⊙ dy       φ′ = derivative(y) or derivative(a)

    Residuals: y or a, whichever φ′ is a function of.

    Args:
        name: The name in reports and messages.
        phi: φ, an elementwise function of a.
        derivative: φ′, an elementwise function of y or of a.
        of: What `derivative` takes, the "input" a or the "output" y.
        arguments: The arguments of the factory that calls this, for `repr`: "0.01" for `leaky_relu(0.01)`.

    Raises:
        ValueError: `name` or `arguments` is no text, `phi` or `derivative` no function, or `of` neither word.
    """
    check_text("elementwise", "name", name)
    check_function("elementwise", "phi", phi)
    check_function("elementwise", "derivative", derivative)
    check_choice("elementwise", "of", of, ("input", "output"))
    if arguments is not None:
        check_text("elementwise", "arguments", arguments)

    def init(key, in_shape):
        return (), check_any_shape(name, in_shape)

    def forward(params, a):
        a = as_floating(name, "x", a)
        y = phi(widen(a)).astype(a.dtype)
        return y, (y if of == "output" else a)

    def backward(params, residual, dy):
        return (), (derivative(widen(residual)) * widen(dy)).astype(dy.dtype)

    return Layer(name, init, forward, backward, Kind.ACTIVATION, arguments=arguments)


identity = elementwise("identity", lambda a: a, lambda y: jnp.ones_like(y), of="output")
"""y = a,  da = dy."""

sigmoid = elementwise("sigmoid", jax.nn.sigmoid, lambda y: y * (1 - y), of="output")
"""y = 1 / (1 + e⁻ᵃ),  da = y (1 − y) ⊙ dy."""

tanh = elementwise("tanh", jnp.tanh, lambda y: 1 - y * y, of="output")
"""y = tanh a,  da = (1 − y²) ⊙ dy."""

relu = elementwise("relu", jax.nn.relu, lambda y: jnp.where(y > 0, jnp.ones_like(y), y), of="output")  # y is 0 or NaN
"""y = max(a, 0),  da = dy where y > 0, else 0; the derivative at 0 is 0."""

softplus = elementwise("softplus", jax.nn.softplus, jax.nn.sigmoid, of="input")
"""y = ln(1 + eᵃ),  da = dy / (1 + e⁻ᵃ)."""


def scaled_sigmoid(low: float, high: float) -> Layer:
    """A sigmoid from `low` to `high`: (−½, ½) for Fahlman's symmetric units, or a range wider than the targets'.

    forward    y = low + (high − low) / (1 + e⁻ᵃ)
    backward   da = (y − low) (high − y) / (high − low) ⊙ dy

    Raises:
        ValueError: a bound is not finite, or `low` is not below `high`.
    """
    check_number("scaled_sigmoid", "low", low)
    check_number("scaled_sigmoid", "high", high, above=low)
    return elementwise(
        "scaled sigmoid",
        lambda a: low + (high - low) * jax.nn.sigmoid(a),
        lambda y: (y - low) * (high - y) / (high - low),
        of="output",
        arguments=call_text(low, high),
    )


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


# The units below are a times a probability p(a) that vanishes for a → −∞ faster than any power of a. Far below 0, where
# p is 0 in every dtype, a fixed number takes the place of a: a² would overflow, and −∞ · 0 is not the limit 0.

FAR = 1e4
"""Beyond ±FAR p(a) is 0 or 1 in every dtype."""


def _above(a, least=-FAR):
    return jnp.maximum(a, least)


def _near(a, limit=FAR):
    return jnp.clip(a, -limit, limit)


def _normal_cdf(a):
    return 0.5 * erfc(-a / math.sqrt(2))  # 1 + erf(a / √2) would cancel for large negative a


def _gelu_derivative(a):
    near = _near(a)
    return _normal_cdf(a) + near * jnp.exp(-0.5 * near * near) / math.sqrt(2 * math.pi)


gelu = elementwise("gelu", lambda a: _above(a) * _normal_cdf(a), _gelu_derivative, of="input")
"""y = a Φ(a),  da = (Φ(a) + a Φ′(a)) ⊙ dy, with the normal distribution Φ (Hendrycks & Gimpel 2016)."""


def _gelu_tanh_exponent(a):
    """2u: ½ (1 + tanh u) = σ(2u), which does not cancel for large negative a."""
    near = _near(a, 100.0)  # 2u is then ±71,000
    return 2 * math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)


def _gelu_tanh_derivative(a):
    near, s = _near(a, 100.0), jax.nn.sigmoid(_gelu_tanh_exponent(a))
    slope = 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near * near)
    return s + near * s * jax.nn.sigmoid(-_gelu_tanh_exponent(a)) * slope


gelu_tanh = elementwise(
    "gelu tanh",
    lambda a: _above(a) * jax.nn.sigmoid(_gelu_tanh_exponent(a)),
    _gelu_tanh_derivative,
    of="input",
)
"""`gelu` with Φ(a) ≈ ½ (1 + tanh(√(2/π) (a + 0.044715 a³))), the approximation in Hendrycks & Gimpel 2016."""


def _silu_derivative(a):
    s = jax.nn.sigmoid(a)
    return s * (1 + _near(a) * jax.nn.sigmoid(-a))


silu = elementwise("silu", lambda a: _above(a) * jax.nn.sigmoid(a), _silu_derivative, of="input")
"""y = a σ(a),  da = σ(a) (1 + a (1 − σ(a))) ⊙ dy, with the logistic function σ."""


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
