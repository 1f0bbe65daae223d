"""What single runs do while they train: errors, times, a weight's jumps, the curvature they meet."""

import numpy as np

from bpjax.results.plots.colours import BLUE, GREY, label_once
from bpjax.results.statistics import quantiles_with_failures


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


def survival_curve(axis, times, survival, low, high, label, colour=BLUE, censored=()):
    """The share of runs not yet there by time, as steps from 1 down, with its interval as a band. Returns the line.

    Args:
        axis: where to draw.
        times: (n,) ascending times of the steps, such as epochs.
        survival: (n,) share from 0 to 1 right after each.
        low: (n,) lower end of the interval.
        high: (n,) upper end.
        label: for the legend.
        colour: of curve and band.
        censored: times at which runs were given up before they got there: ticks on the curve.
    """
    times = np.concatenate([[0.0], np.asarray(times, float)])
    survival, low, high = (np.concatenate([[1.0], np.asarray(share, float)]) for share in (survival, low, high))
    axis.fill_between(times, low, high, step="post", color=colour, alpha=0.2, linewidth=0)
    (line,) = axis.plot(times, survival, drawstyle="steps-post", color=colour, label=label)
    if len(censored := np.unique(np.asarray(censored, float))):
        height = survival[np.searchsorted(times, censored, side="right") - 1]
        axis.plot(censored, height, "|", color=colour, markersize=8, label=label_once(axis, "given up"))
        if censored[-1] > times[-1]:
            axis.plot([times[-1], censored[-1]], survival[[-1, -1]], color=colour)
    axis.set_ylim(-0.02, 1.02)
    return line


def alternating(axis, coordinate, colour, label, predicted=None):
    """A weight's coordinate over epochs 0, 1, 2 … about the minimum, which it may jump across. Returns the line.

    Dots are filled on one side of the minimum, open on the other; `predicted`, of the same shape (epochs,), is drawn as
    crosses.
    """
    coordinate = np.asarray(coordinate, float)
    epochs = np.arange(len(coordinate))
    axis.axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
    (line,) = axis.plot(epochs, coordinate, color=colour, linewidth=0.8, marker="o", markersize=4, label=label)
    across = coordinate < 0
    axis.plot(epochs[across], coordinate[across], "o", color=colour, markersize=4, markerfacecolor="white")
    if predicted is not None:
        axis.plot(epochs, predicted, "x", color="black", markersize=5, label=label_once(axis, "theory"))
    return line


def sharpness(axis, epochs, curvature, limit, colour, label, limit_label=r"$2/\eta$"):
    """Largest curvature along training, against the limit above which its direction is unstable. Returns the line.

    Args:
        axis: where to draw.
        epochs: (n,) when it was measured.
        curvature: (n,) the largest eigenvalue of the Hessian, λ_max.
        limit: 2/η of gradient descent at a rate η, or (n,) where η changes.
        colour: of the curve; the limit is dashed in the same one.
        label: for the legend.
        limit_label: for the legend, None to leave it out.
    """
    (line,) = axis.plot(epochs, curvature, color=colour, label=label)
    limit = np.broadcast_to(np.asarray(limit, float), np.shape(epochs))
    axis.plot(epochs, limit, color=colour, linestyle="--", linewidth=1.0, label=limit_label or "_limit")
    return line
