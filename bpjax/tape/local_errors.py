"""How large the rounding error of one operation can be, and how large it is on average.

For an operation z = op(x) in a dtype with unit roundoff u = 2⁻ᵖ, where p counts the bits of the significand:

    one rounding             |ε| ≤ u |z|               the four operations, sqrt: IEEE 754, rounded to nearest
    an elementary function   |ε| ≤ c u |z|             c measured on XLA's CPU backend, with a margin
    a sum of n terms         |ε| ≤ (n − 1) u Σ|terms|  in any order (Higham 2002, Accuracy and stability, §4.2)
    moving, choosing, −x     ε = 0

The root mean square of one rounding is u |z| / √(8 ln 2) = 0.425 u |z|: the error is uniform between ±u 2^e for
z = m 2^e, and the significand m in [1, 2) has the density 1 / (m ln 2), so E[(2^e / z)²] / 3 = 1 / (8 ln 2).
"""

import math
from collections.abc import Container
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.tape.record import Operation
from bpjax.tape.values import Value, is_differentiable
from bpjax.util.jaxprs import bind_primitive

RMS = 1 / math.sqrt(8 * math.log(2))
"""Root mean square of one rounding error, in units of u |z|."""


class Precision(NamedTuple):
    """What a dtype can hold."""

    dtype: np.dtype
    unit: float  # u, the largest relative error of one rounding
    largest: float
    smallest: float  # smallest positive number with all its digits
    subnormal_error: float | None  # largest error below `smallest`; None where XLA flushes such numbers to zero


def precision_of(dtype) -> Precision:
    """The precision of a floating-point dtype."""
    info = jnp.finfo(dtype)
    flushed = info.dtype != jnp.float16  # float16 is computed in float32, where these numbers are normal
    error = None if flushed else float(info.smallest_subnormal) / 2
    return Precision(np.dtype(info.dtype), float(info.eps) / 2, float(info.max), float(info.tiny), error)


class LocalError(NamedTuple):
    """The rounding error that one operation adds to its result."""

    bound: np.ndarray  # never larger, entry by entry
    rms: np.ndarray  # root mean square
    assumed: bool = False  # no model for this operation


EXACT = frozenset(
    "abs all_gather argmax argmin broadcast_in_dim ceil clamp complex concatenate conj copy copy_p cummax cummin "
    "device_put dynamic_slice dynamic_update_slice expand_dims floor gather imag iota is_finite max min neg nextafter "
    "optimization_barrier pad pvary real reduce_max reduce_min reduce_precision rem reshape rev round scatter select_n "
    "select_and_gather_add sign slice sort split squeeze stop_gradient top_k transpose reduce_window_max "
    "reduce_window_min scatter_max scatter_min index stack".split()
)
"""Operations that move, choose or negate entries. (`rem` is exact, too: its result has no more digits than x.)"""

FUNCTIONS = {
    "exp": (2, 0.5), "log": (3, 0.5), "expm1": (9, 1.2), "log1p": (5, 0.6), "sin": (2, 0.4), "cos": (2, 0.4),
    "tan": (4, 0.4), "asin": (4.5, 0.7), "acos": (4.5, 0.5), "atan": (4.5, 0.8), "atan2": (3, 0.5), "sinh": (14, 2.2),
    "cosh": (14, 1.9), "tanh": (7, 1.2), "asinh": (6, 0.6), "acosh": (6, 0.6), "atanh": (5, 0.6), "logistic": (4, 0.5),
    "rsqrt": (4, 0.6), "cbrt": (3.5, 0.5), "erf": (8, 1), "erfc": (50, 9.5), "erf_inv": (32, 1.5),
    "bessel_i0e": (9, 1.7), "bessel_i1e": (29, 2.9), "lgamma": (64, 4), "digamma": (64, 4),
}  # fmt: skip
"""Largest error, with a margin of 1.4 or more, and root mean square, in units of u |z|.

Measured in float32 on 10⁶ arguments one operation at a time, and on 20,000 compiled together, which is less accurate.
"""

