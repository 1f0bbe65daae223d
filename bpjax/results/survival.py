"""How long until it happens, when for some it has not happened yet: survival curves of plateaus, of trainings.

A run that ended before the event is censored: its duration is a lower bound. Dropping such runs, or counting them
as if the event had come at their end, makes everything look faster than it is; the estimates here do neither.
"""

import warnings
from typing import NamedTuple

import numpy as np

from bpjax.util.checks import check_between, check_number
from bpjax.util.extras import require_extra


class SurvivalCurve(NamedTuple):
    """Kaplan & Meier's estimate: a staircase that holds from each time to the next."""

    times: np.ndarray  # (S,) 0, and every duration once, ascending
    survival: np.ndarray  # (S,) estimated share of runs whose event comes after that time
    low: np.ndarray  # (S,) pointwise interval of `survival`
    high: np.ndarray  # (S,)
    at_risk: np.ndarray  # (S,) runs under way just before that time
    events: np.ndarray  # (S,) runs whose event came at that time
    confidence: float  # of the interval


class Estimate(NamedTuple):
    """A number with its interval; ∞ where it lies beyond what was observed."""

    value: float
    low: float
    high: float


class LogRank(NamedTuple):
    """Whether two groups of runs are of one kind."""

    statistic: float  # χ² with one degree of freedom
    p_value: float  # two-sided
    first_is_slower: bool  # the first group had fewer events than expected


def kaplan_meier(durations, observed, confidence: float = 0.95) -> SurvivalCurve:
    """S(t), the share of runs whose event comes after t, from runs of which some are censored.

        S(t) = Π (1 − dᵢ/nᵢ) over the times tᵢ ≤ t, dᵢ events among nᵢ runs at risk

    with pointwise intervals by Greenwood's variance of ln(−ln S) ("log-log", within 0 … 1), from scipy.stats.ecdf.
    Before the first event the interval is 1 to 1; where S is 0 it has no width in theory, and is given from 0 to the
    last upper end.

    Args:
        durations: (N,) time to the event or to the end of the run, > 0.
        observed: (N,) bool, whether the event came; False is censored.
        confidence: of the intervals.

    Raises:
        ValueError: shapes that differ, durations that are not finite and positive.
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    who = "kaplan_meier"
    check_between(who, "confidence", confidence, 0, 1)
    durations, observed = _check_lifetimes(who, durations, observed)
    stats = _stats()
    survival = stats.ecdf(_censored(stats, durations, observed)).sf
    with warnings.catch_warnings():  # undefined where S is 1 or 0: filled below
        warnings.filterwarnings("ignore", message="The confidence interval is undefined", category=RuntimeWarning)
        with np.errstate(divide="ignore", invalid="ignore"):
            interval = survival.confidence_interval(confidence, method="log-log")
    low, high = interval.low.probabilities, interval.high.probabilities
    S = survival.probabilities
    low = np.where(S >= 1, 1.0, np.where(S <= 0, 0.0, low))
    high = np.where(S >= 1, 1.0, np.where(S <= 0, np.min(high[(S > 0) & (S < 1)], initial=1.0), high))
    times = survival.quantiles
    at_risk = len(durations) - np.searchsorted(np.sort(durations), times)
    came = np.sort(durations[observed])
    events = np.searchsorted(came, times, side="right") - np.searchsorted(came, times)
    return SurvivalCurve(
        times=np.append(0.0, times),
        survival=np.append(1.0, S),
        low=np.append(1.0, low),
        high=np.append(1.0, high),
        at_risk=np.append(len(durations), at_risk),
        events=np.append(0, events),
        confidence=float(confidence),
    )


def survival_quantile(curve: SurvivalCurve, share: float = 0.5) -> Estimate:
    """The time by which `share` of the runs has had the event: the median for ½.

    The first time with S(t) ≤ 1 − share; its interval is where the curve's own interval crosses that level
    (Brookmeyer & Crowley 1982). ∞ where the level is not reached.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    check_between("survival_quantile", "share", share, 0, 1)

    def first(curve_part):
        reached = curve_part <= 1 - share + 1e-12  # ½ · ⅔ and the like are a little more than their level
        return float(curve.times[reached.argmax()]) if reached.any() else np.inf

    return Estimate(first(curve.survival), first(curve.low), first(curve.high))


