"""How many runs succeeded, and how many epochs they took, with failures counted as never.

All functions take numbers, lists, NumPy and JAX arrays, and xarray's DataArrays, whose dimensions they keep.
"""

import functools
import math
from statistics import NormalDist
from typing import Any

import numpy as np

from bpjax.util.checks import check_between
from bpjax.util.extras import require_extra


def wilson(successes, runs, confidence: float = 0.95) -> tuple[Any, Any]:
    """Wilson's interval for the probability of success after `successes` of `runs` (Wilson 1927).

        (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n),      p = successes / n

    where z is the quantile of the normal distribution at ½ + confidence / 2. Without runs it is from 0 to 1.

    Args:
        successes: runs that succeeded, an integer or an array of any shape.
        runs: all runs, an integer or an array that is broadcast with `successes`.
        confidence: of the interval, between 0 and 1.

    Returns:
        The lower and the upper end, from 0 to 1: two floats, or two arrays.

    Raises:
        ValueError: not counts, more successes than runs, shapes that do not fit, or a wrong confidence.
    """
    who = "wilson"
    check_between(who, "confidence", confidence, 0, 1)
    k, n = _counts(who, "successes", successes), _counts(who, "runs", runs)
    _check_fit(who, successes=k, runs=n)
    if bool((k > n).any()):
        raise ValueError(f"`{who}` expected at most as many successes as runs, got more. Are the arguments swapped?")
    z = NormalDist().inv_cdf(0.5 + float(confidence) / 2)
    some = np.maximum(n, 1)  # without runs both ends are set below
    p = k / some
    centre, half = p + z**2 / (2 * some), z * np.sqrt(p * (1 - p) / some + z**2 / (4 * some**2))
    low, high = (centre - half) / (1 + z**2 / some), (centre + half) / (1 + z**2 / some)
    return _as_given(np.maximum(low, 0.0) * (k > 0)), _as_given(1 - np.maximum(1 - high, 0.0) * (k < n))  # exactly 0, 1


