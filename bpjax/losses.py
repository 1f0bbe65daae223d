"""Losses: the error of a batch and its derivative by the output, side by side.

Every loss is a sum over the examples unless its name says mean; `batch_mean(loss)` divides by their number.
o is the output (N, K), t the target of the same shape. Half-precision outputs are compared in float32: the
value is float32, the gradient has the output's dtype. Value and gradient are written with the same terms, o − t or
ln p, so that a compiled program that needs both computes these terms once.

    name                     E                                         ∂E/∂o
    squared_error            ½ Σ (t − o)²                              o − t
    mean_squared_error       Σ (t − o)² / (N K)                        2 (o − t) / (N K)
    softmax_cross_entropy    −Σ t ln p,  p = softmax(o)                (Σₖ t) p − t
    binary_cross_entropy     Σ ln(1 + eᵒ) − t o                        σ(o) − t
    huber(δ)                 Σ ½ d² where |d| ≤ δ, else δ(|d| − ½ δ)    clip(−d, ±δ)          d = t − o
    hyper_error              Σ (1+d) ln(1+d) + (1−d) ln(1−d)           −ln((1+d) / (1−d))    d = t − o
"""

from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.checks import as_floating, check_number, is_concrete
from bpjax.util.precision import widen

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

    def __repr__(self) -> str:
        """The expression that makes the loss: `squared_error`, `batch_mean(huber(1))`."""
        return self.call or self.name.replace(" ", "_")


def _loss(name, value, gradient, prepare, reduction: Literal["sum", "mean"] = "sum") -> Loss:
    """A loss from formulas on prepared arrays: checked, half precision widened to float32, targets as floats."""

    def checked_value(output, target):
        return value(*prepare(name, output, target))

    def checked_gradient(output, target):
        output = jnp.asarray(output)
        return gradient(*prepare(name, output, target)).astype(output.dtype)

    return Loss(name, checked_value, checked_gradient, reduction)


def _same_shape(name, output, target) -> tuple[Array, Array]:
    """Output and target as floats of one shape (N, ...), N ≥ 1, half precision widened to float32."""
    output, target = as_floating(name, "output", output), as_floating(name, "target", target)
    if output.shape != target.shape:
        raise ValueError(f"`{name}` expected `target` of the output's shape {output.shape}, got {target.shape}.")
    if output.ndim == 0 or output.shape[0] == 0:
        raise ValueError(f"`{name}` expected outputs (N, ...) of at least one example, got shape {output.shape}.")
    output = widen(output)
    return output, target.astype(output.dtype)


def _logits_and_weights(name, output, target) -> tuple[Array, Array]:
    """Logits (N, ..., K) and target weights of that shape; integer targets (N, ...) are labels 0 … K−1."""
    target = jnp.asarray(target)
    if not jnp.issubdtype(target.dtype, jnp.integer):
        return _same_shape(name, output, target)
    output = widen(as_floating(name, "output", output))
    if output.ndim < 2 or output.shape[0] == 0 or target.shape != output.shape[:-1]:
        raise ValueError(
            f"`{name}` expected integer labels of shape (N,) for outputs (N, K), got {target.shape} for "
            f"{output.shape}. For one-hot targets give a floating-point array of the output's shape."
        )
    classes = output.shape[-1]
    if is_concrete(target):
        check_labels(name, target, classes)
    labels = target.astype(jnp.int32)
    one_hot = jax.nn.one_hot(labels, classes, dtype=output.dtype)
    in_range = (labels >= 0) & (labels < classes)  # traced labels cannot raise: the error is NaN instead
    return output, jnp.where(in_range[..., None], one_hot, jnp.nan)


def labels_of(target) -> Array:
    """The labels of a target: integers as they are, of rows (..., K) the index of the largest entry."""
    target = jnp.asarray(target)
    return target if jnp.issubdtype(target.dtype, jnp.integer) else target.argmax(axis=-1)


def rows_of(target, output: Array) -> Array:
    """The target in the shape of the output (..., K): labels become one-hot rows, anything else is unchanged."""
    target = jnp.asarray(target)
    if jnp.issubdtype(target.dtype, jnp.integer):
        return jax.nn.one_hot(target, output.shape[-1], dtype=output.dtype)
    return target


def share(loss: Loss, examples: int) -> float:
    """The weight of one example's error in the error of a batch of `examples`."""
    return 1 / examples if loss.reduction == "mean" else 1.0


