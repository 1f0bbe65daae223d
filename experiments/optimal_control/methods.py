"""Three ways to the best controls, all along the gradient of the hand-written adjoint.

Time runs over σ = t/t_f from 0 to 1 in K steps, with a control for each of the four stages of a step. Gradient descent
and momentum lower the augmented Lagrangian, whose multipliers are updated at intervals. Newton's method solves the
conditions of optimality H_u = 0, ∂J/∂t_f = 0, ψ = 0; differences of the hand-written gradient are its second
derivatives, all columns computed as one batch of trajectories.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.layers import FreeTime, Multipliers
from bpjax.layers.recurrent.runge_kutta import STAGE_TIMES, WEIGHTS


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem of optimal control with P instances that differ in their data; N trajectories are computed at once."""

    name: str
    dynamics: Callable  # (data, s (N, ...), u (N, 1)) -> ds/dt
    cost: Callable  # (FreeTime, s_f) -> (N,)
    constraints: Callable  # (FreeTime, s_f) -> (N, M)
    state_shape: Any
    start: Any  # (P, ...)
    data: Any  # (P, ...)
    final_time: np.ndarray  # (P,) fixed, or the first guess
    is_free: bool  # whether the final time is free
    guess: Callable  # σ -> control, one for all instances
    rate: Any = 0.1  # of gradient descent with respect to u(σ), an L² gradient; one for all instances, or (P,)
    time_rate: float = 0.0  # of gradient descent with respect to t_f
    penalty: float = 10.0  # μ of the augmented Lagrangian


class Descent(NamedTuple):
    """The path of gradient descent or momentum."""

    controls: np.ndarray  # (P, K, 4)
    final_time: np.ndarray  # (P,)
    multipliers: np.ndarray  # (P, M)
    cost: np.ndarray  # (P, iterations)
    violation: np.ndarray  # (P, iterations) ‖ψ‖


class Extremal(NamedTuple):
    """A solution of the conditions of optimality in K steps."""

    cost: np.ndarray  # ()
    final_time: np.ndarray  # ()
    controls: np.ndarray  # (K, 4)
    states: Any  # (K + 1, ...)
    costates: Any  # (K + 1, ...)
    multipliers: np.ndarray  # (M,)
    residuals: np.ndarray  # (iterations + 1,) largest violation of a condition of optimality
    path_cost: np.ndarray  # (iterations + 1,)
    path_violation: np.ndarray  # (iterations + 1,) ‖ψ‖


def stage_times(steps: int) -> np.ndarray:
    """The times σ of all stages, (K, 4)."""
    return (np.arange(steps)[:, None] + np.array(STAGE_TIMES)) / steps


def lagrangian(problem: Problem, controls, params: FreeTime, multipliers: Multipliers, start):
    """The adjoint of φ + νᵀψ + ½ μ ‖ψ‖² (controls (N, K, 4)), φ (N,) and ψ (N, M)."""
    function = bp.layers.free_final_time(problem.dynamics)
    steps = controls.shape[1]
    cell = bp.layers.runge_kutta(function, problem.state_shape, 1 / steps, stage_controls=True)
    cost = functools.partial(bp.layers.augmented_lagrangian(problem.cost, problem.constraints), multipliers)
    found = bp.layers.adjoint(cell, cost, params, start, controls)
    last = jax.tree.map(lambda s: s[:, -1], found.states)
    return found, problem.cost(params, last), problem.constraints(params, last)


def gradient_of_function(gradient: jax.Array) -> jax.Array:
    """The L² gradient with respect to u(σ) of a gradient (N, K, 4): independent of the number of steps."""
    return gradient * gradient.shape[1] / jnp.asarray(WEIGHTS)


