"""Every optimizer of `bpjax.optimizers` in NumPy, written from the published equations only, as a reference for tests.

A rule is a generator. It yields the weights at which E and g are to be measured, and its current rate; it receives the
error E and the gradient g = ∂E/∂w there. `python tests/golden.py` writes the tables tests/golden/<rule>.csv:

    step 0   the weights at the start and the first rate
    step k   E and g, measured at the weights of the row above; the rate and the weights that follow from them

This file imports neither jax nor bpjax.
"""

import csv
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

TABLES = Path(__file__).parent / "golden"


def at(value, step):
    """The value of a schedule at a step; a number is a constant schedule."""
    return value(step) if callable(value) else value


def each_weight(rule):
    """A rule for one weight, applied to every weight separately; a tuple is a setting with one entry per weight."""

    def rule_of_all(w, **settings):
        def own(i):
            return {name: value[i] if isinstance(value, tuple) else value for name, value in settings.items()}

        lanes = [rule(x, **own(i)) for i, x in enumerate(w)]
        points = [next(lane) for lane in lanes]
        while True:
            E, g = yield tuple(np.array(column) for column in zip(*points, strict=True))
            points = [lane.send((E, slope)) for lane, slope in zip(lanes, g, strict=True)]

    return rule_of_all


# --- Momentum -------------------------------------------------------------------------------------------------------


def heavy_ball(w, learning_rate, momentum):
    """v ← αv − ηg, w ← w + v. Rumelhart, Hinton & Williams 1986; Polyak 1964."""
    v = 0 * w
    for k in itertools.count():
        _, g = yield w, at(learning_rate, k)
        v = at(momentum, k) * v - at(learning_rate, k) * g
        w = w + v


def convex(w, learning_rate, momentum):
    """v ← αv − (1−α)ηg, w ← w + v. MATLAB's traingdm; the form of the encyclopedia article on backpropagation."""
    v = 0 * w
    for k in itertools.count():
        _, g = yield w, at(learning_rate, k)
        v = at(momentum, k) * v - (1 - at(momentum, k)) * at(learning_rate, k) * g
        w = w + v


def velocity(w, learning_rate, momentum):
    """v ← αv + g, w ← w − ηv. A new rate applies to the old velocity as well."""
    v = 0 * w
    for k in itertools.count():
        _, g = yield w, at(learning_rate, k)
        v = at(momentum, k) * v + g
        w = w - at(learning_rate, k) * v


def nesterov(w, learning_rate, momentum):
    """v ← αv − η∇E(w + αv), w ← w + v. Sutskever et al. 2013; the points shown are the look-ahead points w + αv."""
    v = 0 * w
    for k in itertools.count():
        _, g = yield w + momentum * v, at(learning_rate, k)
        v = momentum * v - at(learning_rate, k) * g
        w = w + v


# --- One rate for all weights, judged by the error ------------------------------------------------------------------


def bold_driver(w, learning_rate, momentum=0.0, growth=1.05, shrink=0.7, tolerance=1.04):
    """Δw ← −ηg + αΔw. E falls: η ← φη. E > tolerance·E_last: step back, η ← βη, α ← 0 until a step is accepted.

    Vogl, Mangis, Rigler, Zink & Alkon 1988.
    """
    rate = learning_rate
    E_last, g_last = yield w, rate
    step = -rate * g_last
    while True:
        E, g = yield w + step, rate
        if E > tolerance * E_last:
            rate = rate * shrink
            step = -rate * g_last
        else:
            if E < E_last:
                rate = rate * growth
            w, E_last, g_last = w + step, E, g
            step = -rate * g + momentum * step


def traingda(w, learning_rate=0.01, growth=1.05, shrink=0.7, tolerance=1.04):
    """perf_new/perf > 1.04: discard, η ← 0.7η. perf_new < perf: η ← 1.05η. w ← w − ηg. MATLAB."""
    X, lr = w, learning_rate
    perf, g = yield X, lr
    while True:
        X2 = X - lr * g
        perf2, g2 = yield X2, lr
        if perf2 / perf > tolerance:
            lr = lr * shrink
        else:
            if perf2 < perf:
                lr = lr * growth
            X, perf, g = X2, perf2, g2


