"""The rounding error of a scalar result to first order, from one reverse sweep (Linnainmaa 1970, 1976).

error = Σ over operations k of v̄ₖ εₖ + Σ over arguments and constants of x̄ δx + terms of second order

v̄ₖ is the derivative of the result by the value of operation k, εₖ the rounding error of this operation alone, δx the
error of x when it is rounded to the dtype, which is known. So

    bound     |Σ x̄ δx| + Σₖ |v̄ₖ| max|εₖ|
    expected  √((Σ x̄ δx)² + Σₖ v̄ₖ² E εₖ²)       independent errors of mean 0

The terms of second order are measured: the operations are evaluated again with the errors max|εₖ| sign v̄ₖ, which give
the bound to first order, and with their opposites. Where the result changes by more than the bound, the excess is added
to the bound.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.tape.local_errors import EXACT, LocalError, local_error, precision_of, rounded
from bpjax.tape.record import Operation
from bpjax.tape.replay import Perturbed, perturbed
from bpjax.tape.values import Adjoints, Value, is_differentiable

VALID = 0.1
"""The largest share of the bound that terms of second order may have."""


class Share(NamedTuple):
    """What one operation contributes."""

    bound: float
    mean_square: float


class Forecast(NamedTuple):
    """The rounding error of a scalar result, and where it comes from."""

    first_order: float  # the bound to first order
    bound: float
    expected: float  # root mean square
    shares: list[Share]  # of each operation
    known: dict[Value, float]  # x̄ δx of each argument and constant that is differentiated
    errors: list[list[LocalError | None]]  # of each result of each operation
    runs: Perturbed
    overflow: list[int]  # operations with a value too large for the dtype

    @property
    def nonlinearity(self) -> float:
        """Terms of second order as a share of the bound to first order; NaN if an error leads to NaN."""
        return (self.bound - self.first_order) / self.first_order if self.first_order else 0.0

    @property
    def is_valid(self) -> bool:
        """Whether terms of second order are small, nothing overflows, and no comparison may change."""
        return bool(self.nonlinearity <= VALID) and not self.runs.decisions and not self.overflow


def sources_of(records) -> list[Value]:
    """The values that no operation computes: arguments and constants."""
    made = {value for record in records for value in record.outputs}
    return list(dict.fromkeys(v for record in records for v in record.inputs if v not in made))


def forecast(records, arguments: list[Value], result: Value, adjoints: Adjoints, dtype) -> Forecast:
    """The forecast for a dtype.

    Args:
        records: operations, recorded with `active_constants`.
        arguments: of the function; other values that no operation computes are constants.
        result: a scalar.
        adjoints: after the reverse sweep from the result.
        dtype: float32, bfloat16 or float16.
    """
    precision = precision_of(dtype)
    sources = list(dict.fromkeys([*arguments, *sources_of(records)]))
    roundings = {v: rounded(v.array, dtype) for v in sources if is_differentiable(v.array)}
    exact = exact_values(records, set(sources).difference(arguments), roundings)
    errors = [local_error(record, precision, exact) for record in records]
    known = {v: _known(adjoints.of(v), np.asarray(v.array), r) for v, r in roundings.items()}
    shares = [_share(record, found, adjoints) for record, found in zip(records, errors, strict=True)]
    bias, spread = sum(known.values()), sum(share.bound for share in shares)
    runs = perturbed(records, errors, roundings, adjoints, result)
    excess = float(np.max(np.abs([runs.up - (bias + spread), runs.down - (bias - spread)])))  # NaN if either is
    floor = 8 * float(jnp.finfo(result.array.dtype).eps) * abs(float(result.array))  # rounding of the runs themselves
    first_order = abs(bias) + spread
    return Forecast(
        first_order,
        first_order + max(excess - floor, 0.0),
        math.sqrt(bias**2 + sum(share.mean_square for share in shares)),
        shares,
        known,
        errors,
        runs,
        [k for k, record in enumerate(records) if _exceeds(record, precision.largest)],
    )


def exact_values(records, constants: set[Value], roundings: dict[Value, np.ndarray]) -> set[Value]:
    """Constants that the dtype holds exactly, and what exact operations make of them alone."""
    exact = {v for v in constants if v not in roundings or np.array_equal(roundings[v], np.asarray(v.array))}
    for record in records:
        if (
            record.equation.primitive.name in EXACT
            and isinstance(record, Operation)
            and exact.issuperset(record.inputs)
        ):
            exact.update(record.outputs)
    return exact


def _known(adjoint, exact, rounded) -> float:
    """x̄ δx; infinities and NaN, such as what an index out of range selects, stay as they are."""
    changed = (exact != rounded) & ~(np.isnan(exact) & np.isnan(rounded))
    error = np.subtract(rounded, exact, where=changed, out=np.zeros_like(exact))
    return 0.0 if adjoint is None else float(np.sum(np.real(np.asarray(adjoint) * error)))


def _share(record, found: list[LocalError | None], adjoints: Adjoints) -> Share:
    bound, mean_square = 0.0, 0.0
    for value, error in zip(record.outputs, found, strict=True):
        adjoint = adjoints.of(value)
        if error is not None and adjoint is not None:
            size = np.abs(np.asarray(adjoint))
            bound += float(np.sum(size * error.bound))
            mean_square += float(np.sum((size * error.rms) ** 2))
    return Share(bound, mean_square)


def _exceeds(record, largest: float) -> bool:
    return any(
        is_differentiable(v.array) and bool(np.any(np.isfinite(v.array) & (np.abs(v.array) > largest)))
        for v in record.outputs
    )
