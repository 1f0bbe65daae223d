"""The verdict on every entry of a gradient: right, wrong, or cannot tell, and why.

An entry is right where it agrees with reverse mode of the function and finite differences do not contradict. Finite
differences decide where reverse mode is not finite or wrong about a removable singularity. At a kink any slope between
those of the two sides is defensible, and the verdict is "cannot tell"; outside of them it is wrong.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import BUDGET
from bpjax.gradcheck.finite_differences import Slope
from bpjax.gradcheck.ties import broken_ties
from bpjax.gradcheck.truth import Gradients, Truth

RIGHT, UNSURE, WRONG = range(3)

CEILING = {"float64": 1e-2, "float32": 1e-2, "bfloat16": 0.1, "float16": 0.1}
"""The largest error of an entry, relative to the largest of its array, that is attributed to rounding."""

HEADROOM = 16.0
"""A right gradient may be this many times as far from the truth as random rounding errors move it."""

MOST_ENTRIES = 256
"""Finite differences are taken by every entry where there are at most so many, else by those in question."""


class Entries(NamedTuple):
    """The verdict on each entry of the gradient by one array."""

    states: np.ndarray  # RIGHT, UNSURE or WRONG
    truth: np.ndarray  # the first cotangent's
    difference: np.ndarray  # |computed − truth|, the largest over the cotangents
    tolerance: np.ndarray  # at the cotangent of the largest difference
    reasons: dict  # index -> why the entry is UNSURE, or a note on why it is WRONG


class Judge:
    """Judges one gradient; finite differences are evaluated where they are needed."""

    def __init__(self, truth: Truth, computed: Gradients, dtype: str, tolerance: float | None):
        """Bind what is compared.

        Args:
            truth: what the gradient should be.
            computed: by cotangent and leaf; None for a leaf that the gradient leaves out.
            dtype: the name of the least precise dtype in the function.
            tolerance: accepted error relative to the largest entry of an array; None for the automatic tolerance.
        """
        self.truth, self.computed, self.dtype, self.tolerance = truth, computed, dtype, tolerance
        self.slopes: dict[tuple, Slope] = {}

    def leaf(self, index: int) -> Entries:
        """The verdict on the gradient by one array."""
        reference, noise = self._reference(index)
        rows = [np.asarray(row[index]) for row in self.computed]
        shape = reference[0].shape
        found = [self._compare(g, t, n) for g, t, n in zip(rows, reference, noise, strict=True)]
        states = np.asarray(np.max([s for s, _, _ in found], axis=0))
        differences = np.stack([d for _, d, _ in found])
        tolerances = np.stack([t for _, _, t in found])
        worst = np.argmax(np.where(np.isnan(differences), np.inf, differences), axis=0)
        pick = (worst, *np.indices(shape)) if shape else (worst,)
        first = np.array(reference[0])
        entries = Entries(states, first, np.asarray(differences[pick]), np.asarray(tolerances[pick]), {})
        self._consult_differences(index, entries, rows, reference, found)
        return entries

    # --- Reverse mode ------------------------------------------------------------------------------------------------

    def _reference(self, index: int):
        if self.truth.gradients is not None and self.truth.noise is not None:
            return [row[index] for row in self.truth.gradients], [row[index] for row in self.truth.noise]
        return self._by_differences(index)

    def _compare(self, computed, truth, noise):
        """(state, difference, tolerance) of every entry for one cotangent."""
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.abs(computed - truth)
            finite = np.abs(truth)[np.isfinite(truth)]
            largest = finite.max() if finite.size else 0.0
            size = np.where(np.isfinite(truth), np.abs(truth), 0.0)
            if self.tolerance is not None:
                tolerance = np.full(truth.shape, self.tolerance * largest) + 1e-300
                states = np.where(difference <= tolerance, RIGHT, WRONG)
            else:
                budget, smallest = self._precision(computed)
                exact = budget * size + 8 * self.truth.rounding * largest + smallest
                natural = HEADROOM * np.nan_to_num(noise, nan=np.inf)
                tolerance = np.maximum(exact, natural)
                vanishing = (size <= noise) & (np.abs(computed) <= natural)  # both are zero up to rounding
                sure = (natural <= CEILING[self.dtype] * largest) | vanishing | (difference <= exact)
                states = np.where(difference <= tolerance, np.where(sure, RIGHT, UNSURE), WRONG)
        states = np.where(np.isfinite(truth), states, UNSURE)
        states = np.where(np.isfinite(truth) & ~np.isfinite(computed), WRONG, states)
        return np.where(self._overflows(truth) & ~np.isfinite(computed), UNSURE, states), difference, tolerance

    def _overflows(self, truth):
        """Whether the true derivative, or a result of the function, is too large for the dtype."""
        most = float(jnp.finfo(self.dtype).max)
        finite = [r[np.isfinite(r)] for r in self.truth.results]
        too_large = any(np.abs(r).max(initial=0.0) > most for r in finite)
        return np.isfinite(truth) & ((np.abs(truth) > most) | too_large)

    def _precision(self, computed) -> tuple[float, float]:
        """(relative error of right code, smallest number) in the least precise dtype of the function and gradient."""
        own = BUDGET.get(np.zeros((), computed.dtype).real.dtype.name, 0.0)
        return max(BUDGET[self.dtype], own), float(jnp.finfo(self.dtype).tiny)

    # --- Finite differences ------------------------------------------------------------------------------------------

    def _by_differences(self, index: int):
        """Gradients by every entry, and their errors, from finite differences alone."""
        array = self.truth.differences.arrays[index]
        count = len(self.computed)
        gradients = [np.zeros(array.shape, array.dtype) for _ in range(count)]
        noise = [np.zeros(array.shape) for _ in range(count)]
        positions = self._sample(index)
        for position, slopes in zip(positions, self._slopes_at([(index, p) for p in positions]), strict=True):
            value, error = _combined(slopes)
            for m in range(count):
                gradients[m][position], noise[m][position] = value[m], error[m]
        if len(positions) < array.size:
            self._fill_unsampled(index, positions, gradients)
        return gradients, noise

    def _sample(self, index: int) -> list[tuple[int, ...]]:
        """All entries of a small array, some of a large one."""
        array = self.truth.differences.arrays[index]
        total = sum(a.size for a in self.truth.differences.arrays)
        if total <= MOST_ENTRIES:
            return list(np.ndindex(array.shape))
        chosen = np.random.default_rng(3).permutation(array.size)[: max(16, MOST_ENTRIES * array.size // (4 * total))]
        return [tuple(int(i) for i in np.unravel_index(k, array.shape)) for k in chosen]

    def _fill_unsampled(self, index: int, positions, gradients) -> None:
        """The other entries of a large array are held against directions: right together, or wrong together (NaN)."""
        rest = np.ones(gradients[0].shape, bool)
        for position in positions:
            rest[position] = False
        arrays, rng = self.truth.differences.arrays, np.random.default_rng(4)
        directions = []
        for _ in range(4):
            direction = [np.zeros_like(a) for a in arrays]
            signs = rng.choice([-1.0, 1.0], rest.shape)
            direction[index] = (signs * rest * np.std(arrays[index])).astype(arrays[index].dtype)
            directions.append(direction)
        agree = True
        for direction, slope in zip(directions, self.truth.differences.along(directions), strict=True):
            for m, row in enumerate(self.computed):
                terms = np.asarray(row[index]) * direction[index]
                size = float(np.sqrt(np.sum(np.abs(terms) ** 2)))
                gap = abs(float(np.real(np.sum(terms))) - slope.both[m])
                agree &= bool(gap <= HEADROOM * (slope.error[m] + BUDGET[self.dtype] * size))
        for m, row in enumerate(self.computed):
            gradients[m][rest] = np.asarray(row[index])[rest] if agree else np.nan

    def _slopes_at(self, places: list) -> list[list[Slope]]:
        """The slopes by entries (leaf, index): one for a real entry, two for a complex one."""
        wanted = []
        for index, position in places:
            units = (1, 1j) if np.iscomplexobj(self.truth.differences.arrays[index]) else (1,)
            wanted += [(index, position, unit) for unit in units if (index, position, unit) not in self.slopes]
        for key, slope in zip(wanted, self.truth.differences.entries(wanted), strict=True):
            self.slopes[key] = slope
        return [[self.slopes[(*p, u)] for u in (1, 1j) if (*p, u) in self.slopes] for p in places]

    def _consult_differences(self, index: int, entries: Entries, rows, reference, found) -> None:
        """Settle the entries in question by finite differences; states and reasons are updated in place."""
        doubtful = self._in_question(index, entries)
        if not doubtful:
            return
        all_slopes = self._slopes_at([(index, position) for position in doubtful])
        overturned = 0
        for position, slopes in zip(doubtful, all_slopes, strict=True):
            before = entries.states[position]
            votes = [
                self._vote(computed[position], truth[position], found[m][2][position], slopes, m)
                for m, (computed, truth) in enumerate(zip(rows, reference, strict=True))
            ]
            state, reason = max(votes, key=lambda vote: vote[0])
            entries.states[position] = state
            self._take_slopes(entries, position, [row[position] for row in rows], slopes)
            overturned += before == WRONG and state != WRONG
            if reason:
                entries.reasons[position] = reason
        kinks = [p for p, why in entries.reasons.items() if entries.states[p] == UNSURE and why.startswith("a kink")]
        for position, reason in broken_ties(self.truth.differences, index, kinks, rows, BUDGET[self.dtype]).items():
            entries.states[position], entries.reasons[position] = WRONG, reason
        untested = [tuple(p) for p in np.argwhere(entries.states == WRONG) if tuple(p) not in set(doubtful)]
        if untested and overturned == len(doubtful):
            for position in untested:
                entries.states[position] = UNSURE
                entries.reasons[position] = "finite differences contradict reverse mode of the function elsewhere"

    @staticmethod
    def _take_slopes(entries: Entries, position, computed, slopes: list[Slope]) -> None:
        """Where finite differences are exact and contradict reverse mode, they are the truth."""
        value, error = _combined(slopes)
        truth = entries.truth[position]
        if not np.isfinite(value[0]) or slopes[0].kink.any() or abs(value[0] - truth) <= 10 * error[0]:
            return
        entries.truth[position] = value[0]
        entries.difference[position] = max(abs(c - v) for c, v in zip(computed, value, strict=True))

    def _in_question(self, index: int, entries: Entries) -> list[tuple[int, ...]]:
        """The entries that finite differences are taken by."""
        if self.truth.gradients is None:
            return self._sample(index)
        if entries.states.size <= MOST_ENTRIES and self.contradicted:
            return list(np.ndindex(entries.states.shape))
        with np.errstate(invalid="ignore"):
            size = np.nan_to_num(entries.difference, nan=np.inf, posinf=np.inf)
        order = np.argsort(-size, axis=None, kind="stable")
        positions = [tuple(int(i) for i in np.unravel_index(k, size.shape)) for k in order]
        wrong = [p for p in positions if entries.states[p] == WRONG][:16]
        unsure = [p for p in positions if entries.states[p] == UNSURE][:64]
        special = self._special(index)[:64] if self.contradicted else []
        return list(dict.fromkeys([*wrong, *unsure, *special]))

    def _special(self, index: int) -> list[tuple[int, ...]]:
        """Entries at which functions have kinks: integers, and values that occur more than once."""
        array = self.truth.differences.arrays[index]
        values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
        repeated = (counts > 1)[inverse.reshape(array.shape)]
        return [tuple(int(i) for i in p) for p in np.argwhere(repeated | (array == np.round(np.real(array))))]

    def _vote(self, computed, truth, tolerance: float, slopes: list[Slope], m: int) -> tuple[int, str | None]:
        """(state, reason) of one entry for one cotangent."""
        value, error = (part[m] for part in _combined(slopes))
        if not np.isfinite(computed):
            if self._overflows(truth):
                return UNSURE, f"numbers of this size overflow in {self.dtype}"
            if np.isfinite(value) or np.isfinite(truth):
                return WRONG, None
            return UNSURE, "the function has no finite derivative here"
        if len(slopes) == 1 and slopes[0].kink[m]:
            return self._vote_at_kink(computed, tolerance, slopes[0], m)
        if self.truth.undefined:
            return UNSURE, "the function returns NaN at these arguments"
        if not np.isfinite(value) or error > 1e-3 * max(abs(value), 1e-300) + tolerance:
            if np.isfinite(truth) and self.truth.gradients is not None:
                return (RIGHT if abs(computed - truth) <= tolerance else WRONG), None
            return UNSURE, "neither reverse mode nor finite differences give a derivative here"
        allowed = max(tolerance if np.isfinite(tolerance) else 0.0, BUDGET[self.dtype] * abs(value)) + 10 * error
        if abs(computed - value) <= allowed:
            return RIGHT, None
        if np.isfinite(truth) and abs(computed - truth) <= tolerance:
            if not np.isfinite(tolerance):
                return UNSURE, f"the noise of the function has no bound here; its slope is {value:.6g}"
            if self.truth.stops_gradient:
                return UNSURE, f"the function stops a gradient here; its slope is {value:.6g}"
            if self.truth.opened.narrow and abs(computed - value) <= CEILING[self.dtype] * abs(value):
                return RIGHT, None  # finite differences of float32 values are no more precise
            return WRONG, f"the slope of the function is {value:.6g}"
        return WRONG, None

    def _vote_at_kink(self, computed, tolerance: float, slope: Slope, m: int) -> tuple[int, str]:
        left, right = sorted((slope.left[m], slope.right[m]))
        slack = 10 * slope.one_sided_error[m] + BUDGET[self.dtype] * max(abs(left), abs(right))
        sides = f"a kink: the slope is {slope.left[m]:.6g} on the left and {slope.right[m]:.6g} on the right"
        inside = left - slack <= computed <= right + slack
        return (UNSURE if inside else WRONG), sides

    @property
    def contradicted(self) -> bool:
        """Whether finite differences along random directions contradict reverse mode of the function."""
        if not hasattr(self, "_contradicted"):
            self._contradicted = self._contradiction()
        return self._contradicted

    def _contradiction(self) -> bool:
        if self.truth.gradients is None:
            return False
        rng = np.random.default_rng(1)
        arrays = self.truth.differences.arrays
        finite = [np.where(np.isfinite(a), a, 0) for a in arrays]
        scales = [np.sqrt(np.mean(np.abs(a) ** 2)) or 1.0 if a.size else 1.0 for a in finite]
        directions = []
        for _ in range(4):
            normal = [rng.standard_normal(a.shape) * s for a, s in zip(arrays, scales, strict=True)]
            pairs = zip(arrays, normal, strict=True)
            directions.append([np.where(np.isfinite(a), v, 0.0).astype(a.dtype) for a, v in pairs])
        for direction, slope in zip(directions, self.truth.differences.along(directions), strict=True):
            for m, row in enumerate(self.truth.gradients):
                products = [np.real(np.sum(g * v)) for g, v in zip(row, direction, strict=True) if g is not None]
                terms = sum(float(np.sum(np.abs(g * v))) for g, v in zip(row, direction, strict=True))
                gap = abs(sum(products) - slope.both[m])
                if slope.kink[m] or not gap <= 10 * slope.error[m] + 1e-6 * terms:
                    return True
        return False


def _combined(slopes: list[Slope]) -> tuple[np.ndarray, np.ndarray]:
    """(derivative, error) by one entry for each cotangent; by a complex entry it is ∂/∂x − i ∂/∂y."""
    value = slopes[0].both - (1j * slopes[1].both if len(slopes) > 1 else 0)
    return value, np.sum([s.error for s in slopes], axis=0)
