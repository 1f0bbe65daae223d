"""How many runs succeeded, and how many epochs they took, with failures counted as never."""

import numpy as np

from bpjax.util.extras import require_extra


def wilson(successes: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for the probability of success after `successes` of `runs` (Wilson 1927).

    Args:
        successes: runs that succeeded.
        runs: all runs.
        confidence: of the interval.

    Returns:
        The lower and upper end, from 0 to 1.

    Raises:
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    with require_extra("Intervals come from SciPy"):
        from scipy.stats import binomtest
    interval = binomtest(int(successes), int(runs)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def student(values, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean, and its interval by Student's t: (mean, low, high); NaN for fewer than two values or if one is NaN.

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
    """Epochs to the goal, ∞ where it was not reached, so that quantiles count the failures."""
    return np.where(np.asarray(solved), np.asarray(epochs, float), np.inf)


def quantiles_with_failures(epochs, probabilities) -> np.ndarray:
    """Quantiles along the last axis of epochs that may be ∞; always one of the values, never interpolated with ∞."""
    return np.quantile(np.asarray(epochs, float), probabilities, axis=-1, method="inverted_cdf")
