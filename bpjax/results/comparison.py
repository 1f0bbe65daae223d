"""The comparison of several choices, such as optimizers: summaries, paired contrasts, one table."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from bpjax.results.paired import SuccessContrast, TimeContrast, holm, success_contrast, time_contrast
from bpjax.results.statistics import epochs_or_never, wilson
from bpjax.results.survival import Estimate, kaplan_meier, restricted_mean, survival_quantile


class Summary(NamedTuple):
    """One choice on the test seeds, at its selected learning rate."""

    name: str
    learning_rate: float
    runs: int
    successes: int  # runs that reached the target within the horizon
    success: Estimate  # their share, with Wilson's interval
    diverged: int
    median: Estimate  # epochs to the target, Kaplan–Meier; ∞ where fewer than half of the runs reached it
    mean: Estimate  # epochs to the target, limited to the horizon: the area under the survival curve


class Contrast(NamedTuple):
    """Two choices on the same test seeds."""

    first: str
    second: str
    success: SuccessContrast
    success_p: float  # of McNemar's test, adjusted by Holm for all tests of the comparison
    time: TimeContrast
    time_p: float  # of the sign test, adjusted likewise


class Comparison(NamedTuple):
    """What `bp.compare_optimizers`, `bp.compare_rules` and `bp.sweeps.compare_choices` return."""

    dimension: str  # what is compared: "optimizer", "rule"
    tuning: Any  # the dataset of the tuning seeds, over choices, learning rates and seeds
    test: Any  # the dataset of the test seeds at the selected rates, over choices and seeds
    summaries: tuple[Summary, ...]
    contrasts: tuple[Contrast, ...]
    horizon: int  # epochs
    confidence: float  # of all intervals

    @property
    def selected(self) -> dict[str, float]:
        """The learning rate of each choice."""
        return {one.name: one.learning_rate for one in self.summaries}

    def __repr__(self) -> str:
        return table(self)

    def figure(self):
        """A Matplotlib figure: success by learning rate, survival curves, paired contrasts.

        Raises:
            ModuleNotFoundError: Matplotlib is missing; the message names the extra to install.
        """
        from bpjax.results.plots.comparison import comparison_figure

        return comparison_figure(self)


def compared(dimension: str, tuning, test, horizon: int | None, confidence: float) -> Comparison:
    """The comparison of choices from their results.

    A run that diverges never reaches the target: like a run that ends at the epoch limit it counts as not having
    reached it by the horizon. (Censoring it at the epoch of the divergence would assume that it could still succeed.)

    Args:
        dimension: of the choices.
        tuning: a dataset over choices, `learning_rate` and `seed`.
        test: a dataset over choices and `seed`, with the coordinate `learning_rate` over the choices.
        horizon: epochs at which observation ends; None for the most epochs that a test run took.
        confidence: of all intervals.
    """
    test = test.transpose(dimension, "seed", ...)
    horizon = int(test.epochs.max()) if horizon is None else horizon
    epochs = test.epochs.values
    solved = test.solved.values & (epochs <= horizon)
    names = [str(name) for name in test[dimension].values]
    summaries = tuple(
        summary(name, rate, solved[i], epochs[i], int(test.diverged.values[i].sum()), horizon, confidence)
        for i, (name, rate) in enumerate(zip(names, test.learning_rate.values.tolist(), strict=True))
    )
    times = epochs_or_never(solved, epochs)
    pairs = list(itertools.combinations(range(len(names)), 2))
    success = [success_contrast(solved[i], solved[j], confidence) for i, j in pairs]
    time = [time_contrast(times[i], times[j], confidence) for i, j in pairs]
    adjusted = holm([one.p_value for one in (*success, *time)]).reshape(2, -1).T.tolist()
    contrasts = tuple(
        Contrast(names[i], names[j], s, s_p, t, t_p)
        for (i, j), s, t, (s_p, t_p) in zip(pairs, success, time, adjusted, strict=True)
    )
    return Comparison(dimension, tuning, test, summaries, contrasts, horizon, confidence)


def summary(name: str, rate: float, solved, epochs, diverged: int, horizon: int, confidence: float) -> Summary:
    """See `Summary`.

    Args:
        name: of the choice.
        rate: its learning rate.
        solved: (N,) booleans, whether each run reached the target within the horizon.
        epochs: (N,) that each run took.
        diverged: the number of runs that diverged.
        horizon: epochs at which observation ends.
        confidence: of the intervals.
    """
    curve = time_curve(solved, epochs, horizon, confidence)
    successes, runs = int(solved.sum()), len(solved)
    low, high = wilson(successes, runs, confidence)
    share = Estimate(successes / runs, float(low), float(high))
    median, mean = survival_quantile(curve, 0.5), restricted_mean(curve, horizon)
    return Summary(name, rate, runs, successes, share, diverged, median, mean)


def time_curve(solved, epochs, horizon: int, confidence: float):
    """The Kaplan–Meier curve of epochs to the target; all failures are censored at the horizon.

    Args:
        solved: (N,) booleans, whether each run reached the target within the horizon.
        epochs: (N,) that each run took.
        horizon: epochs at which observation ends.
        confidence: of the pointwise interval.
    """
    return kaplan_meier(np.where(solved, epochs, horizon), solved, confidence)


NAME, PAIRED = 20, 36
"""Widths of the columns of names."""


def table(comparison: Comparison) -> str:
    """The comparison as text of at most 100 columns."""
    rates, seeds = comparison.tuning.sizes["learning_rate"], comparison.tuning.sizes["seed"]
    many = f"{len(comparison.summaries)} {comparison.dimension}{'s' if len(comparison.summaries) != 1 else ''}"
    lines = [
        f"{many} on {comparison.test.sizes['seed']} test seeds, each at the best of {rates} learning rates on {seeds} "
        "tuning seeds",
        "",
        f"{comparison.dimension[:NAME]:{NAME}}{'rate':>9}  {'success, %':20}{'diverged':>8}  {'median epochs':20}"
        f"{f'mean epochs to {comparison.horizon}':20}".rstrip(),
        *(summary_line(one) for one in comparison.summaries),
    ]
    if comparison.contrasts:
        lines += [
            "",
            f"{'paired by seed':{PAIRED}}{'success, % points':22}{'p':>6}  {'ratio of epochs':24}{'p':>6}",
            *(contrast_line(one) for one in comparison.contrasts),
        ]
    return "\n".join([*lines, "", *notes(comparison)])


def summary_line(one: Summary) -> str:
    """A row of the table."""
    success = with_interval(Estimate(*(100 * value for value in one.success)), ".1f")
    return (
        f"{shortened(one.name, NAME - 1):{NAME}}{one.learning_rate:>9.4g}  {success:20}"
        f"{f'{one.diverged}/{one.runs}':>8}  {with_interval(one.median):20}{with_interval(one.mean)}"
    )


def contrast_line(one: Contrast) -> str:
    """A row of the table."""
    names = " : ".join(shortened(name, (PAIRED - 4) // 2) for name in (one.first, one.second))
    success = with_interval(Estimate(*(100 * value for value in one.success.difference)), "+.1f")
    return (
        f"{names:{PAIRED}}{success:22}{p_text(one.success_p):>6}  {with_interval(one.time.ratio, '.3g'):24}"
        f"{p_text(one.time_p):>6}"
    )


def with_interval(estimate: Estimate, form: str | None = None) -> str:
    """An estimate as 312 [298, 340]; by default integers from 100 on, three digits below."""
    value, low, high = (format(x, form or (".0f" if abs(x) >= 100 else ".3g")) for x in estimate)
    return f"{value} [{low}, {high}]"


def p_text(p: float) -> str:
    """A p-value with three decimals."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def shortened(name: str, width: int) -> str:
    """A name in at most so many characters."""
    return name if len(name) <= width else name[: width - 2] + ".."


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the table must know, and which rates to try next."""
    percent = f"{100 * comparison.confidence:g} %"
    lines = [f"In brackets: {percent} intervals (Wilson, Kaplan-Meier, Newcombe, order statistics)."]
    if comparison.contrasts:
        lines += [
            "Contrasts: first minus second, and first / second (below 1: the first is faster); a failure takes",
            "infinitely long. p: McNemar's exact test and the sign test, adjusted by Holm for "
            f"{2 * len(comparison.contrasts)} tests.",
        ]
    return lines + rate_notes(comparison)


def rate_notes(comparison: Comparison) -> list[str]:
    """One line for each choice whose selected rate is at an end of the rates, or that never succeeded in tuning."""
    lines, rates = [], comparison.tuning.learning_rate.values
    solved = comparison.tuning.solved.any(("learning_rate", "seed")).values
    for one, succeeded in zip(comparison.summaries, solved, strict=True):
        name = shortened(one.name, 40)
        if not succeeded:
            lines.append(f"{name}: no success at any rate; the lowest rate was taken.")
        elif len(rates) > 1 and one.learning_rate in (rates.min(), rates.max()):
            end, word = ("lowest", "lower") if one.learning_rate == rates.min() else ("highest", "higher")
            lines.append(f"{name}: the selected rate is the {end} of those tried; try {word} ones.")
    return lines