def student(values, confidence: float = 0.95, axis: int | str = -1) -> tuple[Any, Any, Any]:
    """Mean, and its interval by Student's t: (mean, low, high); NaN for fewer than two values or if one is NaN.

    Args:
        values: (..., N), one mean for each entry of the other axes.
        confidence: of the interval, between 0 and 1.
        axis: of the N values; of a DataArray also the name of the dimension.

    Raises:
        ValueError: `values` are not numbers, `axis` is none of theirs, or a wrong confidence.
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    who = "student"
    check_between(who, "confidence", confidence, 0, 1)
    values = _numbers(who, "values", values)
    axis = _axis(who, values, axis)
    with require_extra("Intervals come from SciPy"):
        from scipy.stats import t
    n = values.shape[axis]
    if n == 0:
        mean = half = values.sum(axis=axis) * np.nan
    else:
        mean = _reduce(values, "mean", axis)
        deviation = _reduce(values, "std", axis, ddof=1) if n > 1 else mean * np.nan
        half = float(t.ppf((1 + confidence) / 2, n - 1)) * deviation / np.sqrt(n) if n > 1 else deviation
    return _as_given(mean), _as_given(mean - half), _as_given(mean + half)


def epochs_or_never(solved, epochs):
    """Epochs to the goal, ∞ where it was not reached, so that quantiles count the failures.

    Args:
        solved: booleans.
        epochs: ≥ 0, of one shape with `solved` or broadcast with it.

    Raises:
        ValueError: `solved` are no booleans, `epochs` are no epochs, or their shapes do not fit.
    """
    who = "epochs_or_never"
    epochs, solved = _numbers(who, "epochs", epochs), _array(who, "solved", solved)
    if solved.dtype != bool:
        raise ValueError(f"`{who}` expected booleans in `solved`, got {solved.dtype}. Are the arguments swapped?")
    _check_fit(who, solved=solved, epochs=epochs)
    if not bool((epochs >= 0).all()):
        raise ValueError(f"`{who}` expected `epochs` ≥ 0, got {float(np.min(np.asarray(epochs))):g}.")
    if _is_labelled(solved) or _is_labelled(epochs):
        labelled = epochs if _is_labelled(epochs) else solved.copy(data=np.broadcast_to(epochs, solved.shape))
        has = solved if _is_labelled(solved) else epochs.copy(data=np.broadcast_to(solved, epochs.shape))
        return labelled.where(has, np.inf)  # broadcast by the names of the dimensions
    return np.where(solved, epochs, np.inf)


def quantiles_with_failures(epochs, probabilities, axis: int | str = -1):
    """Quantiles of epochs that may be ∞; always one of the values, never interpolated with ∞.

    Args:
        epochs: (..., N), ∞ for runs that failed.
        probabilities: from 0 to 1, one or several.
        axis: of the N runs; of a DataArray also the name of the dimension.

    Returns:
        (...), with several probabilities as a first axis; for a DataArray the dimension `quantile`.

    Raises:
        ValueError: no runs, NaN among the epochs, probabilities that are none.
    """
    who = "quantiles_with_failures"
    epochs, shares = _numbers(who, "epochs", epochs), _numbers(who, "probabilities", probabilities)
    axis = _axis(who, epochs, axis)
    if epochs.shape[axis] == 0:
        raise ValueError(f"`{who}` expected at least one run, got `epochs` of shape {epochs.shape}.")
    if bool(np.isnan(np.asarray(epochs)).any()):
        raise ValueError(f"`{who}` expected epochs without NaN. Pass ∞ for a run that failed, and leave out others.")
    if not bool(((shares >= 0) & (shares <= 1)).all()):
        raise ValueError(f"`{who}` expected `probabilities` from 0 to 1, got {np.asarray(shares).tolist()}.")
    if _is_labelled(epochs):
        q = np.asarray(shares)
        return epochs.quantile(q, dim=epochs.dims[axis], method="inverted_cdf", skipna=False)
    return np.quantile(epochs, np.asarray(shares), axis=axis, method="inverted_cdf")


def median_interval(values, confidence: float = 0.95) -> tuple[float, float, float]:
    """The median of N values and its interval by order statistics: (median, low, high); values may be ∞.

        x₍ₖ₎ ≤ median ≤ x₍N₊₁₋ₖ₎,      k the largest rank with P(B ≤ k − 1) ≤ (1 − confidence) / 2,  B ~ Bin(N, ½)

    It holds for any distribution. Where N is too small (below 6 at 95 %) both ends are NaN. The median is the lower one
    of two, as of `quantiles_with_failures`.

    Args:
        values: (N,), at least one, ∞ for runs that failed.
        confidence: of the interval, between 0 and 1.

    Raises:
        ValueError: no values, NaN among them, or a wrong confidence.
    """
    who = "median_interval"
    check_between(who, "confidence", confidence, 0, 1)
    ordered = np.sort(np.ravel(np.asarray(_numbers(who, "values", values))))
    if not len(ordered) or np.isnan(ordered).any():
        raise ValueError(f"`{who}` expected at least one value and no NaN, got {len(ordered)}. Pass ∞ for a failure.")
    n, middle = len(ordered), float(ordered[(len(ordered) - 1) // 2])
    k = _rank(n, float(confidence))
    return (middle, np.nan, np.nan) if k == 0 else (middle, float(ordered[k - 1]), float(ordered[n - k]))


@functools.cache
def _rank(n: int, confidence: float) -> int:
    """The largest k with P(B ≤ k − 1) ≤ (1 − confidence) / 2 for B ~ Bin(n, ½); 0 if there is none."""
    k, below = 0, math.exp(-n * math.log(2)) if n < 700 else 0.0  # P(B ≤ k)
    if n >= 700:  # the normal approximation, within one rank
        return max(0, math.floor(n / 2 - NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(n) / 2))
    term = below
    while below <= (1 - confidence) / 2:
        k += 1
        term *= (n - k + 1) / k
        below += term
    return k


def _is_labelled(x) -> bool:
    """Whether `x` is a DataArray of xarray, which need not be installed."""
    return hasattr(x, "dims") and hasattr(x, "coords")


def _array(who: str, name: str, x) -> Any:
    """A DataArray as it is, anything else as an array of NumPy."""
    try:
        return x if _is_labelled(x) and hasattr(x, "dtype") else np.asarray(x)
    except (TypeError, ValueError):
        raise ValueError(f"`{who}` expected numbers in `{name}`, got {x!r:.60}.") from None


def _numbers(who: str, name: str, x) -> Any:
    """Real numbers as float64."""
    x = _array(who, name, x)
    if x.dtype.kind not in "iuf" and x.dtype.name != "bfloat16":
        raise ValueError(f"`{who}` expected numbers in `{name}`, got {x.dtype}.")
    return x.astype(np.float64)


def _counts(who: str, name: str, x) -> Any:
    """Integers ≥ 0 as float64; also floats that are integers."""
    x = _array(who, name, x)
    if x.dtype == bool:
        raise ValueError(f"`{who}` expected counts in `{name}`, got booleans. Count them: `{name}.sum(axis)`.")
    x = _numbers(who, name, x)
    if not bool((np.isfinite(x) & (x >= 0) & (np.floor(x) == x)).all()):
        wrong = np.asarray(x)[~(np.isfinite(x) & (x >= 0) & (np.floor(x) == x))].flat[0]
        raise ValueError(f"`{who}` expected integers ≥ 0 in `{name}`, got {wrong:g}.")
    return x


def _check_fit(who: str, **arrays) -> None:
    """Raise a `ValueError` unless the arrays can be broadcast; DataArrays are by the names of their dimensions."""
    if not any(_is_labelled(x) for x in arrays.values()):
        try:
            np.broadcast_shapes(*(x.shape for x in arrays.values()))
        except ValueError:
            shapes = " and ".join(f"`{name}` of shape {x.shape}" for name, x in arrays.items())
            raise ValueError(f"`{who}` expected shapes that fit, got {shapes}.") from None


def _axis(who: str, x, axis) -> int:
    """The index of an axis given as an index or a name."""
    names = list(x.dims) if _is_labelled(x) else []
    if isinstance(axis, str) and axis in names:
        return names.index(axis)
    if isinstance(axis, int) and not isinstance(axis, bool) and -x.ndim <= axis < x.ndim:
        return axis
    has = f"the dimensions {', '.join(map(str, names))}" if names else f"shape {x.shape}"
    raise ValueError(f"`{who}` expected `axis` to be one of the values' axes, got {axis!r} for {has}.")


def _reduce(x, how: str, axis: int, **options):
    return getattr(x, how)(axis=axis, **options, **({"skipna": False} if _is_labelled(x) else {}))


def _as_given(x):
    """A DataArray or an array as it is, a number as a float."""
    return x if _is_labelled(x) or np.ndim(x) else float(x)
