"""Values on the tape, and their adjoints during a reverse sweep."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.tape.scattered import is_array, total
from bpjax.types import Array


@dataclass(eq=False, slots=True)
class Value:
    """A value that an operation reads or computes."""

    array: Any  # an array or, while JAX traces, a tracer
    active: bool  # whether it depends on an argument that is differentiated


class Adjoints:
    """The derivative of the result by each value, as a sum over the uses of the value seen so far.

    ∂z/∂v = Σ over the uses of v. Sums are kept outside the values, so that one tape can be swept more than once.
    """

    def __init__(self):
        """No adjoint is known."""
        self._summands: dict[Value, list] = {}

    def add(self, value: Value, adjoint) -> None:
        """Add the contribution of one use: an array, or a summand that is computed later (see `scattered`)."""
        self._summands.setdefault(value, []).append(adjoint)

    def summands(self, value: Value) -> list:
        """The contributions so far, in the order of the sweep."""
        return self._summands.get(value, [])

    def of(self, value: Value) -> Array | None:
        """The adjoint of a value as an array, or None where the result does not depend on it."""
        summands = self._summands.get(value)
        if not summands:
            return None
        if len(summands) > 1 or not is_array(summands[0]):
            self._summands[value] = summands = [total(summands)]
        return summands[0]

    def or_zeros(self, value: Value) -> Array:
        """The adjoint of a value, zeros where the result does not depend on it."""
        adjoint = self.of(value)
        return zeros_like(value.array) if adjoint is None else adjoint


def is_differentiable(array) -> bool:
    """Whether an array has floating-point or complex entries."""
    return jnp.issubdtype(jax.dtypes.result_type(array) if not hasattr(array, "dtype") else array.dtype, jnp.inexact)


def zeros_like(array) -> Array:
    """Zeros of the shape and dtype of an array."""
    return jnp.zeros(jnp.shape(array), jnp.result_type(array))
