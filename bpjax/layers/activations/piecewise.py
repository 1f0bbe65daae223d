"""Activations made of pieces: lines and, for `hardswish`, a parabola.

At a kink φ′ is the slope of the flat side, as in PyTorch; `hardswish` at 3 has the slope of its line.
"""

import jax
import jax.numpy as jnp

from bpjax.layers.activations.elementwise import elementwise
from bpjax.layers.layer import Layer
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_number

relu = elementwise("relu", jax.nn.relu, lambda y: jnp.where(y > 0, jnp.ones_like(y), y), of="output")  # y is 0 or NaN
"""y = max(a, 0),  da = dy where y > 0, else 0; the derivative at 0 is 0."""


def hardtanh(low: float = -1.0, high: float = 1.0) -> Layer:
    """y = a within [low, high], else the nearer bound; φ′ = 1 inside, 0 at the bounds and outside.

    Raises:
        ValueError: a bound is not finite, or `low` is not below `high`.
    """
    check_number("hardtanh", "low", low)
    check_number("hardtanh", "high", high, above=low)
    return _clipped("hardtanh", low, high, call_text(low, high))


def _clipped(name: str, low: float, high: float, arguments: str | None = None) -> Layer:
    """φ′ is a function of a: in half precision y may be rounded to the inside of a bound."""
    slope = lambda a: _flat_outside(a, (a > low) & (a < high), 1.0)
    return elementwise(name, lambda a: jnp.clip(a, low, high), slope, of="input", arguments=arguments)


def _flat_outside(a: Array, inside, slope) -> Array:
    """`slope` where `inside`, else 0; NaN where a is NaN."""
    return jnp.where(inside, slope, jnp.where(a == a, 0.0, a)).astype(a.dtype)


relu6 = _clipped("relu6", 0.0, 6.0)
"""y = min(max(a, 0), 6),  da = dy where 0 < a < 6, else 0; the derivative at 0 and 6 is 0."""


def _hardsigmoid(a):
    return jnp.clip(a + 3, 0, 6) / 6


hardsigmoid = elementwise("hardsigmoid", _hardsigmoid, lambda a: _flat_outside(a, abs(a) < 3, 1 / 6), of="input")
"""y = min(max(a + 3, 0), 6) / 6,  da = dy / 6 where |a| < 3, else 0; the derivative at ±3 is 0."""

hardswish = elementwise(
    "hardswish",
    lambda a: jnp.maximum(a, -3) * _hardsigmoid(a),  # −3 · 0 in place of −∞ · 0
    lambda a: jnp.where(a >= 3, 1.0, _flat_outside(a, a > -3, jnp.clip(a, -3, 3) / 3 + 0.5)).astype(a.dtype),
    of="input",
)
"""y = a · hardsigmoid(a),  da = dy ⊙ (0 to a = −3, a/3 + ½ between, 1 from a = 3 on) (Howard et al. 2019)."""


def softshrink(threshold: float = 0.5) -> Layer:
    """y = a − t sign a where |a| > t, else 0; φ′ = 1 where |a| > t, else 0. t is `threshold`.

    The proximal map of t |y|: the step of iterative soft thresholding (Donoho 1995).

    Raises:
        ValueError: `threshold` is negative.
    """
    check_number("softshrink", "threshold", threshold, least=0.0)
    return elementwise(
        "softshrink",
        lambda a: jnp.where(jnp.abs(a) <= threshold, 0.0, a - threshold * jnp.sign(a)).astype(a.dtype),
        lambda a: _flat_outside(a, jnp.abs(a) > threshold, 1.0),
        of="input",
        arguments=call_text(threshold=(threshold, 0.5)),
    )


def hardshrink(threshold: float = 0.5) -> Layer:
    """y = a where |a| > t, else 0; φ′ = 1 where |a| > t, else 0. t is `threshold`.

    Raises:
        ValueError: `threshold` is negative.
    """
    check_number("hardshrink", "threshold", threshold, least=0.0)
    return elementwise(
        "hardshrink",
        lambda a: jnp.where(jnp.abs(a) <= threshold, 0.0, a).astype(a.dtype),
        lambda a: _flat_outside(a, jnp.abs(a) > threshold, 1.0),
        of="input",
        arguments=call_text(threshold=(threshold, 0.5)),
    )


def threshold(threshold: float, value: float) -> Layer:
    """y = a where a > t, else v; φ′ = 1 where a > t, else 0. t is `threshold`, v is `value`.

    Raises:
        ValueError: `threshold` or `value` is not a finite number.
    """
    check_number("threshold", "threshold", threshold)
    check_number("threshold", "value", value)
    return elementwise(
        "threshold",
        lambda a: jnp.where(a <= threshold, value, a).astype(a.dtype),
        lambda a: _flat_outside(a, a > threshold, 1.0),
        of="input",
        arguments=call_text(threshold, value),
    )
