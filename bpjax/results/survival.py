"""Survival analysis of times to an event, such as leaving a plateau, when some runs ended before it.

A run that ended before the event is censored: its duration is a lower bound. Excluding such runs, or counting their end
as the event, underestimates the times; the estimates here do neither.
"""

import warnings
from typing import NamedTuple

import numpy as np

from bpjax.util.checks import as_booleans, as_real_numbers, check_between, check_instance, check_number
from bpjax.util.extras import require_extra


class SurvivalCurve(NamedTuple):
    """The Kaplan–Meier estimate: a step function, constant from each time to the next."""

    times: np.ndarray  # (S,) 0, and every duration once, ascending
    survival: np.ndarray  # (S,) estimated share of runs with the event after that time
    low: np.ndarray  # (S,) pointwise interval of `survival`
    high: np.ndarray  # (S,)
    at_risk: np.ndarray  # (S,) runs without event and not ended just before that time
    events: np.ndarray  # (S,) runs with the event at that time
    confidence: float  # of the interval

    def __repr__(self) -> str:
        runs, events = int(self.at_risk[0]), int(np.sum(self.events))
        reached = np.asarray(self.survival) <= 0.5 + 1e-12
        median = f"{float(self.times[reached.argmax()]):g}" if reached.any() else "not reached"
        return f"SurvivalCurve({runs} runs, {events} events, median {median}, up to {float(self.times[-1]):g})"


class Estimate(NamedTuple):
    """An estimate with its interval; ∞ where it is beyond the observed times."""

    value: float
    low: float
    high: float


class LogRank(NamedTuple):
    """Test of whether two groups of runs have the same survival curve."""

    statistic: float  # χ² with one degree of freedom
    p_value: float  # two-sided
    first_is_slower: bool  # the first group had fewer events than expected if they had


def kaplan_meier(durations, observed, confidence: float = 0.95) -> SurvivalCurve:
    """S(t), the share of runs with the event after t, from runs of which some are censored.

        S(t) = Π (1 − dᵢ/nᵢ) over the times tᵢ ≤ t, dᵢ events among nᵢ runs at risk

    with pointwise intervals by Greenwood's variance of ln(−ln S) ("log-log", within 0 … 1), from scipy.stats.ecdf.
    Before the first event the interval is 1 to 1. Where S is 0 the formula is undefined: the interval is from 0 to the
    last upper end.

    Args:
        durations: (N,) time to the event or to the end of the run, > 0.
        observed: (N,) booleans, whether the event was observed; False is censored.
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
    """The time by which `share` of the runs have had the event: the median for ½.

    The first time with S(t) ≤ 1 − share; its interval is where the curve's own interval crosses that level
    (Brookmeyer & Crowley 1982). ∞ where the level is not reached.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    check_instance("survival_quantile", "curve", curve, SurvivalCurve, "bp.results.kaplan_meier(durations, observed)")
    check_between("survival_quantile", "share", share, 0, 1)

    def first(curve_part):
        reached = curve_part <= 1 - share + 1e-12  # products such as ½ · ⅔ can be slightly above the level
        return float(curve.times[reached.argmax()]) if reached.any() else np.inf

    return Estimate(first(curve.survival), first(curve.low), first(curve.high))


def restricted_mean(curve: SurvivalCurve, horizon: float) -> Estimate:
    """The mean time to the event, limited to `horizon`: the area under S(t) from 0 to `horizon`.

        μ = ∫ S dt        var μ = Σ (∫_tᵢ S dt)² dᵢ / (nᵢ (nᵢ − dᵢ)) over the times tᵢ of events

    with the normal interval at the curve's confidence. Censored runs do not bias it. Use the same horizon for all
    groups that are compared.

    Raises:
        ValueError: `horizon` is not above 0, or is beyond the last time while some runs have not had the event.
    """
    check_instance("restricted_mean", "curve", curve, SurvivalCurve, "bp.results.kaplan_meier(durations, observed)")
    who = "restricted_mean"
    check_number(who, "horizon", horizon, above=0.0)
    horizon = float(horizon)
    if horizon > curve.times[-1] and curve.survival[-1] > 0:
        raise ValueError(
            f"`{who}` expected `horizon` ≤ {curve.times[-1]:g}, the last time observed, got {horizon:g}: "
            "the curve ends there. Choose a horizon that every group reaches."
        )
    inside = curve.times < horizon
    times, S = np.append(curve.times[inside], horizon), curve.survival[inside]
    areas = S * np.diff(times)
    rest = np.cumsum(areas[::-1])[::-1]  # from each time to the horizon
    n, d = curve.at_risk[inside].astype(float), curve.events[inside].astype(float)
    variance = float(np.sum(rest**2 * d / np.where(n > d, n * (n - d), 1.0), where=n > d))  # otherwise S and rest are 0
    half = float(_stats().norm.ppf(0.5 + curve.confidence / 2)) * np.sqrt(variance)
    mean = float(areas.sum())
    return Estimate(mean, max(mean - half, 0.0), min(mean + half, float(horizon)))


def log_rank(durations, observed, other_durations, other_observed) -> LogRank:
    """Whether two groups of runs have the same survival curve: the log-rank test, by scipy.stats.logrank.

        χ² = [Σ (dᵢ − nᵢ Dᵢ/Nᵢ)]² / Σ Vᵢ

    At time tᵢ, dᵢ of the first group's nᵢ and Dᵢ of all Nᵢ runs at risk had the event; Vᵢ is the hypergeometric
    variance. The test is most powerful for proportional hazards; it can miss curves that cross.

    Args:
        durations: (N,) of the first group, as for `kaplan_meier`.
        observed: (N,) of the first group.
        other_durations: (M,) of the second group.
        other_observed: (M,) of the second group.

    Raises:
        ValueError: as `kaplan_meier`; or no event in either group.
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
    """
    who = "log_rank"
    durations, observed = _check_lifetimes(who, durations, observed)
    other_durations, other_observed = _check_lifetimes(who, other_durations, other_observed)
    if not (observed.any() or other_observed.any()):
        raise ValueError(f"`{who}` expected at least one event, got only censored runs. Observe the runs for longer.")
    stats = _stats()
    result = stats.logrank(_censored(stats, durations, observed), _censored(stats, other_durations, other_observed))
    return LogRank(float(result.statistic) ** 2, float(result.pvalue), bool(result.statistic < 0))


def _check_lifetimes(who, durations, observed):
    durations = as_real_numbers(who, "durations", durations)
    observed = as_booleans(who, "observed", observed)
    if durations.ndim != 1 or durations.shape != observed.shape or durations.size == 0:
        raise ValueError(
            f"`{who}` expected `durations` and `observed` of one shape (N,), got {durations.shape} and "
            f"{observed.shape}. Flatten leading axes: `.ravel()`."
        )
    if not (np.isfinite(durations) & (durations > 0)).all():
        odd = durations[~(np.isfinite(durations) & (durations > 0))][0]
        raise ValueError(
            f"`{who}` expected finite durations > 0, got {odd:g}. For a run without the event pass the time it "
            "was observed for, with `observed` False; exclude runs that have no duration."
        )
    return durations, observed


def _censored(stats, durations, observed):
    return stats.CensoredData(uncensored=durations[observed], right=durations[~observed])


def _stats():
    with require_extra("Survival curves come from SciPy"):
        from scipy import stats
    return stats
