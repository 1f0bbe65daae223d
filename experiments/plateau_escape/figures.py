"""The figures of the plateau experiment, drawn from stored results."""

import numpy as np
import xarray as xr

import bpjax as bp
from bpjax import theory
from bpjax.results import plots
from experiments.common.redraw import is_narrow
from experiments.plateau_escape.escapes import Summary, times_of
from experiments.plateau_escape.laws import FORMS, LENGTH, PUBLISHED_HEIGHTS, RATE, SLOPE
from experiments.plateau_escape.races import Method
from experiments.plateau_escape.starts import Plateau


def styles() -> dict[str, tuple[str, str]]:
    """{method: (colour, line style)} of the survival curves; the other methods are in `draw_methods`."""
    return {
        "plain descent": (plots.ink(), "-"),
        "heavy ball": (plots.SUBJECT, "-"),
        "convex": (plots.VARIANT, "--"),
        "Nesterov": (plots.CONTEXT, "-."),
    }


CURVES = ("plain descent", "convex", "heavy ball")
"""The methods of the survival curves, those below first."""


def draw_races(races: dict[str, xr.Dataset], chosen: list[Plateau], rows, summaries: list[Summary], gain: float):
    """Survival curves of plain descent and two forms of momentum, a panel for each plateau.

    Args:
        races: {name of the plateau: sweep}.
        chosen: the plateaus.
        rows: the methods.
        summaries: of all methods on all plateaus.
        gain: by which theory says that heavy ball is faster, 1/(1 − α).
    """
    from matplotlib.lines import Line2D

    figure, axes = plots.panels(len(chosen), columns=min(len(chosen), 2 if is_narrow() else 3), ratio=0.72, sharey=True)
    for axis, plateau in zip(axes, chosen, strict=True):
        survival(axis, times_of(races[plateau.name], plateau, rows), plateau, gain)
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel("still on it (% of runs)")
    lines = [Line2D([], [], color=styles()[name][0], label=NAMES[name]) for name in CURVES]
    for line, name in zip(lines, CURVES, strict=True):
        line.set_linestyle(styles()[name][1])  # type: ignore[arg-type]
    lines.append(Line2D([], [], color=plots.THEORY, label=f"theory of heavy ball: plain descent ÷ {gain:.3g}"))
    figure.legend(handles=lines, loc="outside lower center", ncols=2, columnspacing=1.2)
    speeds = {
        name: [s.speed for s in summaries if s.method == name and s.speed > 0] for name in ("heavy ball", "convex")
    }
    answer = "Bands are 95 % intervals; runs that never leave are counted."
    if speeds["heavy ball"] and speeds["convex"]:
        low, high = min(speeds["heavy ball"]), max(speeds["heavy ball"])
        answer = (
            f"Heavy ball leaves {low:.1f} to {high:.1f} times sooner (medians); the convex form of the encyclopedia "
            f"article, from rest, {min(speeds['convex']):.2f} to {max(speeds['convex']):.2f} times. Bands: 95 %."
        )
    plots.ask(figure, "Does momentum shorten plateaus?", answer)
    return figure


NAMES = {"plain descent": "plain descent", "convex": "convex momentum (the article's)", "heavy ball": "heavy ball"}


def survival(axis, times, plateau: Plateau, gain: float) -> None:
    """Share of runs still on the plateau by method, and plain descent sped up `gain` times.

    Args:
        axis: to draw on.
        times: {method: times}.
        plateau: the problem.
        gain: factor by which the times of plain descent are divided.
    """
    drawn = {name: times[name] for name in CURVES if name in times}
    for name, own in drawn.items():
        colour, style = styles()[name]
        curve = bp.results.kaplan_meier(*own)
        staircase = (curve.times[1:], curve.survival[1:], curve.low[1:], curve.high[1:])
        plots.survival_curve(axis, *staircase, "", colour).set_linestyle(style)
    plain = bp.results.kaplan_meier(*times["plain descent"])
    axis.plot(plain.times / gain, plain.survival, drawstyle="steps-post", color=plots.THEORY, linewidth=0.9, zorder=0)
    usual = [own.durations[own.observed] for own in drawn.values() if own.observed.any()]
    first, last = (edge(np.concatenate(usual)) if usual else plateau.limit for edge in (np.min, np.max))
    axis.set(xscale="log", xlim=(0.3 * first, max(min(1.3 * last, plateau.limit), first)), title=plateau.name)
    axis.set(xlabel=plateau.unit_of_time)
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")


