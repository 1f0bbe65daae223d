"""The reduction of a loss: a loss is an error for each example, and how these are combined.

    reduction          E                          gradient, with gₙ = ∂Eₙ/∂oₙ
    "sum"              Σₙ Eₙ                      gₙ
    "mean"             Σₙ Eₙ / N                  gₙ / N
    "mean_of_terms"    Σₙ Eₙ / Σₙ cₙ              gₙ / Σₙ cₙ             cₙ: the number of terms of example n
    "none"             E₁ … E_N, (N,)             gₙ, the derivative of the example's own error

An example's error is that of a batch of one. So every loss can be reduced in every way, those of users too.
"""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.losses.loss import Loss, Reduction, call_of, is_mean, share
from bpjax.types import Array
from bpjax.util.checks import check_choice, check_instance, check_number, is_concrete
from bpjax.util.precision import widen
from bpjax.util.targets import same_shape


def reduced(loss: Loss, reduction: Reduction) -> Loss:
    """The loss with another reduction.

    "mean" divides by the number of examples, "mean_of_terms" by the number of terms: the entries of the output, for
    losses on classes the labels, each counted by its weight, without those that are ignored. PyTorch's
    `reduction="mean"` is "mean_of_terms". Where no term counts, E and the gradient are 0.

    "none" is for evaluation: rules need one number for each batch and refuse it. Its gradient is that of the sum.

    Raises:
        ValueError: `loss` is not a Loss, or `reduction` is unknown.
    """
    check_instance("reduced", "loss", loss, Loss, "bp.losses.huber(1.0)")
    check_choice("reduced", "reduction", reduction, get_args(Reduction))
    if reduction == loss.reduction:
        return loss
    if reduction == "mean" and loss.reduction == "sum":
        return batch_mean(loss)

    def value(output, target):
        errors = example_errors(loss, output, target)
        if reduction == "none":
            return errors
        return jnp.sum(errors) * _inverse(_divisor(loss, reduction, output, target, errors.dtype))

    def gradient(output, target):
        signal = loss.gradient(output, target)
        wide = widen(signal)
        before, after = (_divisor(loss, r, output, target, wide.dtype) for r in (loss.reduction, reduction))
        return (wide * before * _inverse(after)).astype(signal.dtype)

    call = call_of("reduced", loss, reduction)
    return Loss(f"{loss.name}, {reduction}", value, gradient, reduction, call, loss.check, loss.terms)


def _divisor(loss: Loss, reduction: Reduction, output, target, dtype) -> Array:
    """What a reduction divides the sum over the examples by."""
    if reduction == "mean_of_terms":
        return jnp.sum(count_terms(loss, output, target).astype(dtype))
    return jnp.asarray(np.shape(output)[0] if reduction == "mean" else 1, dtype)


def _inverse(total):
    """1 / total, or 0 where total is 0 because no term counts."""
    return jnp.where(total == 0, 0, 1 / jnp.where(total == 0, 1, total))


def batch_mean(loss: Loss) -> Loss:
    """The loss divided by the number of examples: E / N, ∂E/∂o / N.

    Raises:
        ValueError: the loss is not a sum over the batch.
    """
    check_instance("batch_mean", "loss", loss, Loss, "bp.losses.huber(1.0)")
    if is_mean(loss):
        raise ValueError(f"`batch_mean` expected a loss that sums over the batch, got `{loss.name}`, a mean already.")
    if loss.reduction == "none":
        return reduced(loss, "mean")

    def value(output, target):
        return loss.value(output, target) / np.shape(output)[0]

    def gradient(output, target):
        return loss.gradient(output, target) / np.shape(output)[0]

    return Loss(f"mean {loss.name}", value, gradient, "mean", f"batch_mean({loss!r})", loss.check, loss.terms)


def example_errors(loss: Loss, output: Array, target) -> Array:
    """The error of each example, (N,), before any mean."""
    if loss.reduction == "none":
        return loss.value(output, target)
    if loss.check is not None:
        loss.check(loss.name, target, output)  # inside `vmap` the values are not known
    errors = jax.vmap(lambda o, t: loss.value(o[None], jax.tree.map(lambda a: a[None], t)))(
        jnp.asarray(output), jax.tree.map(jnp.asarray, target)
    )
    if loss.reduction == "mean_of_terms":
        return errors * count_terms(loss, output, target).astype(errors.dtype)
    return errors


def example_contributions(loss: Loss, output: Array, target) -> Array:
    """What each example adds to the error of the batch, (N,): these sum to `loss.value`."""
    errors = example_errors(loss, output, target)
    if loss.reduction == "mean_of_terms":
        return errors * _inverse(_divisor(loss, loss.reduction, output, target, errors.dtype))
    return share(loss, len(output)) * errors


def count_terms(loss: Loss, output: Array, target) -> Array:
    """The number of terms of each example, (N,): the entries of its output, or what the loss counts."""
    if loss.terms is not None:
        return loss.terms(output, target)
    examples, *shape = np.shape(output)
    return jnp.full(examples, float(np.prod(shape)))


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

    text = f"{tolerance:g}" if is_concrete(tolerance) else "…"
    name = f"{loss.name} beyond {text if is_concrete(tolerance) else 'a tolerance'}"
    return loss._replace(name=name, gradient=gradient, call=f"error_tolerance({loss!r}, {text})")
