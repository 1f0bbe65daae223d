"""Runs during training: error curves, times to success, a weight's oscillation, the curvature."""

import numpy as np

from bpjax.results.plots.colours import BLUE, GREY, ink, label_once, paper
from bpjax.results.statistics import quantiles_with_failures


def error_curves(axis, error, colour, label, limits=(1e-3, 1e2), epochs=None):
    """Error curves: the median over the runs, and the interquartile range as a band. Returns the line.

    NaN after a run has stopped is replaced by its last error, so that the run still counts.

    Args:
        axis: where to draw.
        error: (runs, epochs).
        colour: of line and band.
        label: for the legend.
        limits: errors are clipped to them.
        epochs: (epochs,) of the measurements; 1, 2, 3, … by default.
    """
    filled = carry_forward(np.asarray(error))
    epochs = np.arange(1, filled.shape[-1] + 1) if epochs is None else np.asarray(epochs)
    low, middle, high = np.clip(np.quantile(filled, [0.25, 0.5, 0.75], axis=0), *limits)
    axis.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    (line,) = axis.plot(epochs, middle, color=colour, label=label)
    axis.set_yscale("log")
    return line


def carry_forward(error: np.ndarray) -> np.ndarray:
    """Curves (runs, epochs) with every NaN replaced by the last value before it."""
    known = np.where(np.isnan(error), 0, np.arange(error.shape[-1]))
    return np.take_along_axis(error, np.maximum.accumulate(known, axis=-1), axis=-1)


def distribution(axis, place, epochs, colour):
    """Epochs to success of many runs as a row of dots. Returns the dots.

    A black tick marks the median of all runs if at least half succeeded. The number of failures is written at the right
    edge.

    Args:
        axis: where to draw.
        place: height of the row; the dots are spread evenly around it.
        epochs: (runs,), ∞ where a run failed.
        colour: of the dots.
    """
    epochs = np.sort(np.asarray(epochs, float))
    finite = epochs[np.isfinite(epochs)]
    spread = 0.3 * (2 * ((np.arange(len(finite)) * 0.618034) % 1) - 1)  # golden ratio: even and deterministic
    dots = axis.plot(
        finite, place + spread, ".", color=colour, markersize=3, alpha=0.35, label=label_once(axis, "one run")
    )
    median = quantiles_with_failures(epochs, 0.5)
    if np.isfinite(median):
        axis.plot(
            [median] * 2, [place - 0.36, place + 0.36], color=ink(), linewidth=1.6, label=label_once(axis, "median")
        )
    if failed := len(epochs) - len(finite):
        where = axis.get_yaxis_transform()
        axis.text(1.01, place, f"{failed}/{len(epochs)} failed", transform=where, va="center", fontsize=7.5, color=GREY)
    return dots[0]


def published(axis, place, mean, deviation, colour):
    """A published mean as a diamond, its standard deviation as a bar. Returns the container.

    Args:
        axis: where to draw.
        place: height of the row.
        mean: published.
        deviation: published standard deviation, or None.
        colour: of diamond and bar.
    """
    bar = None if deviation is None else [[min(deviation, 0.9 * mean)], [deviation]]  # a log axis has no 0
    return axis.errorbar(
        [mean], [place], xerr=bar, fmt="D", color=colour, markersize=5, capsize=2, label=label_once(axis, "paper, ± sd")
    )


def survival_curve(axis, times, survival, low, high, label, colour=BLUE, censored=()):
    """The share of runs without the event by time, a step function from 1, with its interval. Returns the line.

    Args:
        axis: where to draw.
        times: (n,) ascending times of the steps, such as epochs.
        survival: (n,) share from 0 to 1 just after each time.
        low: (n,) lower end of the interval.
        high: (n,) upper end.
        label: for the legend.
        colour: of curve and band.
        censored: times at which runs ended without the event: ticks on the curve.
    """
    times = np.concatenate([[0.0], np.asarray(times, float)])
    survival, low, high = (np.concatenate([[1.0], np.asarray(share, float)]) for share in (survival, low, high))
    axis.fill_between(times, low, high, step="post", color=colour, alpha=0.2, linewidth=0)
    (line,) = axis.plot(times, survival, drawstyle="steps-post", color=colour, label=label)
    if len(censored := np.unique(np.asarray(censored, float))):
        height = survival[np.searchsorted(times, censored, side="right") - 1]
        axis.plot(censored, height, "|", color=colour, markersize=8, label=label_once(axis, "censored"))
        if censored[-1] > times[-1]:
            axis.plot([times[-1], censored[-1]], survival[[-1, -1]], color=colour)
    axis.set_ylim(-0.02, 1.02)
    return line


def alternating(axis, coordinate, colour, label, predicted=None):
    """A weight's distance from the minimum over epochs 0, 1, 2 …, which may change sign. Returns the line.

    Dots are filled on one side of the minimum and open on the other.

    Args:
        axis: where to draw.
        coordinate: (epochs,) signed distance from the minimum.
        colour: of the dots.
        label: for the legend.
        predicted: (epochs,) by theory, drawn as crosses.
    """
    coordinate = np.asarray(coordinate, float)
    epochs = np.arange(len(coordinate))
    axis.axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
    (line,) = axis.plot(epochs, coordinate, color=colour, linewidth=0.8, marker="o", markersize=4, label=label)
    across = coordinate < 0
    axis.plot(epochs[across], coordinate[across], "o", color=colour, markersize=4, markerfacecolor=paper())
    if predicted is not None:
        axis.plot(epochs, predicted, "x", color=ink(), markersize=5, label=label_once(axis, "theory"))
    return line


def sharpness(axis, epochs, curvature, limit, colour, label, limit_label=r"$2/\eta$"):
    """Largest curvature during training, and the limit above which its direction is unstable. Returns the line.

    Args:
        axis: where to draw.
        epochs: (n,) of the measurements.
        curvature: (n,) the largest eigenvalue of the Hessian, λ_max.
        limit: 2/η of gradient descent with learning rate η, or (n,) if η changes.
        colour: of the curve and of the dashed limit.
        label: for the legend.
        limit_label: for the legend; None to omit it.
    """
    (line,) = axis.plot(epochs, curvature, color=colour, label=label)
    limit = np.broadcast_to(np.asarray(limit, float), np.shape(epochs))
    axis.plot(epochs, limit, color=colour, linestyle="--", linewidth=1.0, label=limit_label or "_limit")
    return line
