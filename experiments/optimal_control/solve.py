"""A problem solved by all methods and with three numbers of steps, as a dataset."""

import threading
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

from experiments.common.threads import stop_if
from experiments.optimal_control.methods import (
    Extremal,
    Problem,
    constraint_count,
    descend,
    newton,
    stage_times,
)

MOMENTA = {"gradient descent": 0.0, "momentum": 0.9}
ORDER = 4


class Estimate(NamedTuple):
    """A value for step 0, from three numbers of steps, each twice the one before."""

    value: float
    uncertainty: float
    order: float  # measured; NaN where the differences are rounding errors


def extrapolate(values, order: int = ORDER) -> Estimate:
    """Richardson's extrapolation: the error begins with h^order, then h^(order + 1).

    Args:
        values: for K, 2 K and 4 K steps.
        order: of the leading error.
    """
    coarse, middle, fine = (float(v) for v in values)
    first, second = (b + (b - a) / (2**order - 1) for a, b in ((coarse, middle), (middle, fine)))
    value = second + (second - first) / (2 ** (order + 1) - 1)
    uncertainty = max(abs(second - first), 1e-13 * abs(fine))
    before, after = abs(middle - coarse), abs(fine - middle)
    is_rounding = after < 1e-12 * max(abs(fine), 1e-3)
    return Estimate(value, uncertainty, float("nan") if is_rounding else float(np.log2(before / after)))


def solve(problem: Problem, names, steps, iterations: int, stop: threading.Event) -> dict[str, xr.Dataset]:
    """{name of the instance: dataset}: the paths of descent at the smallest number of steps, the solutions at all."""
    guess = problem.guess(stage_times(steps[0]))
    descents = descend(problem, guess, iterations)
    found = {}
    for instance, name in enumerate(names):
        stop_if(stop)
        no_multipliers = np.zeros(constraint_count(problem))
        alone = newton(problem, instance, steps[0], (guess, problem.final_time[instance], no_multipliers), 40)
        extremals = refined(problem, instance, steps, best_start(descents, instance), stop)
        found[name] = dataset(instance, descents, alone, extremals)
    return found


def refined(problem: Problem, instance: int, steps, start, stop: threading.Event) -> list[Extremal]:
    """Newton's solutions with each number of steps, each from the one before."""
    extremals = []
    for count in steps:
        stop_if(stop)
        found = newton(problem, instance, count, start)
        extremals.append(found)
        start = found.controls, found.final_time, found.multipliers
    return extremals


def solve_from(problem: Problem, guess, name: str, steps, iterations: int, stop) -> dict[str, xr.Dataset]:
    """As `solve` from another first guess, but Newton's method begins at the guess itself."""
    controls = guess(stage_times(steps[0]))
    start = controls, problem.final_time[0], np.zeros(constraint_count(problem))
    extremals = refined(problem, 0, steps, start, stop)
    return {name: dataset(0, descend(problem, controls, iterations), extremals[0], extremals)}


def best_start(descents, instance: int):
    """The end of the descent that violates the constraints least, as a start of Newton's method."""
    ends = [np.nan_to_num(d.violation[instance, -1], nan=np.inf) for d in descents]
    best = descents[::-1][int(np.argmin(ends[::-1]))]  # momentum if equal
    return best.controls[instance], best.final_time[instance], best.multipliers[instance]


def variables(tree) -> np.ndarray:
    """A pytree of states (T, ...) as one array (T, number of variables)."""
    return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(tree)], axis=1)


def dataset(instance: int, descents, alone: Extremal, extremals: list[Extremal]) -> xr.Dataset:
    """The trajectory and costates of the finest solution, and what the others are compared by."""
    finest = extremals[-1]
    count = len(finest.controls)
    rounds = max(len(e.residuals) for e in extremals)
    padded = np.full((len(extremals), rounds), np.nan)
    for row, extremal in zip(padded, extremals, strict=True):
        row[: len(extremal.residuals)] = extremal.residuals
    coarsest = 1 + len(extremals[0].controls)
    every = [(len(variables(e.costates)) - 1) // (coarsest - 1) for e in extremals]
    return xr.Dataset(
        {
            "state": (("node", "variable"), variables(finest.states)),
            "costate": (("node", "variable"), variables(finest.costates)),
            "common_costate": (
                ("resolution", "common_node", "variable"),
                np.stack([variables(e.costates)[::k] for e, k in zip(extremals, every, strict=True)]),
            ),
            "control": (("step", "stage"), finest.controls),
            "stage_time": (("step", "stage"), stage_times(count) * finest.final_time),
            "time": ("node", np.linspace(0, 1, count + 1) * finest.final_time),
            "cost": ("resolution", np.array([e.cost for e in extremals])),
            "final_time": ("resolution", np.array([e.final_time for e in extremals])),
            "steps": ("resolution", np.array([len(e.controls) for e in extremals])),
            "multiplier": (("resolution", "constraint"), np.stack([e.multipliers for e in extremals])),
            "newton": (("resolution", "iteration"), padded),
            "alone_residual": ("alone", alone.residuals),
            "alone_cost": ("alone", alone.path_cost),
            "alone_violation": ("alone", alone.path_violation),
            "path_cost": (("method", "epoch"), np.stack([d.cost[instance] for d in descents])),
            "path_violation": (("method", "epoch"), np.stack([d.violation[instance] for d in descents])),
        }
    )


def errors(found: xr.Dataset) -> list[np.ndarray]:
    """Along gradient descent, momentum and Newton's method: the larger of the relative error of the cost and ‖ψ‖."""
    if "path_error" in found:
        return [row[np.isfinite(row)] for row in found.path_error.values]
    best = float(found.cost[0])
    paths = [*zip(found.path_cost.values, found.path_violation.values, strict=True)]
    paths.append((found.alone_cost.values, found.alone_violation.values))
    rows = [np.maximum(abs(cost - best) / max(1.0, abs(best)), violation) for cost, violation in paths]
    return [np.where(np.isfinite(row), row, np.inf) for row in rows]


def epochs_to(error: np.ndarray, goal: float = 1e-6) -> int | None:
    """The iterations after which an error stays within the goal; None if it does not."""
    outside = np.flatnonzero(error > goal)
    after = int(outside[-1]) + 1 if len(outside) else 0
    return after if after < len(error) else None
