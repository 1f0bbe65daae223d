"""Losses: the error of a batch and its derivative by the output, side by side.

Every loss is a sum over the examples unless its name says mean; `batch_mean(loss)` divides by their number.
o is the output (N, K), t the target of the same shape. Half-precision outputs are compared in float32: the
value is float32, the gradient has the output's dtype. Value and gradient are written with the same terms, o − t or
ln p, so that a compiled program that needs both computes these terms once.

    name                     E                                         ∂E/∂o
    squared_error            ½ Σ (t − o)²                              o − t
    mean_squared_error       Σ (t − o)² / (N K)                        2 (o − t) / (N K)
    softmax_cross_entropy    −Σ t ln p,  p = softmax(o)                (Σₖ t) p − t
    binary_cross_entropy     −Σ t ln σ(o) + (1 − t) ln σ(−o)           σ(o) − t
    huber(δ)                 Σ ½ d² where |d| ≤ δ, else δ(|d| − ½ δ)    clip(−d, ±δ)          d = t − o
    hyper_error              Σ (1+d) ln(1+d) + (1−d) ln(1−d)           −ln((1+d) / (1−d))    d = t − o
"""

from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.checks import check_instance, check_number, is_concrete
from bpjax.util.targets import (
    check_classes,
    check_probabilities,
    logits_and_probabilities,
    logits_and_weights,
    same_shape,
)

__all__ = [
    "Loss",
    "LossGradient",
    "LossValue",
    "batch_mean",
    "binary_cross_entropy",
    "error_tolerance",
    "huber",
    "hyper_error",
    "mean_squared_error",
    "softmax_cross_entropy",
    "squared_error",
]


class LossValue(Protocol):
    """Compute the error of a batch."""

    def __call__(self, output: Array, target: Any, /) -> Array:
        """The scalar error."""
        ...


class LossGradient(Protocol):
    """Compute the derivative of the error by the output."""

    def __call__(self, output: Array, target: Any, /) -> Array:
        """d value / d output, in the shape and dtype of the output."""
        ...


class TargetCheck(Protocol):
    """Check the values of a target on the host, before anything is compiled."""

    def __call__(self, who: str, target: Any, output: Any, /) -> None:
        """Raise a `ValueError` for a target out of range; only the shape of the output is used."""
        ...


class Loss(NamedTuple):
    """The error of a batch and its derivative by the output, written out."""

    name: str
    """For people: "squared error"."""
    value: LossValue
    """(output, target) -> scalar."""
    gradient: LossGradient
    """(output, target) -> d value / d output, in the shape and dtype of the output."""
    reduction: Literal["sum", "mean"] = "sum"
    """How the examples of a batch are combined, which determines how batch errors add up to the error of an epoch."""
    call: str | None = None
    """For `repr`: the expression that makes the loss, `huber(0.5)`; without it, the name."""
    check: TargetCheck | None = None
    """(who, target, output) -> None; raises a `ValueError` for target values that the loss does not take."""

    def __repr__(self) -> str:
        """The expression that makes the loss: `squared_error`, `batch_mean(huber(1))`."""
        return self.call or self.name.replace(" ", "_")


def _loss(name, value, gradient, prepare, reduction: Literal["sum", "mean"] = "sum", check=None) -> Loss:
    """A loss from formulas on prepared arrays: checked, half precision widened to float32, targets as floats."""

    def checked_value(output, target):
        return value(*prepare(name, output, target))

    def checked_gradient(output, target):
        output = jnp.asarray(output)
        return gradient(*prepare(name, output, target)).astype(output.dtype)

    return Loss(name, checked_value, checked_gradient, reduction, check=check)


def share(loss: Loss, examples: int) -> float:
    """The weight of one example's error in the error of a batch of `examples`."""
    return 1 / examples if loss.reduction == "mean" else 1.0


squared_error = _loss(
    "squared error",
    lambda o, t: 0.5 * jnp.sum((o - t) ** 2),
    lambda o, t: o - t,
    same_shape,
)
"""E = ½ Σ (t − o)², summed over examples and outputs: the error of the encyclopedia article on backpropagation."""

mean_squared_error = _loss(
    "mean squared error",
    lambda o, t: jnp.mean((o - t) ** 2),
    lambda o, t: 2 * (o - t) / o.size,
    same_shape,
    reduction="mean",
)
"""Σ (t − o)² / (N K): the mean over examples and outputs, without the ½."""


def _softmax_value(o, t):
    log_p = jax.nn.log_softmax(o, axis=-1)
    return -jnp.sum(jnp.where((t == 0) & (log_p == -jnp.inf), 0.0, t * log_p))  # t ln p → 0 where t = 0


