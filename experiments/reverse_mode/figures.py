"""The figure: forecast, cost of a gradient, checkpointing, sparse nets, derivatives of both kinds, forward in time."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bpjax.results import plots
from experiments.reverse_mode.checkpointing import Memory
from experiments.reverse_mode.helmholtz import Costs
from experiments.reverse_mode.ordered import Derivatives
from experiments.reverse_mode.rounding import Forecast
from experiments.reverse_mode.rtrl import GradientCost
from experiments.reverse_mode.sparse_nets import SparseCost

BLUE, ORANGE, GREY = plots.SUBJECT, plots.VARIANT, plots.CONTEXT


def draw(
    forecasts: Sequence[Forecast], costs: Sequence[Costs], memory: Sequence[Memory], nets: Sequence[SparseCost],
    derivatives: Sequence[Derivatives], recurrent: Sequence[GradientCost],
) -> Figure:  # fmt: skip
    """Six panels."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 9), layout="constrained")
    draw_forecasts(axes[0, 0], forecasts)
    draw_costs(axes[0, 1], costs)
    draw_memory(axes[0, 2], memory)
    draw_nets(axes[1, 0], nets)
    draw_derivatives(axes[1, 1], derivatives)
    draw_recurrent(axes[1, 2], recurrent)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_forecasts(axis, forecasts: Sequence[Forecast]) -> None:
    """Forecast over measured error."""
    for bits, color, name in ((8, ORANGE, "8 bits (bfloat16)"), (24, BLUE, "24 bits (float32)")):
        some = [f for f in forecasts if f.bits == bits and f.measured and f.first_order]
        axis.loglog(
            [abs(f.measured) for f in some], [abs(f.first_order) for f in some], "o", ms=4, alpha=0.6, mec="none",
            color=color, label=name,
        )  # fmt: skip
    ends = np.array([max(1e-10, axis.get_xlim()[0]), axis.get_xlim()[1]])
    axis.plot(ends, ends, color=GREY, lw=1, zorder=0)
    axis.set(
        title="Adjoints forecast the rounding error\nof random programs",
        xlabel="measured error of the result", ylabel="forecast, |Σ adjoint × local error|",
    )  # fmt: skip
    axis.legend(frameon=False)


def draw_costs(axis, costs: Sequence[Costs]) -> None:
    """Cost of the gradient over the cost of the function."""
    sizes, timed = [c.n for c in costs], [c for c in costs if np.isfinite(c.reverse_ratio)]
    for name, color in (("forward", ORANGE), ("reverse", BLUE)):
        axis.loglog(sizes, [getattr(c, f"{name}_count") for c in costs], color=color, lw=2)
        axis.loglog([c.n for c in timed], [getattr(c, f"{name}_ratio") for c in timed], "o", color=color)
    axis.axhline(5, color=GREY, lw=1, ls="--")
    axis.text(sizes[-1], 5.4, "bound of theory: 5", color=GREY, ha="right")
    axis.text(sizes[-1], 20, "forward mode", color=ORANGE, ha="right", va="center")
    axis.text(sizes[-1], 0.7, "reverse mode", color=BLUE, ha="right", va="center")
    axis.plot([], [], color=plots.ink(), lw=2, label="operations, counted")
    axis.plot([], [], "o", color=plots.ink(), label="processor time")
    axis.set(
        title="A gradient by reverse mode costs the same\nmultiple of the function at every size",
        xlabel="number of gases n in the Helmholtz energy", ylabel="cost of gradient / cost of function",
        ylim=(0.5, None),
    )  # fmt: skip
    axis.legend(frameon=False, loc="upper left")