FUNCTIONS_16_BITS = {
    "logistic": (3, 0.5), "asin": (3, 0.5), "acos": (3, 0.5), "asinh": (4.5, 0.5), "acosh": (5, 0.5),
    "atanh": (4, 0.5), "expm1": (4, 0.6), "lgamma": (5, 0.5), "digamma": (5, 0.5), "tan": (3.5, 0.5),
    "cbrt": (3.5, 0.5), "log1p": (4, 0.5), "rsqrt": (2.5, 0.5),
}  # fmt: skip
"""The same for bfloat16 and float16: XLA computes in float32 and rounds once, except in these, which are expanded."""

ONE_ROUNDING = frozenset("add sub mul div add_any sqrt square pow convert_element_type".split())


def local_error(record, precision: Precision, exact: Container[Value]) -> list[LocalError | None]:
    """The rounding error of each result of a recorded operation; None for a result that is exact.

    Args:
        record: the operation, with the arrays of its inputs and outputs.
        precision: of the dtype in which it is computed.
        exact: values that are the same in that dtype: constants such as 2 or 0.
    """
    name = record.equation.primitive.name
    floating = [is_differentiable(value.array) for value in record.outputs]
    if not any(floating) or name in EXACT or not isinstance(record, Operation):
        return [None] * len(floating)
    if is_widening(record, precision) or scales_exactly(name, record, exact):
        return [None] * len(floating)
    sizes = [np.abs(np.asarray(value.array)) if f else None for value, f in zip(record.outputs, floating, strict=True)]
    found = _model(name, record, sizes[0], precision)
    if found is None:
        order = 8 * max([max(np.shape(v.array), default=1) for v in record.inputs], default=1)
        errors = [
            None if z is None else LocalError(order * precision.unit * z, precision.unit * z, True) for z in sizes
        ]
    else:
        errors = [LocalError(precision.unit * found[0], precision.unit * found[1])]
    return [e if e is None else with_underflow(e, z, precision) for e, z in zip(errors, sizes, strict=True)]


def _model(name: str, record, z, precision: Precision) -> tuple | None:
    """Largest and root mean square error in units of u; `z` is the absolute value of the result."""
    params, short = record.equation.params, precision.dtype.itemsize == 2
    if name in ONE_ROUNDING:
        return z, RMS * z
    if name in SUMS:
        return _sum_error(name, record, z, precision)
    if name in ("reduce_prod", "cumprod"):
        n = np.size(record.inputs[0].array) // max(1, z.size) if name == "reduce_prod" else z.shape[params["axis"]]
        count = 1 if short and name == "reduce_prod" else max(1, n - 1)
        return 1.01 * count * z, RMS * math.sqrt(count) * z
    if name == "integer_pow":
        roundings = max(1, abs(params["y"]) - 1 + (params["y"] < 0))
        return roundings * z, RMS * math.sqrt(1.5 * roundings - 0.5) * z
    if name == "exp2":  # exp(x ln 2): the error of x ln 2 is multiplied by the derivative
        x = np.abs(np.asarray(record.inputs[0].array))
        return (2 + 1.4 * x) * z, (0.5 + 0.3 * x) * z
    if name in FUNCTIONS:
        worst, rms = FUNCTIONS_16_BITS.get(name, (1.05, RMS)) if short else FUNCTIONS[name]
        scale = np.maximum(z, 1) if name in ("lgamma", "digamma") else z  # these have zeros where terms cancel
        return worst * scale, rms * scale
    return None


# --- Sums ------------------------------------------------------------------------------------------------------------

SUMS = frozenset(
    "reduce_sum cumsum cumlogsumexp dot_general conv_general_dilated reduce_window_sum scatter_add".split()
    + ["scatter-add"]
)