@functools.cache
def _descent(problem: Problem, iterations: int, rounds: int):
    def run(start, data, final_time, controls, values, momentum, rate, time_rate):
        penalty = jnp.asarray(problem.penalty)

        def step(carry, is_last):
            controls, time, velocity, time_velocity, values = carry
            multipliers = Multipliers(values, penalty)
            found, cost, residual = lagrangian(problem, controls, FreeTime(time, data), multipliers, start)
            velocity = momentum[:, None, None] * velocity
            velocity -= rate[:, None, None] * gradient_of_function(found.controls)
            time_velocity = momentum * time_velocity - time_rate * found.params.final_time
            updated = bp.layers.update_multipliers(multipliers, residual).values
            values = jnp.where(is_last, updated, values)
            moved = controls + velocity, time + time_velocity, velocity, time_velocity, values
            return moved, (cost, jnp.sqrt((residual**2).sum(axis=1)))

        is_last = jnp.arange(1, iterations + 1) % (iterations // rounds) == 0
        carry = controls, final_time, jnp.zeros_like(controls), jnp.zeros_like(final_time), values
        (controls, final_time, _, _, values), (cost, violation) = jax.lax.scan(step, carry, is_last)
        return controls, final_time, values, cost.T, violation.T

    return jax.jit(run)


def descend(problem: Problem, controls, iterations: int, momenta=(0.0, 0.9), rounds: int = 40) -> list[Descent]:
    """Gradient descent with each of the momentum coefficients (heavy ball), on the augmented Lagrangian.

    Args:
        problem: the problem.
        controls: the first guess (K, 4) for all instances.
        iterations: of descent.
        momenta: the coefficients.
        rounds: the multipliers are updated after each of so many parts of the iterations.

    Returns:
        A `Descent` for each momentum coefficient.
    """
    instances, kinds = len(problem.final_time), len(momenta)

    def repeated(tree):
        return jax.tree.map(lambda a: np.tile(a, (kinds,) + (1,) * (np.ndim(a) - 1)), tree)

    start, data, final_time = repeated((problem.start, problem.data, problem.final_time))
    controls = np.tile(np.asarray(controls, float), (instances * kinds, 1, 1))
    values = np.zeros((instances * kinds, constraint_count(problem)))
    momentum = np.repeat(np.asarray(momenta, float), instances)
    rate, time_rate = (
        np.tile(np.broadcast_to(r, instances).astype(float), kinds) for r in (problem.rate, problem.time_rate)
    )
    run = _descent(problem, iterations, rounds)
    found = jax.tree.map(np.asarray, run(start, data, final_time, controls, values, momentum, rate, time_rate))
    return [Descent(*(a[k * instances : (k + 1) * instances] for a in found)) for k in range(kinds)]


def constraint_count(problem: Problem) -> int:
    """M, the number of terminal constraints."""
    params = FreeTime(jnp.asarray(problem.final_time), problem.data)
    return jax.eval_shape(problem.constraints, params, problem.start).shape[1]


@functools.cache
def _conditions(problem: Problem):
    """(z (N, n), steps) -> the conditions of optimality (N, n), with z the controls, final time and multipliers."""

    def run(z, start, data, fixed_time, steps):
        controls, time, values = z[:, : 4 * steps], z[:, 4 * steps], z[:, 4 * steps + 1 :]
        start, data = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(z), *a.shape)), (start, data))
        multipliers = Multipliers(values, jnp.zeros(()))
        controls = controls.reshape(-1, steps, 4)
        found, cost, residual = lagrangian(problem, controls, FreeTime(time, data), multipliers, start)
        of_time = found.params.final_time if problem.is_free else time - fixed_time
        of_controls = gradient_of_function(found.controls).reshape(len(z), -1)
        conditions = jnp.concatenate([of_controls, of_time[:, None], residual], axis=1)
        first = jax.tree.map(lambda a: a[0], (cost, found.states, found.costates))
        return conditions, first

    return jax.jit(run, static_argnums=4)


DIFFERENCE = 1e-6
"""Change of a variable that gives a column of second derivatives."""


def newton(problem: Problem, instance: int, steps: int, start, iterations: int = 12, goal: float = 1e-11) -> Extremal:
    """Newton's method on the conditions of optimality; a step is halved until it lowers their norm.

    Args:
        problem: the problem.
        instance: which of its instances.
        steps: K.
        start: (controls (K′, 4), final time, multipliers) in any number K′ of steps.
        iterations: at most.
        goal: the largest violation of a condition, relative to the largest variable if that is above 1, at which the
            iterations end.
    """
    controls, final_time, multipliers = start
    if len(controls) != steps:
        controls = resampled(controls, stage_times(steps))
    own = jax.tree.map(lambda a: a[instance], (problem.start, problem.data, problem.final_time))
    z = np.concatenate([np.ravel(controls), [final_time], multipliers])
    changes = np.concatenate([np.zeros((1, len(z))), DIFFERENCE * np.eye(len(z))])
    halvings = 0.5 ** np.arange(len(changes))[:, None]

    def conditions(rows):
        return jax.tree.map(np.asarray, _conditions(problem)(rows, *own, steps))

    path: list[tuple] = []
    first: Any = None
    for iteration in range(iterations + 1):
        rows, first = conditions(z + changes)
        residual = np.abs(rows[0]).max()
        path.append((residual, first[0], np.linalg.norm(rows[0, 4 * steps + 1 :])))
        is_converged = residual < goal * max(1.0, np.abs(z).max())
        if is_converged or not np.isfinite(residual) or iteration == iterations:
            break
        derivative = (rows[1:] - rows[0]).T / DIFFERENCE
        unused = ~derivative.any(axis=1)  # the multiplier of a constraint that this instance does not have
        derivative[unused, unused] = 1.0
        try:
            move = -np.linalg.solve(derivative, rows[0])
        except np.linalg.LinAlgError:  # H_uu = 0, as where all costates are 0
            break
        norms = np.linalg.norm(conditions(z + halvings * move)[0], axis=1)
        better = np.flatnonzero(norms < (1 - 0.1 * halvings[:, 0]) * np.linalg.norm(rows[0]))
        if not len(better):  # rounding
            break
        z = z + halvings[better[0]] * move
    cost, states, costates = first
    found = z[: 4 * steps].reshape(steps, 4), z[4 * steps], states, costates, z[4 * steps + 1 :]
    return Extremal(cost, found[1], found[0], *found[2:], *np.array(path, float).T)


def resampled(controls, wanted):
    """Controls (K, 4) at other times σ, linear between those at the known times."""
    known, index = np.unique(stage_times(len(controls)).ravel().round(12), return_inverse=True)
    means = np.bincount(index.ravel(), controls.ravel()) / np.bincount(index.ravel())
    return np.interp(wanted, known, means)
