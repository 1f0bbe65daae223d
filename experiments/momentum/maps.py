"""The maps of the planes and their interactive pages, with the theoretical lines over them."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from bpjax.results import plots
from bpjax.results.page import sweep_page
from experiments.momentum.forms import NAMES
from experiments.momentum.planes import PLANES, Problem, fastest, lines, medians, planes_of


def draw(results: dict[str, xr.Dataset], chosen: tuple[Problem, ...], shares: bool = False):
    """A row of maps for each form and a column for each problem.

    Args:
        results: {name of the problem: sweep}.
        chosen: the problems, in the same order.
        shares: draw the share of solved runs instead of the median epochs to the goal.
    """
    figure, axes = plt.subplots(
        len(PLANES), len(results), figsize=(4.6 * len(results), 10.2), layout="constrained", squeeze=False, sharey=True
    )
    for column, (problem, result) in enumerate(zip(chosen, results.values(), strict=True)):
        finite = [m[np.isfinite(m)] for m in (medians(result.sel(form=place)) for place in range(len(PLANES)))]
        finite = np.concatenate([*finite, [1.0]] if not np.concatenate(finite).size else finite)
        for place, (axis, form) in enumerate(zip(axes[:, column], PLANES, strict=True)):
            plane = result.sel(form=place)
            x, y = plane.learning_rate.values, plane.momentum.values
            if shares:
                share = 100 * plane.solved.mean("seed").transpose("momentum", "learning_rate").values
                plots.outcome_map(axis, x, y, share, f"solved (% of runs, {plane.sizes['seed']} per cell)", (0, 100))
            else:
                limits = finite.min(), max(finite.max(), 1.01 * finite.min())
                plots.outcome_map(axis, x, y, medians(plane), "epochs to the goal, median", limits, "log")
            for cell in axis.patches:  # cells without a median: the layout need not consider them
                cell.set_in_layout(False)
            draw_lines(axis, result, form)
            if (best := fastest(plane)) and not shares:
                axis.plot(
                    best.rate, best.momentum, "o", color="white", markeredgecolor="black", label="fastest measured"
                )
            if form in problem.best and not shares:
                axis.plot(*problem.best[form], "*", color=plots.RED, markersize=13, markeredgecolor="white",
                          label="fastest in theory")  # fmt: skip
            axis.set_title(f"{result.attrs['title']}: {NAMES[form]}", fontsize=10)
        axes[-1, column].set_xlabel("learning rate η")
    for axis in axes[:, 0]:
        axis.set_ylabel("momentum coefficient α")
    entries = {}
    for axis in axes.flat:
        entries.update({label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)})
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    return figure


def draw_lines(axis, result: xr.Dataset, form: str) -> None:
    """Draw the lines of `lines`."""
    for name, (x, y) in lines(result, form).items():
        stable = name.startswith("limit")
        colour = plots.RED if stable else "black"
        style = "--" if name.endswith("start") else "-" if stable or "×" not in name else ":"
        label = name if "×" not in name else "0.1 and 10 times that"
        label = "limit of stability, λ_max at the goal" if name == "limit of stability" else label
        plots.theory_line(axis, x, y, plots.label_once(axis, label), style, colour)


def write_pages(folder, results: dict[str, xr.Dataset]) -> list:
    """Write an interactive page for each plane; returns the paths."""
    return [
        sweep_page(
            plane, folder / f"{name}_{form}.html", x="learning_rate", y="momentum",
            title=f"{plane.attrs['title']}: {NAMES[form]}", lines=lines(results[name], form),
        )
        for name, form, plane in planes_of(results)
    ]  # fmt: skip