def check_labels(who: str, labels, classes: int) -> None:
    """Raise a `ValueError` that names the first label outside 0 … classes − 1."""
    labels = np.asarray(labels).ravel()
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise ValueError(
            f"`{who}` expected labels from 0 to {classes - 1} for {classes} outputs, got {labels[wrong[0]]} "
            f"at index {wrong[0]} ({wrong.size} of {labels.size} out of range)."
        )


squared_error = _loss(
    "squared error",
    lambda o, t: 0.5 * jnp.sum((o - t) ** 2),
    lambda o, t: o - t,
    _same_shape,
)
"""E = ½ Σ (t − o)², summed over examples and outputs: the error of the encyclopedia article on backpropagation."""

mean_squared_error = _loss(
    "mean squared error",
    lambda o, t: jnp.mean((o - t) ** 2),
    lambda o, t: 2 * (o - t) / o.size,
    _same_shape,
    reduction="mean",
)
"""Σ (t − o)² / (N K): the mean over examples and outputs, without the ½."""

softmax_cross_entropy = _loss(
    "softmax cross entropy",
    lambda o, t: -jnp.sum(t * jax.nn.log_softmax(o, axis=-1)),
    lambda o, t: jnp.sum(t, axis=-1, keepdims=True) * jnp.exp(jax.nn.log_softmax(o, axis=-1)) - t,
    _logits_and_weights,
)
"""−Σ t ln softmax(o) on logits (N, K), or (N, T, K) at every time step. Targets are integer labels, in the shape of
the logits without the last axis, or weights in the shape of the logits, one-hot or soft."""

binary_cross_entropy = _loss(
    "binary cross entropy",
    lambda o, t: jnp.sum(jax.nn.softplus(o) - t * o),
    lambda o, t: jax.nn.sigmoid(o) - t,
    _same_shape,
)
"""−Σ t ln σ(o) + (1 − t) ln(1 − σ(o)) on logits, targets between 0 and 1."""


def huber(delta: float = 1.0) -> Loss:
    """Squared near the target, linear beyond `delta`: the error signal is clipped to ±δ.

    Raises:
        ValueError: `delta` is not above 0.
    """
    check_number("huber", "delta", delta, above=0.0)

    def value(o, t):
        distance = jnp.abs(t - o)
        return jnp.sum(jnp.where(distance <= delta, 0.5 * distance**2, delta * (distance - 0.5 * delta)))

    loss = _loss("huber", value, lambda o, t: jnp.clip(o - t, -delta, delta), _same_shape)
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


hyper_error = _loss("hyper error", _hyper_value, _hyper_gradient, _same_shape)
"""Fahlman's hyper-error (1988): the error signal −ln((1+d)/(1−d)) grows without bound as d = t − o nears ±1, and
is ±17 beyond |d| = 0.9999999. Fahlman gives only the error signal; the value is its integral."""


def batch_mean(loss: Loss) -> Loss:
    """The loss divided by the number of examples: E / N, ∂E/∂o / N.

    Raises:
        ValueError: the loss is already a mean.
    """
    if loss.reduction == "mean":
        raise ValueError(f"`batch_mean` expected a loss that sums over the batch, got `{loss.name}`, a mean already.")

    def value(output, target):
        return loss.value(output, target) / jnp.shape(output)[0]

    def gradient(output, target):
        return loss.gradient(output, target) / jnp.shape(output)[0]

    return Loss(f"mean {loss.name}", value, gradient, "mean", f"batch_mean({loss!r})")


def error_tolerance(loss: Loss, tolerance: float | Array = 0.1) -> Loss:
    """The loss with errors below a tolerance ignored: ∂E/∂o is 0 where |t − o| < `tolerance`.

    This is SNNS's d_max and Fahlman's 0.1: units close enough to their target stop learning. The value of the loss is
    unchanged, so the gradient is no longer its derivative. Targets have the output's shape; labels are not accepted.

    Raises:
        ValueError: `tolerance` is negative.
    """
    check_number("error_tolerance", "tolerance", tolerance, least=0.0)

    def gradient(output, target):
        wide, wide_target = _same_shape(loss.name, output, target)
        return jnp.where(jnp.abs(wide_target - wide) < tolerance, 0, loss.gradient(output, target))

    name = f"{loss.name} beyond {_text(tolerance) if is_concrete(tolerance) else 'a tolerance'}"
    return loss._replace(name=name, gradient=gradient, call=f"error_tolerance({loss!r}, {_text(tolerance)})")


def _text(value: float | Array) -> str:
    """A number in a name; a traced one has no value to show."""
    return f"{value:g}" if is_concrete(value) else "…"
