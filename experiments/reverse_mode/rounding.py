"""Linnainmaa's forecast of rounding errors, the reason why he made reverse mode, against measured errors.

To first order the error of a computed result is Σ v̄ₖ εₖ over all operations, v̄ₖ the derivative of the result by value k
(its adjoint) and εₖ the rounding error that operation k alone makes.
"""

import math
from typing import NamedTuple

import jax
import numpy as np

import bpjax as bp
from bpjax.tape import Tape
from experiments.common.command import Advance
from experiments.reverse_mode.programs import Program, random_program, rounding_errors, unstable_recurrence

BITS = (8, 11, 14, 17, 20, 24)
"""Significant bits: 8 as bfloat16, 11 as float16, 24 as float32."""


class Forecast(NamedTuple):
    """One program in one precision."""

    program: int
    bits: int
    measured: float  # computed minus exact result
    first_order: float  # Σ v̄ₖ εₖ

    @property
    def ratio_error(self) -> float:
        """|forecast / measured − 1|."""
        return abs(self.first_order / self.measured - 1) if self.measured else math.nan


class Bound(NamedTuple):
    """One program in float32: `Tape.rounding`, which knows only how large the error of an operation may be."""

    program: int
    measured: float
    expected: float  # root mean square
    bound: float


class Recurrence(NamedTuple):
    """One value Eₙ of the unstable recurrence, in float32."""

    n: int
    exact: float
    coefficient: float  # dEₙ/dE₁ by the tape
    measured: float
    first_order: float


def swept(program: Program, arguments: np.ndarray) -> tuple[Tape, np.ndarray, np.ndarray]:
    """The tape, and the exact values and their adjoints, arguments first."""
    tape = bp.tape(program, *arguments)
    entries = tape.entries
    if len(entries) != len(program.steps):
        raise RuntimeError("A step of the program is not one operation of the tape.")
    values = [*arguments, *(float(entry.value) for entry in entries)]
    adjoints = [float(a) for a in tape.gradient["arguments"]] + [float(entry.adjoint) for entry in entries]
    return tape, np.array(values), np.array(adjoints)


def forecasts(seed: int, count: int, advance: Advance) -> tuple[list[Forecast], list[Bound]]:
    """Random programs of 5 to 30 operations, in every precision, and by `Tape.rounding` in float32."""
    found, bounds = [], []
    with jax.enable_x64(True):
        for number in range(count):
            random = np.random.default_rng((seed, number))
            program, arguments = random_program(random, int(random.integers(5, 31)))
            tape, values, adjoints = swept(program, arguments)
            for bits in BITS:
                computed, errors = rounding_errors(program, arguments, bits)
                found.append(Forecast(number, bits, float(computed[-1] - values[-1]), float(adjoints @ errors)))
            if number % 4 == 0:
                low = tape.rounding("float32")
                bounds.append(Bound(number, low.measured, low.expected, low.bound))
            advance(number + 1, "rounding forecasts", "programs")
    return found, bounds


def recurrence(largest: int = 12, bits: int = 24) -> list[Recurrence]:
    """The unstable recurrence, whose coefficients are known: dEₙ/dE₁ = (−1)ⁿ⁻¹ n!."""
    rows = []
    with jax.enable_x64(True):
        for n in range(2, largest + 1):
            program, arguments = unstable_recurrence(n)
            _, values, adjoints = swept(program, arguments)
            computed, errors = rounding_errors(program, arguments, bits)
            error = float(computed[-1] - values[-1])
            rows.append(Recurrence(n, float(values[-1]), float(adjoints[0]), error, float(adjoints @ errors)))
    return rows


def medians(found: list[Forecast]) -> dict[int, float]:
    """For each precision the median of |forecast / measured − 1|."""
    by_bits = {bits: [f.ratio_error for f in found if f.bits == bits] for bits in dict.fromkeys(f.bits for f in found)}
    return {bits: float(np.nanmedian(errors)) for bits, errors in by_bits.items()}


def order(found: list[Forecast]) -> float:
    """How |forecast / measured − 1| falls with the unit roundoff u: the exponent of u, 1 by Taylor's theorem."""
    by_bits = medians(found)
    return -float(np.polyfit(list(by_bits), np.log2(list(by_bits.values())), 1)[0])
