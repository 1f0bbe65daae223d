"""A comparison of choices as one figure: success by learning rate, survival curves, paired contrasts."""

import numpy as np

from bpjax.results.comparison import Comparison, shortened, time_curve
from bpjax.results.plots.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, ink, paper
from bpjax.results.plots.maps import is_geometric
from bpjax.results.plots.rates import proportion
from bpjax.results.plots.runs import survival_curve
from bpjax.results.statistics import wilson
from bpjax.util.extras import require_extra

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY, "black")
MARKERS = "osD^vPX"
LABEL = 22
"""Characters of a name in the figure."""


def comparison_figure(comparison: Comparison):
    """Success by learning rate and survival curves above, the contrasts of all pairs below. Returns the figure.

    Args:
        comparison: of `bp.compare_optimizers`, for example.

    Raises:
        ModuleNotFoundError: Matplotlib is missing; the message names the extra to install.
    """
    with require_extra("Figures are drawn by Matplotlib"):
        from matplotlib.figure import Figure

    pairs = len(comparison.contrasts)
    height = 1.1 + 0.3 * pairs if pairs else 0.0
    figure = Figure(figsize=(10, 4.6 + height), layout="constrained")
    grid = figure.add_gridspec(2 if pairs else 1, 2, height_ratios=[4.2, height] if pairs else [1])
    success, survival = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    draw_success(success, comparison)
    draw_survival(survival, comparison)
    columns = min(len(comparison.summaries), 4)
    figure.legend(*success.get_legend_handles_labels(), loc="outside upper center", ncols=columns, frameon=False)
    if pairs:
        left = figure.add_subplot(grid[1, 0])
        draw_success_contrasts(left, comparison)
        draw_time_contrasts(figure.add_subplot(grid[1, 1], sharey=left), comparison)
    return figure


def style(index: int) -> tuple[str, str]:
    """Colour and marker of a choice; the first seven differ in both."""
    return COLOURS[index % len(COLOURS)], MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def draw_success(axis, comparison: Comparison) -> None:
    """Success by learning rate on the tuning seeds; a ring for the selected rate on the test seeds."""
    tuning = comparison.tuning.transpose(comparison.dimension, "learning_rate", "seed", ...)
    rates, runs = tuning.learning_rate.values, tuning.sizes["seed"]
    solved = tuning.solved.values & (tuning.epochs.values <= comparison.horizon)
    for index, one in enumerate(comparison.summaries):
        colour, marker = style(index)
        counts = solved[index].sum(axis=-1)
        low, high = np.transpose([wilson(int(count), runs, comparison.confidence) for count in counts])
        aside = 1.04 ** (index - (len(comparison.summaries) - 1) / 2) if is_geometric(rates) else 1.0
        proportion(axis, rates * aside, counts / runs, low, high, colour, shortened(one.name, LABEL), marker)
        x, y = one.learning_rate * aside, 100 * one.success.value
        axis.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.6)
    if is_geometric(rates):
        axis.set_xscale("log")
    axis.set(ylim=(-4, 104), xlabel="learning rate", ylabel="runs that succeed (%)")
    axis.set_title(f"{runs} tuning seeds; ring: selected rate on the test seeds", fontsize=9)


def draw_survival(axis, comparison: Comparison) -> None:
    """The share of test runs that have not reached the target, by epoch, at the selected rates."""
    test = comparison.test.transpose(comparison.dimension, "seed", ...)
    epochs, horizon = test.epochs.values, comparison.horizon
    solved = test.solved.values & (epochs <= horizon)
    for index, one in enumerate(comparison.summaries):
        curve = time_curve(solved[index], epochs[index], horizon, comparison.confidence)
        colour, _ = style(index)
        name = f"{shortened(one.name, LABEL)}, {one.learning_rate:.3g}"
        shares = (100 * part[1:] for part in (curve.survival, curve.low, curve.high))
        times, (survival, low, high) = curve.times[1:], shares
        survival_curve(axis, times, survival / 100, low / 100, high / 100, name, colour)
    first = epochs[solved].min(initial=horizon)
    if horizon > 30 * first:
        axis.set(xscale="log", xlim=(max(0.7 * first, 0.9), horizon))
    else:
        axis.set_xlim(0, horizon)
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    axis.set(xlabel="epoch", ylabel="runs not yet at the target (%)")
    axis.set_title(f"{test.sizes['seed']} test seeds at the selected rates", fontsize=9)


def draw_success_contrasts(axis, comparison: Comparison) -> None:
    """The difference in success of every pair, with its interval."""
    for row, one in enumerate(comparison.contrasts):
        value, low, high = (100 * number for number in one.success.difference)
        contrast(axis, row, value, low, high, one.success_p)
    names = [f"{shortened(one.first, LABEL)} : {shortened(one.second, LABEL)}" for one in comparison.contrasts]
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    axis.set_xlabel("difference in success (% points)")
    axis.set_title("pairs on the same test seeds, first : second", fontsize=9)


def draw_time_contrasts(axis, comparison: Comparison) -> None:
    """The ratio of epochs of every pair, with its interval; arrows where it reaches 0 or ∞."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ratios = [one.time.ratio for one in comparison.contrasts]
    finite = [x for ratio in ratios for x in ratio if 0 < x < np.inf]
    low, high = min([0.5, *finite]) / 1.5, max([2.0, *finite]) * 1.5
    for row, one in enumerate(comparison.contrasts):
        value, lower, upper = (float(np.clip(x, low, high)) for x in one.time.ratio)
        contrast(axis, row, value, lower, upper, one.time_p)
        for end, edge, marker in ((one.time.ratio.low == 0, low, "<"), (one.time.ratio.high == np.inf, high, ">")):
            if end:
                axis.plot([edge], [row], marker, color=ink(), markersize=5, clip_on=False)
    axis.set(xscale="log", xlim=(low, high), xlabel="ratio of epochs (below 1: the first is faster)")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="y", labelleft=False)
    axis.set_title("filled: p < 0.05, adjusted by Holm", fontsize=9)
    axis.axvline(1, color=GREY, linewidth=0.8, zorder=0)


def contrast(axis, row: int, value: float, low: float, high: float, p: float) -> None:
    """One estimate with its interval: filled if its adjusted p-value is below 5 %, open otherwise."""
    axis.plot([low, high], [row, row], color=ink(), linewidth=1.4)
    face = ink() if p < 0.05 else paper()
    axis.plot([value], [row], "o", color=ink(), markerfacecolor=face, markersize=5)
