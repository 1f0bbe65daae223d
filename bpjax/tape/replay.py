"""Evaluate the recorded operations again: on other numbers, with errors added, or in another dtype."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.tape.local_errors import LocalError
from bpjax.tape.record import Operation
from bpjax.tape.unrolled import Slice, Stack
from bpjax.tape.values import Adjoints, Value, is_differentiable
from bpjax.types import Array
from bpjax.util.jaxprs import bind_primitive, evaluate_jaxpr, opened, shapes_of

COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
STEPS = frozenset(("sign", "floor", "ceil", "round"))

FLOAT32_AT_LEAST = frozenset(
    "cholesky lu eigh eig qr geqrf geqp3 householder_product svd schur hessenberg triangular_solve tridiagonal "
    "tridiagonal_solve fft lu_pivots_to_permutation".split()
)
"""Operations that XLA has not in 16 bits: computed in float32, their results rounded."""


def replay(records, arrays: dict[Value, Any], apply: Callable) -> None:
    """Evaluate recorded operations in order.

    Args:
        records: operations, and the slices and stacks of loops.
        arrays: of the arguments and constants; the results are entered here. Others are as recorded.
        apply: (number of the operation, operation, arrays of its inputs) -> arrays of its outputs.
    """
    for k, record in enumerate(records):
        results = apply(k, record, [arrays.get(value, value.array) for value in record.inputs])
        arrays.update(zip(record.outputs, results, strict=True))


def evaluate(record, inputs: list) -> list:
    """The results of a recorded operation on other arrays."""
    if isinstance(record, Slice):
        return [inputs[0][record.index]]
    if isinstance(record, Stack):
        return [jnp.stack(inputs) if inputs else record.outputs[0].array]
    return bind_primitive(record.equation, inputs)


# --- With errors added -----------------------------------------------------------------------------------------------

DRAWS, AMPLIFIED = 8, 4.0
"""Runs with random errors, and their size in units of the largest possible errors."""


class Perturbed(NamedTuple):
    """What becomes of the result when every operation makes its largest possible error."""

    up: float  # the change of the result with all errors in the direction that increases it to first order
    down: float  # and with all in the other direction
    values: dict[Value, Any]  # of the run for `up`
    decisions: list[int]  # operations whose discrete result may change


def perturbed(
    records, errors: list[list[LocalError | None]], sources: dict[Value, Any], adjoints: Adjoints, result: Value
) -> Perturbed:
    """Evaluate again with errors added: twice the worst case to first order, and with random signs.

    A comparison may change where its operands are closer to each other than they move in one of the runs with random
    signs and four times the largest errors; any other discrete result, where it does change in one of these runs.

    Args:
        records: see `replay`.
        errors: of each result of each operation.
        sources: arguments and constants, rounded.
        adjoints: after the reverse sweep.
        result: a scalar.
    """
    bounds = {
        value: error.bound
        for record, found in zip(records, errors, strict=True)
        for value, error in zip(record.outputs, found, strict=True)
        if error is not None
    }
    worst = {v: np.sign(np.asarray(adjoints.or_zeros(v))) * bound for v, bound in bounds.items()}
    up, down = _run(records, sources, worst), _run(records, sources, {v: -shift for v, shift in worst.items()})
    discrete = [k for k, record in enumerate(records) if is_discrete(record)]
    random, runs = np.random.default_rng(0), []
    for _ in range(DRAWS if discrete else 0):
        shifts = {v: random.choice([-AMPLIFIED, AMPLIFIED], np.shape(bound)) * bound for v, bound in bounds.items()}
        arrays = _run(records, sources, shifts)
        runs.append([_decision(records[k], arrays) for k in discrete])
    changes = [float(run.get(result, result.array)) - float(result.array) for run in (up, down)]
    may_change = [k for n, k in enumerate(discrete) if _may_change(records[k], [seen[n] for seen in runs])]
    return Perturbed(changes[0], changes[1], up, may_change)


def _run(records, sources, shifts: dict[Value, np.ndarray]) -> dict[Value, Any]:
    """All values for given errors."""
    arrays: dict[Value, Any] = dict(sources)

    def apply(k, record, inputs):
        moved = [shifts.get(value) for value in record.outputs]
        outputs = zip(evaluate(record, inputs), moved, strict=True)
        return [a if s is None else np.asarray(a) + s.astype(a.dtype) for a, s in outputs]

    replay(records, arrays, apply)
    return arrays


def is_discrete(record) -> bool:
    """Whether an operation turns floating-point numbers into integers, booleans or steps."""
    if not isinstance(record, Operation) or not any(is_differentiable(v.array) for v in record.inputs):
        return False
    return record.equation.primitive.name in STEPS or any(not is_differentiable(v.array) for v in record.outputs)


def _decision(record, arrays: dict[Value, Any]) -> list:
    """The difference of compared operands, or the discrete results."""
    name = record.equation.primitive.name
    if name in COMPARISONS:
        left, right = (np.asarray(arrays.get(value, value.array)) for value in record.inputs)
        return [np.nan_to_num(left - right)]  # of infinities: finite, so that two of them do not differ by NaN
    discrete = [v for v in record.outputs if name in STEPS or not is_differentiable(v.array)]
    return [np.asarray(arrays.get(value, value.array)) for value in discrete]


def _may_change(record, runs: list[list]) -> bool:
    recorded = _decision(record, {})
    if record.equation.primitive.name in COMPARISONS:
        moved = np.max([np.abs(seen[0] - recorded[0]) for seen in runs], axis=0)
        return bool(np.any((moved >= np.abs(recorded[0])) & (moved > 0)))
    return any(bool(np.any(a != b)) for seen in runs for a, b in zip(seen, recorded, strict=True))


# --- In another dtype ------------------------------------------------------------------------------------------------


def evaluate_in(dtype, records, sources: list[Value], result: Value) -> Array:
    """The result when every operation is computed in a dtype, one after the other, in the dtype of the record.

    Every floating-point array and parameter that is wider than the dtype gets the dtype; nothing is fused.
    """
    arrays: dict[Value, Any] = {value: narrowed(value.array, dtype) for value in sources}
    replay(records, arrays, lambda k, record, inputs: _in_dtype(record, inputs, dtype))
    return jnp.asarray(arrays.get(result, result.array)).astype(result.array.dtype)


def _in_dtype(record, inputs: list, dtype) -> list:
    if isinstance(record, (Slice, Stack)):
        return [narrowed(a, dtype) for a in evaluate(record, inputs)]
    equation = record.equation
    least = jnp.float32 if equation.primitive.name in FLOAT32_AT_LEAST else dtype
    params = {name: _narrowed_parameter(param, least) for name, param in equation.params.items()}
    inputs = [a.astype(least) if least != dtype and is_differentiable(a) else a for a in map(jnp.asarray, inputs)]
    return [narrowed(a, dtype) for a in bind_primitive(equation.replace(params=params), inputs)]


def is_wider(a, dtype) -> bool:
    """Whether a dtype is a floating-point dtype with more digits than another."""
    return jnp.issubdtype(a, jnp.floating) and float(jnp.finfo(a).eps) < float(jnp.finfo(dtype).eps)


def narrowed(array, dtype):
    """An array in a dtype, where its own is wider."""
    array = jnp.asarray(array)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        if np.dtype(dtype).itemsize < 4:
            raise ValueError("Complex numbers have no 16-bit dtype in JAX: forecast them in float32.")
        return array.astype(jnp.complex64)
    return array.astype(dtype) if is_wider(array.dtype, dtype) else array


def _narrowed_parameter(param, dtype):
    if isinstance(param, np.dtype):
        return np.dtype(dtype) if is_wider(param, dtype) else param
    return _narrowed_function(param, np.dtype(dtype)) if hasattr(param, "eqns") else param


@functools.lru_cache(maxsize=256)
def _narrowed_function(jaxpr, dtype):
    """The function of a scatter or reduction, in another dtype."""
    shapes = [s.update(dtype=dtype) if is_wider(s.dtype, dtype) else s for s in shapes_of(opened(jaxpr).invars)]
    consts = getattr(jaxpr, "consts", ())
    traced = jax.make_jaxpr(lambda *arrays: evaluate_jaxpr(opened(jaxpr), consts, arrays))(*shapes)
    return traced if hasattr(jaxpr, "jaxpr") else opened(traced)