def traingdx(w, learning_rate=0.01, momentum=0.9, growth=1.05, shrink=0.7, tolerance=1.04):
    """dX ← mc·dX − (1−mc)·lr·g; a step that is discarded leaves lr ← 0.7·lr and dX ← −lr·g behind. MATLAB's source."""
    X, lr, mc = w, learning_rate, momentum
    perf, g = yield X, lr
    dX = -lr * g
    while True:
        dX = mc * dX - (1 - mc) * lr * g
        X2 = X + dX
        perf2, g2 = yield X2, lr
        if perf2 / perf > tolerance:
            lr = lr * shrink
            dX = -lr * g
        else:
            if perf2 < perf:
                lr = lr * growth
            X, perf, g = X2, perf2, g2


# --- A rate for every weight ----------------------------------------------------------------------------------------


def silva_almeida(w, learning_rate, growth=1.2, shrink=0.8, backoff=0.5):
    """η_i ← uη_i where the sign of g_i is kept, dη_i where it has changed; E rises: all η_i ← ½η_i, and again.

    Silva & Almeida 1990.
    """
    rate = np.full(len(w), learning_rate)
    E_last, g_last = yield w, rate
    while True:
        tried = w - rate * g_last
        E, g = yield tried, rate
        if E > E_last:
            rate = rate * backoff
        else:
            kept, changed = g * g_last > 0, g * g_last < 0
            rate = np.where(kept, rate * growth, np.where(changed, rate * shrink, rate))
            w, E_last, g_last = tried, E, g


@each_weight
def delta_bar_delta(w, learning_rate, increase=0.035, decrease=0.333, averaging=0.7):
    """Δε = +κ if δ̄g > 0, −φε if δ̄g < 0, else 0; δ̄ ← (1−θ)g + θδ̄; w ← w − εg. Jacobs 1988."""
    rate, average = learning_rate, 0.0
    while True:
        _, g = yield w, rate
        if average * g > 0:
            rate = rate + increase
        elif average * g < 0:
            rate = rate - decrease * rate
        average = (1 - averaging) * g + averaging * average
        w = w - rate * g


@each_weight
def supersab(w, learning_rate, momentum=0.0, growth=1.05, shrink=0.5, largest=np.inf):
    """Sign kept: η ← η⁺η. Sign flips: η ← ½η, and the last step is undone. Δw = −ηg + αΔw. Tollenaere 1990."""
    rate, change, g_last = learning_rate, 0.0, 0.0
    while True:
        _, g = yield w, rate
        if g * g_last < 0:
            rate = rate * shrink
            w = w - change
            change, g_last = 0.0, 0.0
        else:
            if g * g_last > 0:
                rate = min(rate * growth, largest)
            change = -rate * g + momentum * change
            w, g_last = w + change, g


# --- Quickprop ------------------------------------------------------------------------------------------------------


@each_weight
def quickprop(w, learning_rate, growth=1.75, momentum=0.0, decay=0.0, mode_switch=0.0, fan_in=1):
    """S = −g + decay·w, ε' = ε / fan-in, sf = μ/(1+μ), D the last step. Fahlman 1988.

    D > 0:  D ← [S>0]·ε'S + (S > sf·S_last ? μD : D·S/(S_last − S))
    D < 0:  D ← [S<0]·ε'S + (S < sf·S_last ? μD : D·S/(S_last − S))
    D = 0:  D ← ε'S + momentum·D

    |D| up to the mode-switch threshold counts as 0. A step beyond it has the sign of the slope it was made on, so the
    denominator is never 0. The fan-in counts the bias link.
    """
    epsilon, shrink_factor = learning_rate / fan_in, growth / (1 + growth)
    step = S_last = 0.0
    while True:
        _, g = yield w, epsilon
        S = -g + decay * w
        if step > mode_switch:
            parabola = growth * step if S > shrink_factor * S_last else step * S / (S_last - S)
            step = (epsilon * S if S > 0 else 0.0) + parabola
        elif step < -mode_switch:
            parabola = growth * step if S < shrink_factor * S_last else step * S / (S_last - S)
            step = (epsilon * S if S < 0 else 0.0) + parabola
        else:
            step = epsilon * S + momentum * step
        w, S_last = w + step, S


