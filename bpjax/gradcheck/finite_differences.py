"""Derivatives from values of the function alone, with an estimate of their error.

Central differences at steps h, h/4, h/16, …, extrapolated to h = 0 (Richardson 1911); of all extrapolations the one
with the smallest estimated error is taken (Ridders 1982). The same values give the derivatives from the left and from
the right, which differ at a kink.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.util.compilation import FAST_COMPILATION

RATIO = 4.0
STEPS = 14
LARGEST_STEP = 0.25
SMALLEST_KINK = 1e-3
"""Derivatives from both sides differ by so much, relatively, at a kink; by less where the values of a solver have
steps, such as those of bisection."""

CHUNK = 8
"""Directions evaluated by one call of the compiled program."""


class Slope(NamedTuple):
    """A derivative along a direction, from values on both sides."""

    both: np.ndarray  # (M,) central, for each cotangent
    error: np.ndarray  # (M,) its estimated error
    left: np.ndarray  # (M,)
    right: np.ndarray  # (M,)
    one_sided_error: np.ndarray  # (M,) estimated error of both

    @property
    def kink(self) -> np.ndarray:
        """(M,) whether the derivatives from the left and from the right differ beyond their errors."""
        gap = np.abs(self.right - self.left)
        size = np.maximum(np.abs(self.right), np.abs(self.left))
        return gap > 10 * self.one_sided_error + SMALLEST_KINK * size


class FiniteDifferences:
    """Directional derivatives of Re Σ c · f(x), for several cotangents c."""

    def __init__(self, function: Callable[..., Sequence], arrays: Sequence, cotangents: Sequence, precision: float):
        """Bind a function; it is compiled at the first use.

        Args:
            function: (*arrays) -> flat results; float64 where it can be.
            arrays: where, x.
            cotangents: for each result an array with a leading axis M, the cotangents.
            precision: the unit roundoff of the function's results: the smallest step is its square root or smaller.
        """
        self.arrays = [np.asarray(a) for a in arrays]
        smallest = max(precision, 1e-16) ** 0.5
        count = int(np.log(LARGEST_STEP / smallest) / np.log(RATIO)) + 1
        self.steps = LARGEST_STEP / RATIO ** np.arange(min(STEPS, max(4, count)))
        self.precision = precision

        def project(changes):
            products = [
                jnp.sum(jnp.real(c * y[None]), axis=tuple(range(1, y.ndim + 1)))
                for c, y in zip(cotangents, changes, strict=True)
            ]
            return sum(products[1:], products[0])

        def values(arrays, directions):
            middle = list(function(*arrays))

            def at(direction_and_step):
                index, step = direction_and_step
                moved = [a + step * d[index] for a, d in zip(arrays, directions, strict=True)]
                return project([_change(y, y0) for y, y0 in zip(function(*moved), middle, strict=True)])

            steps = np.concatenate([self.steps, -self.steps])
            pairs = np.stack(np.meshgrid(np.arange(CHUNK), np.arange(len(steps)), indexing="ij"), -1).reshape(-1, 2)
            found = lax.map(at, (jnp.asarray(pairs[:, 0]), jnp.asarray(steps)[pairs[:, 1]]))
            squares = [
                jnp.sum(jnp.abs(c * jnp.where(jnp.isfinite(y), y, 0)[None]) ** 2, axis=tuple(range(1, y.ndim + 1)))
                for c, y in zip(cotangents, middle, strict=True)
            ]
            return found.reshape(CHUNK, len(steps), -1), jnp.sqrt(sum(squares[1:], squares[0]))

        self._values = jax.jit(values, compiler_options=FAST_COMPILATION)

    def along(self, directions: list[list[np.ndarray]]) -> list[Slope]:
        """The derivative along each direction, a direction being one array for each argument."""
        slopes: list[Slope] = []
        for start in range(0, len(directions), CHUNK):
            chunk = directions[start : start + CHUNK]
            padded = chunk + [chunk[-1]] * (CHUNK - len(chunk))
            stacked = [np.stack(column) for column in zip(*padded, strict=True)]
            changes, size = map(np.asarray, self._values(self.arrays, stacked))
            slopes += [self._slope(v, size) for v in changes[: len(chunk)]]
        return slopes

    def entries(self, chosen: list[tuple[int, tuple[int, ...], complex]]) -> list[Slope]:
        """The derivative by single entries, each (argument, index, 1 or 1j); steps are relative to the entry's size."""
        sizes = [self._size(argument, index) for argument, index, _ in chosen]
        directions = []
        for (argument, index, unit), size in zip(chosen, sizes, strict=True):
            direction = [np.zeros_like(a) for a in self.arrays]
            direction[argument][index] = unit * size if np.iscomplexobj(direction[argument]) else size
            directions.append(direction)
        for (argument, index, _), k in zip(chosen, range(len(sizes)), strict=True):
            if not np.isfinite(self.arrays[argument][index]):
                sizes[k] = np.nan  # an infinite entry cannot be moved
        return [Slope(*(part / size for part in s)) for s, size in zip(self.along(directions), sizes, strict=True)]

    def _size(self, argument: int, index) -> float:
        array = np.abs(self.arrays[argument])
        finite = array[np.isfinite(array)]
        typical = float(np.sqrt(np.mean(finite**2))) if finite.size else 1.0
        own = float(array[index])
        return max(own if np.isfinite(own) else 0.0, 0.1 * typical) or 1.0

    def _slope(self, changes: np.ndarray, size: np.ndarray) -> Slope:
        """The slopes from changes of Σ c · f, and the size of its terms, which bounds their rounding error."""
        n = len(self.steps)
        plus, minus = changes[:n], changes[n:]
        h = self.steps[:, None]
        rounding = self.precision * (size + np.abs(plus)) / h
        with np.errstate(invalid="ignore", over="ignore"):
            both, error = extrapolate((plus - minus) / (2 * h), RATIO**2, rounding)
            right, right_error = extrapolate(plus / h, RATIO, 2 * rounding)
            left, left_error = extrapolate(-minus / h, RATIO, 2 * rounding)
            sides = np.nan_to_num(np.abs(right - left), posinf=0.0)
        one_sided = np.maximum(left_error, right_error)
        size = np.maximum(np.abs(right), np.abs(left))
        stepped = (sides > 10 * one_sided + 1e-5 * size) & (sides <= SMALLEST_KINK * size)
        return Slope(both, np.where(stepped, np.maximum(error, sides), error), left, right, one_sided)


def _change(moved, middle):
    """The change of a result; an infinite result that stays what it is does not change."""
    return jnp.where(jnp.isinf(middle) & (moved == middle), 0, moved - middle)


def extrapolate(quotients: np.ndarray, factor: float, rounding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The limit of difference quotients (steps, M) for step 0, and its estimated error, both (M,).

    Args:
        quotients: at steps that shrink by a constant ratio.
        factor: how much the leading error shrinks from one step to the next.
        rounding: (steps, M) the error of each quotient by rounding.
    """
    best, error = np.full(quotients.shape[1], np.nan), np.full(quotients.shape[1], np.inf)
    previous: list[np.ndarray] = []
    for k, quotient in enumerate(quotients):
        row = [quotient]
        for j, before in enumerate(previous):
            power = factor ** (j + 1)
            row.append((power * row[j] - before) / (power - 1))
            estimate = np.maximum(np.abs(row[-1] - row[j]), np.abs(row[-1] - before)) + rounding[k]
            better = estimate < error  # False where it is NaN
            best, error = np.where(better, row[-1], best), np.where(better, estimate, error)
        previous = row
    return best, error
