"""Optimal control: Runge-Kutta steps and their adjoint, costates, terminal constraints, free final time."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.layers import FreeTime, Multipliers, adjoint, dynamics, elman, runge_kutta, unroll
from tests.oracles import central_difference, relative_error
from tests.passes import quick_jit


def swing(params, state, u):
    """A pendulum with friction and a bounded torque; the state is a dictionary."""
    angle, speed = state["angle"], state["speed"]
    torque = params["strength"] * jnp.tanh(u[:, :1] + 0.5 * u[:, 1:])
    return {"angle": speed, "speed": -jnp.sin(angle) - params["friction"] * speed + torque}


SHAPE = {"angle": (1,), "speed": (1,)}
PARAMS = {"strength": jnp.float64(1.5), "friction": jnp.float64(0.3)}


def terminal(params, state):
    return (params["strength"] * state["angle"] ** 2 + jnp.cos(state["speed"]))[:, 0]


def a_run(keys, controls, steps=3):
    state = {"angle": jax.random.normal(next(keys), (2, 1)), "speed": jax.random.normal(next(keys), (2, 1))}
    return state, jax.random.normal(next(keys), (2, steps, controls))


def integrated(params, state, controls, step, stages):
    """The textbook's method, trajectory by trajectory, without anything of the library."""
    for x in jnp.swapaxes(controls, 0, 1):
        u = jnp.split(x, 4, axis=1) if stages else [x] * 4

        def moved(s, h, k):
            return jax.tree.map(lambda a, b: a + h * b, s, k)

        k1 = swing(params, state, u[0])
        k2 = swing(params, moved(state, step / 2, k1), u[1])
        k3 = swing(params, moved(state, step / 2, k2), u[2])
        k4 = swing(params, moved(state, step, k3), u[3])
        state = jax.tree.map(lambda s, a, b, c, d: s + step / 6 * (a + 2 * b + 2 * c + d), state, k1, k2, k3, k4)
    return state


@pytest.mark.parametrize("stages", [pytest.param(False, marks=pytest.mark.thorough), True])
def test_the_adjoint_is_the_vjp_of_the_integration(stages, keys):
    state, controls = a_run(keys, 8 if stages else 2)
    cell = runge_kutta(swing, SHAPE, 0.2, stage_controls=stages)

    def cost(params, state, controls):
        return terminal(params, integrated(params, state, controls, 0.2, stages)).sum()

    expected = quick_jit(jax.value_and_grad(cost, (0, 1, 2)))(PARAMS, state, controls)
    found = quick_jit(functools.partial(adjoint, cell, terminal))(PARAMS, state, controls)
    first = jax.tree.map(lambda c: c[:, 0], found.costates)
    assert relative_error((found.cost.sum(), (found.params, first, found.controls)), expected) < 1e-13
    one = found.controls[0, 1, 0]
    moved = quick_jit(lambda u: cost(PARAMS, state, controls.at[0, 1, 0].set(u)))
    differences = central_difference(moved, np.asarray(controls[0, 1, 0]))
    assert float(one) == pytest.approx(float(differences), rel=1e-8)


def test_costates_are_the_error_signals_of_unroll(keys):
    state, controls = a_run(keys, 2)
    cell = runge_kutta(swing, SHAPE, 0.2)
    run = quick_jit(functools.partial(adjoint, cell, terminal))
    found = run(PARAMS, state, controls)
    layer = unroll(cell, with_state=True)

    @quick_jit
    def by_unroll(state, controls):
        (y, final), residuals = layer.forward(PARAMS, (controls, state))
        last = jax.grad(lambda s: terminal(PARAMS, s).sum())(final)
        _, dx = layer.backward(PARAMS, residuals, (jax.tree.map(jnp.zeros_like, y), last))
        return y, *dx

    y, dx, first = by_unroll(state, controls)
    assert relative_error(found.controls, dx) < 1e-15
    assert relative_error(jax.tree.map(lambda c: c[:, 0], found.costates), first) < 1e-15
    assert relative_error(jax.tree.map(lambda s: s[:, 1:], found.states), y) < 1e-15
    # the costate of the second state is the derivative of the cost of the rest of the path
    middle = jax.tree.map(lambda s: s[:, 1], found.states)
    rest = run(PARAMS, middle, controls[:, 1:])
    expected = jax.tree.map(lambda c: c[:, 1], found.costates)
    assert relative_error(jax.tree.map(lambda c: c[:, 0], rest.costates), expected) < 1e-15


