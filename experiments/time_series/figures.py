"""The figures of the time-series experiment, drawn from stored results."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from bpjax.results import plots
from bpjax.util.files import slug
from experiments.time_series.laser import collapse, nmse
from experiments.time_series.tables import RUNNER_UP, WINNER, scores_of, seen, threshold

BEFORE = 60
"""Training values shown in front of the forecasts."""


def draw_forecasts(stored: xr.Dataset, labels: list[str]):
    """The 100 values and the forecasts of a middle and the best start.

    Args:
        stored: the result.
        labels: of the trainings, three of Wan's network first: by his protocol, with the larger rate, with Adam.
    """
    figure, axes = plt.subplots(4, 1, figsize=(10, 9), sharex=True, sharey=True, layout="constrained")
    place = 0
    for label in labels[:3:2]:
        scores = scores_of(stored, label)
        order = np.argsort(scores.iterated)
        middle = (len(order) - 1) // 2
        for what, start in ((f"no. {middle + 1}", order[middle]), ("the best", order[0])):
            axis = axes[place]
            forecast = stored[f"{slug(label)}_iterated"].values[-1, start]
            draw_truth(axis, stored, is_labelled=place == 0)
            axis.plot(np.arange(1, len(forecast) + 1), forecast, color=(plots.BLUE, plots.ORANGE)[place // 2], lw=1.8,
                      label="forecast" if place == 0 else None)  # fmt: skip
            at = int(scores.collapses[start])
            verdict = "seen" if seen(stored, scores)[start] else "missed"
            verdict += f", forecast at step {at + 1}" if at >= 0 else ""
            error = f"NMSE {scores.iterated[start]:.3g}"
            axis.set_title(
                f"{label}, {what} of {len(order)} starts: {error}, collapse {verdict}", fontsize=10, loc="left"
            )
            place += 1
    axes[0].legend(fontsize=8, ncols=3, loc="upper left", frameon=False)
    axes[-1].set(xlabel="steps after the last value that the network was trained on", xlim=(-BEFORE, 100))
    axes[0].set_ylim(-20, 330)
    figure.supylabel("intensity of the laser (0 to 255)", fontsize=10)
    return figure


def draw_truth(axis, stored: xr.Dataset, is_labelled: bool) -> None:
    """The true series, the end of the training values, and the true collapse.

    Args:
        axis: to draw on.
        stored: the result.
        is_labelled: whether the legend names them.
    """
    known, future = stored.known.values, stored.future.values
    times = np.arange(1 - BEFORE, len(future) + 1)
    values = np.concatenate([known[-BEFORE:], future])
    axis.plot(times, values, color=plots.ink(), lw=1, alpha=0.75, label="laser" if is_labelled else None)
    axis.axvline(0.5, color=plots.GREY, lw=0.8, ls="--")
    at = collapse(future, threshold(stored)) + 1
    axis.axvline(at, color=plots.RED, lw=0.8, ls=":", label="true collapse" if is_labelled else None)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def draw_errors(stored: xr.Dataset, labels: list[str]):
    """Left: the NMSE of every start, network by network. Right: how it changes along the training.

    Args:
        stored: the result.
        labels: of the trainings.
    """
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), width_ratios=(3, 2), layout="constrained")
    spread, along = axes
    future = stored.future.values
    draw = np.random.default_rng(0)
    linear = float(nmse(future, stored.linear_iterated.values))
    rows = [*labels, "linear autoregression"]
    for place, label in enumerate(labels):
        errors = np.clip(scores_of(stored, label).iterated, 1e-3, 20)
        places = place + draw.uniform(-0.22, 0.22, len(errors))
        dots, line = (plots.label_once(spread, name) for name in ("one start", "median"))
        spread.scatter(errors, places, s=16, color=plots.BLUE, alpha=0.6, lw=0, label=dots)
        spread.plot([np.median(errors)] * 2, [place - 0.35, place + 0.35], color=plots.ink(), lw=2, label=line)
    spread.scatter([min(linear, 20)], [len(labels)], s=30, marker="D", color=plots.ink())
    spread.set(xscale="log", xlim=(0.008, 25), ylim=(len(rows) - 0.5, -0.5), xlabel="NMSE of 100 iterated steps")
    spread.set_yticks(range(len(rows)), rows)
    levels = (
        (WINNER, f"winner {WINNER}", plots.GREEN),
        (RUNNER_UP, f"runner-up {RUNNER_UP:.3f}", plots.ORANGE),
        (1.0, "forecast of the mean", plots.GREY),
    )
    for value, name, colour in levels:
        spread.axvline(value, color=colour, lw=1.2, ls="--", label=name)
        along.axhline(value, color=colour, lw=1.2, ls="--")
    figure.legend(*spread.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    spread.set_title("Every start: how well are the 100 steps forecast?", fontsize=10, loc="left")
    for label, colour in zip(labels[:3], (plots.BLUE, plots.PURPLE, plots.ink()), strict=True):
        name = slug(label)
        errors = nmse(future, stored[f"{name}_iterated"].values)
        epochs, half = stored.epoch.values, np.quantile(np.minimum(errors, 1e3), [0.25, 0.75], axis=1)
        along.fill_between(epochs, *half, color=colour, alpha=0.2, lw=0)
        line = f"{label.split(', ')[1]}: median, half of the starts"
        along.plot(epochs, np.median(errors, axis=1), color=colour, label=line)
    along.set(yscale="log", ylim=(0.008, 25), xlabel="epochs", ylabel="NMSE of 100 iterated steps")
    along.set_title("FIR network: the error along the training", fontsize=10, loc="left")
    along.legend(fontsize=8, frameon=False, loc="upper right")
    for axis in axes:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure
