"""Compare two sets of runs in pairs: run i of one against run i of the other, which share start and batches.

Pairs remove the differences between starts from the comparison. The tests are exact and need no assumption on how
epochs are distributed; a run that never reached its target has the time ∞.
"""

import itertools
from typing import NamedTuple

import numpy as np

from bpjax.results.statistics import wilson
from bpjax.results.survival import Estimate
from bpjax.util.call_text import shown
from bpjax.util.checks import as_booleans, as_real_numbers, check_between
from bpjax.util.extras import require_extra


class SuccessContrast(NamedTuple):
    """How the success of two choices differs on the same seeds."""

    both: int  # seeds on which both succeeded
    first_only: int
    second_only: int
    neither: int
    difference: Estimate  # of the shares of success, first − second, with Newcombe's interval
    p_value: float  # McNemar's exact test, two-sided


class TimeContrast(NamedTuple):
    """How the times of two choices differ on the same seeds, with ∞ for a failure."""

    first_faster: int  # seeds on which the first took less time, or alone succeeded
    second_faster: int
    ties: int  # equal times, or both failed
    ratio: Estimate  # the median of first / second over the seeds; 1 where both failed
    p_value: float  # sign test, two-sided


def success_contrast(first, second, confidence: float = 0.95) -> SuccessContrast:
    """Whether two choices differ in their share of success: McNemar's exact test on pairs.

        p = 2 P(B ≤ min(b, c))    B ~ Binomial(b + c, ½)    at most 1

    b pairs in which the first alone succeeded, c in which the second alone did (McNemar 1947; exact as in Fagerland,
    Lydersen & Laake 2013). The interval of the difference (b − c)/n is method 10 of Newcombe 1998 (Statist. Med. 17,
    2635): Wilson's intervals (l, u) of both shares p, combined with the correlation φ of the pairs.

        D − √((p₁ − l₁)² − 2 φ (p₁ − l₁)(u₂ − p₂) + (u₂ − p₂)²)    and with 1 and 2 exchanged D + √…

    Args:
        first: (N,) booleans, whether each run of the first choice succeeded.
        second: (N,) of the second choice, in the same order of seeds.
        confidence: of the interval.

    Raises:
        ValueError: arrays that are not booleans of one shape (N,).
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    who = "success_contrast"
    check_between(who, "confidence", confidence, 0, 1)
    first, second = as_booleans(who, "first", first), as_booleans(who, "second", second)
    check_pairs(who, first, second)
    a, b = int((first & second).sum()), int((first & ~second).sum())
    c, d = int((~first & second).sum()), int((~first & ~second).sum())
    n, p1, p2 = len(first), float(first.mean()), float(second.mean())
    (l1, u1), (l2, u2) = wilson(a + b, n, confidence), wilson(a + c, n, confidence)
    phi = correlation(a, b, c, d)
    down, up = (p1 - l1, u2 - p2), (u1 - p1, p2 - l2)
    low, high = (np.sqrt(max(0.0, x**2 - 2 * phi * x * y + y**2)) for x, y in (down, up))
    difference = p1 - p2
    interval = Estimate(difference, max(-1.0, float(difference - low)), min(1.0, float(difference + high)))
    return SuccessContrast(a, b, c, d, interval, sign_test(b, c))


def correlation(a: int, b: int, c: int, d: int) -> float:
    """φ of a 2 × 2 table for Newcombe's method 10: a positive ad − bc is reduced by n/2, to no less than 0."""
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    product, n = a * d - b * c, a + b + c + d
    return (max(product - n / 2, 0) if product > 0 else product) / float(np.sqrt(margins))


def time_contrast(first, second, confidence: float = 0.95) -> TimeContrast:
    """Whether two choices differ in their times, failures included as ∞: the sign test on pairs.

        p = 2 P(B ≤ min(w, l))    B ~ Binomial(w + l, ½)    at most 1

    w pairs in which the first is faster, l in which the second is; ties count for neither. The size of the difference
    is the median of the ratios first/second: 0 where the first alone succeeded, ∞ where the second alone did, 1 where
    both failed. Its interval is that of order statistics, from the k-th smallest to the k-th largest ratio with the
    largest k for which P(Binomial(N, ½) < k) ≤ (1 − confidence)/2 (Conover 1999, section 3.2); 0 to ∞ for few pairs.

    Args:
        first: (N,) times > 0 of the first choice, ∞ where a run failed.
        second: (N,) of the second choice, in the same order of seeds.
        confidence: of the interval.

    Raises:
        ValueError: times that are not positive, or shapes that differ.
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    who = "time_contrast"
    check_between(who, "confidence", confidence, 0, 1)
    first, second = as_real_numbers(who, "first", first), as_real_numbers(who, "second", second)
    check_pairs(who, first, second)
    for name, times in (("first", first), ("second", second)):
        if not (times > 0).all():
            odd = times[~(times > 0)][0]
            raise ValueError(f"`{who}` expected times > 0 in `{name}`, with ∞ where a run failed, got {odd:g}.")
    faster, slower = int((first < second).sum()), int((first > second).sum())
    with np.errstate(invalid="ignore"):  # ∞/∞ is a tie
        ratios = np.where(first == second, 1.0, first / second)
    return TimeContrast(
        faster, slower, len(first) - faster - slower, median_of_pairs(ratios, confidence), sign_test(faster, slower)
    )


def median_of_pairs(values: np.ndarray, confidence: float) -> Estimate:
    """The median of values ≥ 0 that may be ∞, with the interval of order statistics; see `time_contrast`."""
    with require_extra("Intervals come from SciPy"):
        from scipy.stats import binom
    ordered, n = np.sort(values), len(values)
    low, high = ordered[(n - 1) // 2], ordered[n // 2]
    middle = low if low == high else np.sqrt(low * high) if 0 < low and high < np.inf else high
    k = int(np.sum(binom.cdf(np.arange(n // 2), n, 0.5) <= (1 - confidence) / 2))  # the largest k, counted from 1
    interval = (ordered[k - 1], ordered[n - k]) if k else (0.0, np.inf)
    return Estimate(float(middle), float(interval[0]), float(interval[1]))


def sign_test(wins: int, losses: int) -> float:
    """The two-sided exact p-value of so many wins and losses if both were equally likely; 1 without any.

    Raises:
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    with require_extra("Exact tests come from SciPy"):
        from scipy.stats import binomtest
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values) -> np.ndarray:
    """p-values (M,) adjusted for being M tests (Holm 1979): the probability of any false alarm stays below the level.

        p̃₍ᵢ₎ = max over j ≤ i of min(1, (M − j + 1) p₍ⱼ₎)    p₍₁₎ ≤ … ≤ p₍M₎

    Raises:
        ValueError: numbers outside 0 … 1.
    """
    given, p_values = p_values, as_real_numbers("holm", "p_values", p_values)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"`holm` expected `p_values` (M,) from 0 to 1, got {shown(given)}.")
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)))
    return adjusted


def check_pairs(who: str, first: np.ndarray, second: np.ndarray) -> None:
    """Raise a `ValueError` unless both are of one shape (N,) with N ≥ 1."""
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(
            f"`{who}` expected two arrays of one shape (N,), run i of both with the same seed, got {first.shape} and "
            f"{second.shape}."
        )


def pairs(names) -> list[tuple[str, str]]:
    """All pairs of names, each once."""
    return list(itertools.combinations(names, 2))
