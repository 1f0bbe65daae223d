"""Bounds on the control: Bryson & Ho, pp. 109 and 116.

The dynamics are linear in the control, so the rows of the derivative ∂s/∂u are one backward pass each: the adjoint with
an error of 1 at one node. Descent is projected (p. 109) or proximal (p. 116); Newton's method finds the costate
(p. 109) or the switching times (p. 116).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.optimize import brentq

import bpjax as bp
from bpjax.layers.recurrent.runge_kutta import WEIGHTS
from experiments.optimal_control.methods import stage_times

GAIN, SATURATED_START = 2.0, 1.0
"""a and x₀ of p. 109."""
FUEL_START, FUEL_TIME = (0.1, 0.5), 1.5
"""(x₀, v₀) and t_f of p. 116."""


class Responses(NamedTuple):
    """States that depend linearly on the controls: s = free + rows u."""

    free: np.ndarray  # (K + 1, H) the states without control
    rows: np.ndarray  # (K, H, 4 K) ∂s/∂u of all nodes but the first
    weights: np.ndarray  # (4 K,) of the stages in an integral over time


def integrator(params, s, u):
    """Position and speed under the acceleration u."""
    return jnp.stack([s[:, 1], u[:, 0]], axis=1)


def oscillating(t):
    """g(t) of p. 109, as in the program dt-qp-project."""
    return t * np.cos(20 * np.pi * t) - 0.25


def driven(params, s, u):
    """dx/dt = g(t) u; the state is (x, t)."""
    t = s[:, 1]
    return jnp.stack([(t * jnp.cos(20 * jnp.pi * t) - 0.25) * u[:, 0], jnp.ones_like(t)], axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def adjoint_of(function, steps: int, step, start, picked):
    """The derivatives of Σ picked · s, for each row of `picked` (N, K, 2)."""
    cell = bp.layers.runge_kutta(function, (2,), step, stage_controls=True)
    return bp.layers.adjoint(
        cell, lambda params, s: jnp.zeros(len(s)), (), jnp.broadcast_to(start, (len(picked), 2)),
        jnp.zeros((len(picked), steps, 4)), lambda params, s: (picked * s).sum(axis=(1, 2)),
    )  # fmt: skip


def responses(start, final_time: float, steps: int) -> Responses:
    """Of the double integrator, by one backward pass for each variable at each node."""
    picked = np.eye(2 * steps).reshape(2 * steps, steps, 2)
    found = adjoint_of(integrator, steps, final_time / steps, np.asarray(start, float), picked)
    rows = np.asarray(found.controls).reshape(steps, 2, 4 * steps)
    return Responses(np.asarray(found.states[0]), rows, weights_of(final_time, steps))


def weights_of(final_time: float, steps: int) -> np.ndarray:
    """The share of every stage in an integral over time, (4 K,)."""
    return np.tile(np.array(WEIGHTS) * final_time / steps, steps)


def bounded_dataset(times, states, costates, controls, final_time, costs, errors, **more) -> xr.Dataset:
    """The trajectory, and the error of each method over its iterations."""
    longest = max(map(len, errors))
    padded = np.stack(
        [np.pad(np.asarray(row, float), (0, longest - len(row)), constant_values=np.nan) for row in errors]
    )
    return xr.Dataset(
        {
            "state": (("node", "variable"), states),
            "costate": (("node", "variable"), costates),
            "control": (("step", "stage"), controls),
            "stage_time": (("step", "stage"), stage_times(len(controls)) * final_time),
            "time": ("node", times),
            "cost": ("resolution", np.asarray(costs, float)),
            "path_error": (("method", "epoch"), padded),
        }
    ).assign_attrs(more)


# --- p. 109 ----------------------------------------------------------------------------------------------------------


def saturated_cost() -> tuple[float, float]:
    """The least cost of p. 109 and the costate: u = −sat(λ g) with λ = a² x_f, by the midpoint rule and bisection.

    Adaptive quadrature stops too early here, at an error of 2e-6, because of the corners of u.
    """
    g = oscillating((np.arange(500_000) + 0.5) / 500_000)

    def excess(costate):
        return costate - GAIN**2 * (SATURATED_START - (g * np.clip(costate * g, -1, 1)).mean())

    costate: Any = brentq(excess, 0.0, 4.0, xtol=1e-13)
    return 0.5 * (costate / GAIN) ** 2 + 0.5 * (np.clip(costate * g, -1, 1) ** 2).mean(), costate


def saturated(steps: int, iterations: int, sizes=(500, 1000, 2000)) -> xr.Dataset:
    """min ½ a² x_f² + ½ ∫ u² dt with dx/dt = g(t) u and |u| ≤ 1 (p. 109)."""

    def row_of(count):
        last = np.zeros((1, count, 2))
        last[0, -1, 0] = 1.0
        found = adjoint_of(driven, count, 1 / count, np.array([SATURATED_START, 0.0]), last)
        return np.asarray(found.controls).ravel(), weights_of(1.0, count)

    def newton(row, weights):
        slope, costate, path = row / weights, 0.0, []
        while True:
            wanted = costate * slope
            control = -np.clip(wanted, -1, 1)
            end = SATURATED_START + row @ control
            path.append((0.5 * (GAIN * end) ** 2 + 0.5 * weights @ control**2, abs(costate - GAIN**2 * end)))
            if path[-1][1] < 1e-14 or len(path) == 20:
                return control, costate, path
            derivative = 1 + GAIN**2 * (row * slope) @ (abs(wanted) < 1)
            costate -= (costate - GAIN**2 * end) / derivative

    row, weights = row_of(steps)
    control, costate, path = newton(row, weights)
    best = path[-1][0]
    rate = 1 / (1 + GAIN**2 * (row**2 / weights).sum())

    def descend(momentum):
        u, before, errors = np.zeros(4 * steps), np.zeros(4 * steps), []
        for _ in range(iterations):
            end = SATURATED_START + row @ u
            errors.append(abs(0.5 * (GAIN * end) ** 2 + 0.5 * weights @ u**2 - best))
            u, before = np.clip(u - rate * (u + GAIN**2 * end * row / weights) + momentum * (u - before), -1, 1), u
        return errors

    errors = [descend(0.0), descend(0.9), [max(abs(cost - best), residual) for cost, residual in path]]
    costs = [newton(*row_of(count))[2][-1][0] for count in sizes]
    times, one = np.linspace(0, 1, steps + 1), control.reshape(steps, 4)
    moved = np.concatenate([[0], np.cumsum((row * control).reshape(steps, 4).sum(axis=1))])
    return bounded_dataset(
        times, (SATURATED_START + moved)[:, None], np.full((steps + 1, 1), costate), one, 1.0, costs, errors
    )  # fmt: skip


# --- p. 116 ----------------------------------------------------------------------------------------------------------


def fuel_cost() -> float:
    """The least ∫ |u| dt of p. 116, in closed form."""
    (x, v), t = FUEL_START, FUEL_TIME
    return t - np.sqrt((t - v) ** 2 - 4 * x - 2 * v**2)


@jax.jit
def _arcs(times):
    """The end of three arcs u = −1, 0, 1 that last `times` (3,): their derivatives by the adjoint, and the states."""
    cell = bp.layers.runge_kutta(lambda p, s, x: x[:, 1:] * integrator(p, s, x[:, :1]), (2,), 1.0)
    controls = jnp.broadcast_to(jnp.stack([jnp.array([-1.0, 0, 1]), times], axis=1), (2, 3, 2))
    start = jnp.broadcast_to(jnp.array(FUEL_START), (2, 2))
    return bp.layers.adjoint(cell, lambda p, s: jnp.diagonal(s), (), start, controls)


def switching_times(first: float, second: float) -> tuple[np.ndarray, list[float]]:
    """The switching times at which the ship of p. 116 stops at the origin, by Newton's method, and ‖ψ‖ on the way."""
    switches, path = np.array([first, second]), []
    for _ in range(12):
        t1, t2 = switches
        found = _arcs(jnp.array([t1, t2 - t1, FUEL_TIME - t2]))
        end, slopes = np.asarray(found.states[0, -1]), np.asarray(found.controls[:, :, 1])
        path.append(float(np.abs(end).max()))
        if path[-1] < 1e-14:
            break
        jacobian = np.stack([slopes[:, 0] - slopes[:, 1], slopes[:, 1] - slopes[:, 2]], axis=1)
        switches = switches - np.linalg.solve(jacobian, end)
    return switches, path


