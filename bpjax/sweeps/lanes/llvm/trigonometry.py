"""Sine and cosine of float32, by way of float64.

    x = n π/2 + r,  |r| ≤ π/4;  sin x = ±sin r or ±cos r, by n mod 4

|x| < 2²⁰: π/2 in three parts, of which the first two times n are exact. Beyond, x = m 2ᵉ with an integer m < 2²⁴ is
multiplied by 2ᵉ · 2/π mod 4, which a table holds for each e in two float64, after Payne and Hanek 1983.
"""

import functools
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import Array, elementwise, literal
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.lookups import look_up
from bpjax.sweeps.lanes.llvm.ops import Ops

SIN_REST = (-7.586576588171073e-13, 1.6058529572267877e-10, -2.5052106219521895e-08, 2.755731921930192e-06,
            -0.00019841269841265017, 0.008333333333333331, -0.16666666666666666)  # fmt: skip
"""(sin(r) - r) / r³ in powers of r²."""
COS_REST = (4.745804889760674e-14, -1.1470459749675607e-11, 2.087675578389404e-09, -2.7557319221382114e-07,
            2.4801587301584618e-05, -0.0013888888888888887, 0.041666666666666664)  # fmt: skip
"""(cos(r) - 1 + r² / 2) / r⁴ in powers of r²."""
QUARTER = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""π/2 in three parts; the first two have 33 bits."""
LARGE = 2.0**20
ROUNDER = 6755399441055744.0
"""1.5 · 2⁵²: adding it rounds to an integer, which is then in the lowest bits."""
TWO_OVER_PI = Fraction(0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561, 2**256)
"""2/π to 256 bits."""


@functools.lru_cache(maxsize=1)
def table() -> np.ndarray:
    """2ᵉ · 2/π mod 4 in two parts (128, 2), for e = -24, …, 103."""
    rows = []
    for e in range(-24, 104):
        exact = TWO_OVER_PI * Fraction(2) ** e % 4
        rows.append([float(exact), float(exact - Fraction(float(exact)))])
    return np.array(rows)


def reduced_small(ops: Ops, x):
    """(n, r), n in the lowest bits of integers."""
    shifted = ops.fma(x, ops.c(float(TWO_OVER_PI)), ops.c(ROUNDER))
    n = ops.sub(shifted, ops.c(ROUNDER))
    r = x
    for part in QUARTER:
        r = ops.fma(n, ops.c(-part), r)
    return ops.bits(shifted), r


def reduced_large(ops: Ops, x):
    """As `reduced_small`, for all finite float32 that are not subnormal and not below 1."""
    e, b = ops.emitter, ops.b
    exponent = b.and_(b.lshr(ops.bits(x), ops.i(52)), ops.i(0x7FF))
    exponent = b.sub(exponent, ops.i(1023 + 23))  # x = m 2ᵉ with 2²³ ≤ |m| < 2²⁴
    inside = b.select(b.icmp_signed(">", exponent, ops.i(103)), ops.i(103), exponent)  # inf and NaN: any entry
    inside = b.select(b.icmp_signed("<", inside, ops.i(-24)), ops.i(-24), inside)
    m = ops.mul(x, ops.power_of_two(b.sub(ops.i(0), inside)))
    place = b.mul(b.add(inside, ops.i(24)), ops.i(2))
    entries = literal(e, table())
    high, low = look_up(e, entries, place), look_up(e, entries, b.add(place, ops.i(1)))
    product = ops.mul(m, high)
    rest = ops.fma(m, low, ops.fma(m, high, ops.neg(product)))
    shifted = ops.add(product, ops.c(ROUNDER))
    n = ops.sub(shifted, ops.c(ROUNDER))
    r = ops.add(ops.sub(product, n), rest)
    return ops.bits(shifted), ops.mul(r, ops.c(QUARTER[0] + QUARTER[1]))


def wave(ops: Ops, x, quarters: int):
    """sin(x + quarters · π/2)."""
    if ops.is_double:
        raise Unsupported("sin and cos of float64")
    wide, narrow = ops.as_double(), ops.emitter.vector(np.float32)
    return ops.b.fptrunc(double_wave(wide, ops.b.fpext(x, ops.emitter.vector(np.float64)), quarters), narrow)


def double_wave(ops: Ops, x, quarters: int):
    """See `wave`."""
    e, b = ops.emitter, ops.b
    n, r = reduced_small(ops, x)
    kept = e.allocate(2, np.float64)
    size = 8 * e.width
    e.store(n, kept.base, 0, "int64")
    e.store(r, kept.base, size, "float64")
    is_large = ops.compare(">=", ops.abs(x), ops.c(LARGE))
    with b.if_then(e.any(is_large)):
        other_n, other_r = reduced_large(ops, x)
        e.store(b.select(is_large, other_n, n), kept.base, 0, "int64")
        e.store(b.select(is_large, other_r, r), kept.base, size, "float64")
    n, r = e.load(kept.base, 0, "int64"), e.load(kept.base, size, "float64")
    n = b.add(n, ops.i(quarters))
    z = ops.mul(r, r)
    sine = ops.fma(ops.mul(ops.polynomial(z, SIN_REST), z), r, r)
    cosine = ops.fma(ops.mul(z, z), ops.polynomial(z, COS_REST), ops.fma(z, ops.c(-0.5), ops.c(1.0)))
    is_odd = b.icmp_unsigned("!=", b.and_(n, ops.i(1)), ops.i(0))
    value = ops.where(is_odd, cosine, sine)
    sign = b.shl(b.and_(n, ops.i(2)), ops.i(62))
    value = ops.float_of_bits(b.xor(ops.bits(value), sign))
    is_finite = ops.compare("<", ops.abs(x), ops.c(float("inf")))
    value = ops.where(is_finite, value, ops.c(float("nan")))
    return value if quarters else ops.where(ops.compare("==", x, ops.c(0.0)), x, value)


def rule(quarters: int) -> Callable:
    """The rule of sin(x + quarters · π/2)."""

    def apply(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
        out = equation.outvars[0].aval
        ops = Ops(emitter, out.dtype)
        return [elementwise(out.shape, out.dtype, lambda x: wave(ops, x, quarters), arrays[0])]

    return apply


sin, cos = rule(0), rule(1)
"""The rules of the sine and of the cosine."""