def restricted_mean(curve: SurvivalCurve, horizon: float) -> Estimate:
    """The mean time to the event, counting no more than `horizon` for a run: the area under S(t) from 0 to there.

        μ = ∫ S dt        var μ = Σ (∫_tᵢ S dt)² dᵢ / (nᵢ (nᵢ − dᵢ)) over the times tᵢ of events

    with the normal interval at the curve's confidence. A mean that censored runs do not spoil, for one horizon
    that all groups share.

    Raises:
        ValueError: `horizon` is not above 0, or lies beyond the last time while runs are still under way there.
    """
    who = "restricted_mean"
    check_number(who, "horizon", horizon, above=0.0)
    if horizon > curve.times[-1] and curve.survival[-1] > 0:
        raise ValueError(
            f"`{who}` expected `horizon` ≤ {curve.times[-1]:g}, the last time observed, got {horizon:g}: "
            "nothing is known beyond. Take a horizon that every group reaches."
        )
    inside = curve.times < horizon
    times, S = np.append(curve.times[inside], horizon), curve.survival[inside]
    areas = S * np.diff(times)
    rest = np.cumsum(areas[::-1])[::-1]  # from each time to the horizon
    n, d = curve.at_risk[inside].astype(float), curve.events[inside].astype(float)
    variance = float(np.sum(rest**2 * d / np.where(n > d, n * (n - d), 1.0), where=n > d))  # S, and rest, are 0 else
    half = float(_stats().norm.ppf(0.5 + curve.confidence / 2)) * np.sqrt(variance)
    mean = float(areas.sum())
    return Estimate(mean, max(mean - half, 0.0), min(mean + half, float(horizon)))


def log_rank(durations, observed, other_durations, other_observed) -> LogRank:
    """Whether two groups of runs have the same survival curve: the log-rank test, by scipy.stats.logrank.

        χ² = [Σ (dᵢ − nᵢ Dᵢ/Nᵢ)]² / Σ Vᵢ

    dᵢ of the first group's nᵢ, Dᵢ of all Nᵢ runs at risk had the event at time tᵢ; Vᵢ the hypergeometric variance.
    Most powerful where one group's events come at a constant multiple of the other's rate; curves that cross can
    hide from it.

    Raises:
        ValueError: as `kaplan_meier`; or no event in either group.
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    who = "log_rank"
    durations, observed = _check_lifetimes(who, durations, observed)
    other_durations, other_observed = _check_lifetimes(who, other_durations, other_observed)
    if not (observed.any() or other_observed.any()):
        raise ValueError(f"`{who}` expected at least one event, got censored runs alone: nothing can be compared yet.")
    stats = _stats()
    result = stats.logrank(_censored(stats, durations, observed), _censored(stats, other_durations, other_observed))
    return LogRank(float(result.statistic) ** 2, float(result.pvalue), bool(result.statistic < 0))


def _check_lifetimes(who, durations, observed):
    durations, observed = np.asarray(durations, dtype=np.float64), np.asarray(observed)
    if durations.ndim != 1 or durations.shape != observed.shape or durations.size == 0:
        raise ValueError(
            f"`{who}` expected `durations` and `observed` of one shape (N,), got {durations.shape} and "
            f"{observed.shape}. Lay leading axes flat: `.ravel()`."
        )
    if observed.dtype != bool:
        raise ValueError(f"`{who}` expected `observed` of type bool, got {observed.dtype}: True where the event came.")
    if not (np.isfinite(durations) & (durations > 0)).all():
        odd = durations[~(np.isfinite(durations) & (durations > 0))][0]
        raise ValueError(
            f"`{who}` expected finite durations > 0, got {odd:g}. A run without the event has the time it was "
            "watched for, and `observed` False; leave runs out that have no duration."
        )
    return durations, observed


def _censored(stats, durations, observed):
    return stats.CensoredData(uncensored=durations[observed], right=durations[~observed])


def _stats():
    with require_extra("Survival curves come from SciPy"):
        from scipy import stats
    return stats
