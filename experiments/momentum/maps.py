"""The figures of the planes: how much sooner momentum reaches the goal, and the maps behind it; and their pages."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from bpjax.results import plots
from bpjax.results.page import sweep_page
from bpjax.results.statistics import epochs_or_never, median_interval
from experiments.common.redraw import is_narrow
from experiments.momentum.forms import NAMES
from experiments.momentum.planes import PLANES, Problem, fastest, lines, medians, planes_of

BOUNDS = ((0.0, np.inf), (0.0, 1.0))
"""Learning rates are positive, momentum coefficients in [0, 1)."""
FACTORS = (0.1, 10.0)
"""Ends of the colour scale: times sooner than the fastest plain descent."""
QUESTION = "When does momentum reach the goal sooner than plain descent?"


def draw(results: dict[str, xr.Dataset], chosen: tuple[Problem, ...]):
    """For each problem a map of heavy ball, and below it the epochs at the best rate of each form."""
    count, columns = len(results), len(results) if not is_narrow() else 1
    figure, axes = plots.panels(2 * count, columns=columns if columns > 1 else 2, ratio=0.85)
    upper, lower = (axes[:count], axes[count:]) if columns > 1 else (axes[::2], axes[1::2])
    meshes = []
    for axis, below, problem, result in zip(upper, lower, chosen, results.values(), strict=True):
        meshes.append(speed_map(axis, result, "heavy_ball", problem))
        axis.set_title(f"{result.attrs['title']}\n{NAMES['heavy_ball']}")
        names = best_rates(below, result)
        if below is lower[-1] or is_narrow():
            plots.name_lines(below, names)
        below.set(xlabel="momentum coefficient α", yscale="log", xlim=(0, 1))
        axis.set_xlabel("learning rate η")
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel("momentum coefficient α")
        if below is lower[0] or is_narrow():
            below.set_ylabel("epochs at the best rate\n(median, 95 %)")
    figure.colorbar(meshes[0], ax=upper, label="times sooner than plain descent", aspect=25, pad=0.02, format=factor)
    add_key(figure, upper)
    plots.ask(figure, QUESTION, gains_answer(results))
    return figure


def factor(value: float, _=None) -> str:
    """A factor as a label."""
    return f"{value:g}"


def add_key(figure, axes: list) -> None:
    """One legend of the lines and marks of all maps."""
    entries = {name: handle for axis in axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    entries = {name: handle for name, handle in entries.items() if not name.startswith("_")}
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=2 if is_narrow() else 3, columnspacing=1.2
    )


def gains_answer(results: dict[str, xr.Dataset]) -> str:
    """How many times sooner the best momentum is, problem by problem."""
    words = []
    for result in results.values():
        plain = fastest(result.sel(form=0).isel(momentum=[0]))
        best = {form: fastest(result.sel(form=place)) for place, form in enumerate(PLANES)}
        gains = {form: plain.epochs / cell.epochs for form, cell in best.items() if plain and cell}
        if gains:
            form = max(gains, key=lambda form: gains[form])
            words.append(
                f"{result.attrs['title'].split(',')[0]} {gains[form]:.2g} times ({NAMES[form].split(' (')[0]})"
            )
    return f"Yes, at its best setting: {'; '.join(words)}." if words else "No setting reaches the goal."


def speed_map(axis, result: xr.Dataset, form: str, problem: Problem):
    """Epochs of the fastest plain descent ÷ median epochs of each cell, with the lines of theory. Returns the mesh."""
    plain = fastest(result.sel(form=0).isel(momentum=[0]))
    plane = result.sel(form=PLANES.index(form))
    epochs = medians(plane)
    with np.errstate(divide="ignore"):
        times = np.where(np.isfinite(epochs), (plain.epochs if plain else np.nan) / epochs, np.inf)
    mesh = plots.outcome_map(
        axis, plane.learning_rate.values, plane.momentum.values, times, "", FACTORS, "log", BOUNDS
    )  # fmt: skip
    draw_lines(axis, result, form)
    if best := fastest(plane):
        axis.plot(best.rate, best.momentum, "o", color=plots.paper(), markeredgecolor=plots.ink(), markersize=4.5,
                  label="fastest measured")  # fmt: skip
    if form in problem.best:
        axis.plot(*problem.best[form], "*", color=plots.THEORY, markersize=7, markeredgecolor=plots.paper(),
                  markeredgewidth=0.5, label="fastest in theory")  # fmt: skip
    return mesh


def draw_lines(axis, result: xr.Dataset, form: str) -> None:
    """The limit of stability, and the settings with the effective rate of the best plain descent."""
    for name, (x, y) in lines(result, form).items():
        if "×" in name or name.endswith("start"):
            continue
        stable = name.startswith("limit")
        label = "limit of stability, λ_max at the goal" if stable else name
        plots.theory_line(axis, x, y, plots.label_once(axis, label), "-" if stable else ":")


def form_styles() -> dict[str, tuple[str, str]]:
    """{form: (colour, line style)}."""
    return {"heavy_ball": (plots.SUBJECT, "-"), "convex": (plots.VARIANT, "--"), "nesterov": (plots.CONTEXT, "-.")}


def best_rates(axis, result: xr.Dataset) -> list[tuple[float, str, str]]:
    """Median epochs with 95 % intervals by momentum coefficient, each at its best rate; returns names of the lines."""
    names = []
    for place, form in enumerate(PLANES):
        plane = result.sel(form=place).transpose("momentum", "learning_rate", "seed", ...)
        times = epochs_or_never(plane.solved.values, plane.epochs.values)
        best = medians(plane).argmin(axis=1)
        found = np.array([median_interval(times[row, column]) for row, column in enumerate(best)])
        known = np.isfinite(found[:, 0])
        middle, low, high = found[known].T
        colour, style = form_styles()[form]
        low, high = np.where(np.isfinite(low), low, middle), np.where(np.isfinite(high), high, middle)
        axis.fill_between(plane.momentum.values[known], low, high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(plane.momentum.values[known], middle, style, color=colour)
        if known.any():
            names.append((float(middle[-1]), NAMES[form].split(" (")[0], colour))
    plain = fastest(result.sel(form=0).isel(momentum=[0]))
    if plain:
        axis.plot([0], [plain.epochs], "o", color=plots.ink(), clip_on=False)
    return names


def draw_all(results: dict[str, xr.Dataset], chosen: tuple[Problem, ...], shares: bool = False):
    """A row of maps for each form and a column for each problem, with one colour bar.

    Args:
        results: {name of the problem: sweep}.
        chosen: the problems, in the same order.
        shares: draw the share of solved runs instead of how much sooner the goal is reached.
    """
    figure, axes = plots.panels(len(PLANES) * len(results), columns=len(results), ratio=0.85, sharey=True)
    meshes = []
    for index, axis in enumerate(axes):
        form, column = PLANES[index // len(results)], index % len(results)
        problem, result = chosen[column], list(results.values())[column]
        if shares:
            plane = result.sel(form=PLANES.index(form))
            share = 100 * plane.solved.mean("seed").transpose("momentum", "learning_rate").values
            axes_of = plane.learning_rate.values, plane.momentum.values
            meshes.append(plots.outcome_map(axis, *axes_of, share, "", (0, 100), "linear", BOUNDS))
            draw_lines(axis, result, form)
        else:
            meshes.append(speed_map(axis, result, form, problem))
        axis.set_title(f"{result.attrs['title']}\n{NAMES[form].split(' (')[0]}")
        if column == 0:
            axis.set_ylabel("momentum α")
        if index // len(results) == len(PLANES) - 1:
            axis.set_xlabel("learning rate η")
    label = "runs that reach the goal (%)" if shares else "times sooner than plain descent"
    figure.colorbar(meshes[0], ax=axes, label=label, aspect=40, pad=0.02, format=factor)
    add_key(figure, axes)
    question = "Which settings reach the goal?" if shares else QUESTION
    plots.ask(figure, question, "" if shares else gains_answer(results))
    return figure


def write_plane(path: Path, plane: xr.Dataset, result: xr.Dataset, form: str) -> None:
    """The page of one plane, with the theoretical lines over it."""
    plane.learning_rate.attrs.setdefault("long_name", "learning rate η")
    plane.momentum.attrs.update(long_name="momentum coefficient α", valid_min=0.0, valid_max=1.0)
    title = f"{plane.attrs['title']}: which rates and momentum coefficients reach the goal with {NAMES[form]}?"
    sweep_page(plane, path, x="learning_rate", y="momentum", title=title, lines=lines(result, form))


def pages_of(results: dict[str, xr.Dataset]) -> dict[str, Callable]:
    """{name: function that writes the page of a plane to a path}."""
    return {
        f"{name}_{form}": functools.partial(write_plane, plane=plane, result=results[name], form=form)
        for name, form, plane in planes_of(results)
    }
