"""How far an array is from the truth, and how far rounding alone may take it."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

BUDGET = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 0.03, "float16": 0.005}
"""Relative error by norm that a correct gradient one layer deep may have, by dtype. With depth it grows as √depth."""

HEADROOM = 8.0
"""How many times farther from the truth than the reference in the same dtype, or than the truth itself moves
when its inputs are moved by one rounding, a correct gradient may be. It matters where the gradient is badly
conditioned: cancelling examples, saturated units, a net near its minimum."""


def budget(dtype, depth: int = 1) -> float:
    """The documented budget for a gradient through `depth` layers with parameters."""
    return BUDGET[jnp.dtype(dtype).name] * math.sqrt(max(depth, 1))


class Agreement(NamedTuple):
    """An array held against the truth."""

    error: float  # ‖a − truth‖ / ‖truth‖
    tolerance: float  # what rounding may make of it
    reference_error: float  # of the reference in the same dtype; NaN where there is none
    ulp: float  # largest distance in units in the last place of the truth
    cosine: float
    ratio: float  # ‖a‖ / ‖truth‖
    worst: tuple[int, ...]  # index of the largest difference
    finite: bool
    shapes: tuple[tuple[int, ...], tuple[int, ...]]  # of the array and of the truth

    @property
    def ok(self) -> bool:
        """Whether the array is finite, of the right shape and within tolerance."""
        return self.finite and self.shapes[0] == self.shapes[1] and self.error <= self.tolerance


def agree(a, truth, *, dtype, allowed: float, reference=None, moved=None, sensitivity: float = 0.0) -> Agreement:
    """Hold `a` against `truth`; `allowed` is the budget.

    `reference` is the same quantity by the reference in the dtype under test, `moved` the truth at inputs moved by
    one rounding, `sensitivity` what one rounding elsewhere does, relatively: what they are off by, times `HEADROOM`, is
    tolerated too.
    """
    wide, truth = np.asarray(a, np.float64), np.asarray(truth, np.float64)
    shapes = (wide.shape, truth.shape)
    finite = bool(np.isfinite(wide).all())
    if shapes[0] != shapes[1]:
        nan = math.nan
        return Agreement(math.inf, allowed, nan, math.inf, nan, nan, (), finite, shapes)
    reference_error = math.nan if reference is None else relative_error(reference, truth)
    moved_error = 0.0 if moved is None else relative_error(moved, truth)
    natural = [error for error in (reference_error, moved_error, sensitivity) if math.isfinite(error)]
    tolerance = max(allowed, HEADROOM * max(natural, default=0.0))
    difference = np.nan_to_num(np.abs(wide - truth), nan=math.inf)
    worst = tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape)) if wide.size else ()
    norm, truth_norm = _norm(wide), _norm(truth)
    cosine = float(np.vdot(wide, truth) / (norm * truth_norm)) if finite and norm > 0 and truth_norm > 0 else math.nan
    ratio = norm / truth_norm if truth_norm > 0 else (math.nan if norm == 0 else math.inf)
    error = relative_error(wide, truth)
    return Agreement(
        error, tolerance, reference_error, _largest_ulp(wide, truth, dtype), cosine, ratio, worst, finite, shapes
    )


def worst_of(agreements: list[Agreement]) -> Agreement:
    """The one nearest to its tolerance, or farthest beyond it."""
    return max(agreements, key=lambda a: (not a.ok, a.error / a.tolerance))


def relative_error(a, truth) -> float:
    """‖a − truth‖ / ‖truth‖ by the Euclidean norm; 0 where both are zero, ∞ where only the truth is."""
    a, truth = np.asarray(a, np.float64), np.asarray(truth, np.float64)
    if a.shape != truth.shape:
        return math.inf
    with np.errstate(invalid="ignore"):
        difference, norm = _norm(a - truth), _norm(truth)
    if math.isnan(difference):
        return math.inf
    if norm == 0:
        return 0.0 if difference == 0 else math.inf
    return difference / norm


def _norm(a: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.linalg.norm(a.ravel()))


def _largest_ulp(a: np.ndarray, truth: np.ndarray, dtype) -> float:
    """Largest |a − truth| in units in the last place of the truth, for numbers kept in `dtype`."""
    info = jnp.finfo(dtype)
    if not a.size:
        return 0.0
    _, exponent = np.frexp(np.maximum(np.abs(truth), float(info.tiny)))
    ulp = np.ldexp(1.0, exponent - 1 - int(info.nmant))
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.nan_to_num(np.abs(a - truth) / ulp, nan=math.inf).max())
