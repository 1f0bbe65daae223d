"""Arithmetic on values of W runs with the names of mathematics, for formulas that are read beside their source."""

from typing import Any

import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.emitter import Emitter


class Ops:
    """Operations on vectors of one floating-point dtype, and on integers of the same size."""

    def __init__(self, emitter: Emitter, dtype):
        """Operations of a dtype.

        Args:
            emitter: writes the code.
            dtype: float32 or float64.
        """
        self.emitter, self.dtype = emitter, np.dtype(dtype)
        self.is_double = self.dtype == np.float64
        self.integer = np.dtype("int64" if self.is_double else "int32")
        self.mantissa = 52 if self.is_double else 23
        self.bias = 1023 if self.is_double else 127

    @property
    def b(self) -> Any:
        """The builder, which changes with the function."""
        return self.emitter.b

    def c(self, value) -> ir.Constant:
        """A constant."""
        return self.emitter.constant(value, self.dtype)

    def i(self, value) -> ir.Constant:
        """An integer constant."""
        return self.emitter.constant(value, self.integer)

    def add(self, a, b):
        """The sum."""
        return self.b.fadd(a, b)

    def sub(self, a, b):
        """The difference."""
        return self.b.fsub(a, b)

    def mul(self, a, b):
        """The product."""
        return self.b.fmul(a, b)

    def div(self, a, b):
        """The quotient."""
        return self.b.fdiv(a, b)

    def fma(self, a, b, c):
        """A · b + c with one rounding."""
        return self.emitter.vector_call("fma", a, b, c)

    def neg(self, a):
        """The negative."""
        return self.b.fneg(a)

    def abs(self, a):
        """The absolute value."""
        return self.emitter.vector_call("fabs", a)

    def with_sign(self, a, sign):
        """|a| with the sign of `sign`."""
        return self.emitter.vector_call("copysign", a, sign)

    def compare(self, how: str, a, b):
        """A comparison, false for NaN."""
        return self.b.fcmp_ordered(how, a, b)

    def is_nan(self, a):
        """Whether it is NaN."""
        return self.b.fcmp_unordered("uno", a, a)

    def where(self, condition, a, b):
        """`a` where the condition holds, else `b`."""
        return self.b.select(condition, a, b)

    def at_most(self, a, limit):
        """min(a, limit); NaN stays NaN."""
        return self.where(self.compare(">", a, limit), limit, a)

    def at_least(self, a, limit):
        """max(a, limit); NaN stays NaN."""
        return self.where(self.compare("<", a, limit), limit, a)

    def bits(self, a):
        """The bits as integers."""
        return self.b.bitcast(a, self.emitter.vector(self.integer))

    def float_of_bits(self, a):
        """The floating-point numbers of these bits."""
        return self.b.bitcast(a, self.emitter.vector(self.dtype))

    def polynomial(self, x, coefficients):
        """Horner's rule, the highest power first."""
        result = self.c(coefficients[0])
        for coefficient in coefficients[1:]:
            result = self.fma(result, x, self.c(coefficient))
        return result

    def power_of_two(self, n):
        """2ⁿ for integers n of normal numbers."""
        return self.float_of_bits(self.b.shl(self.b.add(n, self.i(self.bias)), self.i(self.mantissa)))

    def as_double(self) -> "Ops":
        """The same for float64."""
        return Ops(self.emitter, np.float64)


def through_double(function):
    """A float32 function by way of the float64 one, rounded once more: at most 0.51 ULP."""

    def applied(ops: Ops, *values):
        if ops.is_double:
            return function(ops, *values)
        wide = ops.emitter.vector(np.float64)
        result = function(ops.as_double(), *(ops.b.fpext(value, wide) for value in values))
        return ops.b.fptrunc(result, ops.emitter.vector(np.float32))

    return applied
