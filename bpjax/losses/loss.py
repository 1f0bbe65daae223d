"""The contract of a loss: the error of a batch and its derivative by the output, written out."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import is_concrete

Reduction = Literal["sum", "mean", "mean_of_terms", "none"]
"""How the errors of the examples of a batch are combined; see `reduced`."""


class LossValue(Protocol):
    """Compute the error of a batch."""

    def __call__(self, output: Array, target: Any, /) -> Array:
        """The scalar error; (N,) for a loss of reduction "none"."""
        ...


class LossGradient(Protocol):
    """Compute the derivative of the error by the output."""

    def __call__(self, output: Array, target: Any, /) -> Array:
        """d value / d output, in the shape and dtype of the output."""
        ...


class TermCount(Protocol):
    """Count the terms that each example adds to the error."""

    def __call__(self, output: Array, target: Any, /) -> Array:
        """(N,) numbers; a weighted term counts as much as its weight."""
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
    """(output, target) -> scalar; (N,) where the reduction is "none"."""
    gradient: LossGradient
    """(output, target) -> d value / d output, in the shape and dtype of the output. For the reduction "none" row n is
    the derivative of the error of example n."""
    reduction: Reduction = "sum"
    """How the examples of a batch are combined, which determines how batch errors add up to the error of an epoch."""
    call: str | None = None
    """For `repr`: the expression that makes the loss, `huber(0.5)`; without it, the name."""
    check: TargetCheck | None = None
    """(who, target, output) -> None; raises a `ValueError` for target values that the loss does not take."""
    terms: TermCount | None = None
    """(output, target) -> (N,), the number of terms of each example, by which the reduction "mean_of_terms" divides;
    None: every entry of the output is a term."""

    def __repr__(self) -> str:
        """The expression that makes the loss: `squared_error`, `batch_mean(huber(1))`."""
        return self.call or self.name.replace(" ", "_")


def make_loss(name: str, value: Callable, gradient: Callable, prepare: Callable, **fields) -> Loss:
    """A loss from formulas on prepared arrays: checked, half precision widened to float32, targets as floats.

    Args:
        name: For people and messages.
        value: (*prepared) -> scalar.
        gradient: (*prepared) -> d value / d output; the result takes the output's dtype.
        prepare: (name, output, target) -> the prepared arrays, the output first.
        **fields: Further fields of `Loss`.
    """

    def checked_value(output, target):
        return value(*prepare(name, output, target))

    def checked_gradient(output, target):
        output = jnp.asarray(output)
        return gradient(*prepare(name, output, target)).astype(output.dtype)

    return Loss(name, checked_value, checked_gradient, **fields)


def call_of(function: str, *arguments, **options) -> str:
    """The text of the call that makes a loss, for its `repr`; a traced argument has no value to show."""
    pairs = {name: (_concrete(value), default) for name, (value, default) in options.items()}
    return f"{function}({call_text(*map(_concrete, arguments), **pairs)})"


def _concrete(value):
    return value if is_concrete(value) else ...


def rows_of_examples(output, target) -> Array:
    """The number of rows along the last axis of each example of the output (N, ..., K): 1, or T in a sequence."""
    shape = np.shape(output)
    return jnp.full(shape[0], float(np.prod(shape[1:-1])))


def is_mean(loss: Loss) -> bool:
    """Whether the error of a batch is a mean, so that the errors of batches are averaged and not added."""
    return loss.reduction in ("mean", "mean_of_terms")


def share(loss: Loss, examples: int) -> float:
    """The weight of one example's error in the error of a batch of `examples`; for a mean of terms, on average."""
    return 1 / examples if is_mean(loss) else 1.0
