"""Perturbation rules: the papers' equations with given noise, and the expected mean over many draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers.normalization.layer import layer_norm
from bpjax.rules.perturbation import forward_gradient, node_perturbation, weight_perturbation
from bpjax.types import Params

RATE, STEPS, SIGMA = 0.05, 5, 0.2
NETWORK = bp.mlp((3, 3, 2), bp.tanh, output=bp.sigmoid)
DATA = np.random.default_rng(5)
X, T = DATA.normal(size=(4, 3)), DATA.uniform(0.1, 0.9, (4, 2))
BATCH = (jnp.asarray(X), jnp.asarray(T))
WEIGHTS = [DATA.normal(size=shape) / 2 for shape in ((3, 3), (3,), (3, 2), (2,))]
WEIGHT_NOISE = [[DATA.normal(size=w.shape) for w in WEIGHTS] for _ in range(STEPS)]
UNIT_NOISE = [[DATA.normal(size=(4, width)) for width in (3, 2)] for _ in range(STEPS)]


def pytree(w) -> Params:
    w1, b1, w2, b2 = map(jnp.asarray, w)
    return (bp.layers.Affine(w1, b1), (), bp.layers.Affine(w2, b2), ())


PARAMS = pytree(WEIGHTS)


def errors(w, noise=(0.0, 0.0)):
    """½ Σ (t − o)² of every example with noise on the net inputs, and the hidden units' outputs."""
    h = np.tanh(X @ w[0] + w[1] + noise[0])
    o = 1 / (1 + np.exp(-(h @ w[2] + w[3] + noise[1])))
    return 0.5 * np.sum((T - o) ** 2, axis=1), h


def numpy_weights(w, xi, symmetric):
    up, down = ([a + sign * SIGMA * n for a, n in zip(w, xi, strict=True)] for sign in (1, -1))
    if symmetric:
        slope = (errors(up)[0].sum() - errors(down)[0].sum()) / (2 * SIGMA)
    else:
        slope = (errors(up)[0].sum() - errors(w)[0].sum()) / SIGMA
    return [slope * n for n in xi]


def numpy_nodes(w, xi):
    perturbed, h = errors(w, [SIGMA * n for n in xi])
    rise = (perturbed - errors(w)[0]) / SIGMA
    d1, d2 = (rise[:, None] * n for n in xi)
    return [X.T @ d1, d1.sum(axis=0), h.T @ d2, d2.sum(axis=0)]


def numpy_forward(w, xi):
    """∇E by backpropagation, then (∇E · ξ) ξ."""
    h = np.tanh(X @ w[0] + w[1])
    o = 1 / (1 + np.exp(-(h @ w[2] + w[3])))
    d2 = o * (1 - o) * (o - T)
    d1 = (1 - h * h) * (d2 @ w[2].T)
    gradient = [X.T @ d1, d1.sum(axis=0), h.T @ d2, d2.sum(axis=0)]
    slope = sum(np.sum(g * n) for g, n in zip(gradient, xi, strict=True))
    return [slope * n for n in xi]


CASES = {
    "weights": (weight_perturbation, {"deviation": SIGMA}, WEIGHT_NOISE, lambda w, xi: numpy_weights(w, xi, False)),
    "weights, symmetric": (
        weight_perturbation,
        {"deviation": SIGMA, "symmetric": True},
        WEIGHT_NOISE,
        lambda w, xi: numpy_weights(w, xi, True),
    ),
    "nodes": (node_perturbation, {"deviation": SIGMA}, UNIT_NOISE, numpy_nodes),
    "forward gradient": (forward_gradient, {}, WEIGHT_NOISE, numpy_forward),
}


@pytest.mark.parametrize("name", CASES)
def test_step_by_step_with_given_noise(name):
    make, settings, table, expected = CASES[name]
    optimizer = optax.sgd(RATE)

    @quick_jit
    def step(run, xi):
        given = iter(xi)

        def noise(key, shape, dtype):
            drawn = next(given)
            assert drawn.shape == shape
            return jnp.asarray(drawn, dtype)

        result = bp.make_train_step(make(NETWORK, bp.squared_error, noise=noise, **settings), optimizer)(run, BATCH)
        assert next(given, None) is None
        return result

    key = make(NETWORK, bp.squared_error, **settings).init(jax.random.key(0), PARAMS)
    run, w = bp.training.TrainState(PARAMS, optimizer.init(PARAMS), key), WEIGHTS
    for xi in table:
        run, metrics = step(run, xi)
        assert float(metrics.value) == pytest.approx(errors(w)[0].sum(), rel=1e-12)
        w = [a - RATE * g for a, g in zip(w, expected(w, xi), strict=True)]
    assert relative_error(run.params, pytree(w)) < 1e-12
    assert relative_error(run.params, PARAMS) > 0.01


@functools.cache
def many(rule, draws=4000):
    """The directions of many keys as rows, and the gradient."""
    states = jax.vmap(lambda key: rule.init(key, PARAMS))(jax.random.split(jax.random.key(1), draws))
    found = quick_jit(jax.vmap(lambda state: rule.grads(PARAMS, state, BATCH)[1]))(states)
    rows = np.concatenate([np.asarray(leaf).reshape(draws, -1) for leaf in jax.tree.leaves(found)], axis=1)
    truth = quick_jit(bp.backprop(NETWORK, rule.loss).grads)(PARAMS, (), BATCH)[1]
    return rows, np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(truth)])


