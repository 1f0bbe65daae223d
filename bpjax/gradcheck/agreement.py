"""Relative error of an array against float64, and the tolerance that rounding justifies."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

BUDGET = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 0.03, "float16": 0.005}
"""By dtype: the relative error by norm that a correct gradient of one layer may have. It grows as √depth."""

HEADROOM = 8.0
"""A correct gradient may be this many times as far from the truth as the reference in the same dtype, or as the truth
at inputs perturbed by one rounding. It matters where the gradient is badly conditioned: examples whose gradients
cancel, saturated units, a network near its minimum."""


def budget(dtype, depth: int = 1) -> float:
    """The documented budget of a gradient through `depth` layers with parameters, BUDGET √depth."""
    return BUDGET[jnp.dtype(dtype).name] * math.sqrt(max(depth, 1))


class Agreement(NamedTuple):
    """An array compared with the truth."""

    error: float  # ‖a − truth‖ / ‖truth‖
    tolerance: float  # relative error that rounding may cause
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


def agree(a, truth, *, dtype, allowed: float, reference=None, perturbed=None, sensitivity: float = 0.0) -> Agreement:
    """Compare `a` with `truth`.

    The tolerance is `allowed` or, where that is larger, `HEADROOM` times the largest relative error that rounding alone
    is seen to cause: that of `reference`, that of `perturbed`, and `sensitivity`.

    Args:
        a: the array under test.
        truth: the same in float64.
        dtype: the dtype under test, for the distance in ULP.
        allowed: the budget, a relative error by norm.
        reference: the same array computed by the reference in the dtype under test.
        perturbed: the truth at inputs perturbed by one rounding of the dtype under test.
        sensitivity: relative change of the array when intermediate results are perturbed by one rounding.
    """
    wide, truth = np.asarray(a, np.float64), np.asarray(truth, np.float64)
    shapes = (wide.shape, truth.shape)
    finite = bool(np.isfinite(wide).all())
    if shapes[0] != shapes[1]:
        nan = math.nan
        return Agreement(math.inf, allowed, nan, math.inf, nan, nan, (), finite, shapes)
    reference_error = math.nan if reference is None else relative_error(reference, truth)
    perturbed_error = 0.0 if perturbed is None else relative_error(perturbed, truth)
    natural = [error for error in (reference_error, perturbed_error, sensitivity) if math.isfinite(error)]
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
    kind = np.complex128 if np.iscomplexobj(a) or np.iscomplexobj(truth) else np.float64
    a, truth = np.asarray(a, kind), np.asarray(truth, kind)
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
    """Largest |a − truth| in units in the last place (ULP) of the truth in `dtype`."""
    info = jnp.finfo(dtype)
    if not a.size:
        return 0.0
    _, exponent = np.frexp(np.maximum(np.abs(truth), float(info.tiny)))
    ulp = np.ldexp(1.0, exponent - 1 - int(info.nmant))
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.nan_to_num(np.abs(a - truth) / ulp, nan=math.inf).max())
