"""Shampoo against steps worked out by hand, the Kronecker product of the paper, and fractional powers by SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from scipy.linalg import fractional_matrix_power

import bpjax as bp

EPSILON = 1e-4


def steps(gradients, rate=0.5, epsilon=EPSILON, **options):
    """The changes of the weights by `shampoo` for gradients of one array, in turn."""
    optimizer = bp.optimizers.shampoo(rate, epsilon, **options)

    def step(state, g):
        change, state = optimizer.update(g, state)
        return state, change

    gradients = jnp.asarray(gradients)
    state = optimizer.init(jnp.zeros_like(gradients[0]))
    return np.asarray(jax.jit(lambda s, g: jax.lax.scan(step, s, g)[1])(state, gradients))


def by_paper(gradients, rate=0.5, epsilon=EPSILON):
    """vec(ΔW) = −η (H₁ ⊗ … ⊗ Hₖ)^(−1/2k) vec(G), algorithm 2 and its lemma 4, with SciPy's powers of matrices."""
    sums = [epsilon * np.eye(n) for n in gradients[0].shape]
    changes = []
    for g in np.asarray(gradients):
        for axis, length in enumerate(g.shape):
            rows = np.moveaxis(g, axis, 0).reshape(length, -1)
            sums[axis] = sums[axis] + rows @ rows.T
        roots = [fractional_matrix_power(h, -1 / (2 * g.ndim)) for h in sums]
        changes.append(-rate * (functools.reduce(np.kron, roots) @ g.ravel()).reshape(g.shape))
    return np.asarray(changes)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 5), (2, 3, 4), (1, 1)])
def test_it_is_the_kronecker_product_of_the_paper(shape):
    gradients = np.random.default_rng(0).normal(size=(4, *shape))
    assert relative_error(steps(gradients), by_paper(gradients)) < 1e-10


def test_the_first_step_of_a_gradient_of_rank_one_by_hand():
    """s u vᵀ with unit vectors: both sums have the eigenvalue ε + s², so that ΔW = −η s (ε + s²)^(−1/2) u vᵀ."""
    u, v = np.array([0.6, 0.8, 0.0]), np.array([0.28, 0.96])
    (change,) = steps(2.0 * np.outer(u, v)[None], epsilon=1.0)
    assert relative_error(change, -0.5 * 2.0 / np.sqrt(5.0) * np.outer(u, v)) < 1e-12


def test_a_vector_is_full_matrix_adagrad_and_a_number_adagrad():
    gradients = np.array([[1.0, 2.0], [2.0, -1.0]])  # the sum of their outer products is 5 I
    assert relative_error(steps(gradients, epsilon=4.0)[1], -0.5 * gradients[1] / 3.0) < 1e-12
    assert relative_error(steps(np.array([3.0, 4.0]), epsilon=11.0), -0.5 * np.array([3 / 20**0.5, 4 / 6.0])) < 1e-12


def test_a_long_axis_keeps_the_diagonal_alone():
    gradients = np.random.default_rng(1).normal(size=(3, 4, 2))
    left, right = np.zeros(4), EPSILON * np.eye(2)
    for g, change in zip(gradients, steps(gradients, longest=2), strict=True):
        left, right = left + np.sum(g * g, axis=1), right + g.T @ g
        expected = (EPSILON + left)[:, None] ** -0.25 * g @ fractional_matrix_power(right, -0.25)
        assert relative_error(change, -0.5 * expected) < 1e-10


def test_gorges_that_are_turned_are_no_gorges():
    """E = ½ ‖A W − T‖² with a condition number of 10⁴: the error after 100 steps beside that of gradient descent."""
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    a = jnp.asarray(rotation @ np.diag([1.0, 0.3, 0.1, 0.01]) @ rotation.T)
    error = lambda w: 0.5 * jnp.sum((a @ w - a) ** 2)

    def trained(optimizer):
        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(jax.grad(error)(w), state)
            return (optax.apply_updates(w, updates), state), None

        w = jnp.zeros((4, 4))
        return jax.jit(lambda: error(jax.lax.scan(step, (w, optimizer.init(w)), None, length=100)[0][0]))()

    assert trained(bp.optimizers.shampoo(0.5, 1e-12)) < 0.1 * trained(bp.momentum(1.0, 0.0))


@pytest.mark.parametrize(
    ("arguments", "named"), [((0.0,), "learning_rate"), ((0.1, 0.0), "epsilon"), ((0.1, 1e-4, 0), "longest")]
)
def test_what_is_out_of_range_is_refused(arguments, named):
    with pytest.raises(ValueError, match=f"`shampoo` expected `{named}`"):
        bp.optimizers.shampoo(*arguments)


def test_gradients_of_other_weights_are_refused():
    optimizer = bp.optimizers.shampoo(0.1)
    state = optimizer.init({"w": jnp.zeros((2, 3))})
    with pytest.raises(ValueError, match=r"shape of its weights, \(2, 3\), got \(3, 2\)"):
        optimizer.update({"w": jnp.zeros((3, 2))}, state)
    with pytest.raises(ValueError, match="structure of its weights"):
        optimizer.update([jnp.zeros((2, 3))], state)
