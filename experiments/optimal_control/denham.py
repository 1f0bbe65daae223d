"""The problem of Bryson and Denham: a bound on the state.

Descent is on the augmented Lagrangian of x ≤ l at every node. The second-order method is the primal-dual active set
method, which is Newton's for quadratic programs.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.optimal_control.bounded import Responses, adjoint_of, bounded_dataset, integrator, responses

LIMITS = (0.3, 0.2, 1 / 6, 1 / 9, 0.1)
"""l of Bryson and Denham: not reached, reached at a point (twice), along an arc (twice)."""
ALIGNED = 60
"""Steps for which the ends of all arcs lie on nodes."""
INSIDE = 1e-9


def denham_cost(limit: float) -> float:
    """The least ½ ∫ u² dt from (0, 1) to (0, −1) in one unit of time with x ≤ l."""
    if limit >= 1 / 4:
        return 2.0
    return 2 + 6 * (1 - 4 * limit) ** 2 if limit >= 1 / 6 else 4 / (9 * limit)


class Denham(NamedTuple):
    """The solution in K steps."""

    cost: float
    controls: np.ndarray  # (4 K,)
    ends: np.ndarray  # multipliers of x_f and v_f (2,)
    nodes: np.ndarray  # multipliers of x ≤ l at the nodes 1 … K − 1, 0 where x < l
    path: list  # (cost, violation) of each iteration


def denham(known: Responses, limit: float) -> Denham:
    """The primal-dual active set method: the constraints that bind are guessed, solved and guessed again."""
    rows, free, weights = known.rows, known.free, known.weights
    end_rows, end = rows[-1], free[-1] - np.array([0.0, -1.0])
    inner, room = rows[:-1, 0], free[1:-1, 0] - limit
    active, path = np.zeros(len(inner), bool), []
    while True:
        bound = np.concatenate([end_rows, inner[active]])
        solved = np.linalg.solve(bound / weights @ bound.T, np.concatenate([end, room[active]]))
        u, multipliers = -solved @ bound / weights, np.zeros(len(inner))
        multipliers[active] = solved[2:]
        above = inner @ u + room
        path.append((0.5 * weights @ u**2, max(above.max(), 0.0)))
        wanted = np.where(active, multipliers > -INSIDE * np.abs(multipliers).max(), above > INSIDE)
        if (wanted == active).all() or len(path) == 60:
            return Denham(float(path[-1][0]), u, solved[:2], multipliers, path)
        active = wanted


def descend_denham(known: Responses, limit: float, iterations: int, momentum: float, best: float, rounds: int = 40):
    """The error of descent on the augmented Lagrangian of x ≤ l, max(0, η + μ (x − l))² / 2μ at every node."""
    penalty, rows, weights = 50.0, np.concatenate([known.rows[-1], known.rows[:-1, 0]]), known.weights
    free = np.concatenate([known.free[-1] - np.array([0.0, -1.0]), known.free[1:-1, 0] - limit])
    is_end = np.arange(len(free)) < 2
    rate = 1 / (1 + penalty * np.linalg.eigvalsh(rows / weights @ rows.T)[-1])
    u, before, values, errors = np.zeros(4 * len(known.rows)), np.zeros(4 * len(known.rows)), np.zeros(len(free)), []
    for iteration in range(iterations):
        residual = free + rows @ u
        pushed = values + penalty * residual
        pushed = np.where(is_end, pushed, np.maximum(pushed, 0))
        violation = np.where(is_end, abs(residual), np.maximum(residual, 0)).max()
        errors.append(max(abs(0.5 * weights @ u**2 - best), violation))
        u, before = u - rate * (u + pushed @ rows / weights) + momentum * (u - before), u
        if (iteration + 1) % (iterations // rounds) == 0:
            again = values + penalty * (free + rows @ u)
            values = np.where(is_end, again, np.maximum(again, 0))
    return errors


def bryson_denham(iterations: int, sizes) -> xr.Dataset:
    """The costs of all limits, and the trajectory of l = 1/9; its cost for other numbers of steps."""
    known = responses((0.0, 1.0), 1.0, ALIGNED)
    solved = {limit: denham(known, limit) for limit in LIMITS}
    shown = solved[1 / 9]
    errors = [descend_denham(known, 1 / 9, iterations, momentum, shown.cost) for momentum in (0.0, 0.9)]
    errors.append([max(abs(cost - shown.cost), violation) for cost, violation in shown.path])
    costs = [denham(responses((0.0, 1.0), 1.0, count), 1 / 9).cost for count in sizes]
    picked = np.zeros((1, ALIGNED, 2))
    picked[0, :-1, 0], picked[0, -1] = shown.nodes, shown.ends
    # the costates of a linear system do not depend on its states
    found = adjoint_of(integrator, ALIGNED, 1 / ALIGNED, np.array([0.0, 1.0]), picked)
    stationary = np.abs(np.asarray(found.controls).ravel() / known.weights + shown.controls).max()
    states = np.concatenate([known.free[:1], known.free[1:] + known.rows @ shown.controls])
    return bounded_dataset(
        np.linspace(0, 1, ALIGNED + 1), states, np.asarray(found.costates[0]), shown.controls.reshape(ALIGNED, 4), 1.0,
        costs, errors, limits=list(LIMITS), least=[float(one.cost) for one in solved.values()], sizes=list(sizes),
        stationary=float(stationary),
    )  # fmt: skip
