"""Rules with feedback weights: when they equal backprop, and what their feedback weights converge to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit
from tanh_network import (
    BIASES,
    NETWORK,
    WEIGHTS,
    T,
    X,
    matrices,
    pytree,
    same_bits,
    trained,
)

import bpjax as bp
from bpjax.layers.convolution.conv import conv
from bpjax.layers.normalization.layer import layer_norm
from bpjax.layers.shapes import flatten
from bpjax.rules.feedback import feedback_alignment, sign_symmetry
from bpjax.rules.feedback_params import feedback_params
from bpjax.rules.kolen_pollack import Reciprocal, kolen_pollack
from bpjax.rules.weight_mirror import weight_mirror

WHERE = pytest.mark.parametrize("where", ["dense", pytest.param("convolution", marks=pytest.mark.thorough)])


def convolutional(keys):
    """A network with convolutions, gains of a norm and a dense layer, params without zeros, and a batch."""
    network = bp.chain(conv(3, (2, 2)), layer_norm(), bp.relu, conv(2, (2, 2)), bp.tanh, flatten, bp.dense(3))
    params, _ = network.init(next(keys), (4, 5, 2))
    leaves, structure = jax.tree.flatten(params)
    params = structure.unflatten([w + 0.1 * jax.random.normal(next(keys), w.shape) for w in leaves])
    return network, params, (jax.random.normal(next(keys), (3, 4, 5, 2)), jax.random.normal(next(keys), (3, 3)))


@WHERE
def test_with_the_forward_weights_as_feedback_they_are_backprop_to_the_last_bit(where, keys):
    """X18 for feedback alignment, brSF and frSF (M = W), Kolen-Pollack, and weight mirror."""
    if where == "dense":
        network, params, batch = NETWORK, pytree(WEIGHTS, BIASES), (jnp.asarray(X), jnp.asarray(T))
    else:
        network, params, batch = convolutional(keys)
    loss = bp.squared_error
    truth = bp.backprop(network, loss).grads(params, (), batch)[:2]
    brsf = sign_symmetry(network, loss, "brSF")
    mirror = weight_mirror(network, loss)
    for rule, state in (
        (feedback_alignment(network, loss), params),
        (sign_symmetry(network, loss, "frSF"), params),
        (brsf, brsf.init(next(keys), params)._replace(magnitudes=params)),
        (kolen_pollack(network, loss, 0.9), Reciprocal(params, params, jnp.ones(()))),
        (mirror, mirror.init(next(keys), params)._replace(feedback=params)),
    ):
        assert same_bits(rule.grads(params, state, batch)[:2], truth), rule.name
        drawn = rule.grads(params, rule.init(next(keys), params), batch)[1]
        assert relative_error(drawn, truth[1]) > 0.05, rule.name


@WHERE
def test_gains_biases_and_the_last_layer_do_not_use_feedback_weights(where, keys):
    """The direction of the output layer is that of backprop, and gains in the feedback path are the network's own."""
    network, params, batch = (NETWORK, pytree(WEIGHTS, BIASES), (X, T)) if where == "dense" else convolutional(keys)
    truth = bp.backprop(network, bp.squared_error).grads(params, (), batch)[1]
    rule = feedback_alignment(network, bp.squared_error)
    found = rule.grads(params, rule.init(next(keys), params), batch)[1]
    last = -2 if where == "dense" else -1
    assert same_bits(found[last], truth[last])
    nans = jax.tree.map(lambda w: jnp.full_like(w, jnp.nan), params)
    merged = feedback_params(network, nans, params)
    first, *rest = zip(
        *map(jax.tree.leaves, (merged, params)), strict=True
    )  # errors through the first layer are unused
    assert (first[0] == first[1]).all()
    assert all((w == own).all() if w.ndim == 1 else jnp.isnan(w).all() for w, own in rest)


def test_sign_symmetry_of_weights_with_one_magnitude_is_backprop(keys):
    """For W entries ±c, uSF scaled by c is backprop (section 7 of the oracles)."""
    params = jax.tree.map(lambda w: 0.3 * jnp.sign(w) if w.ndim == 2 else w, pytree(WEIGHTS, BIASES))
    truth = bp.backprop(NETWORK, bp.squared_error).grads(params, (), (X, T))[1]
    rule = sign_symmetry(NETWORK, bp.squared_error, "uSF", scale=0.3)
    assert relative_error(rule.grads(params, (), (X, T))[1], truth) < 1e-14
    unscaled = sign_symmetry(NETWORK, bp.squared_error).grads(params, (), (X, T))[1]
    assert relative_error(jax.tree.map(lambda g: 0.3 * g, unscaled[2]), truth[2]) < 1e-14  # one B deep
    assert relative_error(jax.tree.map(lambda g: 0.09 * g, unscaled[0]), truth[0]) < 1e-14  # two