# --- Rprop ----------------------------------------------------------------------------------------------------------


@each_weight
def rprop_minus(w, initial=0.1, growth=1.2, shrink=0.5, smallest=1e-6, largest=50.0):
    """Δ ← 1.2Δ, ½Δ or Δ as g·g_last is > 0, < 0 or 0; w ← w − sign(g)Δ whatever it is. Riedmiller 1994."""
    delta, g_last = initial, 0.0
    while True:
        _, g = yield w, delta
        if g * g_last > 0:
            delta = min(growth * delta, largest)
        elif g * g_last < 0:
            delta = max(shrink * delta, smallest)
        w, g_last = w - np.sign(g) * delta, g


@each_weight
def rprop_plus(w, initial=0.1, growth=1.2, shrink=0.5, smallest=1e-6, largest=50.0):
    """As Rprop−, but a sign change undoes the last change and forgets g. Riedmiller & Braun 1993."""
    delta, g_last, change = initial, 0.0, 0.0
    while True:
        _, g = yield w, delta
        if g * g_last < 0:
            delta = max(shrink * delta, smallest)
            w, g_last = w - change, 0.0
        else:
            if g * g_last > 0:
                delta = min(growth * delta, largest)
            change = -np.sign(g) * delta
            w, g_last = w + change, g


@each_weight
def irprop_minus(w, initial=0.1, growth=1.2, shrink=0.5, smallest=1e-6, largest=50.0):
    """As Rprop−, but a sign change sets g ← 0: no move now, Δ kept next time. Igel & Hüsken 2000."""
    delta, g_last = initial, 0.0
    while True:
        _, g = yield w, delta
        if g * g_last > 0:
            delta = min(growth * delta, largest)
        elif g * g_last < 0:
            delta, g = max(shrink * delta, smallest), 0.0
        w, g_last = w - np.sign(g) * delta, g


@each_weight
def irprop_plus(w, initial=0.1, growth=1.2, shrink=0.5, smallest=1e-6, largest=50.0):
    """As Rprop+, but the last change is undone only where E has risen since. Igel & Hüsken 2000."""
    delta, g_last, change, E_last = initial, 0.0, 0.0, np.inf
    while True:
        E, g = yield w, delta
        if g * g_last < 0:
            delta = max(shrink * delta, smallest)
            if E > E_last:
                w = w - change
            g_last = 0.0
        else:
            if g * g_last > 0:
                delta = min(growth * delta, largest)
            change = -np.sign(g) * delta
            w, g_last = w + change, g
        E_last = E


# --- Problems -------------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """What is measured: `measure(step, w) -> (E, g)`; a scripted one looks at the step alone."""

    name: str
    start: tuple[float, ...]
    steps: int
    measure: Callable


def script(name, *rows):
    """E and g set down beforehand, one row a step, whatever the weights."""
    return Problem(
        name,
        start=(0.0,) * (len(rows[0]) - 1),
        steps=len(rows),
        measure=lambda step, w: (float(rows[step][0]), np.array(rows[step][1:], float)),
    )


def _parabola(step, w):
    """E = ¾(x − 0.4)² + 0.1."""
    (x,) = w
    return 0.75 * (x - 0.4) ** 2 + 0.1, np.array([1.5 * (x - 0.4)])


def _valley(step, w):
    """E = ½(4x² + 1.2xy + ½y²) − x + ½y + 1, curvatures 4.10 and 0.40, smallest E 0.36."""
    x, y = w
    E = 0.5 * (4 * x * x + 1.2 * x * y + 0.5 * y * y) - x + 0.5 * y + 1
    return E, np.array([4 * x + 0.6 * y - 1, 0.6 * x + 0.5 * y + 0.5])


