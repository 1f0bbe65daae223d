"""Outcomes of many runs by learning rate, and the rates at which theory expects a change."""

import numpy as np

from bpjax.results.plots.colours import GREY
from bpjax.results.statistics import quantiles_with_failures


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
