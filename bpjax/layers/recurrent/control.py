"""Optimal control: costates, terminal constraints, free final time.

The forward pass is the trajectory, the backward pass the adjoint equations (Kelley 1960, Bryson 1961): the error signal
at time t is the costate λ(t), and the gradient with respect to the control is H_u, the derivative of the Hamiltonian
H = λᵀ f. N trajectories are computed at once.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.sequences import check_state, zero_state
from bpjax.types import Array, Params
from bpjax.util.checks import as_floating, check_function, check_instance, check_real
from bpjax.util.precision import widen


class Adjoint(NamedTuple):
    """A trajectory, its cost and the derivatives of the cost, summed over the N trajectories."""

    cost: Array  # (N,)
    states: Any  # (N, T + 1, ...) s₀ … s_T
    costates: Any  # (N, T + 1, ...) λₜ = ∂cost/∂sₜ, the error signals
    controls: Array  # (N, T, D) H_u = ∂cost/∂uₜ
    params: Params  # ∂cost/∂params


class FreeTime(NamedTuple):
    """The params of dynamics with a free final time."""

    final_time: Array  # t_f, () or (N,)
    params: Params = ()  # of the dynamics in real time


class Multipliers(NamedTuple):
    """The state of the method of multipliers."""

    values: Array  # ν (N, M), one for each constraint
    penalty: Array  # μ, () or (M,)


def adjoint(
    cell: Cell,
    terminal_cost: Callable,
    params: Params,
    state: Any,
    controls: Array,
    path_cost: Callable | None = None,
) -> Adjoint:
    """The cost φ(s_T) + L(s₁ … s_T) of trajectories sₜ₊₁ = f(sₜ, uₜ), its costates and its gradient.

    forward    sₜ₊₁ = f(sₜ, uₜ)                                             t = 0 … T−1
    backward   λ_T = ∂φ/∂s + ∂L/∂s_T,   λₜ = (∂f/∂s)ᵀ λₜ₊₁ + ∂L/∂sₜ         λ₀ without ∂L/∂s₀
               H_u = (∂f/∂u)ᵀ λₜ₊₁,     dparams = ∂(φ + L)/∂params + Σₜ (∂f/∂params)ᵀ λₜ₊₁

    This is backpropagation through `unroll(cell)` that keeps the error signal of every state (Bryson & Ho 1969, ch. 2).
    A running cost becomes a terminal one by `mayer_form`; terminal constraints by `augmented_lagrangian`.

    Args:
        cell: One time step: `runge_kutta`, `dynamics`, `stage` or any other cell.
        terminal_cost: φ, (params, s_T (N, ...)) -> (N,), in JAX.
        params: Of the cell.
        state: s₀ (N, ...).
        controls: u (N, T, D).
        path_cost: L, (params, s₁ … s_T (N, T, ...)) -> (N,), such as the penalty of a constraint along the path. The
            costate jumps by its derivative. None: no such cost.

    Raises:
        ValueError: `cell` is not a Cell, a cost is no function or does not return (N,); `controls` are not (N, T, D);
            `state` is not that of the cell, in the dtype of the controls; `params` are not of floating-point dtypes.
    """
    check_instance("adjoint", "cell", cell, Cell, "runge_kutta(f, (2,), 0.1)")
    check_function("adjoint", "terminal_cost", terminal_cost)
    if path_cost is not None:
        check_function("adjoint", "path_cost", path_cost)
    controls = as_floating("adjoint", "controls", controls)
    if controls.ndim != 3 or 0 in controls.shape:
        raise ValueError(f"`adjoint` expected `controls` of shape (N, T, D), got {controls.shape}. Add the batch axis.")
    params = jax.tree_util.tree_map_with_path(_floating_parameter, params)
    check_real("adjoint", "state", state)
    expected = zero_state(cell, len(controls), controls.dtype)
    state = check_state("adjoint", jax.tree.map(jnp.asarray, state), expected)
    sequence = jnp.swapaxes(controls, 0, 1)

    def step(state, driven):
        state, y, residuals = cell.step(params, state, driven)
        return state, (state, y, residuals)

    final, (states, outputs, residuals) = jax.lax.scan(step, state, cell.inputs(params, sequence))
    cost, vjp = jax.vjp(functools.partial(_cost, terminal_cost, path_cost), params, final, states)
    if jnp.shape(cost) != (len(controls),):
        raise ValueError(
            f"`adjoint` expected the costs of {len(controls)} trajectories, shape ({len(controls)},), got "
            f"{jnp.shape(cost)}. Sum over all axes of the state but the first."
        )
    dparams, last, along = vjp(jnp.ones_like(cost))
    last = jax.tree.map(lambda d, d_path: d + d_path[-1], last, along)
    no_error = jax.tree.map(lambda y: jnp.zeros_like(y[0]), outputs)
    own = None if cell.gradient else jax.tree.map(widen, dparams)
    first = jax.tree.map(jnp.zeros_like, state)
    before = jax.tree.map(lambda d, d_path: jnp.concatenate((d[None], d_path[:-1])), first, along)  # ∂L/∂sₜ, t < T

    back_params = cell.back_params(params)

    def sweep(carry, step):
        (costate, total), (residuals, error) = carry, step
        costate, delta = cell.back(back_params, residuals, costate, no_error)
        costate = jax.tree.map(jnp.add, costate, error)
        if cell.gradient is None:
            here, delta = delta
            total = jax.tree.map(lambda total, d: total + widen(d), total, here)
        return (costate, total), (costate, delta)

    (_, total), (costates, delta) = jax.lax.scan(sweep, (last, own), (residuals, before), reverse=True)
    if cell.gradient is None:
        dparams, dx = jax.tree.map(lambda d, p: d.astype(p.dtype), total, dparams), delta
    else:
        through, dx = cell.gradient(params, sequence, residuals, delta)
        dparams = jax.tree.map(jnp.add, dparams, through)
    return Adjoint(
        cost,
        jax.tree.map(lambda s, rest: jnp.swapaxes(jnp.concatenate((s[None], rest)), 0, 1), state, states),
        jax.tree.map(lambda rest, c: jnp.swapaxes(jnp.concatenate((rest, c[None])), 0, 1), costates, last),
        jnp.swapaxes(dx, 0, 1),
        dparams,
    )


def free_final_time(function: Callable) -> Callable:
    """The dynamics in the time σ = t/t_f from 0 to 1: ds/dσ = t_f f(params, s, u).

    The final time becomes a parameter, `FreeTime(t_f, params)`, and its gradient comes from the same backward pass:
    ∂cost/∂t_f is the integral of the Hamiltonian over σ.

    Args:
        function: (params, s (N, ...), u (N, D)) -> ds/dt.

    Raises:
        ValueError: `function` is no function.
    """
    check_function("free_final_time", "function", function)

    def scaled(params, state, control):
        final_time = jnp.asarray(params.final_time)

        def scale(slope):
            times = final_time.reshape(final_time.shape + (1,) * (slope.ndim - 1)) if final_time.ndim else final_time
            return times * slope

        return jax.tree.map(scale, function(params.params, state, control))

    return scaled


def mayer_form(function: Callable, running_cost: Callable) -> Callable:
    """Dynamics whose state also holds the cost so far: (s, c) with dc/dt = L(params, s, u).

    The cost ∫ L dt of Lagrange becomes the terminal cost c(t_f) of Mayer; together with φ(s) it is that of Bolza.
    The state shape is `(state_shape, ())`.

    Args:
        function: (params, s (N, ...), u (N, D)) -> ds/dt.
        running_cost: L, (params, s, u) -> (N,).

    Raises:
        ValueError: an argument is no function.
    """
    check_function("mayer_form", "function", function)
    check_function("mayer_form", "running_cost", running_cost)

    def augmented(params, state, control):
        here, _ = state
        return function(params, here, control), running_cost(params, here, control)

    return augmented


def augmented_lagrangian(terminal_cost: Callable, constraints: Callable) -> Callable:
    """The cost with terminal constraints ψ(s_T) = 0: φ + νᵀψ + ½ μ ‖ψ‖² (Hestenes 1969, Powell 1969).

    With μ = 0 it is the Lagrangian of Bryson & Ho, with ν = 0 Courant's penalty (Kelley 1960). After the minimization,
    `update_multipliers` makes ν ← ν + μ ψ.

    Args:
        terminal_cost: φ, (params, s_T (N, ...)) -> (N,).
        constraints: ψ, (params, s_T) -> (N, M).

    Returns:
        (multipliers, params, s_T) -> (N,); bind the multipliers with `functools.partial`.

    Raises:
        ValueError: an argument is no function.
    """
    check_function("augmented_lagrangian", "terminal_cost", terminal_cost)
    check_function("augmented_lagrangian", "constraints", constraints)

    def cost(multipliers: Multipliers, params, state):
        residual = constraints(params, state)
        added = multipliers.values * residual + 0.5 * multipliers.penalty * residual**2
        return terminal_cost(params, state) + added.sum(axis=1)

    return cost


def update_multipliers(multipliers: Multipliers, residual: Array) -> Multipliers:
    """The next multipliers, ν + μ ψ.

    Args:
        multipliers: ν (N, M) and μ.
        residual: ψ (N, M), the constraints at the minimum of the augmented Lagrangian.

    Raises:
        ValueError: `multipliers` are not `Multipliers`, or the shapes differ.
    """
    check_instance(
        "update_multipliers", "multipliers", multipliers, Multipliers, "Multipliers(jnp.zeros((1, 2)), 10.0)"
    )
    residual = as_floating("update_multipliers", "residual", residual)
    if residual.shape != jnp.shape(multipliers.values):
        raise ValueError(
            f"`update_multipliers` expected `residual` of the shape of the multipliers, "
            f"{jnp.shape(multipliers.values)}, got {residual.shape}."
        )
    return multipliers._replace(values=multipliers.values + multipliers.penalty * residual)


def _floating_parameter(path, leaf) -> Array:
    return as_floating("adjoint", f"params{jax.tree_util.keystr(path)}", leaf)


def _cost(terminal_cost, path_cost, params, final, states):
    """φ + L, (N,); the states (T, N, ...) have the time first."""
    cost = terminal_cost(params, final)
    if path_cost is None:
        return cost
    return cost + path_cost(params, jax.tree.map(lambda s: jnp.swapaxes(s, 0, 1), states))
