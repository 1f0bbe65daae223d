"""Losses of outputs that are numbers: distances between output and target, entry by entry.

o is the output (N, ...), t the target of the same shape. Value and gradient are written with the same terms, o − t,
so that a compiled program that needs both computes these terms once.

    name                     E                                         ∂E/∂o
    squared_error            ½ Σ (t − o)²                              o − t
    mean_squared_error       Σ (t − o)² / (N K)                        2 (o − t) / (N K)
    absolute_error           Σ |t − o|                                 sign(o − t)
    huber(δ)                 Σ ½ d² where |d| ≤ δ, else δ(|d| − ½ δ)    clip(−d, ±δ)          d = t − o
    quantile(q)              Σ q d where d > 0, else (q − 1) d         −q, or 1 − q where d < 0
    hyper_error              Σ (1+d) ln(1+d) + (1−d) ln(1−d)           −ln((1+d) / (1−d))
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from bpjax.losses.loss import Loss, call_of, make_loss
from bpjax.losses.weights import weights_like
from bpjax.util.call_text import shown
from bpjax.util.checks import as_real_numbers, check_number, is_concrete
from bpjax.util.targets import same_shape

squared_error = make_loss(
    "squared error",
    lambda o, t: 0.5 * jnp.sum((o - t) ** 2),
    lambda o, t: o - t,
    same_shape,
)
"""E = ½ Σ (t − o)², summed over examples and outputs: the error of the encyclopedia article on backpropagation."""

mean_squared_error = make_loss(
    "mean squared error",
    lambda o, t: jnp.mean((o - t) ** 2),
    lambda o, t: 2 * (o - t) / o.size,
    same_shape,
    reduction="mean",
)
"""Σ (t − o)² / (N K): the mean over examples and outputs, without the ½."""

absolute_error = make_loss(
    "absolute error",
    lambda o, t: jnp.sum(jnp.abs(o - t)),
    lambda o, t: jnp.sign(o - t),
    same_shape,
)
"""Σ |t − o|, the L1 loss; its least value is at the median. The gradient where o = t is 0."""


def huber(delta: float = 1.0) -> Loss:
    """Squared near the target, linear beyond `delta`: the error signal is clipped to ±δ.

    Raises:
        ValueError: `delta` is not above 0.
    """
    check_number("huber", "delta", delta, above=0.0)

    def value(o, t):
        distance = jnp.abs(t - o)
        return jnp.sum(jnp.where(distance <= delta, 0.5 * distance**2, delta * (distance - 0.5 * delta)))

    def gradient(o, t):
        return jnp.clip(o - t, -delta, delta)

    return make_loss("huber", value, gradient, same_shape, call=call_of("huber", delta))


def quantile(q: ArrayLike = 0.5) -> Loss:
    """The quantile (pinball) loss: the least value is at the q-quantile of the targets.

    E = Σ max(q d, (q − 1) d)     ∂E/∂o = −q where d > 0, 1 − q where d < 0, 0 where d = 0          d = t − o

    Koenker & Bassett 1978. For several quantiles give one `q` for each output.

    Args:
        q: Between 0 and 1, a number or an array (K,) with one quantile for each output.

    Raises:
        ValueError: `q` is not strictly between 0 and 1; the last axis of the output is not of the size of `q`.
    """
    if is_concrete(q):
        levels = as_real_numbers("quantile", "q", q)
        if levels.ndim > 1 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"`quantile` expected `q` between 0 and 1, one or an array (K,), got {shown(q)}.")

    def value(o, t):
        d, level = t - o, weights_like("quantile", q, o)
        return jnp.sum(jnp.where(d > 0, level * d, (level - 1) * d))

    def gradient(o, t):
        d, level = t - o, weights_like("quantile", q, o)
        return jnp.where(d > 0, -level, jnp.where(d < 0, 1 - level, 0))

    return make_loss("quantile", value, gradient, same_shape, call=call_of("quantile", q))


HYPER_LIMIT, HYPER_SLOPE = 0.9999999, 17.0


def _hyper_value(o, t):
    distance = jnp.abs(t - o)
    d = jnp.minimum(distance, HYPER_LIMIT)
    return jnp.sum((1 + d) * jnp.log1p(d) + (1 - d) * jnp.log1p(-d) + HYPER_SLOPE * (distance - d))


def _hyper_gradient(o, t):
    d = t - o
    inside = jnp.clip(d, -HYPER_LIMIT, HYPER_LIMIT)
    signal = jnp.log1p(inside) - jnp.log1p(-inside)
    return -jnp.where(jnp.abs(d) > HYPER_LIMIT, HYPER_SLOPE * jnp.sign(d), signal)


hyper_error = make_loss("hyper error", _hyper_value, _hyper_gradient, same_shape)
"""Fahlman's hyper-error (1988): the error signal −ln((1+d)/(1−d)) grows without bound as d = t − o nears ±1, and
is ±17 beyond |d| = 0.9999999. Fahlman gives only the error signal; the value is its integral."""
