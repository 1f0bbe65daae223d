"""How many runs succeeded, and how long they took, with the failures counted."""

import numpy as np

from bpjax.util.extras import require_extra


def wilson(successes: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for the chance of success, from 0 to 1, after `successes` of `runs` (Wilson 1927).

    Raises:
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    with require_extra("Intervals come from SciPy"):
        from scipy.stats import binomtest
    interval = binomtest(int(successes), int(runs)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def student(values, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of the values, and its interval by Student's t (low, high); NaN where there are too few or one is NaN.

    Raises:
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    with require_extra("Intervals come from SciPy"):
        from scipy.stats import t
    values = np.asarray(values, float)
    n, mean = len(values), float(values.mean()) if len(values) else np.nan
    half = float(t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return mean, mean - half, mean + half


def epochs_or_never(solved, epochs) -> np.ndarray:
    """Epochs to the goal, ∞ where it was not reached: quantiles of these count the failures."""
    return np.where(np.asarray(solved), np.asarray(epochs, float), np.inf)


def quantiles_with_failures(epochs, probabilities) -> np.ndarray:
    """Quantiles along the last axis of epochs that may be ∞: always one of the values, never a mixture with ∞."""
    return np.quantile(np.asarray(epochs, float), probabilities, axis=-1, method="inverted_cdf")
