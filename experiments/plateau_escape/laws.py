"""Momentum where theory is exact: a flat stretch, a saddle, a deep linear network, the symmetric plateau.

The steps of `bp.momentum` in each form are compared with the closed forms of `bpjax.theory`.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import bpjax as bp
from bpjax import theory
from bpjax.results.statistics import student
from experiments.common.starts import compiled_once
from experiments.plateau_escape.committee import committee_trial
from experiments.plateau_escape.starts import MODES, linear_task

FORMS = {"plain descent": "gradient descent", "heavy ball": "heavy_ball", "convex": "convex", "Nesterov": "nesterov"}
"""{name in the tables: name in `bpjax.theory`}."""
RATE, SLOPE, LENGTH = 0.1, 1.0, 20.0
"""A flat stretch: learning rate, ∂E/∂w, and length."""
CURVATURE, START, END = -0.05, 1e-6, 1.0
"""A saddle: ∂²E/∂w², initial distance, and the distance at which it has been left."""
VELOCITY = 2.0
"""Initial velocity of a ball that does not start from rest, weight per step."""
MODE_RATE, MODE_START = 1e-3, 1e-3
"""The deep linear network: learning rate, and initial strength of each mode."""
PUBLISHED_HEIGHTS = {2: 0.0116, 3: 0.0203, 4: 0.0284}
"""{K: height of the symmetric plateau of K = M units, η → 0}, Saad & Solla 1995."""


class Law(NamedTuple):
    """A number predicted by theory, and its measurement."""

    landscape: str
    form: str
    momentum: float
    what: str
    theory: float
    measured: float
    tolerance: float  # absolute

    @property
    def holds(self) -> bool:
        """Whether the two differ by no more than the tolerance."""
        return bool(abs(self.theory - self.measured) <= self.tolerance)


def descent_of(form: str, rate, momentum) -> Any:
    """`bp.momentum` in a form of `bpjax.theory`; plain descent ignores `momentum`."""
    if form == "gradient descent":
        return bp.momentum(rate, 0.0)
    return bp.momentum(rate, momentum, form=form)  # type: ignore[arg-type]


def first_step(reached: np.ndarray) -> float:
    """The first step at which `reached` is true; NaN if there is none."""
    return float(reached.argmax()) if reached.any() else np.nan


# --- A ball ----------------------------------------------------------------------------------------------------------


def ball_paths(momenta) -> xr.Dataset:
    """Weights over (form, momentum, step) from `bp.momentum` in float64, until the slowest form has arrived.

    `flat` starts from rest on a constant slope, `thrown` starts there with a velocity, `level` starts with a velocity
    on zero slope, `saddle` starts from rest at a saddle.
    """
    alphas = np.array(momenta)
    steps = max(
        20 + int(theory.saddle_steps("convex", RATE, alphas, CURVATURE, START, END).max()),
        20 + int(theory.plateau_steps("convex", RATE, alphas, SLOPE, LENGTH).max()),
        int(40 / (1 - alphas.max())),  # the velocity has decreased to e⁻⁴⁰ of its initial value
    )
    cases = {  # slope, curvature, start, velocity
        "flat": (SLOPE, 0.0, 0.0, 0.0),
        "thrown": (SLOPE, 0.0, 0.0, -VELOCITY),
        "level": (0.0, 0.0, 0.0, VELOCITY),
        "saddle": (0.0, CURVATURE, START, 0.0),
    }
    paths = {case: [] for case in cases}
    with jax.enable_x64(True):
        for form in FORMS.values():
            walk = _walk(form, steps)
            for case, numbers in cases.items():
                paths[case].append(walk(alphas, *(np.full(len(alphas), number) for number in numbers)))
    return xr.Dataset(
        {case: (("form", "momentum", "step"), np.stack(path)) for case, path in paths.items()},
        {"form": list(FORMS), "momentum": alphas},
    )


def _walk(form: str, steps: int):
    """(momentum, slope, curvature, start, velocity), each (n,), -> w(0) … w(steps) on E = slope w + ½ curvature w²."""

    def one(momentum, slope, curvature, start, velocity):
        ball = descent_of(form, RATE, momentum)

        def step(carry, _):
            w, state = carry
            change, state = ball.update(slope + curvature * w, state)
            return (w + change, state), w + change

        state = ball.init(start)._replace(velocity=velocity)
        return jnp.append(start, jax.lax.scan(step, (start, state), None, length=steps)[1])

    return compiled_once(jax.vmap(one))


def ball_laws(paths: xr.Dataset) -> list[Law]:
    """Compare steps across the flat stretch and away from the saddle, and the distance covered on level ground."""
    laws = []
    for name, form in FORMS.items():
        for alpha in paths.momentum.values if form != "gradient descent" else paths.momentum.values[:1]:
            path = {case: np.abs(paths[case].sel(form=name, momentum=alpha).values) for case in paths.data_vars}
            alpha = 0.0 if form == "gradient descent" else float(alpha)
            t = np.arange(paths.sizes["step"])
            thrown = np.abs(theory.plateau_distance(form, RATE, alpha, SLOPE, t, -VELOCITY))
            rows = (
                ("flat stretch", "steps from rest", theory.plateau_steps(form, RATE, alpha, SLOPE, LENGTH),
                 first_step(path["flat"] >= LENGTH * (1 - 1e-9)), 1.0),
                ("flat stretch", "steps with velocity", first_step(thrown >= LENGTH * (1 - 1e-9)),
                 first_step(path["thrown"] >= LENGTH * (1 - 1e-9)), 1.0),
                ("level ground", "glide", theory.plateau_glide(form, alpha, VELOCITY), path["level"][-1], 1e-6),
                ("saddle", "steps from rest", theory.saddle_steps(form, RATE, alpha, CURVATURE, START, END),
                 first_step(path["saddle"] >= END * (1 - 1e-9)), 1.0),
            )  # fmt: skip
            laws += [Law(w, name, alpha, what, float(th), float(got), tol) for w, what, th, got, tol in rows]
    return laws


# --- Deep linear network ---------------------------------------------------------------------------------------------


def mode_paths(momentum: float) -> xr.DataArray:
    """The strength of each mode in an aligned, balanced network over (form, mode, step), in float32."""
    batch = linear_task()
    layer = bp.dense(len(MODES), use_bias=False)
    rule = bp.backprop(bp.chain(layer, layer), bp.losses.batch_mean(bp.squared_error))
    weights = bp.layers.Affine(math.sqrt(MODE_START) * jnp.eye(len(MODES)), None)
    slowest = min(MODES)
    steps = 100 + int(1.2 * theory.deep_linear_time(slowest / 2, slowest, MODE_START, 1 / MODE_RATE))
    steps += int(20 * theory.plateau_lag("convex", momentum))

    paths = [_modes(rule, weights, batch, form, momentum, steps) for form in FORMS.values()]
    coords = {"form": list(FORMS), "mode": list(MODES)}
    return xr.DataArray(np.stack(paths), coords, ("form", "mode", "step"), attrs={"momentum": momentum})


def _modes(rule, weights, batch, form: str, momentum: float, steps: int) -> np.ndarray:
    """The diagonal of W₁W₂ before each step, (modes, steps)."""
    descent = descent_of(form, MODE_RATE, momentum)
    step = bp.make_train_step(rule, descent)

    def learnt(state, _):
        first, second = state.params
        return step(state, batch)[0], jnp.diagonal(first.w @ second.w)

    def path(weights):
        start = bp.training.TrainState(weights, descent.init(weights), ())
        return jax.lax.scan(learnt, start, None, length=steps)[1]

    return np.asarray(compiled_once(path)((weights, weights))).T


def deep_linear_laws(paths: xr.DataArray) -> list[Law]:
    """Steps until each mode is half learnt, against Saxe's flow at the effective rate η̂, and that flow corrected.

    The flow is the limit η → 0; the tolerance is 2 % and a step. It assumes that the memory of momentum, 1/(1 − α)
    steps, is short compared with the time in which the mode grows by e, 1/η̂s. Otherwise the growth is slower
    (`theory.saddle_growth`) and starts with a delay (`theory.saddle_distance`); the tolerance of the corrected flow is
    5 % and a step.
    """
    laws = []
    for name, form in FORMS.items():
        alpha = 0.0 if form == "gradient descent" else paths.attrs["momentum"]
        effective = float(theory.effective_rate(form, MODE_RATE, alpha))
        for s in paths.mode.values:
            measured = first_step(paths.sel(form=name, mode=s).values >= s / 2)
            flow = float(theory.deep_linear_time(s / 2, s, MODE_START, 1 / effective))
            growth = float(np.log(theory.saddle_growth(form, MODE_RATE, alpha, -s)))
            late = int(30 / growth)
            delay = late - np.log(float(theory.saddle_distance(form, MODE_RATE, alpha, -s, late, 1.0))) / growth
            corrected = flow * effective * s / growth + delay
            for what, number, share in (("flow", flow, 0.02), ("flow, corrected", corrected, 0.05)):
                what = f"{what}, s = {s:g}"
                laws.append(
                    Law("deep linear net", name, alpha, what, float(number), measured, float(share * number + 1))
                )
    return laws


# --- Soft committee machine ------------------------------------------------------------------------------------------


class Height(NamedTuple):
    """The height of the symmetric plateau of K = M units, from theory, from the flow and from networks."""

    units: int
    published: float  # η → 0, Saad & Solla 1995
    closed_form: float  # η → 0
    rate: float  # learning rate of the following fields
    fixed_point: float  # of the flow, N → ∞
    integrated: float  # of the integrated flow, by `find_plateaus`
    simulated: float  # mean over networks with `inputs` inputs, by `find_plateaus`; NaN if none was found
    low: float  # 95 % interval of that mean (Student)
    high: float
    nets: int
    inputs: int

    @property
    def holds(self) -> bool:
        """Whether the mean of the networks is within 3 % of the fixed point (N is finite, and learning continues)."""
        return bool(abs(self.simulated / self.fixed_point - 1) < 0.03)


def committee_curves(largest: int, nets: int, inputs: int, rate: float, until: int, key) -> xr.Dataset:
    """Generalisation error over (units, net, alpha) of networks trained on-line, and of the flow over (units, alpha).

    Args:
        largest: K = 2 … `largest` units, at most 4.
        nets: networks of each size.
        inputs: of each network.
        rate: learning rate.
        until: examples per input.
        key: for weights and examples.
    """
    simulated, flows = [], []
    chosen = [units for units in PUBLISHED_HEIGHTS if units <= largest]
    for units in chosen:

        def one(key, units=units):
            made = committee_trial(key, bp.momentum(rate / inputs, 0.0), units, inputs, until)
            return jax.lax.scan(lambda run, _: made.program.epoch(run), made.start, None, length=until)[1].error

        keys = jax.random.split(jax.random.fold_in(key, units), nets)
        simulated.append(np.asarray(jax.jit(jax.vmap(one))(keys)))
        J = 0.3 * np.random.default_rng(units).normal(size=(units, inputs)) / np.sqrt(inputs)
        B = np.eye(units, inputs)
        path = theory.soft_committee_path(np.arange(1, until + 1), J @ J.T, J @ B.T, B @ B.T, rate, tolerance=1e-6)
        flows.append(path.error)
    return xr.Dataset(
        {"simulated": (("units", "net", "alpha"), simulated), "flow": (("units", "alpha"), flows)},
        {"units": chosen, "alpha": np.arange(1, until + 1)},
        {"rate": rate, "inputs": inputs},
    )


def committee_heights(curves: xr.Dataset) -> list[Height]:
    """Heights of the symmetric plateau for each K, measured on error curves."""
    heights, rate = [], curves.attrs["rate"]
    for units in curves.units.values:
        found = _heights(curves.simulated.sel(units=units).values)
        mean, low, high = student(found)
        flow = _heights(curves.flow.sel(units=units).values[None])
        closed, fixed = theory.plateau_overlaps(int(units)).error, theory.symmetric_plateau(int(units), rate).error
        integrated = float(flow[0]) if len(flow) else np.nan
        heights.append(
            Height(
                int(units),
                PUBLISHED_HEIGHTS[int(units)],
                float(closed),
                rate,
                fixed,
                integrated,
                mean,
                low,
                high,
                len(found),
                curves.attrs["inputs"],
            )  # fmt: skip
        )
    return heights


def _heights(curves: np.ndarray) -> np.ndarray:
    """Height of the longest plateau of each curve that has one."""
    found = bp.results.find_plateaus(curves)
    longest: dict[int, tuple] = {}
    for run, length, height in zip(found.run, found.length, found.height, strict=True):
        longest[run] = max(longest.get(run, (0, 0.0)), (length, height))
    return np.array([height for _, height in longest.values()])
