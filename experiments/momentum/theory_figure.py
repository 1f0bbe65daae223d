"""The figure of the closed forms: limits of stability, rates of convergence, the lag."""

import itertools

import numpy as np
import xarray as xr

from bpjax import theory
from bpjax.results import plots
from experiments.common.redraw import is_narrow
from experiments.momentum.ends import LAGGING
from experiments.momentum.forms import FORMS, NAMES
from experiments.momentum.maps import form_styles
from experiments.momentum.report import LIMITS, RATES


def styles() -> dict[str, tuple[str, str]]:
    """{form: (colour, line style)}, plain descent included."""
    return {"gradient descent": (plots.ink(), "-"), **form_styles()}


def draw_theory(tables: dict[str, list], curves: xr.Dataset):
    """Limits of stability, rates of convergence, the lag, and the curves from which it was measured."""
    figure, axes = plots.panels(4, columns=1 if is_narrow() else 2, ratio=0.62)
    draw_limits(axes[0], tables["boundaries"])
    draw_speeds(axes[1], tables["speeds"])
    draw_lags(axes[2], tables["lags"])
    draw_curves(axes[3], curves)
    worst = max(abs(b.difference) for b in tables["boundaries"])
    plots.ask(
        figure, "Do the closed forms of momentum hold?",
        f"Lines are theory, marks are measured: the {len(tables['boundaries'])} limits of stability differ by at most "
        f"{worst:.0e} (o ravine, × XOR, + encoder; a bisection, so without an interval).",
    )  # fmt: skip
    return figure


def draw_limits(axis, boundaries: list) -> None:
    """The limit of stability of η λ_max by momentum coefficient."""
    alpha, names = np.linspace(0, max(b.momentum for b in boundaries), 200), []
    for form in FORMS[:3]:
        colour, style = styles()[form]
        limit = theory.stability_limit(form, alpha)
        axis.plot(alpha, limit, style, color=colour)
        names.append((float(limit[-1]), f"{NAMES[form].split(' (')[0]}\n{LIMITS[form]}", colour))
        for place, marker, size in (("ravine", "o", 4), ("xor", "x", 4), ("encoder", "+", 5)):
            own = [b for b in boundaries if b.form == form and b.place == place]
            face = {"markerfacecolor": "none"} if marker == "o" else {}
            axis.plot([b.momentum for b in own], [b.measured * b.curvature for b in own], marker, color=colour,
                      markersize=size, **face)  # fmt: skip
    plots.name_lines(axis, names)
    axis.set(yscale="log", xlabel="momentum coefficient α", ylabel=r"limit of $\eta\,\lambda_{\max}$")
    axis.set_title("limit of stability at a minimum")


def draw_speeds(axis, speeds: list) -> None:
    """1 − σ at the best setting by condition number."""
    ends = [s.condition for s in speeds]
    kappa, names = np.geomspace(min(ends), max(ends), 100), []
    for form in ("gradient descent", "heavy_ball", "convex", "nesterov"):
        own, (colour, style) = [s for s in speeds if s.form == form], styles()[form]
        if form != "convex":  # the same line as heavy ball
            rate = 1 - theory.best_convergence_rate(form, kappa)
            axis.plot(kappa, rate, style, color=colour)
            words = f"{NAMES[form]}\nσ = {RATES[form]}"
            names.append((float(rate[-1]), words, colour))
        marker = {"convex": "x", "heavy_ball": "o"}.get(form, "s")
        face = {} if marker == "x" else {"markerfacecolor": "none"}
        axis.plot([s.condition for s in own], [1 - s.measured for s in own], marker, color=colour, markersize=4, **face)
    plots.name_lines(axis, names)
    axis.set(xscale="log", yscale="log", xlabel="condition number κ", ylabel="1 − σ, decrease per step")
    axis.set_title("rate of convergence at the best (η, α)")


def draw_lags(axis, lags: list) -> None:
    """Epochs behind plain descent at the same effective rate, divided by theory."""
    alphas = list(dict.fromkeys(lag.momentum for lag in lags))
    axis.axhline(1.0, color=plots.THEORY, linewidth=1.2)
    names = []
    for alpha, marker in zip(alphas, itertools.cycle("osD^v")):
        for form in LAGGING:
            colour, style = styles()[form]
            own = sorted((lag.effective_rate, lag.measured / lag.predicted) for lag in lags
                         if lag.form == form and lag.momentum == alpha)  # fmt: skip
            axis.plot(*zip(*own, strict=True), marker=marker, linestyle=style, color=colour, markersize=4,
                      markerfacecolor="none")  # fmt: skip
            names.append((own[-1][1], f"{NAMES[form].split(' (')[0]}, α {alpha:g}", colour))
    plots.name_lines(axis, names)
    axis.set(xscale="log", ylim=(0, None), xlabel="effective rate", ylabel="epochs behind ÷ theory")
    axis.set_title("lag behind plain descent, digits")


def draw_curves(axis, curves: xr.Dataset) -> None:
    """Error on the digits of plain descent, of the forms, and of plain descent shifted by the lag."""
    rate, alpha = float(curves.effective_rate[0]), float(curves.momentum[-1])
    at, epoch = curves.curve.sel(effective_rate=rate), curves.epoch.values
    plain, lag = at.isel(form=0, momentum=0).values, alpha / (1 - alpha)
    lines = [(epoch, plain, "plain descent", *styles()["gradient descent"])]
    for place, form in enumerate(LAGGING):
        lines.append((epoch, at.isel(form=place, momentum=-1).values, NAMES[form].split(" (")[0], *styles()[form]))
    lines.append((epoch + lag, plain, f"plain, {lag:.3g} epochs later", plots.THEORY, ":"))
    for x, y, _, colour, style in lines:
        axis.plot(x, y, style, color=colour)
    plots.name_lines(axis, [(float(np.interp(epoch[-1], x, y)), name, colour) for x, y, name, colour, _ in lines])
    axis.set(xlim=(0, epoch[-1]), xlabel="epoch", ylabel="error (nats per example)")
    axis.set_title(f"one effective rate, {rate:g}, in four forms, α = {alpha:g}")
