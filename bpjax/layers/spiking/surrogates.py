"""A spike is a step function of the potential; a surrogate is the derivative that the backward pass uses instead of 0.

u is the potential above the threshold, k the steepness, h the height (a factor). Every surrogate is the derivative of
a smooth function S, `soft_spike`:

    surrogate           S(u)                          S′(u)
    "fast sigmoid"      ½ + u / (1 + k |u|)           1 / (k |u| + 1)²
    "superspike"        the same function             the same: Zenke & Ganguli 2018
    "sigmoid"           σ(k u)                        k σ(k u) σ(−k u)
    "arctan"            ½ + arctan(½ π k u) / π       ½ k / (1 + (½ π k u)²)
    "triangular"        ½ + u − ½ k u |u|             max(0, 1 − k |u|);  S is constant beyond |u| = 1/k
    "straight-through"  ½ + u                         1

S′ is computed in float32 for half precision and cut off at the largest number of the dtype of dy: with k = 10⁶ the
derivative of the sigmoid at 0 is 250,000, more than float16 can hold.
"""

import math

import jax
import jax.numpy as jnp

from bpjax.layers.activations import elementwise
from bpjax.layers.layer import Kind, Layer, check_any_shape
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_choice, check_number
from bpjax.util.precision import widen


def _fast_sigmoid(u, k):
    return u / (1 + k * jnp.abs(u))


def _fast_sigmoid_slope(u, k):
    return 1 / (k * jnp.abs(u) + 1) ** 2


def _sigmoid(u, k):
    return jax.nn.sigmoid(k * u) - 0.5


def _sigmoid_slope(u, k):
    return k * jax.nn.sigmoid(k * u) * jax.nn.sigmoid(-k * u)


def _arctan(u, k):
    return jnp.arctan(0.5 * math.pi * k * u) / math.pi


def _arctan_slope(u, k):
    return 0.5 * k / (1 + (0.5 * math.pi * k * u) ** 2)


def _triangular(u, k):
    inside = jnp.minimum(jnp.abs(u), 1 / jnp.maximum(k, jnp.finfo(u.dtype).tiny))
    return jnp.sign(u) * inside * (1 - 0.5 * k * inside)


def _triangular_slope(u, k):
    return jnp.maximum(0, 1 - k * jnp.abs(u))


def _straight(u, k):
    return u


def _straight_slope(u, k):
    return jnp.ones_like(u)


SURROGATES = {
    "fast sigmoid": (_fast_sigmoid, _fast_sigmoid_slope),
    "superspike": (_fast_sigmoid, _fast_sigmoid_slope),
    "sigmoid": (_sigmoid, _sigmoid_slope),
    "arctan": (_arctan, _arctan_slope),
    "triangular": (_triangular, _triangular_slope),
    "straight-through": (_straight, _straight_slope),
}
"""By name, (S − ½, S′), each a function of (u, k)."""


def spike(steepness: float | Array = 100.0, surrogate: str = "fast sigmoid", height: float | Array = 1.0) -> Layer:
    """A step function with a surrogate derivative: whether a unit fires.

    forward    y = 1 where u > 0, else 0
    backward   du = h S′(u) dy        the surrogates S′ are listed in `bpjax.layers.spiking.surrogates`

    With the default surrogate du = dy / (k |u| + 1)² (Zenke & Ganguli 2018). Residuals: u.

    Args:
        steepness: k.
        surrogate: One of "fast sigmoid", "superspike", "sigmoid", "arctan", "triangular", "straight-through".
        height: h, a factor of the derivative; 0.3 with "triangular" in Bellec et al. 2018.

    Raises:
        ValueError: `steepness` or `height` is negative, or the name of the surrogate is unknown.
    """
    return _made("spike", steepness, surrogate, height)


def soft_spike(steepness: float | Array = 1.0, surrogate: str = "sigmoid", height: float | Array = 1.0) -> Layer:
    """The smooth function whose derivative is the surrogate of `spike`.

    forward    y = ½ + h (S(u) − ½)
    backward   du = h S′(u) dy

    A network of soft spikes has an exact derivative: its gradient check tests every line of the backward pass that
    the spiking network uses.

    Args:
        steepness: k.
        surrogate: As in `spike`.
        height: h.

    Raises:
        ValueError: as `spike`.
    """
    return _made("soft_spike", steepness, surrogate, height)


def _made(who: str, steepness, surrogate: str, height) -> Layer:
    """The activation `who`, "spike" or "soft_spike"."""
    check_number(who, "steepness", steepness, least=0.0)
    check_choice(who, "surrogate", surrogate, SURROGATES)
    check_number(who, "height", height, least=0.0)
    value, slope = SURROGATES[surrogate]

    def init(key, in_shape):
        return (), check_any_shape(who, in_shape)

    def forward(params, u):
        u = as_floating(who, "x", u)
        if who == "spike":
            return _fires(u), u
        wide = widen(u)
        return (0.5 + _as(height, wide) * value(wide, _as(steepness, wide))).astype(u.dtype), u

    def backward(params, u, dy):
        wide = widen(u)
        du = _as(height, wide) * slope(wide, _as(steepness, wide)) * widen(dy)
        largest = float(jnp.finfo(dy.dtype).max)
        return (), jnp.clip(du, -largest, largest).astype(dy.dtype)

    options = {"surrogate": (surrogate, "fast sigmoid" if who == "spike" else "sigmoid"), "height": (height, 1.0)}
    return Layer(who, init, forward, backward, Kind.ACTIVATION, arguments=call_text(steepness, **options))


def _as(number, like: Array) -> Array:
    return jnp.asarray(number, like.dtype)


def _fires(u):
    return (u > 0).astype(u.dtype)


superspike = spike()
"""`spike` with k = 100."""

heaviside = elementwise("heaviside", _fires, jnp.zeros_like, of="input")
"""The same step function with its true derivative, 0: errors do not pass through it."""
