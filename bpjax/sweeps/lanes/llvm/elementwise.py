"""Rules of elementwise primitives: how one entry of the result is computed, for W runs at once."""

import math
from collections.abc import Callable

import numpy as np

from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, Value, name_of
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.functions import SPECIAL
from bpjax.sweeps.lanes.llvm.ops import Ops

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
ARITHMETIC = {"add": ("fadd", "add"), "add_any": ("fadd", "add"), "sub": ("fsub", "sub"), "mul": ("fmul", "mul")}
LOGIC = {"and": "and_", "or": "or_", "xor": "xor"}
SHIFTS = {"shift_left": "shl", "shift_right_logical": "lshr", "shift_right_arithmetic": "ashr"}
ROUNDINGS = {"floor": "floor", "ceil": "ceil", "sqrt": "sqrt"}
MOST_POWERS = 64
"""Largest exponent of `integer_pow`."""


def kind_of(dtype) -> str:
    """One of "f", "i", "u", "b"."""
    return np.dtype(dtype).kind


def operation_of(emitter: Emitter, equation) -> Callable[..., Value] | None:
    """The function from the entries of the inputs to the entry of the result; None if it is not elementwise."""
    name, params = equation.primitive.name, equation.params
    dtype, out = equation.invars[0].aval.dtype if equation.invars else None, equation.outvars[0].aval.dtype
    if name in SPECIAL:
        kinds = [v.aval.dtype for v in equation.invars]
        return lambda *x: special(emitter, name, kinds, *x)
    if name in ARITHMETIC:
        return lambda a, b: getattr(emitter.b, ARITHMETIC[name][kind_of(dtype) != "f"])(a, b)
    if name in COMPARISONS:
        return lambda a, b: compare(emitter, dtype, COMPARISONS[name], a, b)
    if name in LOGIC:
        return lambda a, b: getattr(emitter.b, LOGIC[name])(a, b)
    if name in ("max", "min"):
        return lambda a, b: extreme(emitter, dtype, name, a, b)
    if name in SHIFTS:
        return lambda a, n: shift(emitter, dtype, name, a, n)
    if name == "nextafter":
        return lambda a, b: next_after(emitter, dtype, a, b)
    if name in ("div", "rem"):
        return lambda a, b: quotient(emitter, dtype, name, a, b)
    if name in ROUNDINGS:
        return lambda x: emitter.vector_call(ROUNDINGS[name], x)
    unary: dict[str, Callable] = {
        "neg": lambda x: emitter.b.fneg(x) if kind_of(dtype) == "f" else emitter.b.neg(x),
        "abs": lambda x: absolute(emitter, dtype, x),
        "sign": lambda x: sign(emitter, dtype, x),
        "not": lambda x: emitter.b.not_(x),
        "square": lambda x: power(emitter, dtype, x, 2),
        "integer_pow": lambda x: power(emitter, dtype, x, params["y"]),
        "is_finite": lambda x: emitter.b.fcmp_ordered(
            "<", emitter.vector_call("fabs", x), emitter.constant(math.inf, dtype)
        ),
        "round": lambda x: emitter.vector_call("roundeven" if "EVEN" in params["rounding_method"].name else "round", x),
        "rsqrt": lambda x: emitter.b.fdiv(emitter.constant(1.0, dtype), emitter.vector_call("sqrt", x)),
        "convert_element_type": lambda x: convert(emitter, dtype, out, x),
        "bitcast_convert_type": lambda x: bits_as(emitter, dtype, out, x),
        "clamp": lambda low, x, high: extreme(emitter, out, "min", extreme(emitter, out, "max", x, low), high),
    }
    return unary.get(name)


def special(emitter: Emitter, name: str, dtypes: list, *values) -> Value:
    """A special function; an integer exponent is converted."""
    first = real(name, dtypes[0])
    converted = [convert(emitter, dtype, first, value) for dtype, value in zip(dtypes, values, strict=True)]
    return SPECIAL[name](Ops(emitter, first), *converted)