def test_costates_by_hand():
    # position q′ = q + v, speed v′ = v + u from (1, 2) with u = (3, −1): s₂ = (8, 4), J = ½ s₂ᵀ s₂ = 40
    # λ₂ = (8, 4), λ₁ = (8, 8 + 4) = (8, 12), λ₀ = (8, 8 + 12) = (8, 20), H_u = second entries of λ₁ and λ₂
    a, b = jnp.array([[1.0, 1], [0, 1]]), jnp.array([[0.0], [1]])
    cell = dynamics(lambda params, s, u: s @ a.T + u @ b.T, (2,))
    controls = jnp.array([[[3.0], [-1]]])
    found = adjoint(cell, lambda params, s: 0.5 * (s**2).sum(1), (), jnp.array([[1.0, 2]]), controls)
    np.testing.assert_array_equal(found.cost, [40])
    np.testing.assert_array_equal(found.costates, [[[8, 20], [8, 12], [8, 4]]])
    np.testing.assert_array_equal(found.controls, [[[12], [4]]])


def test_a_cost_along_the_path_makes_the_costates_jump():
    # as above with L = 3 q₁² / 2, q₁ = 3: λ₁ = (8 + 9, 12), λ₀ = (17, 17 + 12), H_u is unchanged; then L = v₂
    a, b = jnp.array([[1.0, 1], [0, 1]]), jnp.array([[0.0], [1]])
    cell = dynamics(lambda params, s, u: s @ a.T + u @ b.T, (2,))
    run = functools.partial(adjoint, cell, lambda params, s: 0.5 * (s**2).sum(1), (), jnp.array([[1.0, 2]]))
    controls = jnp.array([[[3.0], [-1]]])
    found = run(controls, path_cost=lambda params, s: 1.5 * s[:, 0, 0] ** 2)
    np.testing.assert_array_equal(found.cost, [40 + 13.5])
    np.testing.assert_array_equal(found.costates, [[[17, 29], [17, 12], [8, 4]]])
    np.testing.assert_array_equal(found.controls, [[[12], [4]]])
    found = run(controls, path_cost=lambda params, s: s[:, 1, 1])
    np.testing.assert_array_equal(found.costates, [[[8, 21], [8, 13], [8, 5]]])


def test_the_adjoint_of_a_cell_whose_weight_gradients_come_after_the_sweep(keys):
    cell = elman(3)
    params, _ = cell.init(next(keys), (2,))
    state, x = jnp.zeros((2, 3)), jax.random.normal(next(keys), (2, 4, 2))

    def cost(params, s):
        return (s**2).sum(1) * params.b.sum()

    params = params._replace(b=params.b + 0.1)
    found = quick_jit(functools.partial(adjoint, cell, cost))(params, state, x)

    def forward(params, x):
        h = state
        for t in range(x.shape[1]):
            h = jnp.tanh(x[:, t] @ params.wx + h @ params.wh + params.b[None])
        return cost(params, h).sum()

    assert relative_error((found.params, found.controls), quick_jit(jax.grad(forward, (0, 1)))(params, x)) < 1e-13


def test_the_order_of_the_integration_is_four():
    # the oscillator q″ = −q from (1, 0): q(1) = cos 1, and the costate of q(0) in J = q(1) is cos 1 too
    def error(steps):
        cell = runge_kutta(lambda p, s, u: jnp.stack([s[:, 1], -s[:, 0] + 0 * u[:, 0]], 1), (2,), 1 / steps)
        run = quick_jit(functools.partial(adjoint, cell, lambda p, s: s[:, 0], ()))
        found = run(jnp.array([[1.0, 0]]), jnp.zeros((1, steps, 1)))
        return float(found.cost[0]) - np.cos(1), float(found.costates[0, 0, 0]) - np.cos(1)

    for coarse, fine in zip(error(8), error(16), strict=True):
        assert np.log2(coarse / fine) == pytest.approx(4, abs=0.1)