def least_fuel(steps: int, iterations: int, rounds: int = 40, penalty: float = 100.0) -> xr.Dataset:
    """min ∫ |u| dt with |u| ≤ 1, a double integrator to rest in the origin (p. 116)."""
    known, best = responses(FUEL_START, FUEL_TIME, steps), fuel_cost()
    rows, weights = known.rows[-1], known.weights
    rate = 1 / (penalty * np.linalg.eigvalsh(rows / weights @ rows.T)[-1])

    def descend(momentum):
        u, before, values, errors = np.zeros(4 * steps), np.zeros(4 * steps), np.zeros(2), []
        for iteration in range(iterations):
            end = known.free[-1] + rows @ u
            errors.append(max(abs(weights @ abs(u) - best), np.abs(end).max()))
            wanted = u - rate * (values + penalty * end) @ rows / weights + momentum * (u - before)
            u, before = np.clip(np.sign(wanted) * np.maximum(abs(wanted) - rate, 0), -1, 1), u
            if (iteration + 1) % (iterations // rounds) == 0:
                values = values + penalty * (known.free[-1] + rows @ u)
        return u, values, errors

    (_, _, plain), (u, values, fast) = descend(0.0), descend(0.9)
    first, second = float(weights @ (u < -0.5)), FUEL_TIME - float(weights @ (u > 0.5))
    switches, path = switching_times(first, second)
    times = np.linspace(0, FUEL_TIME, steps + 1)
    # λx is constant and λv falls to the multiplier of v(t_f)
    costates = np.stack([np.full_like(times, values[0]), values[1] + values[0] * (FUEL_TIME - times)], axis=1)
    states = np.concatenate([known.free[:1], known.free[1:] + known.rows @ u])
    cost = switches[0] + FUEL_TIME - switches[1]
    multipliers = values[1] + values[0] * (FUEL_TIME - switches)
    return bounded_dataset(
        times, states, costates, u.reshape(steps, 4), FUEL_TIME, [weights @ abs(u), cost], [plain, fast, path],
        switches=[float(t) for t in switches], at_switches=[float(c) for c in multipliers],
    )  # fmt: skip