@pytest.mark.parametrize("decays_weights", [False, True], ids=["no decay of W", "decay of W"])
@pytest.mark.parametrize("optimizer", [bp.momentum(0.05, 0.9), optax.adam(0.02)], ids=["momentum", "adam"])
def test_the_gap_of_kolen_pollack_is_a_power_of_its_decay(optimizer, decays_weights, keys):
    """X19: Wₜ − Bₜ = λᵗ (W₀ − B₀) for any optimizer, with and without decay of W."""
    params, key, steps = pytree(WEIGHTS, BIASES), next(keys), 12
    feedback = kolen_pollack(NETWORK, bp.squared_error).init(key, params).feedback
    gap = jax.tree.map(lambda w, b: w - b, params, feedback)

    def gap_after(decay):
        rule = kolen_pollack(NETWORK, bp.squared_error, decay)
        full = optax.chain(optimizer, optax.add_decayed_weights(decay - 1)) if decays_weights else optimizer
        run = bp.training.TrainState(params, full.init(params), rule.init(key, params))
        run, _ = jax.lax.scan(lambda s, _: bp.make_train_step(rule, full)(s, (X, T)), run, None, length=steps)
        return jax.tree.map(lambda w, b: w - b, run.rule.forward, run.rule.feedback)

    decays = jnp.array([0.5, 0.98, 1.0])
    found = quick_jit(jax.vmap(gap_after))(decays)
    # the state holds W and B of the last of 12 steps, whose t is 11; no error travels through the first layer
    for g, g0 in zip(matrices(found)[1:], matrices(gap)[1:], strict=True):
        np.testing.assert_allclose(
            g, np.asarray(decays)[:, None, None] ** (steps - 1) * np.asarray(g0), rtol=0, atol=1e-13
        )


def test_kolen_pollack_with_decay_0_is_backprop_from_the_second_step(keys):
    rule = kolen_pollack(NETWORK, bp.squared_error, 0.0)
    params = pytree(WEIGHTS, BIASES)
    _, first, state = rule.grads(params, rule.init(next(keys), params), (X, T))
    truth = bp.backprop(NETWORK, bp.squared_error).grads(params, (), (X, T))[1]
    assert relative_error(first, truth) > 0.05
    assert same_bits(rule.grads(params, state, (X, T))[1], truth)


@pytest.mark.parametrize("where", ["dense", "convolution"])
def test_the_mirror_of_linear_units_learns_the_weights(where, keys):
    """E[ΔB] = η σ² W, by the mean over 400 draws of noise; for a kernel times the number of positions."""
    if where == "dense":
        network, in_shape, positions = bp.chain(bp.dense(3), bp.dense(2)), (4,), 1
    else:
        in_shape, positions = (5, 6, 1), 20
        network = bp.chain(conv(2, (1, 1)), conv(2, (2, 2), padding="VALID"), flatten)
    params, _ = network.init(next(keys), in_shape)
    params = jax.tree.map(lambda w: w + 0.3, params)  # biases, which cancel in y − ȳ
    rate, sigma, examples, draws = 0.5, 0.6, 8, 400
    rule = weight_mirror(network, bp.squared_error, rate, 0.0, sigma, examples, scale=0.0)
    x = jnp.ones((2, *in_shape))
    t = network.forward(params, x)[0]

    def once(key):
        return rule.grads(params, rule.init(key, params), (x, t))[2].feedback[1]

    found = quick_jit(lambda keys: jax.lax.map(once, keys))(jax.random.split(next(keys), draws))
    w, b = np.asarray(params[1].w), np.asarray(found.w)
    error = b.std(axis=0) / np.sqrt(draws)
    z = (b.mean(axis=0) - rate * sigma**2 * positions * w) / error
    assert np.abs(z).max() < 4
    assert np.abs(b.mean(axis=0) / error).max() > 10  # far from 0


def test_the_mirror_converges_to_a_multiple_of_the_weights(keys):
    """With decay B → η σ² W / d for linear units."""
    network = bp.mlp((6, 5, 4), bp.layers.identity)
    params, _ = network.init(next(keys), (6,))
    rule = weight_mirror(network, bp.squared_error, 0.05, 0.05, examples=64)
    batch = jnp.ones((1, 6)), jnp.ones((1, 4))
    state = rule.init(next(keys), params)
    state = quick_jit(lambda s: jax.lax.fori_loop(0, 300, lambda i, s: rule.grads(params, s, batch)[2], s))(state)
    assert relative_error(state.feedback[2].w, params[2].w) < 0.15


def test_the_magnitudes_of_frsf_stay_fixed(keys):
    rule = sign_symmetry(NETWORK, bp.squared_error, "frSF")
    state = rule.init(next(keys), pytree(WEIGHTS, BIASES))
    assert same_bits(trained(rule, state)[2], state)