def test_free_final_time_and_the_running_cost():
    # ds/dt = u = 2 for t_f = 3 with L = s: s = 1 + 2 t, the cost is 3 + 9 = 12 and ∂cost/∂t_f = s(t_f) = 7
    function = bp.layers.free_final_time(bp.layers.mayer_form(lambda p, s, u: p * u, lambda p, s, u: s[:, 0]))
    cell = runge_kutta(function, ((1,), ()), 0.25)
    params = FreeTime(jnp.array([3.0, 1.5]), jnp.float64(1.0))
    start, controls = (jnp.ones((2, 1)), jnp.zeros(2)), jnp.full((2, 4, 1), 2.0)
    run = quick_jit(functools.partial(adjoint, cell, lambda params, state: state[1]))
    found = run(params, start, controls)
    np.testing.assert_allclose(found.cost, [12, 1.5 + 2.25], rtol=1e-14)
    np.testing.assert_allclose(found.params.final_time, [7, 4], rtol=1e-14)
    # the factor p of u: the integral of 2 p t is p t_f²
    np.testing.assert_allclose(found.params.params, 9 + 2.25, rtol=1e-14)
    one = run(FreeTime(jnp.float64(3.0), jnp.float64(1.0)), start, controls)
    np.testing.assert_allclose(one.cost, [12, 12], rtol=1e-14)


def test_the_method_of_multipliers():
    # min ½ s² with s = 1 has the multiplier ν = −1: φ + ν ψ + ½ μ ψ² is least at s = (μ − ν)/(1 + μ)
    cost = bp.layers.augmented_lagrangian(lambda p, s: 0.5 * s[:, 0] ** 2, lambda p, s: s - 1)
    multipliers = Multipliers(jnp.zeros((1, 1)), jnp.float64(3.0))
    s = jnp.array([[0.5]])
    assert float(cost(multipliers._replace(values=multipliers.values + 2), (), s)[0]) == 0.125 - 1.0 + 0.375
    for _ in range(40):
        s = (multipliers.penalty - multipliers.values) / (1 + multipliers.penalty)
        assert abs(float(jax.grad(lambda s: cost(multipliers, (), s)[0])(s)[0, 0])) < 1e-12  # noqa: B023
        multipliers = bp.layers.update_multipliers(multipliers, s - 1)
    np.testing.assert_allclose([s[0, 0], multipliers.values[0, 0]], [1, -1], rtol=1e-12)


def test_a_runge_kutta_layer_trains_like_any_other(keys):
    layer = unroll(runge_kutta(swing, SHAPE, 0.2, lambda key, shape: PARAMS))
    params, out = layer.init(next(keys), (3, 2))
    assert out == {"angle": (3, 1), "speed": (3, 1)} and params == PARAMS
    assert repr(unroll(runge_kutta(swing, (2,), 0.2, stage_controls=True))).endswith("0.2, stage_controls=True))")


WRONG = {
    "the slope": (
        lambda: adjoint(runge_kutta(lambda p, s, u: u, (2,), 0.1), terminal, (), jnp.ones((1, 2)), jnp.ones((1, 3, 1))),
        "`runge_kutta` expected the function to return ds/dt as float64[1, 2], got float64[1, 1]",
    ),
    "stages": (
        lambda: adjoint(
            runge_kutta(lambda p, s, u: s, (2,), 0.1, stage_controls=True), terminal, (), jnp.ones((1, 2)),
            jnp.ones((1, 3, 3)),
        ),
        "expected x (N, 4 D), the controls of four stages, got (1, 3)",
    ),
    "an integer": (
        lambda: adjoint(
            runge_kutta(lambda p, s, u: s, (2,), 0.1), terminal, {"mass": 2}, jnp.ones((1, 2)), jnp.ones((1, 3, 1))
        ),
        "`params['mass']` of a floating-point type",
    ),
    "the cost": (
        lambda: adjoint(
            runge_kutta(lambda p, s, u: s, (2,), 0.1), lambda p, s: s.sum(), (), jnp.ones((1, 2)), jnp.ones((1, 3, 1))
        ),
        "the costs of 1 trajectories, shape (1,), got ()",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_ends_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
