"""When the runs left a plateau, compared by survival analysis, and the measured plateau itself."""

import math
from typing import NamedTuple

import numpy as np
import xarray as xr

import bpjax as bp
from experiments.plateau_escape.races import RESTART, Method
from experiments.plateau_escape.starts import Plateau


class Times(NamedTuple):
    """When each of N runs left the plateau; arrays (N,)."""

    durations: np.ndarray  # epochs to the escape, or the limit if there was none
    observed: np.ndarray  # bool, whether the run left


class Summary(NamedTuple):
    """One method on one plateau."""

    plateau: str
    method: str
    runs: int
    left: int
    diverged: int
    median: float  # Kaplan-Meier median of the epochs to the escape; ∞ if fewer than half leave
    low: float  # 95 % interval
    high: float
    speed: float  # median of plain descent ÷ this median; NaN if both are ∞
    later: float  # median of the paired difference in epochs to plain descent, if both leave; else NaN
    p_value: float  # log-rank test against plain descent; NaN for itself, and if no run leaves
    verdict: str

    @property
    def stuck(self) -> float:
        """Share of runs that did not leave, diverged ones included."""
        return 1 - self.left / self.runs


class Measured(NamedTuple):
    """The plateau of plain descent, measured on its error curves; times in epochs."""

    plateau: str
    height: float  # by theory
    runs: int
    found: int  # runs with a plateau
    onset: float  # median
    measured_height: float  # median
    length: float  # Kaplan-Meier median, ∞ if most runs do not leave
    escape: float  # Kaplan-Meier median of the epoch at which learning is fast again
    level: float  # Kaplan-Meier median of the epoch at which the error is below the escape level


def times_of(result: xr.Dataset, plateau: Plateau, rows: tuple[Method, ...]) -> dict[str, Times]:
    """{name of the method: times}; those of "restart" are combined from its starts."""
    times, starts = {}, []
    for index in result.method_index.values:
        at = result.sel(method_index=index)
        own = Times(np.where(at.solved, at.epochs, plateau.limit).astype(float), at.solved.values.astype(bool))
        if rows[index].name == RESTART:
            starts.append(own)
        else:
            times[rows[index].name] = own
    if starts:
        times[RESTART] = with_restarts([times[rows[0].name], *starts], plateau.limit)
    return times


def with_restarts(starts: list[Times], limit: int) -> Times:
    """Combine starts: a run that has not left after ⌈limit / starts⌉ epochs restarts; all its epochs count."""
    each = math.ceil(limit / len(starts))
    durations, observed = np.full(len(starts[0].durations), float(limit)), np.zeros(len(starts[0].durations), bool)
    for attempt, start in enumerate(starts):
        spent = attempt * each + start.durations
        now = start.observed & (start.durations <= each) & ~observed & (spent <= limit)
        durations, observed = np.where(now, spent, durations), observed | now
    return Times(durations, observed)


def summaries_of(result: xr.Dataset, plateau: Plateau, rows: tuple[Method, ...], level: float) -> list[Summary]:
    """One summary for each method.

    Args:
        result: the sweep.
        plateau: the problem.
        rows: the methods.
        level: p-value below which a difference counts.
    """
    times = times_of(result, plateau, rows)
    diverged = {rows[i].name: int(result.sel(method_index=i).diverged.sum()) for i in result.method_index.values[::-1]}
    plain = times[rows[0].name]
    usual = bp.results.survival_quantile(bp.results.kaplan_meier(*plain)).value
    found = []
    for name, own in times.items():
        median = bp.results.survival_quantile(bp.results.kaplan_meier(*own))
        both = own.observed & plain.observed
        later = float(np.median((own.durations - plain.durations)[both])) if both.any() else np.nan
        compared = name != rows[0].name and (own.observed.any() or plain.observed.any())
        test = bp.results.log_rank(*own, *plain) if compared else None
        speed = np.nan if math.isinf(usual) and math.isinf(median.value) else usual / median.value
        found.append(
            Summary(
                plateau.name,
                name,
                len(own.observed),
                int(own.observed.sum()),
                diverged[name],
                *median,
                speed,
                later,
                test.p_value if test else np.nan,
                verdict(test, level) if test else "",
            )  # fmt: skip
        )
    return found


def verdict(test, level: float) -> str:
    """The result of the log-rank test at this level."""
    if not test.p_value < level:
        return "no difference"
    return "slower" if test.first_is_slower else "faster"


def measured(result: xr.Dataset, plateau: Plateau, method: int = 0) -> Measured:
    """Onset, height, length and escape of the plateaus on the error curves of a method.

    By `bpjax.results.find_plateaus`: a plateau begins where a run learns at less than a tenth of its own mean speed,
    and ends where it learns at half of it, so fast methods are measured as slow ones are.
    """
    at = result.sel(method_index=method)
    stride = int(result.epoch[0])
    curves = at.curve.values.astype(float)
    usable = np.isfinite(curves[:, 0])
    found = bp.results.find_plateaus(curves[usable])
    longest = bp.results.escape_times(found)
    on = ~np.isnan(longest.epochs)
    chosen = [max(np.flatnonzero(found.run == run), key=lambda i: found.length[i]) for run in np.flatnonzero(on)]
    onset, length, height = (getattr(found, name)[chosen] for name in ("onset", "length", "height"))
    level = np.where(at.solved, at.epochs, plateau.limit)

    def median(durations, observed):
        return (
            bp.results.survival_quantile(bp.results.kaplan_meier(durations, observed)).value
            if len(durations)
            else np.nan
        )

    left = longest.observed[on]
    return Measured(
        plateau.name, plateau.height, len(curves), len(chosen),
        stride * float(np.median(onset)) if len(onset) else np.nan,
        float(np.median(height)) if len(height) else np.nan,
        stride * median(length, left), stride * median(longest.epochs[on], left),
        median(level.astype(float), at.solved.values.astype(bool)),
    )  # fmt: skip
