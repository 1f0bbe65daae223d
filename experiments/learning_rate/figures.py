"""The figures of the learning-rate experiment, all drawn from stored results."""

import numpy as np
import xarray as xr

from bpjax.results import plots
from bpjax.results.statistics import epochs_or_never, median_interval, wilson
from experiments.common.redraw import is_narrow
from experiments.learning_rate.problems import BOLD, DELTA, FIXED
from experiments.learning_rate.rows import DIVERGED, KINDS, SLOW, SOLVED, STUCK, best_row, kinds, limit_summary, rows_of

COLOURS = {SOLVED: plots.SUBJECT, SLOW: plots.NEVER, STUCK: plots.STUCK, DIVERGED: plots.DIVERGED}
"""What becomes of a run, from below."""
LIMIT = r"$2/\lambda_{\max}$ at the start"


def main_figure(results: list[xr.Dataset]):
    """What becomes of the runs at each fixed rate, and how long the solved ones take; a column for each problem."""
    fixed = [result for result in results if result.attrs["rule"] == FIXED]
    columns = min(len(fixed), 2 if is_narrow() else 4)
    figure, axes = plots.panels(2 * len(fixed), columns=columns, ratio=0.85)
    for index, result in enumerate(fixed):
        place = 2 * columns * (index // columns) + index % columns
        upper, lower = axes[place], axes[place + min(columns, len(fixed) - columns * (index // columns))]
        outcomes(upper, result)
        median_epochs(lower, result, plots.SUBJECT)
        for axis in (upper, lower):
            limits_at_the_start(axis, result)
            axis.set(xscale="log", xlim=plots.cell_edges(result.learning_rate.values)[[0, -1]])
        upper.set_title(f"{result.attrs['problem']}\n{result.sizes['seed']} starts")
        lower.set(yscale="log", xlabel="learning rate η")
        if index % columns == 0:
            upper.set_ylabel("runs (%)")
            lower.set_ylabel("epochs to the goal\n(median, 95 %)")
    figure.legend(
        *key(), loc="outside lower center", ncols=3 if is_narrow() else 6, columnspacing=1.2, handlelength=1.4
    )
    plots.ask(figure, "Which learning rates reach the goal, and how fast?", main_answer(fixed))
    return figure


def main_answer(fixed: list[xr.Dataset]) -> str:
    """The window of rates that work, in one sentence."""
    ratios = [limit_summary(result).fastest for result in fixed]
    known = [ratio for ratio in ratios if np.isfinite(ratio)]
    if not known:
        return "No rate reached the goal: more epochs are needed."
    span = f"{min(known):.1f} to {max(known):.1f}" if max(known) > min(known) else f"{known[0]:.1f}"
    return (
        f"The fastest rate is {span} times the limit 2/λ_max at the start; far below it learning is too slow, above it "
        "runs diverge or get stuck."
    )


def key():
    """The colours of `outcomes`, and of the band of limits."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list = [Patch(facecolor=colour, label=KINDS[kind]) for kind, colour in COLOURS.items()]
    handles.append(Line2D([], [], color=plots.ink(), marker="o", markersize=2, label="solved, 95 %"))
    handles.append(Line2D([], [], color=plots.THEORY, label=LIMIT))
    return handles, [handle.get_label() for handle in handles]


def outcomes(axis, result: xr.Dataset) -> None:
    """Shares of solved, too slow, stuck and diverged runs by rate, stacked; solved runs with their 95 % interval."""
    rates, kind = result.learning_rate.values, kinds(result)
    edges, below = plots.cell_edges(rates), np.zeros(len(rates))
    for which, colour in COLOURS.items():
        share = 100 * (kind == which).mean(axis=1)
        axis.bar(edges[:-1], share, np.diff(edges), below, align="edge", color=colour, linewidth=0)
        below = below + share
    solved = (kind == SOLVED).sum(axis=1)
    low, high = wilson(solved, kind.shape[1])
    share = solved / kind.shape[1]
    bars = np.array([share - low, high - share]).clip(0)
    axis.errorbar(
        rates, 100 * share, yerr=100 * bars, color=plots.ink(), marker=".", markersize=2, linewidth=0.8, capsize=0
    )
    axis.set_ylim(0, 100)


def median_epochs(axis, result: xr.Dataset, colour, marker: str = "o", name: str = "") -> float:
    """Median epochs by rate with 95 % intervals, failures counted as never; returns the median at the last rate."""
    ordered = result.transpose("learning_rate", "seed", ...)
    times = epochs_or_never(ordered.solved.values, ordered.epochs.values)
    middle, low, high = np.array([median_interval(own) for own in times]).T
    known = np.isfinite(middle)
    top = float(result.attrs["epoch_limit"])
    rates, middle, low, high = result.learning_rate.values[known], middle[known], low[known], high[known]
    bars = [
        middle - np.where(np.isfinite(low), low, middle),
        np.where(np.isnan(high), middle, np.minimum(high, top)) - middle,
    ]
    if len(middle):
        axis.errorbar(rates, middle, yerr=bars, color=colour, marker=marker, markersize=3, linewidth=1.0, label=name)
    if not len(middle) and not axis.has_data():
        axis.set_ylim(0.01 * top, top)  # a logarithmic axis without points needs limits
        axis.text(0.5, 0.5, "at no rate are\nhalf of them solved", transform=axis.transAxes, ha="center", va="center")
    return float(middle[-1]) if len(middle) else np.nan


def limits_at_the_start(axis, result: xr.Dataset) -> None:
    """2/λ_max of all starts as a band, and its median."""
    limits = result.limit.values
    axis.axvspan(limits.min(), limits.max(), color=plots.THEORY, alpha=0.18, linewidth=0)
    axis.axvline(np.median(limits), color=plots.THEORY, linewidth=1.2)


def rule_styles() -> dict:
    """{rule: (colour, marker)}."""
    return {FIXED: (plots.ink(), "o"), BOLD: (plots.SUBJECT, "s"), DELTA: (plots.VARIANT, "D")}


def rule_figure(results: list[xr.Dataset]):
    """Runs solved and median epochs by the initial learning rate, fixed and variable."""
    names = list(dict.fromkeys(result.attrs["name"] for result in results))
    columns = min(len(names), 2 if is_narrow() else 4)
    figure, axes = plots.panels(2 * len(names), columns=columns, ratio=0.85)
    for index, name in enumerate(names):
        place = 2 * columns * (index // columns) + index % columns
        upper, lower = axes[place], axes[place + min(columns, len(names) - columns * (index // columns))]
        own = [result for result in results if result.attrs["name"] == name]
        for result in own:
            colour, marker = rule_styles()[result.attrs["rule"]]
            rows = rows_of(result)
            share = [row.solved / row.runs for row in rows], [row.low for row in rows], [row.high for row in rows]
            rates = [row.learning_rate for row in rows]
            plots.proportion(upper, rates, *share, colour, result.attrs["rule"], marker).lines[0].set_markersize(3)
            median_epochs(lower, result, colour, marker)
        upper.set(title=f"{own[0].attrs['problem']}\n{own[0].sizes['seed']} starts", ylim=(-5, 105))
        lower.set(yscale="log", xlabel="learning rate η\n(at the start)")
        for axis in (upper, lower):
            axis.set(xscale="log", xlim=plots.cell_edges(own[0].learning_rate.values)[[0, -1]])
        if index % columns == 0:
            upper.set_ylabel("runs solved (%)")
            lower.set_ylabel("epochs to the goal\n(median, 95 %)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    plots.ask(figure, "Do variable rates need less tuning than a fixed one?", rule_answer(results))
    return figure


def rule_answer(results: list[xr.Dataset]) -> str:
    """How many initial rates of each rule work."""
    from experiments.learning_rate.rows import as_good

    goals = {r.attrs["name"]: best_row(rows_of(r)) for r in results if r.attrs["rule"] == FIXED}
    words = []
    for rule in dict.fromkeys(result.attrs["rule"] for result in results):
        tried = [(row, goals.get(row.problem)) for r in results if r.attrs["rule"] == rule for row in rows_of(r)]
        good = sum(goal is not None and as_good(row, goal) for row, goal in tried)
        words.append(f"{rule} {good} of {len(tried)}")
    return f"Rates nearly as good as the best fixed one (95 % intervals in the figure): {', '.join(words)}."


def oscillation_figure(results: list[xr.Dataset]):
    """The coordinate along the direction of largest curvature, a panel for each rate."""
    figure, axes = plots.panels(
        sum(result.sizes["over_limit"] for result in results), columns=2 if is_narrow() else 4, ratio=0.8
    )
    shown = [(result, over) for result in results for over in result.over_limit.values]
    for axis, (result, over) in zip(axes, shown, strict=True):
        at = result.sel(over_limit=over)
        known = np.abs(at.predicted.values) < 4
        coordinate, predicted = at.coordinate.values, np.where(known, at.predicted.values, np.nan)
        axis.axhline(0, color=plots.CONTEXT, linewidth=0.6, zorder=0)
        axis.plot(coordinate, color=plots.SUBJECT, linewidth=0.8, marker="o", markersize=2.2)
        axis.plot(predicted, "x", color=plots.THEORY, markersize=3, markeredgewidth=0.8)
        reach = 1.08 * max(1.0, np.nanmax(np.abs(coordinate)), np.nanmax(np.abs(predicted)))
        axis.set(ylim=(-reach, reach))
        axis.set_title(f"{result.attrs['problem'].split(' near')[0]}\nη = {2 * over:.3g}/λ")
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel("distance c(t)/c(0)")
        if axis.get_subplotspec().is_last_row():
            axis.set_xlabel("epoch t")
    plots.ask(
        figure, "Do weights oscillate as (1 − ηλ)ᵗ says?",
        "Dots are gradient descent along the direction of largest curvature λ, crosses the closed form for a "
        "quadratic: above η = 2/λ the distance grows.",
    )  # fmt: skip
    return figure


def edge_figure(results: list[xr.Dataset]):
    """Sharpness during training ÷ 2/η, and the error; a column for each loss."""
    figure, axes = plots.panels(2 * len(results), columns=len(results), ratio=0.55 if not is_narrow() else 0.8)
    for index, result in enumerate(results):
        upper, lower = axes[index], axes[index + len(results)]
        rates = result.learning_rate.values
        names: list[list] = [[], []]
        for rate, colour in zip(rates, plots.shades(rates), strict=True):
            at = result.sel(learning_rate=rate)
            for axis, values, ends in ((upper, at.sharpness * rate / 2, names[0]), (lower, at.error, names[1])):
                curves = np.where(np.isfinite(values.values), values.values, np.nan)
                if not np.isfinite(curves).any():
                    continue
                middle, low, high = np.median(curves, axis=0), curves.min(axis=0), curves.max(axis=0)
                axis.fill_between(result.epoch, low, high, color=colour, alpha=0.25, linewidth=0)
                axis.plot(result.epoch, middle, color=colour, linewidth=1.0)
                last = middle[np.isfinite(middle)]
                ends.append((float(last[-1]) if len(last) else 1.0, f"η {rate:.3g}", colour))
        upper.axhline(1, color=plots.THEORY, linestyle="--", linewidth=1.2)
        upper.set(title=f"digits, {result.attrs['title']}", ylim=(0, 2.2))
        lower.set(yscale="log", xlabel="epoch")
        for axis, ends in zip((upper, lower), names, strict=True):
            plots.name_lines(axis, ends)
    axes[0].set_ylabel(r"$\lambda_{\max}$ ÷ (2/η)")
    axes[len(results)].set_ylabel("mean error")
    plots.ask(figure, "Does training go on at the edge of stability?", edge_answer(results))
    return figure


def edge_answer(results: list[xr.Dataset]) -> str:
    """For each loss, where the sharpness ends in units of 2/η."""
    from experiments.learning_rate.steep import saturation

    parts = []
    for result in results:
        late = {row["rate"]: row["late"] / row["limit"] for row in saturation(result) if np.isfinite(row["late"])}
        there = {rate: ratio for rate, ratio in late.items() if abs(ratio - 1) < 0.05}
        chosen = there or late
        if not chosen:
            parts.append(f"{result.attrs['title']}: every run diverges")
            continue
        span = f"{min(chosen.values()):.2f} to {max(chosen.values()):.2f} times 2/η"
        rates = ", ".join(f"{rate:.3g}" for rate in there)
        parts.append(
            f"{result.attrs['title']}: "
            + (f"yes at η = {rates}, λ_max ends at {span}" if there else f"no, λ_max ends at {span}")
        )
    return f"With {'; with '.join(parts)}. Dashed: λ_max = 2/η. Bands: range of the starts."