softmax_cross_entropy = _loss(
    "softmax cross entropy",
    _softmax_value,
    lambda o, t: jnp.sum(t, axis=-1, keepdims=True) * jnp.exp(jax.nn.log_softmax(o, axis=-1)) - t,
    logits_and_weights,
    check=check_classes,
)
"""−Σ t ln softmax(o) on logits (N, K), or (N, T, K) at every time step.

Targets are labels, integers in the shape of the logits without the last axis, or weights in the shape of the logits,
one-hot or soft. Labels outside 0 … K − 1 raise where their values are known; inside `jit` they give NaN.

A logit −∞ rules a class out: p = 0, and the class adds 0 to the error, or +∞ where it is the target. A row that holds
+∞, or −∞ alone, has no probabilities: its error and gradient are NaN, as in `jax.nn.log_softmax` and optax."""


def _binary_value(o, t):
    loss_at_0 = jnp.where(t == 0, 0.0, t * jax.nn.relu(-o))  # 0 · ∞ counts 0: the limit for o → ±∞
    loss_at_1 = jnp.where(t == 1, 0.0, (1 - t) * jax.nn.relu(o))
    return jnp.sum(jnp.log1p(jnp.exp(-jnp.abs(o))) + loss_at_0 + loss_at_1)


binary_cross_entropy = _loss(
    "binary cross entropy",
    _binary_value,
    lambda o, t: jax.nn.sigmoid(o) - t,
    logits_and_probabilities,
    check=check_probabilities,
)
"""−Σ t ln σ(o) + (1 − t) ln(1 − σ(o)) on logits.

Targets lie between 0 and 1, in the shape of the output, or (N,) for outputs (N, 1); labels 0 and 1 may be integers or
booleans. Targets outside 0 … 1 raise where their values are known; inside `jit` they give NaN. A logit ±∞ is the limit:
the error is 0 where the target agrees with it, else +∞."""


def huber(delta: float = 1.0) -> Loss:
    """Squared near the target, linear beyond `delta`: the error signal is clipped to ±δ.

    Raises:
        ValueError: `delta` is not above 0.
    """
    check_number("huber", "delta", delta, above=0.0)

    def value(o, t):
        distance = jnp.abs(t - o)
        return jnp.sum(jnp.where(distance <= delta, 0.5 * distance**2, delta * (distance - 0.5 * delta)))

    loss = _loss("huber", value, lambda o, t: jnp.clip(o - t, -delta, delta), same_shape)
    return loss._replace(call=f"huber({_text(delta)})")


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


hyper_error = _loss("hyper error", _hyper_value, _hyper_gradient, same_shape)
"""Fahlman's hyper-error (1988): the error signal −ln((1+d)/(1−d)) grows without bound as d = t − o nears ±1, and
is ±17 beyond |d| = 0.9999999. Fahlman gives only the error signal; the value is its integral."""


def batch_mean(loss: Loss) -> Loss:
    """The loss divided by the number of examples: E / N, ∂E/∂o / N.

    Raises:
        ValueError: the loss is already a mean.
    """
    check_instance("batch_mean", "loss", loss, Loss, "bp.losses.huber(1.0)")
    if loss.reduction == "mean":
        raise ValueError(f"`batch_mean` expected a loss that sums over the batch, got `{loss.name}`, a mean already.")

    def value(output, target):
        return loss.value(output, target) / np.shape(output)[0]

    def gradient(output, target):
        return loss.gradient(output, target) / np.shape(output)[0]

    return Loss(f"mean {loss.name}", value, gradient, "mean", f"batch_mean({loss!r})", loss.check)


def error_tolerance(loss: Loss, tolerance: float | Array = 0.1) -> Loss:
    """The loss with errors below a tolerance ignored: ∂E/∂o is 0 where |t − o| < `tolerance`.

    This is SNNS's d_max and Fahlman's 0.1: units close enough to their target stop learning. The value of the loss is
    unchanged, so the gradient is no longer its derivative. Targets have the output's shape; labels are not accepted.

    Raises:
        ValueError: `tolerance` is negative.
    """
    check_instance("error_tolerance", "loss", loss, Loss, "bp.losses.huber(1.0)")
    check_number("error_tolerance", "tolerance", tolerance, least=0.0)

    def gradient(output, target):
        wide, wide_target = same_shape(loss.name, output, target)
        return jnp.where(jnp.abs(wide_target - wide) < tolerance, 0, loss.gradient(output, target))

    name = f"{loss.name} beyond {_text(tolerance) if is_concrete(tolerance) else 'a tolerance'}"
    return loss._replace(name=name, gradient=gradient, call=f"error_tolerance({loss!r}, {_text(tolerance)})")


def _text(value: float | Array) -> str:
    """A number in a name; a traced one has no value to show."""
    return f"{value:g}" if is_concrete(value) else "…"