def real(name: str, dtype):
    """A floating-point dtype, or `Unsupported`."""
    if kind_of(dtype) != "f":
        raise Unsupported(f"{name} of {dtype}")
    return dtype


def compare(emitter: Emitter, dtype, how: str, a, b) -> Value:
    """A comparison; all but `!=` are false for NaN."""
    if kind_of(dtype) == "f":
        return (emitter.b.fcmp_unordered if how == "!=" else emitter.b.fcmp_ordered)(how, a, b)
    return (emitter.b.icmp_signed if kind_of(dtype) == "i" else emitter.b.icmp_unsigned)(how, a, b)


def extreme(emitter: Emitter, dtype, name: str, a, b) -> Value:
    """The larger or smaller of two; NaN if either is NaN, and +0 is larger than -0."""
    if kind_of(dtype) == "f":
        return emitter.vector_call("maximum" if name == "max" else "minimum", a, b)
    return emitter.b.select(compare(emitter, dtype, ">" if name == "max" else "<", a, b), a, b)


def absolute(emitter: Emitter, dtype, x) -> Value:
    """The absolute value."""
    if kind_of(dtype) == "f":
        return emitter.vector_call("fabs", x)
    if kind_of(dtype) == "u":
        return x
    return emitter.b.select(emitter.b.icmp_signed("<", x, emitter.constant(0, dtype)), emitter.b.neg(x), x)


def sign(emitter: Emitter, dtype, x) -> Value:
    """-1, 0 or 1; zeros and NaN as they are."""
    zero, one = emitter.constant(0, dtype), emitter.constant(1, dtype)
    if kind_of(dtype) == "f":
        is_zero_or_nan = emitter.b.fcmp_unordered("==", x, zero)
        return emitter.b.select(is_zero_or_nan, x, emitter.vector_call("copysign", one, x))
    positive = emitter.b.select(emitter.b.icmp_unsigned("!=", x, zero), one, zero)
    if kind_of(dtype) == "u":
        return positive
    return emitter.b.select(emitter.b.icmp_signed("<", x, zero), emitter.constant(-1, dtype), positive)


def power(emitter: Emitter, dtype, x, exponent: int) -> Value:
    """Xⁿ by squaring, in the order of XLA."""
    if abs(exponent) > MOST_POWERS:
        raise Unsupported(f"integer_pow with the exponent {exponent}")
    multiply = emitter.b.fmul if kind_of(dtype) == "f" else emitter.b.mul
    result, base, left = None, x, abs(exponent)
    while left:
        if left & 1:
            result = base if result is None else multiply(result, base)
        left >>= 1
        if left:
            base = multiply(base, base)
    if result is None:
        return emitter.constant(1, dtype)
    return result if exponent > 0 else emitter.b.fdiv(emitter.constant(1.0, real("integer_pow", dtype)), result)


def shift(emitter: Emitter, dtype, name: str, a, n) -> Value:
    """A shift; beyond the number of bits 0, or the sign."""
    bits = 8 * np.dtype(dtype).itemsize
    is_inside = emitter.b.icmp_unsigned("<", n, emitter.constant(bits, dtype))
    if name == "shift_right_arithmetic":
        return emitter.b.ashr(a, emitter.b.select(is_inside, n, emitter.constant(bits - 1, dtype)))
    inside = getattr(emitter.b, SHIFTS[name])(a, emitter.b.select(is_inside, n, emitter.constant(0, dtype)))
    return emitter.b.select(is_inside, inside, emitter.constant(0, dtype))


