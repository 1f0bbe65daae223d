"""Straight-line programs: lists of elementary operations, evaluated by JAX on the tape or by NumPy in any precision.

Every step is one primitive of JAX, so that step k is entry k of the tape.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax import lax

OPERATIONS: dict[str, tuple[Callable, Callable]] = {
    "+": (lax.add, np.add),
    "−": (lax.sub, np.subtract),
    "×": (lax.mul, np.multiply),
    "/": (lax.div, np.divide),
    "√": (lax.sqrt, np.sqrt),
    "sin": (lax.sin, np.sin),
    "tanh": (lax.tanh, np.tanh),
    "exp": (lax.exp, np.exp),
}
BINARY = ("+", "−", "×", "/")


class Step(NamedTuple):
    """One operation; its inputs are places in the list of all values, the arguments first."""

    operation: str
    inputs: tuple[int, ...]


class Program(NamedTuple):
    """A function of numbers; its result is the value of the last step."""

    num_arguments: int
    steps: tuple[Step, ...]

    def __call__(self, *arguments):
        """The result, by JAX."""
        values = list(arguments)
        for name, inputs in self.steps:
            values.append(OPERATIONS[name][0](*(values[i] for i in inputs)))
        return values[-1]


def random_program(random: np.random.Generator, length: int, num_arguments: int = 4) -> tuple[Program, np.ndarray]:
    """A program without extreme values, whose result depends on all steps, and its arguments in 0.5 … 2.

    A step that would lead to a value outside 1e-3 … 1e3 is drawn again; at the end the values that nothing has used are
    added together.
    """
    arguments = random.uniform(0.5, 2.0, num_arguments)
    values, steps, unused = list(arguments), [], set(range(num_arguments))

    def append(name: str, inputs: tuple[int, ...], value: float) -> None:
        unused.difference_update(inputs)
        unused.add(len(values))
        steps.append(Step(name, inputs))
        values.append(value)

    while len(steps) < length:
        name = str(random.choice(list(OPERATIONS)))
        inputs = tuple(int(i) for i in random.integers(len(values), size=2 if name in BINARY else 1))
        with np.errstate(all="ignore"):
            value = float(OPERATIONS[name][1](*(values[i] for i in inputs)))
        if 1e-3 < abs(value) < 1e3:
            append(name, inputs, value)
    while len(unused) > 1:
        left, right = sorted(unused)[:2]
        append("+", (left, right), values[left] + values[right])
    return Program(num_arguments, tuple(steps)), arguments


def unstable_recurrence(n: int) -> tuple[Program, np.ndarray]:
    """Eₖ = 1 − k Eₖ₋₁ up to Eₙ, from E₁ = 1/e and the constants 1, 2, …, n: the integrals ∫ xᵏ eˣ⁻¹ dx over 0 … 1.

    Returns:
        the program of E₁, 1, 2, …, n, and these arguments.
    """
    steps, latest = [], 0
    for k in range(2, n + 1):
        place = n + 1 + len(steps)
        steps += [Step("×", (k, latest)), Step("−", (1, place))]
        latest = place + 1
    return Program(n + 1, tuple(steps)), np.array([np.exp(-1.0), *range(1, n + 1)])


def rounded(values, bits: int):
    """Values rounded to the nearest with this many significant bits; ties go to the even one."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits)


def rounding_errors(program: Program, arguments: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate with every result rounded.

    Args:
        program: of numbers.
        arguments: in float64.
        bits: significant bits; far fewer than the 53 of float64, in which the operations themselves are computed.

    Returns:
        all computed values, and the rounding error that each argument and each operation alone makes.
    """
    values = list(rounded(arguments, bits))
    errors = list(np.array(values) - arguments)
    for name, inputs in program.steps:
        exact = OPERATIONS[name][1](*(values[i] for i in inputs))
        values.append(rounded(exact, bits))
        errors.append(values[-1] - exact)
    return np.array(values), np.array(errors)