def _unit(step, w):
    """E = ½Σ(o − t)² of a linear unit with three inputs and an on-neuron: w₁ w₂ w₃ and, last, the bias."""
    x = np.array([[1.0, 0.5, -0.3, 1.0], [0.2, -1.0, 0.8, 1.0], [-0.6, 0.4, 1.0, 1.0]])
    d = (x * w).sum(axis=1) - np.array([0.7, -0.4, 0.1])
    return 0.5 * float((d * d).sum()), (d[:, None] * x).sum(axis=0)


PARABOLA = Problem("parabola", (2.0,), 8, _parabola)
VALLEY = Problem("valley", (1.5, 2.0), 8, _valley)
UNIT = Problem("unit", (0.3, -0.2, 0.5, 0.1), 10, _unit)

#        E     g1    g2       first weight                     second weight
SIGNS = script(
    "signs",
    (1.00, 1.0, -2.0),  # first step                        first step
    (0.90, 1.0, 0.0),  #  kept                              zero gradient
    (0.80, 0.5, -1.0),  # kept, a growth limit              after a zero
    (0.95, -1.0, -1.0),  # changes, E has risen             kept
    (0.85, 1.0, 2.0),  #  changes back                      changes, E has fallen (not to its smallest)
    (0.60, 0.0, 1.0),  #  zero gradient                     kept
    (0.65, -1.0, -0.5),  # after a zero                     changes, E has risen
    (0.50, -1.0, 3.0),  # kept                              changes back
    (0.50, -1.0, -3.0),  # kept                             changes, E the same
    (0.40, -2.0, -1.0),  # kept                             kept
)
CLIMB = script("climb", *[(1.0 - 0.1 * k, 1.0) for k in range(6)])  # the sign never changes
ZIGZAG = script("zigzag", *[(1.0 + 0.1 * k, (-1.0) ** k) for k in range(8)])  # it always does, and E always rises

SLOPES = script(  # for Quickprop, whose S is −g; sf = 0.636…
    "slopes",
    (1.0, -1.0, 0.0),  # plain step                         zero slope
    (1.0, -0.9, 1.0),  # S > sf·S_last: step grows by μ     plain step
    (1.0, -0.3, 1.0),  # parabola, on this side             the same slope: μ
    (1.0, 0.6, -2.0),  # parabola, past the minimum         parabola, far past the minimum
    (1.0, 0.5, -2.0),  # μ, downwards                       μ, upwards
    (1.0, 0.0, -1.2),  # zero slope: step 0                 parabola, S just below sf·S_last
    (1.0, 0.0, 0.1),  #  zero slope twice: 0/0              parabola, past the minimum
    (1.0, -0.2, 0.05),  # plain step again                  parabola, on this side
)
VERDICTS = script(  # for the rules that judge a step by the error, one error of the last accepted point above another
    "verdicts",
    (1.00, 1.0, -2.0),  # first step
    (1.04, 1.0, 1.0),  # risen, but not by more than 4 %: accepted, the rate stays
    (0.90, 0.5, -1.0),  # fallen
    (2.00, 5.0, 7.0),  # rejected: this gradient is never followed
    (1.50, -7.0, 3.0),  # rejected again
    (0.85, 0.5, 1.0),  # fallen: momentum is back
    (0.85, 0.0, 1.0),  # the same: accepted, the rate stays
    (0.80, -1.0, 0.0),  # fallen
    (0.84, 9.0, 9.0),  # risen by 5 %: rejected
    (0.70, -1.0, 1.0),  # fallen
)
RETRIES = script(  # for Silva and Almeida, who tolerate no rise
    "retries",
    (1.00, 1.0, -1.0),  # first step
    (0.80, 1.0, 1.0),  # kept, changed
    (0.70, 0.0, 1.0),  # zero gradient, kept
    (0.90, 5.0, -5.0),  # risen: rejected
    (0.75, -7.0, -3.0),  # rejected again
    (0.60, -1.0, 2.0),  # after a zero, kept
    (0.60, -1.0, 0.0),  # the same E: accepted; kept, zero gradient
    (0.50, 1.0, -1.0),  # changed, after a zero
    (0.50001, 9.0, 9.0),  # risen by a hair: rejected
    (0.40, 2.0, -1.0),  # kept, kept
)