def draw_memory(axis, memory: Sequence[Memory]) -> None:
    """Memory and repeated steps over the number of snapshots."""
    few = [m for m in memory if m.snapshots < m.steps]
    (whole,) = (m for m in memory if m.snapshots == m.steps)
    snapshots = [m.snapshots for m in few]
    axis.loglog(snapshots, [m.mebibytes / whole.mebibytes for m in few], "o-", color=BLUE, lw=2)
    axis.loglog(snapshots, [m.repeated / m.steps for m in few], "s-", color=ORANGE, lw=2)
    axis.axhline(1, color=GREY, lw=1, ls="--")
    axis.text(snapshots[-1], 1.08, "storing everything", color=GREY, ha="right", va="bottom")
    below = len(few) // 2
    axis.annotate("repeated steps / steps", (snapshots[0], few[0].repeated / few[0].steps), (14, 0),
                  textcoords="offset points", va="center", color=ORANGE)  # fmt: skip
    axis.annotate("memory", (snapshots[below], few[below].mebibytes / whole.mebibytes), (0, -18),
                  textcoords="offset points", color=BLUE)  # fmt: skip
    axis.set_ylim(0.4 * min(m.mebibytes for m in few) / whole.mebibytes, None)
    axis.set_xticks(snapshots, list(map(str, snapshots)))
    axis.minorticks_off()
    axis.set(
        title=f"Checkpointing: a few stored states of {few[0].steps:,}\ncost a few repetitions",
        xlabel="states stored at the same time", ylabel="relative to storing everything",
    )  # fmt: skip


def draw_nets(axis, nets: Sequence[SparseCost]) -> None:
    """Operations, memory and time over the edges, relative to the smallest net."""
    random = sorted((net for net in nets if not net.is_local), key=lambda net: net.edges)
    local = [net for net in nets if net.is_local]
    for some, field, style, fill, color, name in (
        (random, "operations", "-", "full", GREY, "operations, counted"),
        (random, "mebibytes", "s", "full", ORANGE, "memory"),
        (random, "seconds", "o", "full", BLUE, "processor time, random edges"),
        (local, "seconds", "o", "none", BLUE, "processor time, edges from neighbours"),
    ):
        costs = [getattr(net, field) / getattr(some[0], field) for net in some]
        axis.loglog([net.edges for net in some], costs, style, fillstyle=fill, color=color, lw=2, label=name)
    largest = max(random, key=lambda net: net.units)
    axis.annotate(
        f"{largest.units:,} units", (largest.edges, largest.operations / random[0].operations), (0, -110),
        textcoords="offset points", ha="right", arrowprops={"arrowstyle": "-", "color": GREY},
    )  # fmt: skip
    axis.set(
        title="Sparse nets: a gradient costs\nwhat its edges cost", xlabel="edges",
        ylabel="cost of a gradient / cost in the smallest net",
        ylim=(0.5, 30 * largest.operations / random[0].operations),
    )  # fmt: skip
    axis.legend(frameon=False, loc="upper left")


def draw_derivatives(axis, derivatives: Sequence[Derivatives]) -> None:
    """Direct and ordered derivatives of the error."""
    shown = [d for d in derivatives if not d.name.startswith("a")]
    places = np.arange(len(shown))
    axis.bar(places - 0.2, [d.direct for d in shown], 0.4, color=ORANGE, label="direct: in the formula of E only")
    axis.bar(places + 0.2, [d.ordered for d in shown], 0.4, color=BLUE, label="ordered: over all later times")
    axis.axhline(0, color=plots.ink(), lw=0.8)
    axis.set_xticks(places, [d.name for d in shown])
    axis.set(
        title="Werbos: weights have no direct effect\non the error, only an ordered one",
        xlabel="value in the recurrent unit hₜ = tanh(w hₜ₋₁ + u xₜ)", ylabel="derivative of the error E",
        ylim=(None, 1.35 * max(d.ordered for d in shown)),
    )  # fmt: skip
    axis.legend(frameon=False, loc="upper left")


def draw_recurrent(axis, recurrent: Sequence[GradientCost]) -> None:
    """Operations of a step over the units."""
    units = [c.units for c in recurrent]
    for name, color, text in (
        ("rtrl", ORANGE, "forward in time (RTRL): H⁴"), ("bptt", BLUE, "backward in time (BPTT): H²")
    ):  # fmt: skip
        axis.loglog(units, [getattr(c, f"{name}_operations") for c in recurrent], "o-", color=color, lw=2, label=text)
    axis.set(
        title="The same gradient, forward\nand backward in time", xlabel="hidden units H",
        ylabel="operations per time step",
    )  # fmt: skip
    axis.legend(frameon=False, loc="upper left")
