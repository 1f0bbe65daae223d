"""Smooth relatives of relu: a times a probability p(a) that goes from 0 to 1.

p vanishes for a → −∞ faster than any power of a. Far below 0, where p is 0 in every dtype, a fixed number takes the
place of a: a² would overflow, and −∞ · 0 is not the limit 0.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc

from bpjax.layers.activations.elementwise import elementwise

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


FLAT = 20.0
"""Above it 1 − p of `mish`, 2 e^(−2a), is below the last digit of 1 in float64."""


def _mish_powers(a):
    """(p, 1 − p²) of mish for a ≤ FLAT, with full relative precision.

    p = tanh(ln(1 + n)) = m / (m + 2) with n = eᵃ and m = n (n + 2), so 1 − p² = 4 (m + 1) / (m + 2)².
    """
    n = jnp.exp(a)
    m = n * (n + 2)
    inverse = 1 / (m + 2)
    return m * inverse, 4 * ((m + 1) * inverse) * inverse


def _mish(a):
    return _above(a) * _mish_powers(jnp.minimum(_near(a), FLAT))[0]


def _mish_derivative(a):
    near = jnp.minimum(_near(a), FLAT)
    p, rest = _mish_powers(near)
    return p + near * rest * jax.nn.sigmoid(near)


mish = elementwise("mish", _mish, _mish_derivative, of="input")
"""y = a p with p = tanh(ln(1 + eᵃ)),  da = (p + a (1 − p²) σ(a)) ⊙ dy (Misra 2019)."""