def draw_methods(chosen: list[Plateau], rows: tuple[Method, ...], summaries: list[Summary]):
    """Median escape times of all methods with 95 % intervals, a panel for each plateau.

    Args:
        chosen: the plateaus.
        rows: the methods.
        summaries: of all methods on all plateaus.
    """
    names = list(dict.fromkeys(row.name for row in rows))
    figure, axes = plots.panels(len(chosen), columns=min(len(chosen), 2 if is_narrow() else 3), ratio=0.95, sharey=True)
    found = {(s.plateau, s.method): s for s in summaries}
    for axis, plateau in zip(axes, chosen, strict=True):
        for place, name in enumerate(names):
            escape_time(axis, place, found.get((plateau.name, name)), plateau)
        plain = found[plateau.name, names[0]]
        axis.axvline(plain.median, color=plots.ink(), linewidth=0.6, zorder=0)
        axis.set(xscale="log", title=plateau.name, xlabel=plateau.unit_of_time, ylim=(len(names) - 0.5, -0.5))
        axis.set_yticks(range(len(names)), names)
    key = "Medians with 95 % intervals; blue: sooner; × most runs never leave within the limit, or diverge (red)."
    plots.ask(figure, "Which methods leave a plateau sooner?", f"{winners(chosen, summaries)} {key}")
    return figure


def winners(chosen: list[Plateau], summaries: list[Summary]) -> str:
    """The methods that leave the most plateaus sooner than plain descent, in one sentence."""
    names = list(dict.fromkeys(s.method for s in summaries))[1:]
    wins = {name: sum(s.verdict == "faster" for s in summaries if s.method == name) for name in names}
    most = max(wins.values(), default=0)
    every = ", ".join(name for name, count in wins.items() if count == most)
    return f"Sooner than plain descent (log-rank test, corrected) on {most} of {len(chosen)} plateaus: {every}."


def escape_time(axis, place: int, s: Summary | None, plateau: Plateau) -> None:
    """A median escape time with its interval; a cross at the limit where most runs never leave."""
    if s is None:
        axis.annotate("does not apply", (0.98, place), xycoords=("axes fraction", "data"), ha="right", va="center",
                      color=plots.CONTEXT, fontsize="small")  # fmt: skip
        return
    colour = plots.ink() if s.verdict == "" else plots.SUBJECT if s.verdict == "faster" else plots.CONTEXT
    if not np.isfinite(s.median):
        mostly = plots.DIVERGED if 2 * s.diverged > s.runs else plots.STUCK
        axis.plot([plateau.limit], [place], "x", color=mostly, clip_on=False)
        return
    low, high = (x if np.isfinite(x) else y for x, y in ((s.low, s.median), (s.high, plateau.limit)))
    axis.plot([low, high], [place, place], color=colour, linewidth=1.2)
    axis.plot([s.median], [place], "o", color=colour)


