"""The figures of the plateau experiment, drawn from stored results."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import bpjax as bp
from bpjax import theory
from bpjax.results import plots
from experiments.plateau_escape.escapes import Summary, times_of
from experiments.plateau_escape.laws import FORMS, LENGTH, PUBLISHED_HEIGHTS, RATE, SLOPE, VELOCITY
from experiments.plateau_escape.races import Method
from experiments.plateau_escape.starts import Plateau

STYLES = {
    "plain descent": ("black", "-"),
    "heavy ball": (plots.BLUE, "-"),
    "convex": (plots.ORANGE, "--"),
    "Nesterov": (plots.GREEN, "-."),
    "larger rate": (plots.PURPLE, ":"),
    "flat spot": (plots.RED, "-"),
}
"""{method: (colour, line style)} of the survival curves; the other methods are in the map only."""


def draw_races(races: dict[str, xr.Dataset], chosen: list[Plateau], rows, summaries: list[Summary], gain: float):
    """Survival curves of the momentum forms for each plateau, and below them the map of all methods.

    Args:
        races: {name of the plateau: sweep}.
        chosen: the plateaus.
        rows: the methods.
        summaries: of all methods on all plateaus.
        gain: by which theory says that heavy ball is faster, 1/(1 − α).
    """
    columns = min(3, len(chosen))
    lines = -(-len(chosen) // columns)
    figure = plt.figure(figsize=(13, 3.5 * lines + 5.0), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(3.5 * lines, 5.0))
    above, below = parts
    axes = above.subplots(lines, columns, squeeze=False).ravel()
    for axis, plateau in zip(axes, chosen, strict=False):
        survival(axis, times_of(races[plateau.name], plateau, rows), plateau, gain)
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    above.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8.5, frameon=False)
    speed_map(below, chosen, rows, summaries)
    return figure


def survival(axis, times, plateau: Plateau, gain: float) -> None:
    """Share of runs still on the plateau by method, and plain descent sped up `gain` times.

    Args:
        axis: to draw on.
        times: {method: times}.
        plateau: the problem.
        gain: factor by which the times of plain descent are divided.
    """
    drawn = {name: times[name] for name in STYLES if name in times}
    for name, own in drawn.items():
        colour, style = STYLES[name]
        curve = bp.results.kaplan_meier(*own)
        staircase = (curve.times[1:], curve.survival[1:], curve.low[1:], curve.high[1:])
        plots.survival_curve(axis, *staircase, name, colour).set_linestyle(style)
    plain = bp.results.kaplan_meier(*times["plain descent"])
    label = f"plain descent ÷ {gain:.3g}: theory of heavy ball"
    axis.plot(plain.times / gain, plain.survival, drawstyle="steps-post", color=plots.GREY, linewidth=3.5, alpha=0.5,
              label=label, zorder=0)  # fmt: skip
    usual = [own.durations[own.observed] for own in drawn.values() if own.observed.any()]
    first, last = (edge(np.concatenate(usual)) if usual else plateau.limit for edge in (np.min, np.max))
    axis.set(xscale="log", xlim=(0.5 * first, min(1.3 * last, plateau.limit)), title=plateau.name)
    axis.set(xlabel=plateau.unit_of_time, ylabel="runs still on the plateau (share)")
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1, 3)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="x", alpha=0.25)


def speed_map(figure, chosen: list[Plateau], rows: tuple[Method, ...], summaries: list[Summary]) -> None:
    """Median escape time of plain descent ÷ median of the method, for method × plateau.

    Args:
        figure: to draw on.
        chosen: the plateaus.
        rows: the methods.
        summaries: of all methods on all plateaus.
    """
    names = list(dict.fromkeys(row.name for row in rows[1:]))
    found = {(s.plateau, s.method): s for s in summaries}
    values = np.full((len(chosen), len(names)), np.nan)
    axis = figure.subplots()
    for i, plateau in enumerate(chosen):
        for j, name in enumerate(names):
            s = found.get((plateau.name, name))
            if s is None:
                axis.text(j, i, "not\napplied", ha="center", va="center", fontsize=8, color=plots.GREY)
                continue
            values[i, j] = s.speed if s.speed > 0 else np.nan
            failure = "diverge" if 2 * s.diverged > s.runs else "never leave"
            word = f"{s.speed:.3g} ×" if s.speed > 0 else f"most\n{failure}"
            word += f"\n{100 * s.stuck:.0f} % stuck" if 0.005 < s.stuck and s.speed > 0 else ""
            word += "" if s.verdict != "no difference" else "\n(no difference)"
            light = s.speed > 0 and s.speed < 12
            axis.text(j, i, word, ha="center", va="center", fontsize=8, color="white" if light else "black")
    axis.set_facecolor("#E4E4E4")
    image = axis.imshow(values, cmap="cividis", norm=LogNorm(0.5, 100), aspect="auto")
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(chosen)), [plateau.name for plateau in chosen])
    axis.set_title("Median escape time of plain descent ÷ median of the method, from the same starts")
    figure.colorbar(image, ax=axis, label="times faster", pad=0.01)


def draw_laws(balls: xr.Dataset, modes: xr.DataArray, curves: xr.Dataset, momentum: float):
    """Four panels where theory is exact: flat stretch, saddle, deep linear network, symmetric plateau.

    Args:
        balls: of `ball_paths`.
        modes: of `mode_paths`.
        curves: of `committee_curves`.
        momentum: coefficient α to draw.
    """
    figure, ((flat, saddle), (deep, committee)) = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    for name, form in FORMS.items():
        colour, style = STYLES[name]
        alpha = 0.0 if form == "gradient descent" else momentum
        path = balls.sel(form=name, momentum=momentum)
        t = np.arange(0, 231)
        flat.plot(t, -path.flat.values[t], color=colour, linestyle=style, label=f"{name}, from rest")
        flat.plot(t[::10], -theory.plateau_distance(form, RATE, alpha, SLOPE, t[::10]), "x", color=colour, markersize=4,
                  label=plots.label_once(flat, "theory"))  # fmt: skip
        saddle.plot(np.abs(path.saddle.values), color=colour, linestyle=style, label=name)
        deep.plot(modes.sel(form=name).values.T, color=colour, linestyle=style)
        deep.plot([], [], color=colour, linestyle=style, label=name)
    thrown = balls.thrown.sel(form="convex", momentum=momentum).values
    flat.plot(
        np.arange(231), -thrown[:231], color=plots.ORANGE, label=f"convex, initial velocity {VELOCITY:g} per step"
    )
    flat.axhline(LENGTH, color=plots.GREY, linewidth=0.8)
    flat.set(xlim=(0, 230), ylim=(0, 1.1 * LENGTH), xlabel="steps", ylabel="distance along the slope (weight)")
    flat.set_title(f"A flat stretch of {LENGTH:g}: η = {RATE:g}, slope {SLOPE:g}, α = {momentum:g}")
    end = float(theory.saddle_steps("convex", RATE, momentum, -0.05, 1e-6, 1.0))
    saddle.set(
        yscale="log", ylim=(1e-6, 1), xlim=(0, 1.05 * end), xlabel="steps", ylabel="distance from the saddle (weight)"
    )
    saddle.set_title("A saddle of curvature −0.05, start at a distance of 10⁻⁶")
    draw_modes(deep, modes)
    draw_committee(committee, curves)
    for axis in (flat, saddle, deep, committee):
        plots.legend_below(axis)
    return figure


def draw_modes(axis, modes: xr.DataArray) -> None:
    """Draw Saxe's flow at the rates η and η/(1 − α) behind the curves."""
    from experiments.plateau_escape.laws import MODE_RATE, MODE_START

    momentum = modes.attrs["momentum"]
    t = np.arange(modes.sizes["step"])
    for tau, name in ((1 / MODE_RATE, "η"), ((1 - momentum) / MODE_RATE, "η/(1 − α)")):
        for s in modes.mode.values:
            flow = theory.deep_linear_mode(t, s, MODE_START, tau)
            label = plots.label_once(axis, f"Saxe's flow at the rate {name}")
            axis.plot(t, flow, color=plots.GREY, linewidth=4, alpha=0.35 if name == "η" else 0.6, label=label, zorder=0)
    axis.set(xscale="log", xlim=(30, t[-1]), xlabel="steps", ylabel="strength u of each mode")
    axis.set_title(f"Deep linear network, s = {' and '.join(f'{s:g}' for s in modes.mode.values)}, α = {momentum:g}")


