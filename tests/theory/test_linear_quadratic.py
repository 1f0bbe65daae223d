"""The linear-quadratic regulator: dynamic programming against values by hand and `jax.grad` of the cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.theory import LinearQuadratic, cost_to_go, riccati
from tests.passes import quick_jit

SCALAR = LinearQuadratic(*(jnp.array([[x]]) for x in (1.0, 1.0, 2.0, 1.0, 1.0)))


def test_riccati_by_hand():
    # P₂ = 1, K₁ = 1/(1 + 1) = ½, P₁ = 2 + 1·(1 − ½) = 2½, K₀ = 2.5/3.5 = 5/7, P₀ = 2 + 2.5·(2/7) = 19/7
    found = riccati(SCALAR, 2)
    np.testing.assert_allclose(found.gains[:, 0, 0], [5 / 7, 0.5], rtol=1e-15)
    np.testing.assert_allclose(found.values[:, 0, 0], [19 / 7, 2.5, 1], rtol=1e-15)


def test_cost_to_go_by_hand():
    # s = 1, 3, 2 with u = (2, −1): J = ½ (2 + 4) + ½ (18 + 1) + ½ 4 = 14.5
    # λ₂ = 2, λ₁ = 2·3 + 2 = 8, λ₀ = 2 + 8 = 10, gradient u₀ + λ₁ = 10, u₁ + λ₂ = 1
    found = cost_to_go(SCALAR, jnp.ones(1), jnp.array([[2.0], [-1.0]]))
    assert float(found.cost) == 14.5
    np.testing.assert_allclose(found.costates[:, 0], [10, 8, 2], rtol=1e-15)
    np.testing.assert_allclose(found.controls[:, 0], [10, 1], rtol=1e-15)


def problem(keys, features=3, controls=2):
    a, b = (jax.random.normal(next(keys), (features, n)) for n in (features, controls))
    roots = [jax.random.normal(next(keys), (n, n)) for n in (features, controls, features)]
    return LinearQuadratic(0.5 * a, b, *(root @ root.T + 0.1 * jnp.eye(len(root)) for root in roots))


def total(p, start, controls):
    s, cost = start, 0.0
    for u in controls:
        cost += 0.5 * s @ p.q @ s + 0.5 * u @ p.r @ u
        s = p.a @ s + p.b @ u
    return cost + 0.5 * s @ p.final @ s


def test_dynamic_programming_gives_the_gradient_of_the_cost(keys):
    p, start, controls = problem(keys), jnp.array([1.0, -0.5, 2.0]), jax.random.normal(next(keys), (4, 2))
    cost, (first, gradient) = quick_jit(jax.value_and_grad(total, (1, 2)))(p, start, controls)
    found = cost_to_go(p, start, controls)
    np.testing.assert_allclose(found.cost, cost, rtol=1e-13)
    np.testing.assert_allclose(found.costates[0], first, rtol=1e-12)
    np.testing.assert_allclose(found.controls, gradient, rtol=1e-11, atol=1e-13)


def test_the_gains_of_riccati_are_the_best_controls(keys):
    p, start = problem(keys), jnp.array([1.0, -0.5, 2.0])
    best, s, controls = riccati(p, 4), start, []
    for gain in best.gains:
        controls.append(-gain @ s)
        s = p.a @ s + p.b @ controls[-1]
    controls = jnp.stack(controls)
    gradient = quick_jit(jax.grad(total, 2))
    at_rest = jnp.abs(gradient(p, start, 0 * controls)).max()
    assert float(jnp.abs(gradient(p, start, controls)).max()) < 1e-12 * float(at_rest)
    np.testing.assert_allclose(0.5 * start @ best.values[0] @ start, total(p, start, controls), rtol=1e-13)


WRONG = {
    "no problem": (lambda: riccati(jnp.eye(2), 3), "`problem` to be a LinearQuadratic"),
    "steps": (lambda: riccati(SCALAR, 0), "`steps` to be an integer"),
    "a": (lambda: riccati(SCALAR._replace(a=jnp.eye(2)), 3), r"`problem.a` of shape \(1, 1\), got \(2, 2\)"),
    "b": (lambda: riccati(SCALAR._replace(b=jnp.ones(1)), 3), r"`problem.b` of shape \(H, D\)"),
    "controls": (lambda: cost_to_go(SCALAR, jnp.ones(1), jnp.ones(3)), r"`controls` of shape \(T, 1\), got"),
    "start": (lambda: cost_to_go(SCALAR, jnp.ones(2), jnp.ones((3, 1))), r"`start` of shape \(1,\)"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_ends_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
