"""Series A of the Santa Fe competition: the intensity of an infrared laser, and how forecasts of it are scored."""

import warnings
from typing import NamedTuple

import numpy as np

from bpjax.util.extras import require_extra

KNOWN, FUTURE = 1000, 100
"""Values that the competitors had, and those that they had to forecast."""
SUMS = 59_894, 5_521
"""Sums of the two parts, which identify the series."""
PULSE = 8
"""Steps from one pulse of the laser to the next, rounded."""


class Laser(NamedTuple):
    """The two parts of the series, integers from 0 to 255."""

    known: np.ndarray  # (1000,)
    future: np.ndarray  # (100,)

    def standardized(self, intensity: np.ndarray) -> np.ndarray:
        """An intensity in standard deviations of the known part (that of a sample, n − 1) from its mean."""
        return (intensity - self.known.mean()) / self.known.std(ddof=1)

    def intensity(self, standardized: np.ndarray) -> np.ndarray:
        """The inverse of `standardized`."""
        return standardized * self.known.std(ddof=1) + self.known.mean()


def laser() -> Laser:
    """The series as the package reservoirpy holds it.

    Raises:
        ModuleNotFoundError: the package is missing; the message says how to install it.
        ValueError: it holds another series.
    """
    with require_extra("The laser series is part of reservoirpy", "time-series"):
        from reservoirpy.datasets import santafe_laser
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file open
        values = np.asarray(santafe_laser()).ravel()[: KNOWN + FUTURE].astype(float)
    series = Laser(values[:KNOWN], values[KNOWN:])
    sums = tuple(int(part.sum()) for part in series)
    if sums != SUMS:
        raise ValueError(
            f"`laser` expected the sums {SUMS[0]:,} and {SUMS[1]:,} of Santa Fe series A, got {sums[0]:,} and "
            f"{sums[1]:,}. Install another version of reservoirpy; 0.4.2 has the series."
        )
    return series


def nmse(observed: np.ndarray, forecast: np.ndarray, variance: float | None = None) -> np.ndarray:
    """Normalized mean squared error Σ (observed − forecast)² / (n σ²); ∞ where a forecast is not finite.

    Args:
        observed: (n,).
        forecast: (..., n).
        variance: σ²; that of the observed values by default, as in the competition.
    """
    variance = observed.var() if variance is None else variance
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.mean((forecast - observed) ** 2, axis=-1) / variance
    return np.where(np.isfinite(error), error, np.inf)


def collapse(intensity: np.ndarray, high: float) -> int:
    """The step of the last pulse before the intensity collapses, −1 if it does not.

    A pulse above `high` counts if nothing reaches half of it in the second and third period after it, and in the first
    one from half a period on.

    Args:
        intensity: (n,).
        high: smallest height of a pulse.
    """
    for t in range(len(intensity) - 3 * PULSE):
        following = intensity[t + PULSE // 2 : t + 3 * PULSE]
        is_top = intensity[t] >= intensity[max(0, t - 2) : t + 3].max()
        if is_top and intensity[t] > high and following.max() < intensity[t] / 2:
            return t
    return -1
