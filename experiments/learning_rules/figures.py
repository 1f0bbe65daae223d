"""The figures of the learning-rules experiment, drawn from stored results."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import PercentFormatter

import bpjax as bp
from bpjax.results import plots
from experiments.learning_rules.problems import LINEAR_EXAMPLES
from experiments.learning_rules.published import BACKPROP, FEEDBACK, normalised
from experiments.learning_rules.tuning import Summary

COLOURS = plots.BLUE, plots.ORANGE, plots.GREEN, plots.RED, plots.PURPLE
STYLES = "-", "--", ":"


def draw_comparison(digits: dict[str, xr.Dataset], summaries: list[Summary]):
    """The digits, a column for each objection: angle during training above, accuracy by learning rate below."""
    own = {s.rule: s for s in summaries if s.problem == "digits"}
    groups: dict[str, list[str]] = {}
    for rule, s in own.items():
        if rule != BACKPROP:
            groups.setdefault(s.answers, []).append(rule)
    groups = groups or {"": []}
    figure, axes = plt.subplots(
        2, len(groups), figsize=(1 + 3.1 * len(groups), 7.2), layout="constrained", sharey="row", squeeze=False
    )
    for (above, below), (objection, rules) in zip(axes.T, groups.items(), strict=True):
        for index, rule in enumerate(rules):
            style = {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index // len(COLOURS)]}
            at_best = digits[rule].sel(learning_rate=own[rule].rate, method="nearest")
            angle = at_best.angle.isel(layer=0).mean("start")
            above.plot(angle.step + 1, angle, label=rule, **style)
            accuracy_curve(below, digits[rule], rule, **style)
        accuracy_curve(below, digits[BACKPROP], BACKPROP, color="black", linewidth=3, alpha=0.25)
        above.set(title=objection, xscale="log", ylim=(-4, 124), xlabel="step", yticks=range(0, 121, 30))
        above.axhline(90, color=plots.GREY, linewidth=0.8, zorder=0)
        below.set(xscale="log", ylim=(0, 1), xlabel="learning rate")
        below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8, frameon=False)
    axes[0, 0].set_ylabel("angle to the gradient, first layer")
    axes[0, 0].yaxis.set_major_formatter("{x:.0f}°")
    axes[1, 0].set_ylabel("accuracy on test digits")
    axes[1, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def accuracy_curve(axis, runs: xr.Dataset, label: str, **style) -> None:
    """Mean accuracy by learning rate, and the range over starts."""
    accuracy = runs.test.where(~runs.diverged, 0.1)  # chance
    axis.plot(runs.learning_rate, accuracy.mean("start"), label=label, **style)
    if label != BACKPROP:
        low, high = accuracy.min("start"), accuracy.max("start")
        axis.fill_between(runs.learning_rate, low, high, color=style["color"], alpha=0.08, linewidth=0)


def draw_published(parts: dict[str, dict[str, xr.Dataset]]):
    """The published results: the linear task, angles on the digits, a network with zero weights, spikes."""
    figure, axes = plt.subplots(1, 4, figsize=(14.5, 3.9), layout="constrained")
    linear_errors(axes[0], parts["linear, as published"])
    angles(axes[1], parts["linear, as published"], parts["learning feedback"])
    from_zeros(axes[2], parts["from zero weights"])
    spikes(axes[3], parts["spikes"])
    return figure


def linear_errors(axis, runs: dict[str, xr.Dataset]) -> None:
    """Error on Lillicrap's linear task: mean over starts, and every start."""
    for name, colour in ((BACKPROP, "black"), (FEEDBACK, plots.BLUE)):
        error = normalised(runs[name].curve.isel(learning_rate=0))
        axis.plot(error.epoch * LINEAR_EXAMPLES, error.T, color=colour, linewidth=0.4, alpha=0.3)
        axis.plot(error.epoch * LINEAR_EXAMPLES, error.mean("start"), color=colour, label=name)
    axis.set(yscale="log", xlabel="examples", ylabel="error ÷ error of output 0", title="Lillicrap's linear task")
    axis.legend(fontsize=8, frameon=False, loc="lower left")


def angles(axis, linear: dict[str, xr.Dataset], digits: dict[str, xr.Dataset]) -> None:
    """Angle between update and gradient of the first layer during training, mean over starts."""
    rows = [(linear[FEEDBACK], f"{FEEDBACK}, linear task", plots.BLUE, "--")]
    rows += [(digits[FEEDBACK], f"{FEEDBACK}, digits", plots.BLUE, "-")]
    rows += [(digits["Kolen-Pollack"], "Kolen-Pollack, digits", plots.GREEN, "-")]
    rows += [(digits["weight mirror"], "weight mirror, digits", plots.ORANGE, "-")]
    for runs, label, colour, style in rows:
        angle = runs.angle.isel(learning_rate=0, layer=0).mean("start")
        axis.plot(angle.step + 1, angle, style, color=colour, label=label)
    axis.axhline(5, color=plots.GREY, linewidth=0.8, linestyle=":")
    axis.annotate("5°", (1, 5), fontsize=7.5, color=plots.GREY, va="bottom")
    axis.set(
        xscale="log", ylim=(0, 140), yticks=range(0, 91, 30), xlabel="step", title="Angle to the gradient, first layer"
    )
    axis.yaxis.set_major_formatter("{x:.0f}°")
    axis.legend(fontsize=7.5, frameon=False, loc="upper right")


def from_zeros(axis, runs: dict[str, xr.Dataset]) -> None:
    """Error of a deep network by epoch, at the better learning rate."""
    for name, colour in ((BACKPROP, "black"), ("direct feedback", plots.BLUE)):
        curve = runs[name].curve / len(bp.digits("train").present()[1])
        best = int(curve.isel(epoch=-1).mean("start").argmin("learning_rate"))
        first, *others = curve.isel(learning_rate=best)
        axis.plot(curve.epoch, first, color=colour, label=name)
        for other in others:
            axis.plot(curve.epoch, other, color=colour)
    axis.set(xlabel="epoch", ylabel="cross entropy per digit", ylim=(0, None), title="10 × 64 tanh from zero weights")
    axis.legend(fontsize=8, frameon=False)


def spikes(axis, runs: dict[str, xr.Dataset]) -> None:
    """Accuracy of the spiking network for every start, and the published accuracy."""
    for place, (name, reported) in enumerate((("true slope", 0.512), ("surrogate slope", 0.859))):
        values = runs[name].test.isel(learning_rate=0).values
        label = plots.label_once(axis, "one start")
        axis.plot(np.full(len(values), place), values, "o", color=plots.BLUE, alpha=0.6, label=label)
        axis.plot([place], [reported], "D", color=plots.RED, label=plots.label_once(axis, "published"))
    axis.set_xticks([0, 1], ["true slope", "surrogate slope"])
    axis.set(xlim=(-0.5, 1.5), ylim=(0.4, 1.02), ylabel="accuracy", title="Spikes with random labels")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.legend(fontsize=8, frameon=False, loc="lower right")
