"""Special functions on vectors: exp and what is made of it.

Arguments are reduced to a small interval, x = n ln 2 + r, |r| ≤ ln 2 / 2, and a polynomial follows, fitted at the
Chebyshev nodes with 50 digits. Special values are as in XLA on CPUs: subnormal numbers count as 0. The largest errors
are measured against mpmath in `tests/sweeps/test_llvm_special.py`.
"""

from bpjax.sweeps.lanes.llvm.dtypes import Unsupported
from bpjax.sweeps.lanes.llvm.ops import Ops, through_double

EXP_REST = {
    4: (0.0013926325618133463, 0.008363292753030603, 0.041666553762567636, 0.16666576305560638, 0.5),
    10: (
        2.091483135138041e-09, 2.5105419192016337e-08, 2.7557273295539724e-07, 2.75572549134867e-06,
        2.4801587325822283e-05, 0.00019841269875205077, 0.001388888888888367, 0.008333333333326025,
        0.04166666666666667, 0.1666666666666667, 0.5,
    ),
}  # fmt: skip
"""(exp(r) - 1 - r) / r², by degree."""
LOG_REST = (1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01,
            2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01)  # fmt: skip
"""log((1 + s) / (1 - s)) / s - 2 in powers of s²: the polynomial of FreeBSD's `e_log.c`."""
LOG2_E = 1.4426950408889634
LN2 = {False: (0.693359375, -2.12194440e-4), True: (6.93147180369123816490e-01, 1.90821492927058770002e-10)}
"""ln 2 in two parts, of which the first times n is exact: float32 and float64."""
ROUNDER = {False: 12582912.0, True: 6755399441055744.0}
"""1.5 · 2ᵐ: adding it rounds to an integer, which is then in the lowest bits."""
HALF_SQRT = 0.7071067811865476


def reduced(ops: Ops, x):
    """(n as an integer, n as a float, r) with x = n ln 2 + r."""
    high, low = LN2[ops.is_double]
    rounder = ops.c(ROUNDER[ops.is_double])
    shifted = ops.fma(x, ops.c(LOG2_E), rounder)
    n = ops.sub(shifted, rounder)
    r = ops.fma(n, ops.c(-low), ops.fma(n, ops.c(-high), x))
    integer = ops.b.sub(ops.bits(shifted), ops.bits(rounder))
    return integer, n, r


def exp_minus_one(ops: Ops, r):
    """exp(r) - 1 for |r| ≤ ln 2 / 2."""
    rest = ops.polynomial(r, EXP_REST[10 if ops.is_double else 4])
    return ops.fma(ops.mul(r, r), rest, r)


def exp(ops: Ops, x):
    """The exponential function."""
    highest, lowest = (709.79, -708.4) if ops.is_double else (88.73, -87.34)
    inside = ops.at_least(ops.at_most(x, ops.c(highest)), ops.c(lowest))
    n, _, r = reduced(ops, inside)
    half = ops.b.ashr(n, ops.i(1))  # 2ⁿ in two factors: one alone is infinite for the largest x
    scale = ops.power_of_two(half)
    return ops.mul(ops.fma(exp_minus_one(ops, r), scale, scale), ops.power_of_two(ops.b.sub(n, half)))


def exp_inside(ops: Ops, x):
    """The exponential function where neither it nor its inverse is infinite; beyond, a value near the limits."""
    limit = 709.4 if ops.is_double else 88.3
    lowest = -708.3 if ops.is_double else -87.3
    n, _, r = reduced(ops, ops.at_least(ops.at_most(x, ops.c(limit)), ops.c(lowest)))
    scale = ops.power_of_two(n)
    return ops.fma(exp_minus_one(ops, r), scale, scale)


def logistic(ops: Ops, x):
    """1 / (1 + exp(-x))."""
    one = ops.c(1.0)
    return ops.div(one, ops.add(one, exp_inside(ops, ops.neg(x))))


def expm1(ops: Ops, x):
    """exp(x) - 1 = 2ⁿ (exp(r) - 1) + (2ⁿ - 1); float64."""
    n, _, r = reduced(ops, ops.at_least(ops.at_most(x, ops.c(709.0)), ops.c(-50.0)))
    scale = ops.power_of_two(n)
    small = ops.fma(exp_minus_one(ops, r), scale, ops.sub(scale, ops.c(1.0)))
    return ops.where(ops.compare(">", x, ops.c(700.0)), exp(ops, x), signed_zero(ops, small, x))


def signed_zero(ops: Ops, y, x):
    """Y, or x where x is 0: keeps the sign of zero."""
    return ops.where(ops.compare("==", x, ops.c(0.0)), x, y)


