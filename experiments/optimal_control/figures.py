"""The figures: trajectory, control, costate and convergence of every problem."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from bpjax.results.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, ink
from experiments.optimal_control import linear, tables
from experiments.optimal_control.solve import errors

METHODS = {"gradient descent": BLUE, "momentum 0.9": ORANGE, "Newton": GREEN}
COLOURS = (BLUE, RED, GREEN, PURPLE)


def draw_nonlinear(found: Mapping[str, xr.Dataset]):
    """One row for each nonlinear problem."""
    figure, axes = plt.subplots(4, 4, figsize=(15, 14))
    spaced(figure)
    ship, orbit, best = found[tables.ZERMELO], found[tables.ORBIT], found[tables.RANGE]
    slides, turning = [found[name] for name in tables.SLIDES], found[tables.TURNING]

    path(axes[0, 0], ship, "Zermelo's ship climbs to where\nthe current (arrows) carries it home")
    current(axes[0, 0], ship)
    angle(axes[0, 1], ship, "Its heading turns from 105° to 240°", "h/V")
    costate(axes[0, 2], ship, {0: "λ of x", 1: "λ of y"}, "λx is constant, λy grows linearly", "h/V")
    convergence(axes[0, 3], ship, "Ship: error of the time. Newton cannot\nstart where all costates are zero")

    circles(axes[1, 0], orbit)
    angle(axes[1, 1], orbit, "Thrust outward first, then inward:\nit turns through 180° half way", "year / 2π")
    names = {0: "λ of radius", 1: "λ of radial speed", 2: "λ of tangential speed"}
    costate(axes[1, 2], orbit, names, "The thrust points against\nthe costate of the velocity", "year / 2π")
    convergence(axes[1, 3], orbit, "Orbit: error of the radius.\nNewton stalls far from the solution")

    for here, colour, name in zip(slides, (BLUE, RED), ("to (10, 5) below", "to (2, 2) below"), strict=True):
        axes[2, 0].plot(here.state[:, 0], -here.state[:, 1], color=colour, label=name)
    label(axes[2, 0], "Slides of shortest time are cycloids", "across, m", "height, m")
    axes[2, 0].legend(fontsize=8)
    axes[2, 0].set_aspect("equal")
    for here, colour in zip(slides, (BLUE, RED), strict=True):
        axes[2, 1].plot(here.stage_time.values.ravel(), np.degrees(here.control.values.ravel()), color=colour)
    label(axes[2, 1], "The slope turns at a constant rate", "time, s", "angle to the vertical, degrees")
    costate(axes[2, 2], slides[0], {0: "λ of x", 1: "λ of y", 2: "λ of speed"}, "Speed is worth most early", "s")
    convergence(axes[2, 3], slides[0], "Slide to (10, 5): error of the time.\nNewton cannot start here either")

    for here, colour, name in ((best, BLUE, "best"), (turning, GREY, "from a bad start")):
        axes[3, 0].plot(here.state[:, 0], here.state[:, 1], color=colour, label=f"{name}, {-float(here.cost[-1]):.4f}")
    label(axes[3, 0], "Longest range: dive, then climb;\na bad start ends at a local optimum", "range", "height")
    axes[3, 0].legend(fontsize=8)
    for here, colour in ((best, BLUE), (turning, GREY)):
        axes[3, 1].plot(here.stage_time.values.ravel(), np.degrees(here.control.values.ravel()), color=colour)
    label(axes[3, 1], "Direction of flight", "time", "angle above the horizontal, degrees")
    costate(axes[3, 2], best, {1: "λ of height", 2: "λ of speed"}, "Speed is worth most early", "")
    convergence(axes[3, 3], best, "Longest range: error of the range.\nNewton alone is enough here")
    return figure


def draw_linear(found: Mapping[str, xr.Dataset]):
    """One row for each problem with a quadratic cost."""
    cases = linear.SOFT + linear.HARD
    figure, axes = plt.subplots(len(cases), 4, figsize=(15, 3.3 * len(cases)))
    spaced(figure)
    for line, case in zip(axes, cases, strict=True):
        here = found[case.name]
        for index, name in enumerate(("position", "speed")):
            if np.ptp(here.state.values[:, index]) > 0:
                line[0].plot(here.time, here.state[:, index], color=COLOURS[index], label=name)
        label(line[0], f"{case.name}\ncost {float(here.cost[-1]):.6g}", "time", "state")
        line[0].legend(fontsize=8)
        exact = linear.costates(case, len(here.time) - 1)
        line[1].plot(here.stage_time.values.ravel(), here.control.values.ravel(), color=BLUE, label="ours")
        line[1].plot(here.time, -exact @ case.column, "--", color=GREY, label="closed form −Bᵀλ")
        line[1].set_ylim(-1.1 * (most := np.abs(here.control.values).max()), 1.1 * most)
        label(line[1], "Control", "time", "u")
        line[1].legend(fontsize=8)
        costate(line[2], here, {0: "λ of position", 1: "λ of speed"}, "Costates (dashed: closed form)", "")
        line[2].plot(here.time, exact, "--", color=GREY)
        convergence(line[3], here, "Error of the cost and of the end")
    return figure


def draw_bounded(found: Mapping[str, xr.Dataset]):
    """One row for each problem with a bound."""
    figure, axes = plt.subplots(3, 4, figsize=(15, 10.5))
    spaced(figure)
    saturated, fuel, denham = (found[name] for name in (tables.SATURATED, tables.FUEL, tables.DENHAM))
    problems = {
        "p. 109: an oscillating actuator\nbrings x down as far as it can": (saturated, ("x",)),
        "p. 116: least fuel by thrust, rest, thrust": (fuel, ("position", "speed")),
        "Bryson-Denham: x ≤ 1/9 (dashed)": (denham, ("position", "speed")),
    }
    for line, (title, (here, names)) in zip(axes, problems.items(), strict=True):
        for index, name in enumerate(names):
            line[0].plot(here.time, here.state[:, index], color=COLOURS[index], label=name)
        label(line[0], title, "time", "state")
        line[1].plot(here.stage_time.values.ravel(), here.control.values.ravel(), color=BLUE)
        costate(line[2], here, dict(enumerate(f"λ of {name}" for name in names)), "", "")
        convergence(line[3], here, "")
    axes[2, 0].axhline(1 / 9, linestyle="--", color=GREY)
    for axis in (axes[1, 0], axes[2, 0]):
        axis.legend(fontsize=8)
    for axis, level in ((axes[0, 1], 1), (axes[1, 1], 1), (axes[1, 2], 1)):
        for sign in (-level, level):
            axis.axhline(sign, linestyle="--", color=GREY)
    label(axes[0, 1], "The control follows its gradient\nand stops at the bounds", "time", "u")
    label(axes[1, 1], "Full thrust or none", "time", "u")
    label(axes[2, 1], "No thrust while x rests on the bound", "time", "u")
    axes[0, 2].set_ylim(0, 1.2 * float(saturated.costate.max()))
    axes[0, 2].set_title("The costate is constant", fontsize=10)
    axes[1, 2].set_title("It switches where the costate\nof the speed is 1 and -1", fontsize=10)
    axes[2, 2].set_title("The costate of x jumps where\nthe bound is met and left", fontsize=10)
    titles = "Error of the cost", "Newton finds the switching times", "Newton finds where x = 1/9"
    for axis, title in zip(axes[:, 3], titles, strict=True):
        axis.set_title(title, fontsize=10)
    return figure


def draw_dreyfus(found: Mapping[str, xr.Dataset], gains: xr.Dataset):
    """The gains of the controller before and after, and the discretisation errors of all problems."""
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.8))
    spaced(figure)
    for name, colour in (("before", GREY), ("after", BLUE)):
        axes[0].plot(gains.time, np.degrees(gains[name][:, 0]), color=colour, label=f"{name} adaptation")
    axes[0].axhline(180, color=ink(), linewidth=0.8)
    axes[0].text(float(gains.time[-1]), 172, "upright", ha="right", va="top", fontsize=8)
    label(axes[0], "Adapted gains swing the pendulum up", "time, s", "angle, degrees")
    axes[0].legend(fontsize=8)
    axes[1].semilogx(1 + gains.iteration, gains.cost, color=BLUE)
    axes[1].set_ylim(0)
    label(axes[1], "The error falls along its gradient", "iteration", "cost")
    for index, name in enumerate(("proportional", "derivative")):
        axes[2].semilogx(1 + gains.iteration, gains.gains[:, index], color=COLOURS[index], label=name)
    label(axes[2], "The two gains", "iteration", "gain")
    axes[2].legend(fontsize=8)
    for here in found.values():
        change = np.abs(np.diff(here.cost.values))
        if change.min() > 1e-12 * abs(float(here.cost[-1])):
            axes[3].loglog(here.steps[:-1], change / abs(float(here.cost[-1])), "o-", color=BLUE, markersize=4)
    steps = np.unique([here.steps.values[:-1] for here in found.values()]).astype(float)
    axes[3].loglog(steps, 1e-4 * (steps / steps[0]) ** -4.0, "--", color=ink(), label="order 4")
    label(axes[3], "Cost from K to 2K steps: order 4", "steps K", "relative change")
    axes[3].set_xticks(steps, [f"{n:g}" for n in steps])
    axes[3].minorticks_off()
    axes[3].legend(fontsize=8)
    return figure


def spaced(figure) -> None:
    """Fixed margins, as a layout engine takes longer than all the drawing."""
    edge = 0.6 / figure.get_figheight()
    figure.subplots_adjust(left=0.06, right=0.985, bottom=edge, top=1 - edge, hspace=0.45, wspace=0.3)


def label(axis, title: str, x: str, y: str) -> None:
    """Title and axis labels."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)