def draw_committee(axis, curves: xr.Dataset) -> None:
    """Error curves of networks trained on-line, the flow, and the theoretical heights of the plateau."""
    colours = (plots.BLUE, plots.ORANGE, plots.GREEN)
    rate = curves.attrs["rate"]
    for units, colour in zip(curves.units.values.tolist(), colours, strict=False):
        at = curves.sel(units=units)
        axis.plot(curves.alpha, at.simulated.values.T, color=colour, linewidth=0.6, alpha=0.5)
        axis.plot(
            curves.alpha, at.flow, color=colour, linewidth=1.6, label=f"K = {units}: networks (thin), flow (thick)"
        )
        height = theory.symmetric_plateau(units, rate).error
        axis.axhline(height, color="black", linestyle="--", linewidth=0.9, label=plots.label_once(
            axis, f"fixed point of the flow, η = {rate:g}"))  # fmt: skip
        axis.axhline(PUBLISHED_HEIGHTS[units], color=plots.GREY, linestyle=":", label=plots.label_once(
            axis, "Saad & Solla, η → 0"))  # fmt: skip
    axis.set(ylim=(0, 0.06), xlim=(0, curves.alpha[-1]), xlabel="examples / inputs", ylabel="generalisation error ε")
    axis.set_title(f"Soft committee machines, N = {curves.attrs['inputs']}")
