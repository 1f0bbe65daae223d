"""Results of many runs by learning rate, and the rates at which theory predicts a change."""

import numpy as np

from bpjax.results.plots.colours import GREY
from bpjax.results.statistics import quantiles_with_failures


def proportion(axis, rates, share, low, high, colour, label, marker="o"):
    """A share of runs by learning rate, in per cent, with its interval. Returns the container.

    Args:
        axis: where to draw.
        rates: (R,) learning rates.
        share: (R,) from 0 to 1.
        low: (R,) lower end of the interval.
        high: (R,) upper end.
        colour: of points and bars.
        label: for the legend.
        marker: Matplotlib's marker.
    """
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
    """Median epochs to the goal by learning rate, with failures counted as ∞. Returns the container.

    The bars span the interquartile range. A rate at which half of the runs or more failed has no point.

    Args:
        axis: where to draw.
        rates: (R,) learning rates.
        epochs: (R, seeds), ∞ for runs that failed.
        colour: of points and bars.
        label: for the legend.
    """
    low, middle, high = quantiles_with_failures(epochs, [0.25, 0.5, 0.75])
    has_median = np.isfinite(middle)
    rates, low, middle, high = np.asarray(rates)[has_median], low[has_median], middle[has_median], high[has_median]
    bars = [middle - low, np.where(np.isfinite(high), high, middle) - middle]
    return axis.errorbar(rates, middle, yerr=bars, color=colour, label=label, marker="o", markersize=4, capsize=2)


def classical_limit(axis, limits, colour=GREY):
    """2/λ_max of all seeds as a band, their median as a dashed line. Returns the line.

    Args:
        axis: where to draw.
        limits: (seeds,) 2/λ_max.
        colour: of band and line.
    """
    axis.axvspan(np.min(limits), np.max(limits), color=colour, alpha=0.2, linewidth=0)
    return axis.axvline(np.median(limits), color=colour, linestyle="--", label=r"$2/\lambda_{\max}$ at the start")


def region(axis, rates, holds, colour, label):
    """A band from the first to the last rate at which a condition holds; None if it holds nowhere.

    On the logarithmic axis the band extends half-way to the neighbouring rates.

    Args:
        axis: where to draw.
        rates: (R,) learning rates, spaced geometrically.
        holds: (R,) booleans.
        colour: of the band.
        label: for the legend.
    """
    where = np.flatnonzero(holds)
    if not where.size:
        return None
    rates = np.asarray(rates)
    step = np.sqrt(rates[1] / rates[0])
    low, high = rates[where[0]] / step, rates[where[-1]] * step
    return axis.axvspan(low, high, facecolor=colour, alpha=0.12, linewidth=0, label=label)
