"""What a check compares: an array computed by the code under test, and three times by a reference."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import Agreement, agree
from bpjax.gradcheck.float64 import float64_on_host, perturb, to_host, widen_to_float64


class Quantity(NamedTuple):
    """One array, computed four times: a leaf of a gradient, an error signal or the value of the loss."""

    computed: np.ndarray  # by the code under test, in the dtype under test
    reference: np.ndarray  # by the reference, in the dtype under test
    truth: np.ndarray  # by the reference, in float64
    perturbed: np.ndarray  # by the reference, in float64, at inputs perturbed by one rounding of the dtype under test

    def agreement(self, dtype, allowed: float, sensitivity: float = 0.0) -> Agreement:
        """`computed` against `truth`; see `agree`."""
        return agree(
            self.computed,
            self.truth,
            dtype=dtype,
            allowed=allowed,
            reference=self.reference,
            perturbed=self.perturbed,
            sensitivity=sensitivity,
        )


class References(NamedTuple):
    """The three results of a reference function, as pytrees of NumPy arrays."""

    reference: Any  # in the dtype under test
    truth: Any  # in float64
    perturbed: Any  # in float64, at inputs perturbed by one rounding of the dtype under test


def evaluate_reference(function: Callable, arguments: tuple, dtype, compiled: Callable | None = None) -> References:
    """Evaluate a reference in the dtype under test, in float64, and in float64 at perturbed arguments.

    Args:
        function: called with `arguments`; returns a pytree of arrays.
        arguments: pytrees of NumPy arrays in the dtype under test.
        dtype: the dtype under test.
        compiled: the function compiled for these arguments, where that is to be used in the dtype under test.
    """
    reference = to_host((compiled or function)(*jax.tree.map(jnp.asarray, arguments)))
    with float64_on_host():
        truth = to_host(function(*widen_to_float64(arguments)))
        perturbed = to_host(function(*widen_to_float64(perturb(arguments, rounding(dtype)))))
    return References(reference, truth, perturbed)


def quantities(computed, references: References) -> list[Quantity]:
    """A `Quantity` for each array of the pytrees, in their order; leaves of dtype float0 are left out."""
    return [Quantity(*four) for four in zip(*map(gradient_leaves, (computed, *references)), strict=True)]


def gradient_leaves(tree) -> list:
    """The arrays of a pytree of gradients, without the float0 leaves that stand for gradients of integers and keys."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.dtype != jax.dtypes.float0]


def rounding(dtype) -> float:
    """The relative perturbation that stands for one rounding of the inputs: 2 ε."""
    return 2 * float(jnp.finfo(dtype).eps)