def path(axis, here: xr.Dataset, title: str) -> None:
    """The first two variables of the state as a curve in the plane."""
    axis.plot(here.state[:, 0], here.state[:, 1], color=BLUE)
    axis.plot(here.state[0, 0], here.state[0, 1], "o", color=BLUE)
    axis.plot(here.state[-1, 0], here.state[-1, 1], "s", color=BLUE)
    axis.annotate(
        "start", here.state.values[0, :2], textcoords="offset points", xytext=(-6, -14), ha="right", fontsize=8
    )
    axis.annotate("end", here.state.values[-1, :2], textcoords="offset points", xytext=(6, 6), fontsize=8)
    label(axis, title, "x / h", "y / h")


def current(axis, here: xr.Dataset) -> None:
    """Arrows of the current −y."""
    low, high = axis.get_ylim()
    y = np.linspace(low, high, 7)
    axis.quiver(np.full_like(y, axis.get_xlim()[1] * 0.98), y, -y, 0 * y, color=GREY, width=0.004, pivot="tip")


def circles(axis, here: xr.Dataset) -> None:
    """The transfer between two circular orbits, drawn in the plane by integrating the polar angle."""
    r, speed, time = here.state.values[:, 0], here.state.values[:, 2], here.time.values
    rate = speed / r
    phi = np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(time))])
    whole = np.linspace(0, 2 * np.pi, 200)
    for radius, style in ((r[0], ":"), (r[-1], "--")):
        axis.plot(radius * np.cos(whole), radius * np.sin(whole), style, color=GREY)
    axis.plot(r * np.cos(phi), r * np.sin(phi), color=BLUE)
    thrust = phi + np.pi / 2 - np.arctan2(-here.costate.values[:, 1], -here.costate.values[:, 2])
    some = slice(None, None, max(1, len(r) // 14))
    axis.quiver((r * np.cos(phi))[some], (r * np.sin(phi))[some], np.cos(thrust)[some], np.sin(thrust)[some], color=RED,
                width=0.005, scale=9)  # fmt: skip
    axis.plot(0, 0, "o", color=ORANGE)
    axis.set_aspect("equal")
    label(axis, f"From the earth's orbit to radius {r[-1]:.4f}\n(arrows: thrust)", "x / earth's orbit", "y")


def angle(axis, here: xr.Dataset, title: str, unit: str) -> None:
    """The control in degrees."""
    axis.plot(here.stage_time.values.ravel(), np.degrees(here.control.values.ravel()), color=BLUE)
    label(axis, title, f"time, {unit}" if unit else "time", "steering angle, degrees")


def costate(axis, here: xr.Dataset, names: Mapping[int, str], title: str, unit: str) -> None:
    """Costates over time."""
    for colour, (index, name) in zip(COLOURS, names.items(), strict=False):
        axis.plot(here.time, here.costate[:, index], color=colour, label=name)
    label(axis, title, f"time, {unit}" if unit else "time", "costate (error signal)")
    axis.legend(fontsize=8)


def convergence(axis, here: xr.Dataset, title: str) -> None:
    """Error of cost and constraints over the iterations of each method."""
    for (name, colour), error in zip(METHODS.items(), errors(here), strict=True):
        some = np.unique(np.geomspace(1, len(error), 300).astype(int)) - 1
        shown = np.where(error < 1e3, np.maximum(error, 1e-14), np.nan)[some]
        axis.loglog(1 + some, shown, color=colour, label=name, marker="." if name == "Newton" else "")
    axis.set_ylim(1e-15, 1e3)
    label(axis, title, "iteration", "error of cost or end")
    axis.legend(fontsize=8)
