"""The figures of any sweep: which settings reach the goal, how long it takes, how the error falls."""

import functools
from collections.abc import Callable

import numpy as np

from bpjax.results.plots.cells import Cells, cells_of
from bpjax.results.plots.colours import SUBJECT, ink
from bpjax.results.plots.look import current_look, shades
from bpjax.results.plots.maps import is_geometric, outcome_map
from bpjax.results.plots.panels import ask, name_lines, panels
from bpjax.results.plots.rates import proportion
from bpjax.results.plots.runs import error_curves, survival_curve


def sweep_figures(result, x: str | None = None, y: str | None = None) -> dict[str, Callable]:
    """The figures that a sweep allows, {name: function that draws it}; draw them within `looking`.

    `success` and `epochs` are maps over two hyperparameters, or curves with 95 % intervals over one; `time_to_goal` and
    `error` show the runs at the fastest setting of each panel.

    Args:
        result: an `xarray.Dataset`, as `bp.sweep` and `bp.open_sweep` return it.
        x: the hyperparameter across.
        y: the hyperparameter upwards.

    Raises:
        ValueError: see `cells_of`.
    """
    cells = cells_of(result, x, y)
    figures: dict[str, Callable] = {}
    if cells.x is not None:
        figures["success"] = functools.partial(draw_success, cells)
        figures["epochs"] = functools.partial(draw_epochs, cells)
    if cells.solved.any():
        figures["time_to_goal"] = functools.partial(draw_times, cells)
    if cells.curve is not None:
        figures["error"] = functools.partial(draw_errors, cells)
    if not figures:
        raise ValueError(
            "expected something to draw: several values of a hyperparameter, runs that reach the goal, or error curves."
        )
    return figures


def asked(cells: Cells, question: str) -> str:
    """The question as the title of a figure, after the name of the sweep if it has one."""
    return f"{cells.title}: {question[0].lower()}{question[1:]}" if cells.title else question


def draw_success(cells: Cells):
    """The share of runs that reach the goal."""
    best = max(cells.settings, key=lambda cell: cells.share(cell)[2])
    count, runs, low, high = cells.share(best)
    answer = (
        f"Most at {cells.named(best)}: {count} of {runs} runs (95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
        if count
        else "No run reaches the goal."
    )
    if cells.y is not None:
        shares = np.array([cells.share(cell)[0] / max(1, cells.share(cell)[1]) for cell in cells.settings])
        figure = _maps(cells, 100 * shares.reshape(cells.solved.shape[:3]), "runs that reach the goal (%)", (0, 100))
    else:
        figure, axes = _curve_panels(cells)
        for panel, axis in enumerate(axes):
            found = np.array([cells.share((panel, 0, i)) for i in range(len(cells.x))])  # type: ignore[arg-type]
            share = found[:, 0] / np.maximum(found[:, 1], 1)
            proportion(axis, cells.x, share, found[:, 2], found[:, 3], SUBJECT, "")
            axis.set_ylim(-4, 104)
        figure.supylabel("runs that reach the goal (%)", fontsize=current_look().font_size)
    ask(figure, asked(cells, "Which settings reach the goal?"), answer)
    return figure


def draw_epochs(cells: Cells):
    """Median epochs to the goal."""
    middle, low, high = np.array([cells.median(cell) for cell in cells.settings]).T
    best = cells.settings[int(np.nanargmin(middle))] if np.isfinite(middle).any() else None
    answer = "In no setting do half of the runs reach the goal."
    if best is not None:
        value, least, most = cells.median(best)
        answer = f"Fastest at {cells.named(best)}: {value:,.0f} epochs (median{_interval(least, most)})."
    shape = cells.solved.shape[:3]
    if cells.y is not None:
        finite = middle[np.isfinite(middle)]
        limits = (finite.min(), max(finite.max(), 1.01 * finite.min())) if finite.size else (1, 2)
        figure = _maps(cells, middle.reshape(shape), "median epochs to the goal", limits, "log")
    else:
        figure, axes = _curve_panels(cells)
        for axis, *own in zip(axes, *(v.reshape(shape)[:, 0] for v in (middle, low, high)), strict=True):
            known = np.isfinite(own[0])
            value, least, most = (numbers[known] for numbers in own)
            bars = [
                value - np.where(np.isfinite(least), least, value),
                np.where(np.isfinite(most), most, value) - value,
            ]
            axis.errorbar(cells.x[known], value, yerr=bars, color=SUBJECT, marker="o")  # type: ignore[index]
            axis.set_yscale("log")
        figure.supylabel("epochs to the goal (median, 95 %)", fontsize=current_look().font_size)
    ask(figure, asked(cells, "How long does training take?"), answer)
    return figure


def _interval(low: float, high: float) -> str:
    if np.isnan(low):
        return ""
    return f", 95 % interval {low:,.0f} to {high:,.0f}" if np.isfinite(high) else f", 95 % interval from {low:,.0f}"


