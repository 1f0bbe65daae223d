"""Linear dynamics with the cost ½ ∫ u² dt: four problems of Bryson & Ho and the double integrator, in closed form.

z = e^{A t_f} s₀ is where the system ends without control, W = ∫ e^{Aτ} B Bᵀ e^{Aᵀτ} dτ the controllability Gramian.
With the end at rest λ_f = W⁻¹ z, with the end cost ½ s_fᵀ C s_f it is C (I + W C)⁻¹ z; then λ(t) = e^{Aᵀ(t_f − t)} λ_f
and u = −Bᵀ λ.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

import bpjax as bp
from experiments.optimal_control.methods import Problem

NO_WEIGHT = np.zeros((2, 2))


class Linear(NamedTuple):
    """ds/dt = A s + B u from s₀; the end is fixed at rest, or costs ½ s_fᵀ C s_f."""

    name: str
    matrix: np.ndarray  # A (2, 2)
    column: np.ndarray  # B (2,)
    weight: np.ndarray | None  # C (2, 2)
    start: np.ndarray  # s₀ (2,)
    final_time: float
    formula: float  # the least cost as published
    source: str


def _free(name, page, c, x0, final_time):
    formula = 0.5 * c * x0**2 / (1 + c * final_time)
    return Linear(
        name, np.zeros((2, 2)), np.array([1.0, 0.0]), np.diag([c, 0.0]), np.array([x0, 0.0]), final_time, formula, page
    )


def _integrator_formula(c1, c2, x0, v0, t):
    """The cost of Bryson & Ho, p. 154: end penalties ½ c₁ v² + ½ c₂ x², through (C⁻¹ + W)⁻¹ written out for 2 × 2."""
    a, b, d = 1 / c2 + t**3 / 3, t**2 / 2, 1 / c1 + t
    x = x0 + v0 * t
    return 0.5 * (d * x**2 - 2 * b * x * v0 + a * v0**2) / (a * d - b**2)


def _oscillator_formula(c, x0, v0, t, omega=1.0):
    """The cost of Bryson & Ho, p. 156: end penalty ½ c x²."""
    x = x0 * np.cos(omega * t) + v0 / omega * np.sin(omega * t)
    return 0.5 * c * x**2 / (1 + c * (t / 2 - np.sin(2 * omega * t) / (4 * omega)) / omega**2)


def _rest_formula(x0, v0, t):
    """The cost of Bryson & Ho, p. 166: an oscillator brought to rest."""
    above = t * (v0**2 + x0**2) + np.sin(2 * t) / 2 * (x0**2 - v0**2) + v0 * x0 + v0 * x0 * (2 * np.sin(t) ** 2 - 1)
    return -above / (np.sin(t) ** 2 - t**2)


INTEGRATOR, OSCILLATOR, PUSH = np.array([[0.0, 1], [0, 0]]), np.array([[0.0, 1], [-1, 0]]), np.array([0.0, 1])

SOFT = (
    _free("p. 153, integrator with end penalty", "Bryson & Ho p. 153", 2.0, 1.0, 1.0),
    Linear("p. 154, double integrator with end penalties", INTEGRATOR, PUSH, np.diag([100.0, 1.0]),
           np.array([100.0, 1.0]), 100.0, _integrator_formula(1.0, 100.0, 100.0, 1.0, 100.0), "Bryson & Ho p. 154"),
    Linear("p. 156, oscillator with end penalty", OSCILLATOR, PUSH, np.diag([1.0, 0.0]), np.array([10.0, 1.0]), 10.0,
           _oscillator_formula(1.0, 10.0, 1.0, 10.0), "Bryson & Ho p. 156"),
)  # fmt: skip
"""The end is free and costs."""
HARD = (
    Linear("double integrator, rest to rest", INTEGRATOR, PUSH, None, np.array([-1.0, 0.0]), 1.0, 6.0, "closed form"),
    Linear("p. 166, oscillator to rest", OSCILLATOR, PUSH, None, np.array([1.0, 0.5]), 2.0,
           _rest_formula(1.0, 0.5, 2.0), "Bryson & Ho p. 166"),
)  # fmt: skip
"""The end is at rest in the origin."""


def gramian(case: Linear) -> tuple[np.ndarray, np.ndarray]:
    """z (2,) and W (2, 2), W by the exponential of a block matrix (Van Loan 1978)."""
    a, b, t = case.matrix, case.column[:, None], case.final_time
    block = expm(np.block([[-a, b @ b.T], [np.zeros((2, 2)), a.T]]) * t)
    return expm(a * t) @ case.start, block[2:, 2:].T @ block[:2, 2:]


def last_costate(case: Linear) -> np.ndarray:
    """λ_f in closed form."""
    z, w = gramian(case)
    return (
        np.linalg.solve(w, z) if case.weight is None else case.weight @ np.linalg.solve(np.eye(2) + w @ case.weight, z)
    )


def costates(case: Linear, steps: int) -> np.ndarray:
    """λ (steps + 1, 2) at equal distances in time, in closed form."""
    back = expm(case.matrix.T * case.final_time / steps)
    values = [last_costate(case)]
    for _ in range(steps):
        values.append(back @ values[-1])
    return np.stack(values[::-1])


def condition_number(case: Linear, penalty: float) -> float:
    """The largest over the smallest eigenvalue of the second derivative, 1 + λ_max(C^½ W C^½); the smallest is 1."""
    _, w = gramian(case)
    root = np.sqrt(penalty) * np.eye(2) if case.weight is None else np.sqrt(case.weight)
    return 1 + np.linalg.eigvalsh(root @ w @ root)[-1]


def linear_problem(name: str, cases: tuple[Linear, ...], penalty: float = 10.0) -> Problem:
    """The cases as one problem. The constraints of a case with a free end are 0 everywhere."""

    def motion(data, s, u):
        return jnp.einsum("nij,nj->ni", data["matrix"], s) + data["column"] * u

    def cost(params, s):
        end, running = s
        return running + 0.5 * jnp.einsum("ni,nij,nj->n", end, params.params["weight"], end)

    data = {
        "matrix": np.stack([case.matrix for case in cases]),
        "column": np.stack([case.column for case in cases]),
        "is_fixed": np.array([[float(case.weight is None)] for case in cases]),
        "weight": np.stack([NO_WEIGHT if case.weight is None else case.weight for case in cases]),
    }
    times = np.array([case.final_time for case in cases])
    curvature = times * np.array([condition_number(case, penalty) for case in cases])
    return Problem(
        name, bp.layers.mayer_form(motion, lambda data, s, u: 0.5 * u[:, 0] ** 2), cost,
        lambda p, s: p.params["is_fixed"] * s[0], ((2,), ()),
        (np.stack([case.start for case in cases]), np.zeros(len(cases))), data, times, False, np.zeros_like,
        1 / curvature, 0.0, penalty,
    )  # fmt: skip
