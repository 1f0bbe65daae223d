"""The figures of the learning-rules experiment, drawn from stored results."""

import numpy as np
import xarray as xr
from matplotlib.ticker import PercentFormatter

import bpjax as bp
from bpjax.results import plots
from bpjax.results.statistics import student
from experiments.common.redraw import is_narrow
from experiments.learning_rules.problems import LINEAR_EXAMPLES
from experiments.learning_rules.published import BACKPROP, FEEDBACK, normalised
from experiments.learning_rules.tuning import Summary


def groups_of(summaries: list[Summary]) -> dict[str, list[Summary]]:
    """{objection: summaries on the digits}, backprop first."""
    own = [s for s in summaries if s.problem == "digits"]
    groups: dict[str, list[Summary]] = {"": [s for s in own if s.rule == BACKPROP]}
    for s in own:
        if s.rule != BACKPROP:
            groups.setdefault(s.answers, []).append(s)
    return groups


def draw_comparison(digits: dict[str, xr.Dataset], summaries: list[Summary]):
    """A line for each rule, grouped by objection: accuracy at its best rate, and the angle to the gradient."""
    figure, (left, right) = plots.panels(2, columns=2, ratio=1.0, sharey=True)
    place, labels, heads = -1.25, {}, set()
    for objection, group in groups_of(summaries).items():
        place += 1.25
        if objection:
            labels[place], place = f"without {objection}", place + 1
            heads.add(labels[place - 1])
        for s in group:
            labels[place] = s.rule
            colour = plots.ink() if s.rule == BACKPROP else plots.SUBJECT
            left.plot([100 * max(s.low, 0), 100 * min(s.high, 1)], [place, place], color=colour, linewidth=1.0)
            left.plot([100 * s.mean], [place], "o", color=colour)
            angle_change(right, place, digits[s.rule].sel(learning_rate=s.rate, method="nearest"), colour)
            if s.rule == BACKPROP:
                left.axvline(100 * s.mean, color=plots.ink(), linewidth=0.6, zorder=0)
            place += 1
        place -= 1
    figure.set_size_inches(figure.get_size_inches()[0], 0.6 + 0.145 * (place + 1))
    left.set_yticks(list(labels), list(labels.values()), fontsize="small" if is_narrow() else None)
    for label in left.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in heads else "normal")
    left.set(ylim=(place + 0.7, -0.7), xlim=(0, 100), xlabel="accuracy on test digits\nat the best rate (%)")
    right.set(
        xlim=(-4, 110), xticks=range(0, 91, 30), xlabel="angle to the gradient, first\nlayer: start (line) to end (dot)"
    )
    right.xaxis.set_major_formatter("{x:.0f}°")
    right.axvline(90, color=plots.CONTEXT, linewidth=0.6, zorder=0)
    for axis in (left, right):
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25)
    plots.ask(figure, "Which other rules assign credit as well as backpropagation?", comparison_answer(summaries))
    return figure


def comparison_answer(summaries: list[Summary]) -> str:
    """How many rules reach backprop's accuracy."""
    own = {s.rule: s for s in summaries if s.problem == "digits"}
    if BACKPROP not in own or len(own) < 2:
        return ""
    near = [s for s in own.values() if s.rule != BACKPROP and s.high >= own[BACKPROP].low]
    starts = own[BACKPROP].starts
    return (
        f"{len(near)} of {len(own) - 1} have an accuracy whose 95 % interval overlaps that of backprop "
        f"({100 * own[BACKPROP].mean:.0f} %, {starts} starts): most differ in direction, few in what they reach."
    )


def angle_change(axis, place: float, run: xr.Dataset, colour: str) -> None:
    """Angle of the first layer, from the start of training to its end (dot); thick: range over the starts."""
    angle = run.angle.isel(layer=0).transpose("step", "start").values
    reached = np.flatnonzero(np.isfinite(angle).any(axis=1))
    if not len(reached):
        return
    first, last = reached[0], reached[-1]
    begin, end = np.nanmean(angle[first]), np.nanmean(angle[last])
    axis.plot([begin, end], [place, place], color=colour, linewidth=0.7, alpha=0.5)
    axis.plot([np.nanmin(angle[last]), np.nanmax(angle[last])], [place, place], color=colour, linewidth=2.2)
    axis.plot([end], [place], "o", color=colour)


def draw_rates(digits: dict[str, xr.Dataset], summaries: list[Summary]):
    """Accuracy by learning rate, a small panel for each rule, with backprop in each."""
    rules = [s.rule for group in groups_of(summaries).values() for s in group if s.rule != BACKPROP]
    figure, axes = plots.panels(max(1, len(rules)), least=1.15, ratio=0.75, sharex=True, sharey=True)
    for axis, rule in zip(axes, rules, strict=False):
        accuracy_curve(axis, digits[BACKPROP], plots.ink())
        accuracy_curve(axis, digits[rule], plots.SUBJECT)
        axis.set(xscale="log", ylim=(0, 100))
        axis.set_title(rule, fontsize="small")
    figure.supxlabel("learning rate")
    figure.supylabel("accuracy on test digits (%)")
    plots.ask(
        figure, "Which learning rates does each rule bear?",
        "Black: backprop. Blue: the rule. Bands: 95 % intervals of the mean over the starts; a run that diverges "
        "counts as chance.",
    )  # fmt: skip
    return figure