def draw_laws(balls: xr.Dataset, modes: xr.DataArray, curves: xr.Dataset, momentum: float):
    """Four panels where theory is exact: flat stretch, saddle, deep linear network, symmetric plateau.

    Args:
        balls: of `ball_paths`.
        modes: of `mode_paths`.
        curves: of `committee_curves`.
        momentum: coefficient α to draw.
    """
    figure, (flat, saddle, deep, committee) = plots.panels(4, columns=1 if is_narrow() else 2, ratio=0.62)
    flat_names, saddle_names = [], []
    for name, form in FORMS.items():
        colour, style = styles()[name]
        alpha = 0.0 if form == "gradient descent" else momentum
        path, t = balls.sel(form=name, momentum=momentum), np.arange(0, 231)
        flat.plot(t, -path.flat.values[t], color=colour, linestyle=style)
        flat.plot(t[::10], -theory.plateau_distance(form, RATE, alpha, SLOPE, t[::10]), "x", color=plots.THEORY,
                  markersize=3, markeredgewidth=0.8)  # fmt: skip
        saddle.plot(np.abs(path.saddle.values), color=colour, linestyle=style)
        deep.plot(modes.sel(form=name).values.T, color=colour, linestyle=style)
        flat_names.append((min(-path.flat.values[230], 1.1 * LENGTH), name, colour))
        saddle_names.append((1.0 if name != "plain descent" else 0.1, name, colour))
    thrown = balls.thrown.sel(form="convex", momentum=momentum).values
    flat.plot(np.arange(231), -thrown[:231], color=plots.VARIANT)
    flat_names.append((min(-thrown[230], 1.1 * LENGTH), "convex, thrown", plots.VARIANT))
    flat.axhline(LENGTH, color=plots.CONTEXT, linewidth=0.6)
    flat.set(xlim=(0, 230), ylim=(0, 1.1 * LENGTH), xlabel="steps", ylabel="distance (weight)")
    flat.set_title(f"a flat stretch of {LENGTH:g}: slope {SLOPE:g}, α = {momentum:g}")
    end = float(theory.saddle_steps("convex", RATE, momentum, -0.05, 1e-6, 1.0))
    saddle.set(yscale="log", ylim=(1e-6, 1), xlim=(0, 1.05 * end), xlabel="steps", ylabel="distance (weight)")
    saddle.set_title("a saddle of curvature −0.05, from 10⁻⁶")
    plots.name_lines(flat, flat_names)
    plots.name_lines(saddle, saddle_names)
    draw_modes(deep, modes)
    draw_committee(committee, curves)
    plots.ask(
        figure, "Where is the time on a plateau known exactly?",
        "On a flat stretch, at a saddle, in a deep linear network and in soft committee machines: crosses, green "
        "lines and dashes are theory (single runs, without intervals).",
    )  # fmt: skip
    return figure


def draw_modes(axis, modes: xr.DataArray) -> None:
    """Draw Saxe's flow at the rates η and η/(1 − α) behind the curves."""
    from experiments.plateau_escape.laws import MODE_RATE, MODE_START

    momentum, t = modes.attrs["momentum"], np.arange(modes.sizes["step"])
    for tau in (1 / MODE_RATE, (1 - momentum) / MODE_RATE):
        for s in modes.mode.values:
            flow = theory.deep_linear_mode(t, s, MODE_START, tau)
            axis.plot(t, flow, color=plots.THEORY, linewidth=3, alpha=0.45, zorder=0)
    axis.set(xscale="log", xlim=(30, t[-1]), xlabel="steps", ylabel="strength of a mode")
    axis.set_title(f"deep linear network, s = {' and '.join(f'{s:g}' for s in modes.mode.values)}: Saxe's flow")


def draw_committee(axis, curves: xr.Dataset) -> None:
    """Error curves of networks trained on-line, the flow, and the theoretical heights of the plateau."""
    rate, units, names = curves.attrs["rate"], curves.units.values.tolist(), []
    for k, colour in zip(units, plots.shades(units), strict=True):
        at = curves.sel(units=k)
        axis.plot(curves.alpha, at.simulated.values.T, color=colour, linewidth=0.4, alpha=0.5)
        axis.plot(curves.alpha, at.flow, color=colour, linewidth=1.4)
        axis.axhline(theory.symmetric_plateau(k, rate).error, color=plots.THEORY, linestyle="--", linewidth=0.8)
        axis.axhline(PUBLISHED_HEIGHTS[k], color=plots.PUBLISHED, linestyle=":", linewidth=0.8)
        names.append((float(at.flow[-1]), f"K = {k}", colour))
    plots.name_lines(axis, names)
    axis.set(ylim=(0, 0.06), xlim=(0, curves.alpha[-1]), xlabel="examples / inputs", ylabel="generalisation error")
    axis.set_title(f"soft committee machines, N = {curves.attrs['inputs']}")