def _maps(cells: Cells, values: np.ndarray, label: str, limits, scale: str = "linear"):
    """A map for each panel, with one colour bar for all."""
    figure, axes = panels(len(cells.panels), least=1.5, ratio=0.85, sharex=True, sharey=True)
    meshes = []
    for axis, name, own in zip(axes, cells.panels, values, strict=True):
        meshes.append(outcome_map(axis, cells.x, cells.y, own, "", limits, scale, cells.bounds))
        axis.set_title(name)
    figure.colorbar(meshes[0], ax=axes, label=label, aspect=30, pad=0.02)
    handles = {name: handle for axis in axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    handles = {name: handle for name, handle in handles.items() if not name.startswith("_")}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=2)
    _name_axes(figure, axes, *cells.names)
    return figure


def _curve_panels(cells: Cells):
    figure, axes = panels(len(cells.panels), least=1.5, ratio=0.7, sharex=True, sharey=True)
    for axis, name in zip(axes, cells.panels, strict=True):
        axis.set_title(name)
        if is_geometric(cells.x):
            axis.set_xscale("log")
    _name_axes(figure, axes, cells.names[0], "")
    return figure, axes


def _name_axes(figure, axes: list, x: str, y: str) -> None:
    """Name the horizontal axis of the lowest panels and the vertical axis of the left ones."""
    for axis in axes:
        place = axis.get_subplotspec()
        below = [other for other in axes if other.get_subplotspec().colspan == place.colspan]
        if axis is below[-1]:
            axis.set_xlabel(x)
            axis.tick_params(labelbottom=True)
        if place.is_first_col():
            axis.set_ylabel(y)


def draw_times(cells: Cells):
    """The share of runs that have not reached the goal yet, by epoch, at the fastest setting of each panel."""
    from bpjax.results.survival import kaplan_meier

    figure, (axis,) = panels(1, ratio=0.65)
    names = []
    for cell, colour in zip(*_fastest_of_panels(cells), strict=True):
        there = cells.present[cell]
        curve = kaplan_meier(np.maximum(cells.epochs[cell][there], 1), cells.solved[cell][there])
        survival_curve(axis, curve.times[1:], curve.survival[1:], curve.low[1:], curve.high[1:], "", colour)
        names.append((float(curve.survival[-1]), cells.panels[cell[0]], colour))
    if len(names) > 1:
        name_lines(axis, names)
    epochs = cells.epochs[cells.solved & cells.present]
    if epochs.max() > 30 * max(epochs.min(), 1):
        axis.set(xscale="log", xlim=(max(0.7 * epochs.min(), 0.7), None))
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    axis.set(xlabel="epoch", ylabel="runs not yet at the goal (%)")
    count, runs, low, high = cells.share(cells.fastest)
    value, least, most = cells.median(cells.fastest)
    end = f"half of the runs after {value:,.0f} epochs{_interval(least, most)}; " if np.isfinite(value) else ""
    where = f"At {cells.named(cells.fastest)}: " if cells.named(cells.fastest) else ""
    ask(figure, asked(cells, "When do runs reach the goal?"), f"{where}{end}{count} of {runs} runs reach it.")
    return figure


def draw_errors(cells: Cells):
    """Median error and quartiles by epoch, at the fastest setting of each panel."""
    figure, (axis,) = panels(1, ratio=0.65)
    names = []
    for cell, colour in zip(*_fastest_of_panels(cells), strict=True):
        curve = np.asarray(cells.curve[cell][cells.present[cell]], float)  # type: ignore[index]
        curve = curve[np.isfinite(curve[:, 0])]
        if len(curve) == 0:
            continue
        lowest = curve[np.isfinite(curve) & (curve > 0)]
        limits = (lowest.min(), lowest.max()) if lowest.size else (1e-12, 1.0)
        line = error_curves(axis, curve, colour, "", limits, cells.at)
        names.append((float(line.get_ydata()[-1]), cells.panels[cell[0]], colour))
    if len(names) > 1:
        name_lines(axis, names)
    if len(cells.at) > 1 and cells.at[0] > 0 and cells.at[-1] > 30 * cells.at[0]:
        axis.set_xscale("log")
    axis.set(xlabel="epoch", ylabel="error (median, quartiles)")
    named = cells.named(cells.fastest)
    ask(figure, asked(cells, "How does the error fall?"), f"At the fastest setting: {named}." if named else "")
    return figure


def _fastest_of_panels(cells: Cells):
    """The fastest cell of each panel, and a colour for each."""
    count = len(cells.panels)
    chosen = [min((c for c in cells.settings if c[0] == panel), key=lambda c: (cells.median(c)[0], -cells.share(c)[0]))
              for panel in range(count)]  # fmt: skip
    return chosen, [SUBJECT] if count == 1 else [ink(), SUBJECT] if count == 2 else shades(range(count))
