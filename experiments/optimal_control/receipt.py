"""The check before every problem: the hand-written adjoint against `jax.grad` of the forward integration."""

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.layers import FreeTime, Multipliers
from experiments.optimal_control.methods import Problem, constraint_count, lagrangian, stage_times


def receipt(problem: Problem, steps: int = 5) -> float:
    """The largest difference of the two gradients with respect to controls, final time and start.

    Relative to the largest entry of each. The multipliers are not zero, so that the constraints count.
    """
    first = jax.tree.map(lambda a: jnp.asarray(a[:1]), (problem.start, problem.data, problem.final_time))
    start, data, final_time = first
    controls = jnp.asarray(problem.guess(stage_times(steps)), float)[None] + 0.1
    multipliers = Multipliers(jnp.linspace(1.0, 2.0, constraint_count(problem))[None], jnp.asarray(problem.penalty))

    def cost(controls, final_time, start):
        function = bp.layers.free_final_time(problem.dynamics)
        cell = bp.layers.runge_kutta(function, problem.state_shape, 1 / steps, stage_controls=True)
        params = FreeTime(final_time, data)

        def step(state, u):
            return cell.step(params, state, u)[0], None

        last, _ = jax.lax.scan(step, start, jnp.swapaxes(controls, 0, 1))
        return bp.layers.augmented_lagrangian(problem.cost, problem.constraints)(multipliers, params, last)[0]

    @jax.jit
    def both(controls, final_time, start):
        found, _, _ = lagrangian(problem, controls, FreeTime(final_time, data), multipliers, start)
        ours = found.controls, found.params.final_time, jax.tree.map(lambda a: a[:, 0], found.costates)
        return ours, jax.grad(cost, (0, 1, 2))(controls, final_time, start)

    ours, theirs = (jax.tree.leaves(tree) for tree in both(controls, final_time, start))
    return max(_relative(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True))


def _relative(a, b) -> float:
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))
