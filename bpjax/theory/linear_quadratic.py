"""The linear-quadratic regulator in discrete time by dynamic programming (Bellman 1957, Kalman 1960).

    sₜ₊₁ = A sₜ + B uₜ        J = Σₜ ½ (sₜᵀ Q sₜ + uₜᵀ R uₜ) + ½ s_Tᵀ Q_T s_T        t = 0 … T−1

The cost still to come, Vₜ(s), obeys a recursion backward in time. Its derivative ∂Vₜ/∂s is the costate λₜ, the error
signal of backpropagation: Dreyfus (1962) derived the gradient of optimal control from it by the chain rule.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.types import Array
from bpjax.util.checks import as_floating, check_count, check_finite, check_instance
from bpjax.util.precision import widen


class LinearQuadratic(NamedTuple):
    """The problem, with H state variables and D controls; Q, R and Q_T are symmetric."""

    a: Array  # A (H, H)
    b: Array  # B (H, D)
    q: Array  # Q (H, H)
    r: Array  # R (D, D), positive definite
    final: Array  # Q_T (H, H)


class Regulator(NamedTuple):
    """The best feedback u = −K s and the least cost ½ sᵀ P s."""

    gains: Array  # K (T, D, H)
    values: Array  # P (T + 1, H, H)


class CostToGo(NamedTuple):
    """The derivatives of the cost along a trajectory, by dynamic programming."""

    cost: Array  # ()
    costates: Array  # ∂Vₜ/∂s (T + 1, H)
    controls: Array  # ∂J/∂uₜ (T, D)


def riccati(problem: LinearQuadratic, steps: int) -> Regulator:
    """The best gains by the recursion of Riccati.

    P_T = Q_T,   Kₜ = (R + Bᵀ Pₜ₊₁ B)⁻¹ Bᵀ Pₜ₊₁ A,   Pₜ = Q + Aᵀ Pₜ₊₁ (A − B Kₜ)

    Args:
        problem: A, B, Q, R and Q_T.
        steps: T.

    Raises:
        ValueError: `problem` is not a `LinearQuadratic`, its shapes do not fit, an entry is not finite, or `steps` is
            not a positive integer.
    """
    a, b, q, r, final = _checked("riccati", problem)
    steps = check_count("riccati", "steps", steps)

    def step(p, _):
        gain = jnp.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        before = q + a.T @ p @ (a - b @ gain)
        before = (before + before.T) / 2
        return before, (gain, before)

    _, (gains, values) = jax.lax.scan(step, final, length=steps, reverse=True)
    return Regulator(gains, jnp.concatenate([values, final[None]]))


def cost_to_go(problem: LinearQuadratic, start, controls) -> CostToGo:
    """The gradient of the cost by dynamic programming, for any controls: Vₜ(s) = ½ sᵀ Pₜ s + pₜᵀ s + cₜ.

    Pₜ = Q + Aᵀ Pₜ₊₁ A,   pₜ = Aᵀ (Pₜ₊₁ B uₜ + pₜ₊₁),   cₜ = cₜ₊₁ + ½ uₜᵀ (R + Bᵀ Pₜ₊₁ B) uₜ + pₜ₊₁ᵀ B uₜ
    ∂Vₜ/∂s = Pₜ sₜ + pₜ,   ∂J/∂uₜ = R uₜ + Bᵀ (Pₜ₊₁ sₜ₊₁ + pₜ₊₁)

    Nothing is propagated along the trajectory: V is a function of every state, evaluated where the trajectory passes.

    Args:
        problem: A, B, Q, R and Q_T.
        start: s₀ (H,).
        controls: u (T, D).

    Raises:
        ValueError: `problem` is not a `LinearQuadratic`, shapes do not fit, or an entry is not finite.
    """
    a, b, q, r, final = _checked("cost_to_go", problem)
    start, controls = _floats("cost_to_go", "start", start), _floats("cost_to_go", "controls", controls)
    if start.shape != a.shape[:1] or controls.shape[1:] != b.shape[1:] or controls.ndim != 2 or not len(controls):
        raise ValueError(
            f"`cost_to_go` expected `start` of shape {a.shape[:1]} and `controls` of shape (T, {b.shape[1]}), got "
            f"{start.shape} and {controls.shape}."
        )

    def move(s, u):
        s = a @ s + b @ u
        return s, s

    def back(after, u):
        p, slope, constant = after
        bu = b @ u
        constant = constant + 0.5 * u @ r @ u + 0.5 * bu @ p @ bu + slope @ bu
        before = q + a.T @ p @ a, a.T @ (p @ bu + slope), constant
        return before, (before[:2], after[:2])

    _, states = jax.lax.scan(move, start, controls)
    last = final, jnp.zeros_like(start), jnp.zeros((), start.dtype)
    (p, slope, constant), ((ps, slopes), (next_ps, next_slopes)) = jax.lax.scan(back, last, controls, reverse=True)
    before = jnp.concatenate([start[None], states[:-1]])
    costates = jnp.einsum("tij,tj->ti", ps, before) + slopes
    after = jnp.einsum("tij,tj->ti", next_ps, states) + next_slopes
    return CostToGo(
        0.5 * start @ p @ start + slope @ start + constant,
        jnp.concatenate([costates, (final @ states[-1])[None]]),
        controls @ r.T + after @ b,
    )


def _floats(who: str, name: str, x) -> Array:
    """`x` as an array of finite numbers in at least single precision, or a `ValueError`."""
    x = widen(as_floating(who, name, x))
    check_finite(who, name, x)
    return x


def _checked(who: str, problem) -> LinearQuadratic:
    """The problem as float arrays of fitting shapes, or a `ValueError`."""
    check_instance(who, "problem", problem, LinearQuadratic, "LinearQuadratic(a, b, q, r, final)")
    arrays = LinearQuadratic(*(_floats(who, f"problem.{name}", x) for name, x in problem._asdict().items()))
    if arrays.b.ndim != 2 or 0 in arrays.b.shape:
        raise ValueError(f"`{who}` expected `problem.b` of shape (H, D), got {arrays.b.shape}.")
    features, controls = arrays.b.shape
    for name, size in (("a", features), ("q", features), ("r", controls), ("final", features)):
        shape = getattr(arrays, name).shape
        if shape != (size, size):
            raise ValueError(f"`{who}` expected `problem.{name}` of shape ({size}, {size}), got {shape}.")
    return arrays
