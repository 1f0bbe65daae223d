"""Rules of elementwise operations and of changes of shape. The run axis is the last one."""

import jax
import jax.numpy as jnp
from jax import lax

from bpjax.sweeps.lanes.interpreter import Interpreter
from bpjax.sweeps.lanes.values import PerRun, broadcast_to_runs, recompute_cost
from bpjax.types import Array
from bpjax.util.jaxprs import bind_primitive

EXPENSIVE = set(
    "acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma div erf erf_inv erfc exp exp2 expm1 lgamma log log1p"
    " logistic pow rem rsqrt sin sinh sqrt tan tanh".split()
)
"""Operations that XLA does not repeat for a second reader: it stores their results anyway."""


def elementwise(interpreter: Interpreter, equation, values: list) -> list:
    """The operation on arrays of one shape: axes of length 1, scalars and shared values are repeated."""
    shape = (*equation.outvars[0].aval.shape, interpreter.runs)
    arrays = [in_shape(value, shape, atom.aval.dtype) for value, atom in zip(values, equation.invars, strict=True)]
    is_expensive = equation.primitive.name in EXPENSIVE
    cost = 0 if is_expensive else 1 + sum(recompute_cost(value) for value in values)
    return [PerRun(result, cost) for result in bind_primitive(equation, arrays)]


def in_shape(value, shape: tuple[int, ...], dtype) -> Array:
    """A value as an array of `shape`, whose last axis is the runs.

    Args:
        value: shared or `PerRun`.
        shape: the shape of one run, then the number of runs.
        dtype: of a shared value that is not yet an array.
    """
    if isinstance(value, PerRun):
        if value.array.shape == shape:
            return value.array
        if value.array.ndim == 1:  # a scalar beside an array, such as the condition of a select
            return lax.broadcast_in_dim(value.array, shape, (len(shape) - 1,))
        return jnp.broadcast_to(value.array, shape)
    value = jnp.asarray(value, dtype) if not isinstance(value, jax.Array) else value
    return lax.broadcast_in_dim(value, shape, tuple(range(value.ndim)))


def same_axes(interpreter: Interpreter, equation, values: list) -> list:
    """An operation whose axes keep their numbers, since the run axis is last."""
    arrays = [broadcast_to_runs(value, interpreter.runs) for value in values]
    return [PerRun(result) for result in bind_primitive(equation, arrays)]


def view(interpreter: Interpreter, equation, values: list) -> list:
    """As `same_axes`, for a result with the same entries in another shape."""
    return [PerRun(result, recompute_cost(values[0])) for result in bind_primitive(equation, [values[0].array])]


def broadcast_in_dim(interpreter: Interpreter, equation, values: list) -> list | None:
    """`shape` and `broadcast_dimensions`, with the run axis appended."""
    value, shape = values[0], (*equation.params["shape"], interpreter.runs)
    if len(values) > 1:
        return None
    axes = (*equation.params["broadcast_dimensions"], len(shape) - 1)
    return [PerRun(lax.broadcast_in_dim(value.array, shape, axes), recompute_cost(value))]


def reshape(interpreter: Interpreter, equation, values: list) -> list | None:
    """`new_sizes`, then the runs."""
    if len(values) > 1 or equation.params.get("dimensions") is not None:
        return None
    array = values[0].array.reshape(*equation.params["new_sizes"], interpreter.runs)
    return [PerRun(array, recompute_cost(values[0]))]


def transpose(interpreter: Interpreter, equation, values: list) -> list:
    """`permutation` of the other axes."""
    axes = equation.params["permutation"]
    return [PerRun(lax.transpose(values[0].array, (*axes, len(axes))), recompute_cost(values[0]))]


def slice_(interpreter: Interpreter, equation, values: list) -> list:
    """The same slice of every run."""
    p = equation.params
    strides = None if p["strides"] is None else (*p["strides"], 1)
    array = lax.slice(values[0].array, (*p["start_indices"], 0), (*p["limit_indices"], interpreter.runs), strides)
    return [PerRun(array, recompute_cost(values[0]))]


def pad(interpreter: Interpreter, equation, values: list) -> list | None:
    """The same padding of every run, with a padding value that all runs share."""
    value, padding_value = values
    if isinstance(padding_value, PerRun):
        return None
    array = broadcast_to_runs(value, interpreter.runs)
    config = (*equation.params["padding_config"], (0, 0, 0))
    return [PerRun(lax.pad(array, padding_value, config), recompute_cost(value))]


def dynamic_slice(interpreter: Interpreter, equation, values: list) -> list | None:
    """A slice at start indices that all runs share."""
    value, *starts = values
    if any(isinstance(start, PerRun) for start in starts):
        return None
    sizes = (*equation.params["slice_sizes"], interpreter.runs)
    return [PerRun(lax.dynamic_slice(value.array, (*starts, zero_like(starts)), sizes))]


def dynamic_update_slice(interpreter: Interpreter, equation, values: list) -> list | None:
    """An update at start indices that all runs share."""
    value, update, *starts = values
    if any(isinstance(start, PerRun) for start in starts):
        return None
    array, update = broadcast_to_runs(value, interpreter.runs), broadcast_to_runs(update, interpreter.runs)
    return [PerRun(lax.dynamic_update_slice(array, update, (*starts, zero_like(starts))))]


def zero_like(starts: list) -> Array:
    """The start index of the run axis, in the dtype of the other start indices."""
    return jnp.zeros((), jnp.result_type(*starts) if starts else jnp.int32)