def falling(step):
    """A schedule of the rate."""
    return 0.2 / (1.0 + 0.5 * step)


def rising(step):
    """A schedule of the momentum."""
    return 0.9 - 0.4 / (1.0 + step)


# --- Trajectories ---------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A rule as the user calls it, the reference with all it needs, and the problem they are set."""

    rule: str
    variant: str
    problem: Problem
    reference: Callable
    settings: dict  # the same names for the rule and its reference
    only_rule: dict = {}
    only_reference: dict = {}

    @property
    def id(self):
        """Its name in tables and tests."""
        return f"{self.rule} {self.variant} {self.problem.name}"


FORMS = {"heavy_ball": heavy_ball, "convex": convex, "velocity": velocity, "nesterov": nesterov}
RPROPS = {"rprop-": rprop_minus, "rprop+": rprop_plus, "irprop-": irprop_minus, "irprop+": irprop_plus}


def _cases():
    """One case after another, in the order of the tables."""
    for form, reference in FORMS.items():
        for problem, rate in ((PARABOLA, 0.3), (VALLEY, 0.15), (SIGNS, 0.1)):
            yield Case("momentum", form, problem, reference, {"learning_rate": rate, "momentum": 0.8}, {"form": form})
        settings = {"learning_rate": falling, "momentum": 0.8}
        yield Case("momentum", f"{form} falling rate", PARABOLA, reference, settings, {"form": form})
    for form in ("heavy_ball", "convex", "velocity"):
        settings = {"learning_rate": 0.2, "momentum": rising}
        yield Case("momentum", f"{form} rising momentum", PARABOLA, FORMS[form], settings, {"form": form})

    for name, reference in (("bold_driver", bold_driver), ("traingda", traingda), ("traingdx", traingdx)):
        inert = {"momentum": 0.5} if name == "bold_driver" else {}
        yield Case(name, "fast", PARABOLA, reference, {"learning_rate": 1.3, **inert})
        yield Case(name, "fast", VALLEY, reference, {"learning_rate": 0.45, **inert})
        yield Case(name, "scripted", VERDICTS, reference, {"learning_rate": 0.1, **inert})
        own = {"learning_rate": 0.3, "growth": 1.3, "shrink": 0.4, "tolerance": 1.1}
        yield Case(name, "own constants", VERDICTS, reference, own | inert)
    yield Case("bold_driver", "no momentum", PARABOLA, bold_driver, {"learning_rate": 1.3})
    yield Case("traingda", "defaults", VALLEY, traingda, {})
    yield Case("traingdx", "defaults", VALLEY, traingdx, {})
    yield Case("traingdx", "momentum 0.3", VALLEY, traingdx, {"learning_rate": 0.45, "momentum": 0.3})

    for name, reference, problem, own in (
        ("silva_almeida", silva_almeida, RETRIES, {"growth": 1.5, "shrink": 0.6, "backoff": 0.3}),
        ("delta_bar_delta", delta_bar_delta, SIGNS, {"increase": 0.1, "decrease": 0.5, "averaging": 0.4}),
        ("supersab", supersab, SIGNS, {"momentum": 0.5, "growth": 1.3, "shrink": 0.4, "largest": 0.15}),
    ):
        yield Case(name, "defaults", PARABOLA, reference, {"learning_rate": 0.9})
        yield Case(name, "defaults", VALLEY, reference, {"learning_rate": 0.3})
        yield Case(name, "defaults", problem, reference, {"learning_rate": 0.1})
        yield Case(name, "own constants", problem, reference, {"learning_rate": 0.1, **own})
    yield Case("supersab", "momentum 0.5", VALLEY, supersab, {"learning_rate": 0.3, "momentum": 0.5})

    yield Case("quickprop", "defaults", PARABOLA, quickprop, {"learning_rate": 0.05})
    yield Case("quickprop", "defaults", VALLEY, quickprop, {"learning_rate": 0.1})
    yield Case("quickprop", "defaults", SLOPES, quickprop, {"learning_rate": 0.5})
    yield Case(
        "quickprop", "growth 2.25, decay", SLOPES, quickprop, {"learning_rate": 0.5, "growth": 2.25, "decay": -0.1}
    )
    settings = {"learning_rate": 0.8, "momentum": 0.9, "decay": -0.01}
    fan_in = {"fan_in": (4, 4, 4, 4)}  # three inputs and the bias link, for the bias too
    yield Case("quickprop", "split, decay, momentum", UNIT, quickprop, settings, {"split": True}, fan_in)
    settings = settings | {"mode_switch": 0.04}  # only now does the momentum act
    yield Case("quickprop", "split, decay, momentum, mode switch", UNIT, quickprop, settings, {"split": True}, fan_in)

    for variant, reference in RPROPS.items():
        for problem, settings in (
            (PARABOLA, {"initial": 0.4}),
            (VALLEY, {}),
            (SIGNS, {}),
            (SIGNS, {"growth": 1.3, "shrink": 0.4, "smallest": 0.02, "largest": 0.15}),
            (CLIMB, {"initial": 30.0}),  # the default largest, 50
            (ZIGZAG, {"initial": 6e-6}),  # the default smallest, 1e-6
        ):
            own = " own constants" if "growth" in settings else ""
            yield Case("rprop", variant + own, problem, reference, settings, {"variant": variant})


