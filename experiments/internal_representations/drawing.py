"""What the figures of several problems share."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bpjax.results import plots
from bpjax.results.statistics import wilson

COLOURS = (plots.BLUE, plots.ORANGE)


def signed(weight: float) -> str:
    """A weight with one decimal and a minus sign."""
    return f"{weight:.1f}".replace("-", "−")


def share_of_solved(axis, names: Sequence[str], solved: Sequence[np.ndarray], rates: Sequence[float]) -> None:
    """Shares of solved runs with their 95 % intervals, one row per network and one colour per learning rate.

    Args:
        axis: to draw on.
        names: of the networks.
        solved: for each network (learning_rate, seed) booleans.
        rates: the learning rates.
    """
    for i, (rate, colour) in enumerate(zip(rates, COLOURS, strict=False)):
        counts = np.array([own[i].sum() for own in solved])
        runs = np.array([own[i].size for own in solved])
        low, high = wilson(counts, runs)
        middle, places = counts / runs, np.arange(len(names)) + 0.12 * (2 * i - 1)
        axis.errorbar(
            100 * middle, places, xerr=[100 * (middle - low), 100 * (high - middle)], fmt="o", color=colour,
            capsize=2, label=f"η {rate:g}",
        )  # fmt: skip
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5), xlim=(-3, 103))
    axis.set_xlabel("starts that solve it, in %")
    axis.set_title("95 % intervals", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper right")
    axis.grid(axis="x", alpha=0.25)


def one_run_among(axis, solved: np.ndarray, epochs: np.ndarray, published: float) -> None:
    """Sweeps to success of the solved runs and of the single run of a paper.

    Args:
        axis: to draw on.
        solved: (seed,).
        epochs: (seed,).
        published: of the paper's run.
    """
    if solved.any():
        plots.distribution(axis, 0, epochs[solved], plots.BLUE)
    axis.plot([published], [0], "D", color=plots.RED, label="paper")
    axis.set(xscale="log", xlabel="sweeps to success", yticks=[], ylim=(-1.1, 0.6))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda sweeps, _: f"{sweeps:,.0f}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.legend(fontsize=8, frameon=False, loc="lower center", ncols=3, columnspacing=1.0, handletextpad=0.3)