def _sum_error(name: str, record, z, precision: Precision) -> tuple:
    """Sums of n terms, or of n products.

    In 16 bits XLA accumulates in float32 and rounds once (not in `cumsum`). The root mean square takes partial sums to
    grow like n for the mean of the terms and like √n for the rest: Σₖ sₖ² ≈ n z² / 3 + n Σ terms² / 2.
    """
    arrays = [jnp.asarray(value.array) for value in record.inputs]
    is_product = name in ("dot_general", "conv_general_dilated")
    size = [jnp.abs(a) if is_differentiable(a) else a for a in arrays]
    total = np.asarray(bind_primitive(record.equation, size)[0])
    squared = [a * a if is_differentiable(a) else a for a in size]
    squares = np.asarray(bind_primitive(record.equation, squared)[0])
    n = _terms(name, record)
    additions = n if is_product else max(n - 1, 0)
    variance = additions * (z * z / 3 + squares / 2) + (squares if is_product else 0)
    bound, rms = additions * total, RMS * np.sqrt(variance)
    if precision.dtype.itemsize == 2 and name not in ("cumsum", "cumlogsumexp"):
        inner = float(jnp.finfo(jnp.float32).eps) / 2 / precision.unit
        return 1.01 * z + inner * bound, RMS * z + inner * rms
    return bound, rms


def _terms(name: str, record) -> int:
    params, shapes = record.equation.params, [np.shape(value.array) for value in record.inputs]
    if name == "reduce_sum":
        return math.prod(shapes[0][axis] for axis in params["axes"])
    if name in ("cumsum", "cumlogsumexp"):
        return shapes[0][params["axis"]]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(shapes[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        out = params["dimension_numbers"].rhs_spec[0]
        return math.prod(shapes[1]) // shapes[1][out]
    if name == "reduce_window_sum":
        return math.prod(params["window_dimensions"])
    return 1 + math.prod(shapes[2]) // max(
        1, math.prod(shapes[2][a] for a in params["dimension_numbers"].update_window_dims)
    )


# --- Exact cases, underflow ------------------------------------------------------------------------------------------


def is_widening(record, precision: Precision) -> bool:
    """Whether an operation converts between floating-point dtypes no narrower than that of the forecast."""
    if record.equation.primitive.name != "convert_element_type":
        return False
    before, after = np.dtype(record.inputs[0].array.dtype), np.dtype(record.outputs[0].array.dtype)
    return jnp.issubdtype(before, jnp.inexact) and float(jnp.finfo(after).eps) <= 2 * precision.unit


def scales_exactly(name: str, record, exact: Container[Value]) -> bool:
    """Whether an operation multiplies or divides by a constant power of two, or adds the constant 0."""
    candidates = {"mul": record.inputs, "div": record.inputs[1:], "add": record.inputs, "sub": record.inputs}
    allowed = is_zero if name in ("add", "sub") else is_power_of_two
    return any(v in exact and allowed(v.array) for v in candidates.get(name, ()))


def is_zero(array: Any) -> bool:
    """Whether all entries of a concrete array are 0."""
    return not np.any(np.asarray(array))


def is_power_of_two(array: Any) -> bool:
    """Whether all entries of a concrete array are ±2ᵏ."""
    return bool(np.all(np.abs(np.frexp(np.asarray(array, np.float64))[0]) == 0.5))


def with_underflow(error: LocalError, size, precision: Precision) -> LocalError:
    """The error, where a result has fewer digits because it is small: subnormal, or flushed to zero."""
    small = (size > 0) & (size < precision.smallest)
    if not np.any(small):
        return error
    lost = size if precision.subnormal_error is None else precision.subnormal_error
    bound, rms = (np.where(small, np.maximum(e, lost), e) for e in error[:2])
    return LocalError(bound, rms, error.assumed)


def rounded(array: Any, dtype) -> np.ndarray:
    """An array rounded to a dtype, in its own dtype."""
    array = np.asarray(array)
    if np.issubdtype(array.dtype, np.complexfloating):
        return array.astype(np.complex64).astype(array.dtype)
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(dtype).astype(array.dtype)