FORWARD = forward_gradient(NETWORK, bp.squared_error)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "rule",
    [
        weight_perturbation(NETWORK, bp.squared_error, 1e-4, symmetric=True),
        weight_perturbation(NETWORK, bp.squared_error, 1e-4, noise=jax.random.rademacher),
        node_perturbation(NETWORK, bp.losses.batch_mean(bp.squared_error), 1e-4),
        FORWARD,
    ],
    ids=["weights, symmetric", "weights, by signs", "nodes, mean", "forward gradient"],
)
def test_the_mean_is_the_gradient(rule):
    """Within 4 standard errors in each of 20 weights, for 4,000 draws; the errors are small enough to discriminate."""
    rows, truth = many(rule)
    z = (rows.mean(axis=0) - truth) / (rows.std(axis=0) / np.sqrt(len(rows)))
    assert np.abs(z).max() < 4
    assert np.linalg.norm(rows.mean(axis=0) - truth) < 0.2 * np.linalg.norm(truth)


def test_the_squared_norm_of_the_forward_gradient_has_the_expected_mean():
    """E‖g‖² = (d + 2) ‖∇E‖²: E[(∇E·ξ)² ‖ξ‖²] = (d − 1 + 3) ‖∇E‖², because E ξ⁴ = 3 along ∇E."""
    rows, truth = many(FORWARD)
    squares = np.sum(rows**2, axis=1)
    expected = (truth.size + 2) * np.sum(truth**2)
    assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(len(rows))
    assert squares.std() / np.sqrt(len(rows)) < 0.05 * expected  # d instead of d + 2 would be 9 % less


def test_the_forward_gradient_is_the_limit_of_weight_perturbation(keys):
    """For the same key the symmetric difference has a relative error of order σ², the one-sided one of order σ."""
    state = FORWARD.init(next(keys), PARAMS)
    limit = quick_jit(FORWARD.grads)(PARAMS, state, BATCH)[1]

    @quick_jit
    def both(sigma):
        rules = (weight_perturbation(NETWORK, bp.squared_error, sigma, symmetric) for symmetric in (True, False))
        return [rule.grads(PARAMS, state, BATCH)[1] for rule in rules]

    errors = [[relative_error(grads, limit) for grads in both(sigma)] for sigma in (1e-2, 1e-3)]
    np.testing.assert_allclose(np.log10(np.divide(*errors)), [2, 1], atol=0.1)


def test_nodes_of_one_linear_layer_follow_the_quadratic_exactly(keys):
    """E(a + σξ) − E(a) = σ e·ξ + ½ σ² ‖ξ‖² for E = ½ ‖a − t‖², e = a − t: calculated by hand."""
    network = bp.dense(2)
    params, _ = network.init(next(keys), (3,))
    given = DATA.normal(size=(4, 2))
    rule = node_perturbation(network, bp.squared_error, SIGMA, noise=lambda key, shape, dtype: jnp.asarray(given))
    grads = rule.grads(params, next(keys), BATCH)[1]
    e = X @ np.asarray(params.w) - T
    delta = np.sum(e * given + 0.5 * SIGMA * given**2, axis=1, keepdims=True) * given
    assert relative_error(grads, bp.layers.Affine(jnp.asarray(X.T @ delta), jnp.asarray(delta.sum(axis=0)))) < 1e-12


def test_every_example_uses_its_own_error(keys):
    """For labels and examples with positions: the direction of a batch is the sum of those of its examples."""
    network = bp.chain(bp.over_positions(bp.dense(2)), bp.tanh)  # one layer of units, a (N, 5, 2)
    params, _ = network.init(next(keys), (5, 3))
    x, labels = jax.random.normal(next(keys), (3, 5, 3)), jnp.array([[0, 1, 1, 0, 1]] * 3)
    given = jax.random.normal(next(keys), (3, 5, 2))

    def direction(rows):
        rule = node_perturbation(network, bp.softmax_cross_entropy, 0.1, noise=lambda *_: given[rows])
        return quick_jit(rule.grads)(params, jax.random.key(0), (x[rows], labels[rows]))[1]

    parts = [direction(slice(n, n + 1)) for n in range(3)]
    assert relative_error(direction(slice(0, 3)), jax.tree.map(lambda a, b, c: a + b + c, *parts)) < 1e-12


def test_networks_that_cannot_be_perturbed_raise(keys):
    for make in (weight_perturbation, node_perturbation):
        with pytest.raises(ValueError, match="`deviation` to be a finite number > 0"):
            make(NETWORK, bp.squared_error, 0.0)
    normed = bp.chain(bp.dense(3), layer_norm(), bp.tanh, bp.dense(2))
    with pytest.raises(
        ValueError,
        match=r"expected a net input that depends on each of the params.*\['layer norm', 'tanh'\] after dense",
    ):
        node_perturbation(normed, bp.squared_error).init(next(keys), normed.init(next(keys), (3,))[0])
    with pytest.raises(ValueError, match="`node_perturbation` expected a network with weights"):
        node_perturbation(NETWORK, bp.squared_error).init(next(keys), ())
