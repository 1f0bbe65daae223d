"""Pictures of results: each takes data and an axis, draws, and returns the artist.

Colours tell apart for colour-blind eyes too (Okabe & Ito 2008); no global style is changed.
"""

import numpy as np

from bpjax.outcomes import quantiles_with_failures

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#7F7F7F"


def error_curves(axis, error, colour, label, limits=(1e-3, 1e2)):
    """Curves (runs, epochs) of the error: the median run, and the middle half of them as a band. Returns the line.

    NaN after a run has stopped is read as its last error, so that a run that is done stays in the picture.
    """
    filled = carry_forward(np.asarray(error))
    epochs = np.arange(1, filled.shape[-1] + 1)
    low, middle, high = np.clip(np.quantile(filled, [0.25, 0.5, 0.75], axis=0), *limits)
    axis.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    (line,) = axis.plot(epochs, middle, color=colour, label=label)
    axis.set_yscale("log")
    return line


def carry_forward(error: np.ndarray) -> np.ndarray:
    """Curves (runs, epochs) with every NaN replaced by the last number before it in its row."""
    known = np.where(np.isnan(error), 0, np.arange(error.shape[-1]))
    return np.take_along_axis(error, np.maximum.accumulate(known, axis=-1), axis=-1)


def proportion(axis, rates, share, low, high, colour, label, marker="o"):
    """A share of runs by learning rate, in per cent, with its interval (low, high). Returns the container."""
    share, low, high = 100 * np.asarray(share), 100 * np.asarray(low), 100 * np.asarray(high)
    below, above = np.maximum(share - low, 0), np.maximum(high - share, 0)
    return axis.errorbar(
        rates,
        share,
        yerr=[below, above],
        color=colour,
        label=label,
        marker=marker,
        markersize=4,
        linewidth=1.2,
        capsize=2,
    )


def epochs_to_goal(axis, rates, epochs, colour, label):
    """Median epochs to the goal by rate, from runs (rates, seeds) with ∞ for those that failed.

    The bars span the middle half of the runs that got there; where half or more failed there is no median and no
    point. Returns the container.
    """
    low, middle, high = quantiles_with_failures(epochs, [0.25, 0.5, 0.75])
    there = np.isfinite(middle)
    rates, low, middle, high = np.asarray(rates)[there], low[there], middle[there], high[there]
    bars = [middle - low, np.where(np.isfinite(high), high, middle) - middle]
    return axis.errorbar(rates, middle, yerr=bars, color=colour, label=label, marker="o", markersize=4, capsize=2)


def distribution(axis, place, epochs, colour):
    """Epochs to success of many runs as a row of dots at height `place`, ∞ where a run failed. Returns the dots.

    The dots are spread evenly in height. A black tick is the median of all runs, where half of them got there; at the
    right edge stands how many failed.
    """
    epochs = np.sort(np.asarray(epochs, float))
    there = epochs[np.isfinite(epochs)]
    spread = 0.3 * (2 * ((np.arange(len(there)) * 0.618034) % 1) - 1)  # golden ratio: even, and the same each time
    dots = axis.plot(
        there, place + spread, ".", color=colour, markersize=3, alpha=0.35, label=label_once(axis, "a trial")
    )
    median = quantiles_with_failures(epochs, 0.5)
    if np.isfinite(median):
        axis.plot(
            [median] * 2, [place - 0.36, place + 0.36], color="black", linewidth=1.6, label=label_once(axis, "median")
        )
    if failed := len(epochs) - len(there):
        where = axis.get_yaxis_transform()
        axis.text(1.01, place, f"{failed}/{len(epochs)} failed", transform=where, va="center", fontsize=7.5, color=GREY)
    return dots[0]


def published(axis, place, mean, deviation, colour):
    """A paper's mean as a diamond at height `place`, its standard deviation as a bar. Returns the container."""
    bar = None if deviation is None else [[min(deviation, 0.9 * mean)], [deviation]]  # a log axis has no 0
    return axis.errorbar(
        [mean], [place], xerr=bar, fmt="D", color=colour, markersize=5, capsize=2, label=label_once(axis, "paper, ± sd")
    )


def label_once(axis, label):
    """`label`, or one that a legend leaves out where the axis has it already."""
    return f"_{label}" if label in axis.get_legend_handles_labels()[1] else label


def classical_limit(axis, limits, colour=GREY):
    """2/λ_max of each seed as a band, its median as a dashed line. Returns the line."""
    axis.axvspan(np.min(limits), np.max(limits), color=colour, alpha=0.2, linewidth=0)
    return axis.axvline(np.median(limits), color=colour, linestyle="--", label=r"$2/\lambda_{\max}$ at the start")


def region(axis, rates, holds, colour, label):
    """The rates from the first to the last one where a condition holds, as a band; None where it holds nowhere.

    The band reaches half-way, on the logarithmic axis, to the neighbours where it does not hold.
    """
    where = np.flatnonzero(holds)
    if not where.size:
        return None
    rates = np.asarray(rates)
    step = np.sqrt(rates[1] / rates[0])
    low, high = rates[where[0]] / step, rates[where[-1]] * step
    return axis.axvspan(low, high, facecolor=colour, alpha=0.12, linewidth=0, label=label)


def legend_below(axis, columns: int = 2):
    """A legend under the axis, where it covers nothing."""
    return axis.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, frameon=False)
