"""The figures of the learning-speed experiment: our means beside published means, our medians side by side."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from bpjax.results import plots
from bpjax.results.statistics import epochs_or_never, median_interval
from experiments.common.redraw import is_narrow
from experiments.learning_speed.row import Row, Summary

ERRORS = 3
"""Standard errors on both sides of a ratio, as in the verdict."""


def draw_published(result: xr.Dataset, chosen: list[Row], summaries: list[Summary]):
    """Our mean ÷ the published mean of every row that has one, with the interval of the verdict."""
    found = [(row, s, i) for i, (row, s) in enumerate(zip(chosen, summaries, strict=True)) if row.published]

    def mark(axis, place, entry):
        row, s, i = entry
        at = result.isel(row=i)
        ratio, low, high = ratio_of(row, s, at.epochs.values[at.solved.values])
        agrees = s.verdict.startswith("agrees")
        colour = plots.SUBJECT if agrees else plots.ink()
        if np.isfinite(ratio):
            axis.plot([low, high], [place, place], color=colour, linewidth=1.0)
            axis.plot([ratio], [place], "o", color=colour, markerfacecolor=colour if agrees else plots.paper())
        note_failures(axis, place, s)

    figure, axis = rows_figure([(entry[0], entry) for entry in found], mark)
    axis.axvline(1, color=plots.PUBLISHED, linewidth=1.2, zorder=0)
    axis.set(xscale="log", xlabel="our mean epochs ÷ the published mean")
    counts = sum(s.verdict.startswith("agrees") for _, s, _ in found)
    plots.ask(
        figure, "Do the published learning speeds hold?",
        f"{counts} of {len(found)} means agree within {ERRORS} standard errors of the difference (filled; bars), a "
        "single published run within the middle 95 % of ours. Means are of the successful trials, as in the papers.",
    )  # fmt: skip
    return figure


def ratio_of(row: Row, s: Summary, successes: np.ndarray) -> tuple[float, float, float]:
    """Our mean ÷ the published one, and the ends of its bar.

        (mₒ ± 3 √(dₒ²/nₒ + dₚ²/nₚ)) / mₚ

    with mean m, deviation d and trials n, ours and the paper's: the bar reaches 1 if and only if the verdict is that
    they agree. Where the paper gives no deviation, ours is taken. Of a single published run it is the middle 95 % of
    our runs.
    """
    paper = row.published
    if paper is None or len(successes) < 2:
        return np.nan, np.nan, np.nan
    ratio = s.mean / paper.mean
    if paper.trials == 1:
        low, high = np.quantile(successes, [0.025, 0.975]) / paper.mean
        return ratio, float(low), float(high)
    theirs = s.deviation if paper.deviation is None else paper.deviation
    half = ERRORS * np.sqrt(s.deviation**2 / len(successes) + theirs**2 / paper.trials) / paper.mean
    return ratio, max(ratio - half, 0.02 * ratio), ratio + half


def draw_medians(result: xr.Dataset, chosen: list[Row], summaries: list[Summary]):
    """Median epochs of every row with its 95 % interval, failures counted as never."""

    def mark(axis, place, entry):
        i, s = entry
        at = result.isel(row=i)
        middle, low, high = median_interval(epochs_or_never(at.solved.values, at.epochs.values))
        if np.isfinite(middle):
            top = high if np.isfinite(high) else at.epochs.values.max()
            axis.plot([middle if np.isnan(low) else low, top], [place, place], color=plots.SUBJECT, linewidth=1.0)
            axis.plot([middle], [place], "o", color=plots.SUBJECT)
        note_failures(axis, place, s)

    entries = list(zip(range(len(chosen)), summaries, strict=True))
    figure, axis = rows_figure(list(zip(chosen, entries, strict=True)), mark)
    axis.set(xscale="log", xlabel="epochs to success (median, 95 % interval)")
    fastest = min(summaries, key=lambda s: s.median if s.problem == summaries[0].problem else np.inf)
    plots.ask(
        figure, "Which optimizer learns fastest?",
        f"On {fastest.problem}: {fastest.rule} ({fastest.numbers}), {fastest.median:.0f} epochs. A failed trial counts "
        "as never; a row without a dot fails in half of its trials.",
    )  # fmt: skip
    return figure


def note_failures(axis, place: float, s: Summary) -> None:
    """How many trials failed, at the right edge."""
    if s.failures:
        axis.annotate(
            f"{100 * s.failures / s.trials:.0f} % fail", (1.01, place), xycoords=("axes fraction", "data"), va="center",
            fontsize="small", annotation_clip=False,
        )  # fmt: skip


def rows_figure(entries: list, mark: Callable):
    """A figure with a line for each row, grouped by problem.

    Args:
        entries: (row, what `mark` gets).
        mark: (axis, place, entry), draws one.
    """
    figure, (axis,) = plots.panels(1, ratio=1.0)
    place, problem, labels = -1.0, "", {}
    for row, entry in entries:
        if row.problem != problem:
            problem, place = row.problem, place + 1.25
            labels[place] = problem
        place += 1
        labels[place] = f"{row.rule}  {row.numbers}"
        mark(axis, place, entry)
    figure.set_size_inches(figure.get_size_inches()[0], 0.6 + 0.145 * (place + 1))
    axis.set_yticks(list(labels), list(labels.values()), fontsize="small" if is_narrow() else None)
    problems = {row.problem for row, _ in entries}
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in problems else "normal")
    axis.set_ylim(place + 0.7, -0.7)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.25)
    return figure, axis