def tanh(ops: Ops, x):
    """The hyperbolic tangent: t / (t + 2) with t = exp(2 |x|) - 1 = 2ⁿ (exp(r) - 1) + (2ⁿ - 1)."""
    two, size = ops.c(2.0), ops.at_most(ops.abs(x), ops.c(20.0 if ops.is_double else 10.0))
    n, _, r = reduced(ops, ops.mul(two, size))
    scale = ops.power_of_two(n)
    t = ops.fma(exp_minus_one(ops, r), scale, ops.sub(scale, ops.c(1.0)))
    return ops.with_sign(ops.div(t, ops.add(t, two)), x)


def log(ops: Ops, x):
    """The natural logarithm: x = 2ᵏ m, s = (m - 1) / (m + 1), log m = 2 atanh s; float64, after FreeBSD's `e_log.c`."""
    high, low = LN2[True]
    half = ops.c(0.5)
    # m in [√½, √2): the exponent is counted from √½
    raised = ops.b.sub(ops.bits(x), ops.bits(ops.c(HALF_SQRT)))
    k = ops.b.ashr(raised, ops.i(ops.mantissa))
    m = ops.float_of_bits(ops.b.sub(ops.bits(x), ops.b.shl(k, ops.i(ops.mantissa))))
    rounder = ops.c(ROUNDER[True])
    k = ops.sub(ops.float_of_bits(ops.b.add(k, ops.bits(rounder))), rounder)  # as a floating-point number
    f = ops.sub(m, ops.c(1.0))
    s = ops.div(f, ops.add(ops.c(2.0), f))
    z = ops.mul(s, s)
    rest = ops.mul(z, ops.polynomial(z, LOG_REST))
    square = ops.mul(half, ops.mul(f, f))
    correction = ops.fma(s, ops.add(square, rest), ops.mul(k, ops.c(low)))
    value = ops.fma(k, ops.c(high), ops.sub(f, ops.sub(square, correction)))
    infinity = ops.c(float("inf"))
    value = ops.where(ops.compare("<", x, infinity), value, x)  # inf and NaN stay
    value = ops.where(ops.compare("<", x, ops.c(0.0)), ops.c(float("nan")), value)
    return ops.where(ops.compare("<", ops.abs(x), ops.c(2.2250738585072014e-308)), ops.neg(infinity), value)


def log1p(ops: Ops, x):
    """log(1 + x) = log u + (x - (u - 1)) / u with u = 1 + x rounded; float64."""
    one, infinity = ops.c(1.0), ops.c(float("inf"))
    u = ops.add(one, x)
    lost = ops.where(ops.compare(">", x, one), ops.sub(one, ops.sub(u, x)), ops.sub(x, ops.sub(u, one)))
    value = ops.add(log(ops, u), ops.div(lost, u))
    is_ordinary = ops.b.and_(ops.compare(">", x, ops.c(-1.0)), ops.compare("<", x, infinity))
    value = ops.where(is_ordinary, value, log(ops, u))
    return signed_zero(ops, value, x)


def power(ops: Ops, x, y):
    """x to the power of y, by exp(y log |x|) in float64: for float32, whose errors are then 2⁻²⁴ and little more."""
    zero, one, infinity = ops.c(0.0), ops.c(1.0), ops.c(float("inf"))
    size, whole = ops.abs(x), ops.emitter.vector_call("floor", y)
    half = ops.mul(y, ops.c(0.5))
    is_whole = ops.compare("==", whole, y)
    is_odd = ops.b.and_(is_whole, ops.compare("!=", ops.emitter.vector_call("floor", half), half))
    value = exp(ops, ops.mul(y, log(ops, size)))
    value = ops.where(ops.compare("==", size, one), ops.where(ops.is_nan(y), y, one), value)
    value = ops.where(is_odd, ops.with_sign(value, x), value)
    is_finite = ops.b.and_(ops.compare("<", size, infinity), ops.compare("<", ops.abs(y), infinity))
    is_nan = ops.b.and_(ops.compare("<", x, zero), ops.b.and_(is_finite, ops.b.not_(is_whole)))
    value = ops.where(is_nan, ops.c(float("nan")), value)
    is_one = ops.b.or_(ops.compare("==", y, zero), ops.compare("==", x, one))
    return ops.where(is_one, one, value)


def power_of_float32(ops: Ops, x, y):
    """See `power`; in float64 the error would be hundreds of units."""
    if ops.is_double:
        raise Unsupported("pow of float64")
    return through_double(power)(ops, x, y)
