"""Dreyfus: dynamic programming and the adjoint give one gradient; the gains of a controller follow their gradient.

Dreyfus (1962) derived Kelley's and Bryson's gradient from the recursion of dynamic programming by the chain rule alone,
and (1973) adapted the parameters of controllers in proportion to the error gradient.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import bpjax as bp
from bpjax.theory import LinearQuadratic, cost_to_go, riccati

GAINS_STEPS, GAINS_TIME = 100, 5.0
GRAVITY = 9.81
EFFORT = 0.01


class Comparison(NamedTuple):
    """Dynamic programming beside the adjoint on one linear-quadratic problem."""

    gradient: float  # largest relative difference of ∂J/∂u, at random controls
    costate: float  # largest relative difference of λₜ and ∂Vₜ/∂s, at random controls
    optimum: float  # largest |∂J/∂u| at u = −K s, relative to that at u = 0
    cost: float  # relative difference of J and ½ s₀ᵀ P₀ s₀ at u = −K s


def quadratic(seed: int, features: int = 4, controls: int = 2) -> LinearQuadratic:
    """A random stable system with random positive weights."""
    draw = np.random.default_rng(seed).standard_normal
    a, b = draw((features, features)), draw((features, controls))
    roots = draw((features, features)), draw((features, features)), draw((controls, controls))
    q, final, r = (root @ root.T / len(root) + 0.1 * np.eye(len(root)) for root in roots)
    return LinearQuadratic(*(jnp.asarray(x) for x in (a / np.linalg.norm(a, 2), b, q, r, final)))


@functools.partial(jax.jit, static_argnums=3)
def _compared(problem: LinearQuadratic, start, random, steps: int):
    """(gradient, costates) by both ways at random controls, then gradient and cost by both ways at the optimum."""
    features = len(start)

    def motion(params, s, u):
        return s @ problem.a.T + u @ problem.b.T

    def step(params, state, u):  # the state of Mayer's form: (s, cost so far)
        s, cost = state
        return motion(params, s, u), cost + 0.5 * jnp.sum(s @ problem.q * s, 1) + 0.5 * jnp.sum(u @ problem.r * u, 1)

    cell = bp.layers.dynamics(step, ((features,), ()))

    def terminal(params, state):
        s, cost = state
        return cost + 0.5 * jnp.sum(s @ problem.final * s, 1)

    def by_adjoint(u):
        return bp.layers.adjoint(cell, terminal, (), (start[None], jnp.zeros(1)), u[None])

    best = riccati(problem, steps)

    def follow(s, gain):
        u = -gain @ s
        return problem.a @ s + problem.b @ u, u

    _, optimal = jax.lax.scan(follow, start, best.gains)
    zero = by_adjoint(jnp.zeros_like(random)).controls
    open_loop = cost_to_go(problem, start, random)
    optimum = by_adjoint(optimal)
    at_random = by_adjoint(random)
    least = 0.5 * start @ best.values[0] @ start
    return (
        (at_random.controls[0], open_loop.controls), (at_random.costates[0][0], open_loop.costates),
        (optimum.controls, zero), (optimum.cost[0], least),
    )  # fmt: skip


def compare_dynamic_programming(seed: int, steps: int = 50) -> Comparison:
    """The differences on the random problem of this seed."""
    problem, draw = quadratic(seed), np.random.default_rng([seed, 1]).standard_normal
    features, controls = problem.b.shape
    found = _compared(problem, draw(features), draw((steps, controls)), steps)
    gradient, costate, optimum, cost = jax.tree.map(np.asarray, found)

    def relative(a, b):
        return float(np.abs(a - b).max() / np.abs(b).max())

    return Comparison(
        relative(*gradient), relative(*costate), float(np.abs(optimum[0]).max() / np.abs(optimum[1]).max()),
        relative(*cost),
    )  # fmt: skip


def pendulum(gains, state, target):
    """A pendulum driven to `target` (N, 1) by a proportional and a derivative gain (2,); the state is (s, cost)."""
    s, _ = state
    angle, speed = s[:, 0], s[:, 1]
    torque = gains[0] * (target[:, 0] - angle) - gains[1] * speed
    error = 0.5 * (angle - target[:, 0]) ** 2 + 0.5 * EFFORT * torque**2
    return jnp.stack([speed, -GRAVITY * jnp.sin(angle) + torque], axis=1), error


def adapt_gains(iterations: int, rate: float = 0.5) -> xr.Dataset:
    """Gains in proportion to the error gradient, from (1, 1), to swing the pendulum to the upright position."""
    step = GAINS_TIME / GAINS_STEPS
    cell = bp.layers.runge_kutta(pendulum, ((2,), ()), step)
    target = jnp.full((1, GAINS_STEPS, 1), np.pi)
    start = (jnp.zeros((1, 2)), jnp.zeros(1))

    def found_of(gains):
        return bp.layers.adjoint(cell, lambda gains, state: state[1], gains, start, target)

    def update(gains, _):
        found = found_of(gains)
        return gains - rate * found.params, (gains, found.cost[0], found.states[0][0], found.params)

    def checked(gains):
        def cost(gains):
            def move(state, u):
                return cell.step(gains, state, u)[0], None

            return jax.lax.scan(move, start, jnp.swapaxes(target, 0, 1))[0][1][0]

        return jax.grad(cost)(gains)

    first = jnp.array([1.0, 1.0])
    _, (gains, costs, states, gradients) = jax.jit(lambda gains: jax.lax.scan(update, gains, length=iterations))(first)
    oracle = np.asarray(jax.jit(checked)(first))
    return xr.Dataset(
        {
            "gains": (("iteration", "gain"), np.asarray(gains)),
            "cost": ("iteration", np.asarray(costs)),
            "before": (("node", "variable"), np.asarray(states[0])),
            "after": (("node", "variable"), np.asarray(states[-1])),
            "gradient": (("iteration", "gain"), np.asarray(gradients)),
            "oracle": ("gain", oracle),
            "time": ("node", np.arange(GAINS_STEPS + 1) * step),
        }
    )
