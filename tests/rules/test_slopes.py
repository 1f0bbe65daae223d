"""Replaced derivatives of activations, by hand and in the mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import quick_jit
from tanh_network import (
    BIASES,
    NETWORK,
    WEIGHTS,
    T,
    X,
    pytree,
    same_bits,
)

import bpjax as bp
from bpjax.layers.normalization.layer import layer_norm
from bpjax.layers.shapes import flatten
from bpjax.rules.feedback import feedback_alignment
from bpjax.rules.slopes import borrowed_slope, noisy_slopes, with_slopes


def test_linear_feedback_and_offsets_by_hand(keys):
    """ψ in δₗ = ψ ⊙ (δₗ₊₁ Wᵀ), in NumPy for a 3-3-3-2 tanh network."""
    params = pytree(WEIGHTS, BIASES)
    y = [X]
    for w, b in zip(WEIGHTS, BIASES, strict=True):
        y.append(np.tanh(y[-1] @ w + b))
    for change, slope in (
        (bp.layers.without_derivative, lambda o: np.ones_like(o)),
        (lambda phi: bp.layers.flat_spot(phi, 0.2), lambda o: 1.2 - o**2),
        (lambda phi: borrowed_slope(phi, bp.sigmoid), lambda o: 1 / (2 + 2 * np.cosh(np.arctanh(o)))),
    ):
        network = with_slopes(NETWORK, change)
        _, grads, _ = bp.backprop(network, bp.squared_error).grads(params, (), (X, T))
        delta = slope(y[3]) * (y[3] - T)
        for l in (2, 1, 0):
            np.testing.assert_allclose(grads[2 * l].w, y[l].T @ delta, rtol=1e-11, atol=1e-14)
            delta = slope(y[l]) * (delta @ WEIGHTS[l].T) if l else None
        assert (network.forward(params, jnp.asarray(X))[0] == NETWORK.forward(params, jnp.asarray(X))[0]).all()


def test_noisy_slopes_have_the_exact_mean_and_differ_between_batches(keys):
    network = bp.mlp((3, 3, 2), bp.tanh)  # one noisy layer: the gradient is linear in its derivative
    params, _ = network.init(next(keys), (3,))
    rule = noisy_slopes(bp.backprop, network, bp.squared_error, 0.4)
    truth = bp.backprop(network, bp.squared_error).grads(params, (), (X, T))[1]

    def step(state, _):
        _, grads, state = rule.grads(params, state, (X, T))
        return state, grads[0].w

    _, drawn = quick_jit(lambda s: jax.lax.scan(step, s, None, length=500))(rule.init(next(keys), params))
    z = (drawn.mean(axis=0) - truth[0].w) / (drawn.std(axis=0) / np.sqrt(500))
    assert np.abs(z).max() < 4 and drawn.std(axis=0).min() > 0.01
    exact = noisy_slopes(bp.backprop, network, bp.squared_error, 0.0)
    assert same_bits(exact.grads(params, exact.init(next(keys), params), (X, T))[1], truth)


def test_noisy_slopes_work_with_another_rule(keys):
    def make(network, loss):
        return feedback_alignment(network, loss, 0.5)

    rule = noisy_slopes(make, NETWORK, bp.squared_error, 0.1)
    params = pytree(WEIGHTS, BIASES)
    state = rule.init(next(keys), params)
    first, state = rule.grads(params, state, (X, T))[1:]
    second, _ = rule.grads(params, state, (X, T))[1:]
    assert relative_error(first, second) > 1e-3
    assert rule.name == "feedback alignment with noisy slopes"


def test_with_slopes_changes_only_activations(keys):
    network = bp.chain(bp.dense(4), layer_norm(), bp.tanh, bp.over_positions(bp.layers.softplus), flatten, bp.softmax)
    names = []
    with_slopes(network, lambda phi: names.append(phi.name) or phi)
    assert names == ["tanh", "softplus"]


def test_a_dead_relu_learns_with_the_slope_of_softplus():
    # relu(−1) = 0 and σ(−1) = 0.2689414…
    phi = borrowed_slope(bp.relu, bp.layers.softplus)
    y, residuals = phi.forward((), jnp.array([[-1.0]]))
    assert y[0, 0] == 0 and float(phi.backward((), residuals, jnp.ones((1, 1)))[1][0, 0]) == pytest.approx(0.2689414214)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: noisy_slopes(bp.backprop, bp.dense(2), bp.squared_error, 0.1), "expected a network with activations"),
        (lambda: noisy_slopes(bp.backprop, NETWORK, bp.squared_error, -0.1), "finite number ≥ 0, got -0.1"),
        (lambda: borrowed_slope(bp.tanh, bp.dense(2)), "expected an activation"),
    ],
)
def test_bad_arguments_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