CASES = tuple(_cases())


class Trajectory(NamedTuple):
    """A case as it went, from row 0 on; E and g have one row less."""

    E: np.ndarray  # (steps,)
    g: np.ndarray  # (steps, weights)
    rate: np.ndarray  # (steps + 1, rates)
    w: np.ndarray  # (steps + 1, weights)


def trajectory(case: Case) -> Trajectory:
    """The reference, step by step."""
    rule = case.reference(np.array(case.problem.start), **case.settings, **case.only_reference)
    measured, points = [], [next(rule)]
    for step in range(case.problem.steps):
        measured.append(case.problem.measure(step, points[-1][0]))
        points.append(rule.send(measured[-1]))
    (E, g), (w, rate) = zip(*measured, strict=True), zip(*points, strict=True)
    return Trajectory(np.array(E), np.array(g), np.array([np.atleast_1d(r) for r in rate]), np.array(w))


def table(rule: str) -> list[list[str]]:
    """The rows of <rule>.csv, the head first; a narrow problem leaves the columns it does not need empty."""
    runs = [(case, trajectory(case)) for case in CASES if case.rule == rule]
    rates, weights = (max(getattr(run, name).shape[1] for _, run in runs) for name in ("rate", "w"))

    def names(name, width):
        return [f"{name}{i + 1}" if width > 1 else name for i in range(width)]

    def cells(values, width):
        return [repr(float(value)) for value in values] + [""] * (width - len(values))

    rows = [["variant", "problem", "step", "E", *names("g", weights), *names("rate", rates), *names("w", weights)]]
    for case, run in runs:
        for step in range(case.problem.steps + 1):
            measured = cells([run.E[step - 1]], 1) + cells(run.g[step - 1], weights) if step else [""] * (1 + weights)
            point = cells(run.rate[step], rates) + cells(run.w[step], weights)
            rows.append([case.variant, case.problem.name, str(step), *measured, *point])
    return rows


def read(rule: str) -> list[list[str]]:
    """The committed rows of <rule>.csv."""
    return list(csv.reader(io.StringIO((TABLES / f"{rule}.csv").read_text(encoding="utf-8"))))


def main():
    """Write every table."""
    TABLES.mkdir(exist_ok=True)
    for rule in dict.fromkeys(case.rule for case in CASES):
        with (TABLES / f"{rule}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table(rule))


if __name__ == "__main__":
    main()