def accuracy_curve(axis, runs: xr.Dataset, colour: str) -> None:
    """Mean accuracy by learning rate with its 95 % interval over the starts."""
    accuracy = 100 * runs.test.where(~runs.diverged, 0.1).transpose("learning_rate", "start").values
    mean, low, high = student(accuracy)
    axis.fill_between(
        runs.learning_rate, np.clip(low, 0, 100), np.clip(high, 0, 100), color=colour, alpha=0.15, linewidth=0
    )
    axis.plot(runs.learning_rate, mean, color=colour, linewidth=1.0)


def draw_published(parts: dict[str, dict[str, xr.Dataset]]):
    """The published results: the linear task, angles on the digits, a network with zero weights, spikes."""
    figure, axes = plots.panels(4, columns=1 if is_narrow() else 2, ratio=0.6)
    linear_errors(axes[0], parts["linear, as published"])
    angles(axes[1], parts["linear, as published"], parts["learning feedback"])
    from_zeros(axes[2], parts["from zero weights"])
    spikes(axes[3], parts["spikes"])
    plots.ask(
        figure, "Do published results on these rules hold?",
        "Lines are medians, bands the range of the starts: feedback alignment learns the linear task faster than "
        "backprop, learnt feedback weights turn to the gradient, direct feedback trains a deep net from zero weights.",
    )  # fmt: skip
    return figure


def median_and_range(axis, x, values: np.ndarray, colour: str, style: str = "-") -> float:
    """Median over the first axis as a line, the range as a band; returns the last median."""
    middle, low, high = np.nanmedian(values, axis=0), np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(x, middle, style, color=colour)
    return float(middle[-1])


def linear_errors(axis, runs: dict[str, xr.Dataset]) -> None:
    """Error on Lillicrap's linear task."""
    names = []
    for name, colour in ((BACKPROP, plots.ink()), (FEEDBACK, plots.SUBJECT)):
        error = normalised(runs[name].curve.isel(learning_rate=0)).transpose("start", "epoch")
        last = median_and_range(axis, error.epoch * LINEAR_EXAMPLES, error.values, colour)
        names.append((last, name.replace(" ", "\n"), colour))
    plots.name_lines(axis, names)
    axis.set(yscale="log", xlabel="examples", ylabel="error ÷ error of output 0", title="Lillicrap's linear task")


def angles(axis, linear: dict[str, xr.Dataset], digits: dict[str, xr.Dataset]) -> None:
    """Angle between update and gradient of the first layer during training."""
    rows = [(linear[FEEDBACK], "feedback alignment,\nlinear task", plots.SUBJECT, "--")]
    rows += [(digits[FEEDBACK], "feedback alignment", plots.SUBJECT, "-")]
    rows += [(digits["Kolen-Pollack"], "Kolen-Pollack", plots.VARIANT, "-")]
    rows += [(digits["weight mirror"], "weight mirror", plots.CONTEXT, "-")]
    names = []
    for runs, label, colour, style in rows:
        angle = runs.angle.isel(learning_rate=0, layer=0).transpose("start", "step")
        names.append((median_and_range(axis, angle.step + 1, angle.values, colour, style), label, colour))
    axis.axhline(5, color=plots.PUBLISHED, linewidth=0.8, linestyle=":")
    plots.name_lines(axis, [*names, (4.9, "published: 5°", plots.PUBLISHED)])
    axis.set(xscale="log", ylim=(0, 105), yticks=range(0, 91, 30), xlabel="step", ylabel="angle to the gradient")
    axis.set_title("first layer, digits")
    axis.yaxis.set_major_formatter("{x:.0f}°")


def from_zeros(axis, runs: dict[str, xr.Dataset]) -> None:
    """Error of a deep network by epoch, at the better learning rate."""
    names = []
    for name, colour in ((BACKPROP, plots.ink()), ("direct feedback", plots.SUBJECT)):
        curve = runs[name].curve / len(bp.digits("train").present()[1])
        best = int(curve.isel(epoch=-1).median("start").argmin("learning_rate"))
        curve = curve.isel(learning_rate=best).transpose("start", "epoch")
        names.append((median_and_range(axis, curve.epoch, curve.values, colour), name.replace(" ", "\n"), colour))
    plots.name_lines(axis, names)
    axis.set(xlabel="epoch", ylabel="cross entropy per digit", ylim=(0, None), title="10 × 64 tanh from zero weights")


def spikes(axis, runs: dict[str, xr.Dataset]) -> None:
    """Accuracy of the spiking network for every start, and the published accuracy."""
    values = np.zeros(1)
    for place, (name, reported) in enumerate((("true slope", 0.512), ("surrogate slope", 0.859))):
        values = runs[name].test.isel(learning_rate=0).values
        axis.plot(np.full(len(values), place), values, "o", color=plots.SUBJECT, alpha=0.6)
        axis.plot([place], [reported], "D", color=plots.PUBLISHED)
    plots.name_lines(axis, [(float(values.max()), "our starts", plots.SUBJECT), (0.859, "published", plots.PUBLISHED)])
    axis.set_xticks([0, 1], ["true slope", "surrogate slope"])
    axis.set(xlim=(-0.5, 1.5), ylim=(0.4, 1.02), ylabel="accuracy", title="spikes with random labels")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
