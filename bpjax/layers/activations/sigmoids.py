"""Monotone smooth activations: the identity, sigmoids and their relatives."""

import jax
import jax.numpy as jnp

from bpjax.layers.activations.elementwise import elementwise
from bpjax.layers.layer import Layer
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_number

identity = elementwise("identity", lambda a: a, lambda y: jnp.ones_like(y), of="output")
"""y = a,  da = dy."""

sigmoid = elementwise("sigmoid", jax.nn.sigmoid, lambda y: y * (1 - y), of="output")
"""y = 1 / (1 + e⁻ᵃ),  da = y (1 − y) ⊙ dy."""

tanh = elementwise("tanh", jnp.tanh, lambda y: 1 - y * y, of="output")
"""y = tanh a,  da = (1 − y²) ⊙ dy."""

softplus = elementwise("softplus", jax.nn.softplus, jax.nn.sigmoid, of="input")
"""y = ln(1 + eᵃ),  da = dy / (1 + e⁻ᵃ)."""

log_sigmoid = elementwise("log sigmoid", lambda a: -jax.nn.softplus(-a), lambda a: jax.nn.sigmoid(-a), of="input")
"""y = −ln(1 + e⁻ᵃ),  da = σ(−a) ⊙ dy: the logarithm of `sigmoid`."""


def _softsign(a):
    inverse = 1 / (1 + jnp.abs(a))
    return jnp.where(jnp.isinf(a), jnp.sign(a), a * inverse)


softsign = elementwise("softsign", _softsign, lambda a: jnp.square(1 / (1 + jnp.abs(a))), of="input")
"""y = a / (1 + |a|),  da = dy / (1 + |a|)²."""

tanhshrink = elementwise("tanhshrink", lambda a: a - jnp.tanh(a), lambda a: jnp.square(jnp.tanh(a)), of="input")
"""y = a − tanh a,  da = tanh² a ⊙ dy. Near 0, y has the absolute precision of a, as in PyTorch."""


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
