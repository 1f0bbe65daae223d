"""What a check compares: an array computed by the code under test, and three times by a reference."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import Agreement, agree
from bpjax.gradcheck.widen import Widened
from bpjax.util.compilation import FAST_COMPILATION
from bpjax.util.float64 import float64_on_host, perturb, to_host, widen_to_float64
from bpjax.util.shared_jit import SharedJit


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

    A function that does not compute in float64 when its arguments are float64, such as a module with a fixed dtype, is
    traced in the dtype under test and its program is evaluated in float64 (`Widened`).

    Args:
        function: called with `arguments`; returns a pytree of arrays.
        arguments: pytrees of NumPy arrays in the dtype under test.
        dtype: the dtype under test.
        compiled: the function compiled for these arguments, where that is to be used in the dtype under test.
    """
    reference = to_host((compiled or function)(*jax.tree.map(jnp.asarray, arguments)))
    disturbed = perturb(arguments, rounding(dtype))
    with float64_on_host():
        truth = _in_float64(function, arguments)
        if truth is not None:
            return References(reference, truth, to_host(function(*widen_to_float64(disturbed))))
    traced, shapes = _traced(function, jax.tree.map(jnp.asarray, arguments))
    with float64_on_host():
        program = SharedJit(Widened(traced), FAST_COMPILATION)
        leaves = (program(*jax.tree.leaves(widen_to_float64(a))) for a in (arguments, disturbed))
        truth, perturbed = (jax.tree.unflatten(jax.tree.structure(shapes), to_host(found)) for found in leaves)
    return References(reference, truth, perturbed)


def _traced(function: Callable, arguments: tuple):
    """(closed jaxpr, shapes of the results). A function jitted with `compiler_options` cannot be traced in another."""
    bound = function.args if isinstance(function, functools.partial) else ()
    jitted = function.func if isinstance(function, functools.partial) else function
    trace = getattr(jitted, "trace", None)
    if trace is not None:
        traced = trace(*bound, *arguments)
        return traced.jaxpr, traced.out_info
    return jax.make_jaxpr(function, return_shape=True)(*arguments)


def _in_float64(function: Callable, arguments: tuple):
    """The results for float64 arguments, or None where they are not all float64."""
    try:
        found = to_host(function(*widen_to_float64(arguments)))
    except (TypeError, ValueError):  # a scan whose carry has a fixed dtype, for instance
        return None
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(found)}
    return None if any(jnp.issubdtype(d, jnp.floating) and d != np.float64 for d in dtypes) else found


def quantities(computed, references: References) -> list[Quantity]:
    """A `Quantity` for each array of the pytrees, in their order; leaves of dtype float0 are left out."""
    return [Quantity(*four) for four in zip(*map(gradient_leaves, (computed, *references)), strict=True)]


def as_one_array(tree) -> np.ndarray:
    """The array, or the arrays of a pytree as one vector: what a layer with several outputs passes on."""
    leaves = [np.asarray(leaf) for leaf in gradient_leaves(tree)]
    return leaves[0] if isinstance(tree, np.ndarray) else np.concatenate([leaf.ravel() for leaf in leaves])


def gradient_leaves(tree) -> list:
    """The arrays of a pytree of gradients, without the float0 leaves that stand for gradients of integers and keys."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.dtype != jax.dtypes.float0]


def rounding(dtype) -> float:
    """The relative perturbation that stands for one rounding of the inputs: 2 ε."""
    return 2 * float(jnp.finfo(dtype).eps)
