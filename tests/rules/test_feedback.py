"""Rules with feedback weights: each against its paper's equations in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit
from tanh_network import (
    BIASES,
    DATA,
    FEEDBACK,
    NETWORK,
    RATE,
    STEPS,
    WEIGHTS,
    T,
    X,
    feedback_pytree,
    matrices,
    pytree,
    trained,
)

import bpjax as bp
from bpjax.rules.feedback import batch_manhattan, feedback_alignment, sign_symmetry
from bpjax.rules.kolen_pollack import Reciprocal, kolen_pollack
from bpjax.rules.weight_mirror import weight_mirror


def golden(feedback_of, change=lambda g: g, keep=1.0):
    """NumPy: W ← keep W − η change(Σₙ xᵀ δ), δₗ = φ′ ⊙ (δₗ₊₁ Bₗ₊₁ᵀ), tanh units, B = feedback_of(step, W)."""
    w, b = [a.copy() for a in WEIGHTS], [a.copy() for a in BIASES]
    errors = []
    for step in range(STEPS):
        back = feedback_of(step, w)
        y = [X]
        for wl, bl in zip(w, b, strict=True):
            y.append(np.tanh(y[-1] @ wl + bl))
        errors.append(0.5 * np.sum((T - y[-1]) ** 2))
        delta = (1 - y[-1] ** 2) * (y[-1] - T)
        for l in (2, 1, 0):
            below = (1 - y[l] ** 2) * (delta @ back[l].T)
            w[l] = keep * w[l] - RATE * change(y[l].T @ delta)
            b[l] = b[l] - RATE * change(delta.sum(axis=0))
            delta = below
    return errors, w, b


def check_golden(found, expected, tolerance=1e-12):
    errors, params, _ = found
    true_errors, w, b = expected
    np.testing.assert_allclose(errors, true_errors, rtol=tolerance)
    assert relative_error(params, pytree(w, b)) < tolerance
    assert relative_error(params, pytree(WEIGHTS, BIASES)) > 0.01


# --- Golden trajectories --------------------------------------------------------------------------------------------


def test_feedback_alignment_step_by_step():
    rule = feedback_alignment(NETWORK, bp.squared_error)
    check_golden(trained(rule, feedback_pytree(FEEDBACK)), golden(lambda step, w: FEEDBACK))


def test_uniform_sign_symmetry_step_by_step():
    rule = sign_symmetry(NETWORK, bp.squared_error, "uSF", scale=0.4)
    check_golden(trained(rule, ()), golden(lambda step, w: [0.4 * np.sign(a) for a in w]))


def test_fixed_random_magnitudes_step_by_step():
    rule = sign_symmetry(NETWORK, bp.squared_error, "frSF")
    expected = golden(lambda step, w: [np.abs(m) * np.sign(a) for m, a in zip(FEEDBACK, w, strict=True)])
    check_golden(trained(rule, feedback_pytree(FEEDBACK)), expected)


def test_batchwise_random_magnitudes_step_by_step():
    """M of every step is read from the states of a loop; the rule claims that all differ."""
    rule = sign_symmetry(NETWORK, bp.squared_error, "brSF")
    params = pytree(WEIGHTS, BIASES)
    begin = state = rule.init(jax.random.key(3), params)
    drawn, compiled = [], quick_jit(rule.grads)
    for _ in range(STEPS):
        drawn.append(matrices(state.magnitudes))
        state = compiled(params, state, (X, T))[2]
    assert len({m[1][0, 0] for m in drawn}) == STEPS
    expected = golden(lambda step, w: [np.abs(m) * np.sign(a) for m, a in zip(drawn[step], w, strict=True)])
    check_golden(trained(rule, begin), expected)


def test_batch_manhattan_step_by_step():
    rule = batch_manhattan(bp.backprop(NETWORK, bp.squared_error))
    found = trained(rule, (), optax.sgd(0.02))
    expected = golden(lambda step, w: w, change=lambda g: np.sign(g) * 0.02 / RATE)
    check_golden(found, expected)
    moved = jax.tree.map(lambda a, b: (a - b) / 0.02, found[1], pytree(WEIGHTS, BIASES))
    assert all(np.allclose(leaf, np.round(leaf), atol=1e-9) for leaf in jax.tree.leaves(moved))


@pytest.mark.parametrize("keep", [0.9, 1.0])
def test_kolen_pollack_step_by_step(keep):
    """As in the paper: W ← λ W − η xᵀ δ, B ← λ B − η xᵀ δ; errors of step t travel through Bₜ."""
    back = [a.copy() for a in FEEDBACK]
    last = []

    def feedback_of(step, w):
        if last:  # the update of W without its decay
            back[:] = [keep * b + (new - keep * old) for b, new, old in zip(back, w, last, strict=True)]
        last[:] = [a.copy() for a in w]
        return [a.copy() for a in back]

    rule = kolen_pollack(NETWORK, bp.squared_error, keep)
    params = pytree(WEIGHTS, BIASES)
    state = Reciprocal(feedback_pytree(FEEDBACK), params, jnp.ones(()))
    decayed = optax.chain(optax.sgd(RATE), optax.masked(optax.add_decayed_weights(keep - 1), is_matrix))
    check_golden(trained(rule, state, decayed), golden(feedback_of, keep=keep))


def is_matrix(params):
    return jax.tree.map(lambda w: w.ndim >= 2, params)


def test_weight_mirror_step_by_step():
    """With given noise: errors travel through B, then B ← (1 − d) B + η ξᵀ (y − ȳ) / (n − 1) at the same weights."""
    noise = DATA.normal(size=(5, 3))
    rate, decay, deviation = 0.2, 0.1, 0.7
    back = [a.copy() for a in FEEDBACK]

    def draw(key, shape, dtype):
        assert shape == noise.shape
        return jnp.asarray(noise, dtype)

    # biases change too: the mirror uses those of the same step
    biases = [a.copy() for a in BIASES]

    def mirror(w, b):
        for l in (1, 2):  # no error travels through B of the first layer
            xi = deviation * noise
            y = np.tanh(xi @ w[l] + b[l])
            back[l] = (1 - decay) * back[l] + rate * xi.T @ (y - y.mean(axis=0)) / 4

    rule = weight_mirror(NETWORK, bp.squared_error, rate, decay, deviation, examples=5, noise=draw)
    params = pytree(WEIGHTS, BIASES)
    state = rule.init(jax.random.key(0), params)._replace(feedback=pytree(FEEDBACK, BIASES))
    step = quick_jit(bp.make_train_step(rule, optax.sgd(RATE)))
    w, b = [a.copy() for a in WEIGHTS], biases
    run = bp.training.TrainState(params, optax.sgd(RATE).init(params), state)
    for _ in range(STEPS):
        run, _ = step(run, (jnp.asarray(X), jnp.asarray(T)))
        y = [X]
        for wl, bl in zip(w, b, strict=True):
            y.append(np.tanh(y[-1] @ wl + bl))
        delta, before, through = (1 - y[-1] ** 2) * (y[-1] - T), ([*w], [*b]), [*back]
        for l in (2, 1, 0):
            below = (1 - y[l] ** 2) * (delta @ through[l].T)
            w[l], b[l] = w[l] - RATE * y[l].T @ delta, b[l] - RATE * delta.sum(axis=0)
            delta = below
        mirror(*before)
        assert relative_error(run.params, pytree(w, b)) < 1e-12
        assert relative_error(run.rule.feedback, pytree(back, BIASES)) < 1e-12


# --- Bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: feedback_alignment(NETWORK, bp.squared_error, scale=jnp.nan), "`scale` to be a finite number"),
        (lambda: feedback_alignment(NETWORK, bp.squared_error, weights="hee"), "Did you mean 'he'"),
        (lambda: sign_symmetry(NETWORK, bp.squared_error, "USF"), "one of uSF, brSF, frSF, got 'USF'"),
        (lambda: sign_symmetry(NETWORK, bp.squared_error, scale=0.0), "finite number > 0, got 0.0"),
        (lambda: kolen_pollack(NETWORK, bp.squared_error, 1.1), "≥ 0 and ≤ 1, got 1.1"),
        (lambda: weight_mirror(NETWORK, bp.squared_error, examples=1), "integer ≥ 2, got 1"),
        (lambda: weight_mirror(NETWORK, bp.squared_error, -1.0), "`rate` to be a finite number ≥ 0"),
    ],
)
def test_bad_arguments_raise_when_the_rule_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [feedback_alignment, sign_symmetry, kolen_pollack, weight_mirror])
def test_a_network_without_weights_raises_in_init(make, keys):
    network = bp.chain(bp.tanh, bp.sigmoid)
    with pytest.raises(ValueError, match="expected a network with weights"):
        make(network, bp.squared_error).init(next(keys), ((), ()))


def test_feedback_of_another_network_raises_and_names_the_leaves(keys):
    params = pytree(WEIGHTS, BIASES)
    other = bp.mlp((3, 4, 3, 2), bp.tanh, output=bp.tanh).init(next(keys), (3,))[0]
    rule = feedback_alignment(NETWORK, bp.squared_error)
    with pytest.raises(ValueError, match=r"\[0\]\.w: float64\[3, 4\] for float64\[3, 3\].*\[2\]\.w"):
        rule.grads(params, other, (X, T))
    with pytest.raises(ValueError, match=r"\[0\]\.w: none for float64"):
        rule.grads(params, (), (X, T))
    with pytest.raises(ValueError, match=r"float32"):
        rule.grads(params, bp.util.cast(params, "float32"), (X, T))
    with pytest.raises(ValueError, match="Feedback weights of the shapes of `params`"):
        kolen_pollack(NETWORK, bp.squared_error).grads(params, Reciprocal(other, other, jnp.ones(())), (X, T))