def quotient(emitter: Emitter, dtype, name: str, a, b) -> Value:
    """a / b or the remainder; integers by 0: quotient -1, remainder a; the smallest by -1: itself, remainder 0."""
    if kind_of(dtype) == "f":
        if name == "rem":
            raise Unsupported("rem of floating-point numbers")
        return emitter.b.fdiv(a, b)
    is_signed, zero = kind_of(dtype) == "i", emitter.constant(0, dtype)
    one = emitter.constant(1, dtype)
    is_zero = emitter.b.icmp_unsigned("==", b, zero)
    divisor = emitter.b.select(is_zero, one, b)
    ones = emitter.constant(-1 if is_signed else np.iinfo(dtype).max, dtype)
    is_minus_one = emitter.b.icmp_unsigned("==", b, ones)
    if is_signed:
        divisor = emitter.b.select(is_minus_one, one, divisor)
    if name == "div":
        result = (emitter.b.sdiv if is_signed else emitter.b.udiv)(a, divisor)
        if is_signed:
            result = emitter.b.select(is_minus_one, emitter.b.neg(a), result)
        return emitter.b.select(is_zero, ones, result)
    result = (emitter.b.srem if is_signed else emitter.b.urem)(a, divisor)
    return emitter.b.select(is_zero, a, result)


def next_after(emitter: Emitter, dtype, a, b) -> Value:
    """The number next to a in the direction of b; b if they are equal, NaN if either is NaN."""
    kind, integer = emitter.vector(dtype), f"int{8 * np.dtype(real('nextafter', dtype)).itemsize}"
    zero, one = emitter.constant(0, dtype), emitter.constant(1, integer)
    bits = emitter.b.bitcast(a, emitter.vector(integer))
    is_up, is_positive = compare(emitter, dtype, "<", a, b), compare(emitter, dtype, ">", a, zero)
    step = emitter.b.select(emitter.b.icmp_signed("==", is_up, is_positive), one, emitter.constant(-1, integer))
    moved = emitter.b.bitcast(emitter.b.add(bits, step), kind)
    smallest = emitter.vector_call("copysign", emitter.b.bitcast(one, kind), b)
    result = emitter.b.select(compare(emitter, dtype, "==", a, zero), smallest, moved)
    result = emitter.b.select(compare(emitter, dtype, "==", a, b), b, result)
    return emitter.b.select(emitter.b.fcmp_unordered("uno", a, b), emitter.b.fadd(a, b), result)


def bits_as(emitter: Emitter, dtype, out, x) -> Value:
    """The same bits in another dtype of the same size."""
    if "bool" in (name_of(dtype), name_of(out)) or np.dtype(dtype).itemsize != np.dtype(out).itemsize:
        raise Unsupported(f"bitcast_convert_type from {name_of(dtype)} to {name_of(out)}")
    return emitter.b.bitcast(x, emitter.vector(out))


def convert(emitter: Emitter, dtype, out, x) -> Value:
    """Another dtype; floats are rounded towards 0 to the nearest integer there is, NaN becomes 0."""
    source, target, kind = kind_of(dtype), kind_of(out), emitter.vector(out)
    if np.dtype(dtype) == np.dtype(out):
        return x
    if source == "f" and target == "f":
        wider = np.dtype(out).itemsize > np.dtype(dtype).itemsize
        return emitter.b.fpext(x, kind) if wider else emitter.b.fptrunc(x, kind)
    if target == "b":
        return compare(emitter, dtype, "!=", x, emitter.constant(0, dtype))
    if source == "f":
        element = {"float32": "f32", "float64": "f64"}[name_of(dtype)]
        name = f"llvm.fpto{'s' if target == 'i' else 'u'}i.sat.v{emitter.width}{kind.element}.v{emitter.width}{element}"
        return emitter.call(name, kind, [x])
    if target == "f":
        return emitter.b.sitofp(x, kind) if source == "i" else emitter.b.uitofp(x, kind)
    if np.dtype(dtype).itemsize == np.dtype(out).itemsize and source != "b":
        return x
    if source != "b" and np.dtype(out).itemsize < np.dtype(dtype).itemsize:
        return emitter.b.trunc(x, kind)
    return emitter.b.sext(x, kind) if source == "i" else emitter.b.zext(x, kind)
