"""Backward transforms against the formulas of their papers, with `jax.vjp` of the forward pass as oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error

import bpjax as bp


def backward(layer, params, x, dy):
    return layer.backward(params, layer.forward(params, x)[1], dy)


@pytest.mark.parametrize("unit", [bp.sigmoid, bp.layers.scaled_sigmoid(-0.5, 0.5), bp.tanh, bp.gelu])
def test_flat_spot_adds_its_offset_to_the_derivative(unit, keys):
    a, dy = jax.random.normal(next(keys), (4, 3)), jax.random.normal(next(keys), (4, 3))
    slope = jax.vmap(jax.vmap(jax.grad(lambda z: unit.forward((), z[None, None])[0][0, 0])))(a)
    _, da = backward(bp.layers.flat_spot(unit, 0.25), (), a, dy)
    assert relative_error(da, (slope + 0.25) * dy) < 1e-12
    assert (bp.layers.flat_spot(unit).forward((), a)[0] == unit.forward((), a)[0]).all()


def test_flat_spot_by_hand():
    # σ(0) = ½, σ′ = ¼: with Fahlman's 0.1 it is 0.35; a saturated unit still passes 0.1 of the error
    _, da = backward(bp.layers.flat_spot(bp.sigmoid), (), jnp.array([[0.0, 800.0]]), jnp.array([[2.0, 3.0]]))
    assert np.allclose(da, [[0.7, 0.3]], atol=1e-15)


def test_chen_and_mars_omit_the_derivative_of_the_outputs(keys):
    hidden, output = bp.dense(3), bp.dense(2)
    plain = bp.chain(hidden, bp.sigmoid, output, bp.sigmoid)
    scaled, linear = bp.layers.scaled_error(output, 0.1), bp.layers.without_derivative(bp.sigmoid)
    transformed = bp.chain(hidden, bp.sigmoid, scaled, linear)
    params, _ = plain.init(next(keys), (4,))
    x, t = jax.random.normal(next(keys), (5, 4)), jax.random.uniform(next(keys), (5, 2))
    value, grads, _ = bp.backprop(transformed, bp.squared_error).grads(params, (), (x, t))
    assert value == bp.backprop(plain, bp.squared_error).grads(params, (), (x, t))[0]
    # by hand: δ = o − t at the outputs, δ = 0.1 · σ′ ⊙ δ Wᵀ at the hidden units
    h = jax.nn.sigmoid(x @ params[0].w + params[0].b[None])
    delta = jax.nn.sigmoid(h @ params[2].w + params[2].b[None]) - t
    assert relative_error(grads[2].w, h.T @ delta) < 1e-12
    delta_hidden = 0.1 * h * (1 - h) * (delta @ params[2].w.T)
    assert relative_error(grads[0].w, x.T @ delta_hidden) < 1e-12
    assert relative_error(grads[0].b, delta_hidden.sum(axis=0)) < 1e-12


def test_compare_reports_the_transforms_as_wrong(keys):
    network = bp.mlp((3, 4, 2), bp.layers.flat_spot(bp.tanh))
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (6, 3)), jax.random.uniform(next(keys), (6, 2))
    loss = bp.squared_error
    report = bp.compare(bp.backprop(network, loss), bp.autodiff(network, loss), params, batch, show=False)
    assert report.first_wrong is not None and report.first_wrong.layer == 1


@pytest.mark.parametrize("layer", [bp.dense(2), bp.mlp((2, 2)), bp.chain(bp.sigmoid)])
@pytest.mark.parametrize("transform", [bp.layers.flat_spot, bp.layers.without_derivative])
def test_transforms_of_activations_reject_other_layers(transform, layer):
    with pytest.raises(ValueError, match="expected an activation"):
        transform(layer)


def test_errors_within_the_tolerance_are_ignored():
    output, target = jnp.array([[0.05, 0.3, 0.95, 0.5]]), jnp.array([[0.0, 0.0, 1.0, 1.0]])
    loss = bp.losses.error_tolerance(bp.squared_error, 0.1)
    assert np.allclose(loss.gradient(output, target), [[0.0, 0.3, 0.0, -0.5]])
    assert loss.value(output, target) == bp.squared_error.value(output, target)
    swept = jax.vmap(lambda d: bp.losses.error_tolerance(bp.squared_error, d).gradient(output, target))(
        jnp.array([0.1, 0.4])
    )
    assert np.allclose(swept[:, 0], [[0.0, 0.3, 0.0, -0.5], [0.0, 0.0, 0.0, -0.5]])


def test_weight_decay_is_the_gradient_of_its_own_value(keys):
    network = bp.mlp((3, 2), output=bp.tanh)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (5, 3)), jax.random.uniform(next(keys), (5, 2))
    rule = bp.rules.weight_decay(bp.backprop(network, bp.squared_error), 0.3)
    value, grads, _ = rule.grads(params, (), batch)

    def by_jax(p):
        squares = sum(jnp.sum(w**2) for w in jax.tree.leaves(p))
        return bp.squared_error.value(network.forward(p, batch[0])[0], batch[1]) + 0.15 * squares

    expected, slope = jax.value_and_grad(by_jax)(params)
    assert float(value) == pytest.approx(float(expected), rel=1e-14)
    assert relative_error(grads, slope) < 1e-12


def test_weight_noise_is_the_gradient_elsewhere_and_new_each_time(keys):
    network = bp.mlp((3, 2))
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (5, 3)), jnp.zeros((5, 2))
    plain = bp.backprop(network, bp.squared_error)
    rule = bp.rules.weight_noise(plain, 0.5)
    state = rule.init(next(keys), params)
    first, _, state = rule.grads(params, state, batch)
    second, _, _ = rule.grads(params, state, batch)
    assert first != second
    # of a linear net the mean of E over the noise is E + ½ σ² K (Σ x² over examples and features + N for the bias)
    draws = jax.vmap(lambda k: rule.grads(params, rule.init(k, params), batch)[0])(jax.random.split(next(keys), 20_000))
    expected = plain.grads(params, (), batch)[0] + 0.5 * 0.25 * 2 * (jnp.sum(batch[0] ** 2) + 5)
    assert float(jnp.mean(draws)) == pytest.approx(float(expected), abs=4 * float(jnp.std(draws)) / 20_000**0.5)
    still = bp.rules.weight_noise(plain, 0.0)
    assert (
        relative_error(still.grads(params, still.init(next(keys), params), batch)[1], plain.grads(params, (), batch)[1])
        == 0
    )


def test_a_shortcut_appends_its_output_to_the_input(keys):
    layer = bp.layers.shortcut(bp.chain(bp.dense(1), bp.sigmoid))
    params, out_shape = layer.init(next(keys), (2,))
    assert out_shape == (3,)
    x = bp.xor().present()[0]
    y, _ = layer.forward(params, x)
    assert (y[:, :2] == x).all() and np.allclose(y[:, 2:], jax.nn.sigmoid(x @ params[0].w + params[0].b[None]))
    with pytest.raises(ValueError, match="in_shape"):
        layer.init(next(keys), (2, 3))


@pytest.mark.thorough
def test_unsolved_runs_restart_and_all_their_epochs_count(keys):
    network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, weights=bp.uniform(1.0), biases=bp.uniform(1.0))
    training = bp.training.make_training(
        bp.backprop(network, bp.squared_error), bp.momentum(1.0, 0.9), (bp.outputs_within(0.4),), chunk=60
    )
    start = lambda key: network.init(key, (2,))[0]
    batch, trials = bp.xor().present(), 40
    split = jax.random.split(next(keys), trials)
    run = jax.vmap(lambda k: training.init(k, start(k), 60))(split)
    advance = jax.jit(jax.vmap(lambda run: training.advance(run, batch)))
    before, _ = bp.training.run_to_end(advance, run)
    solved = np.asarray(before.reason) == training.reasons.index("every output right")
    assert 0 < solved.sum() < trials
    after, restarted = jax.vmap(lambda r, k: bp.training.restart_unsolved(training, start, r, k, 60))(
        before, jax.random.split(next(keys), trials)
    )
    assert (np.asarray(restarted) == ~solved).all()
    unchanged = jax.tree.map(lambda a, b: (a == b)[solved].all(), after.state, before.state)
    assert all(jax.tree.leaves(unchanged))
    assert (np.asarray(after.limit)[~solved] == 120).all() and (np.asarray(after.reason)[~solved] == 0).all()
    assert not (np.asarray(after.state.params[0].w) == np.asarray(before.state.params[0].w))[~solved].any()
    end, _ = bp.training.run_to_end(advance, after)
    assert (np.asarray(end.epoch)[~solved] > 60).all() and np.asarray(end.epoch).max() <= 120
    assert (np.asarray(end.epoch)[solved] == np.asarray(before.epoch)[solved]).all()


def test_divergence_of_a_restarted_run_is_relative_to_its_new_start():
    rule = bp.backprop(bp.mlp((1, 1)), bp.squared_error)
    training = bp.training.make_training(rule, optax.sgd(10.0), (bp.training.diverged(1e3),), chunk=5)
    start = lambda key: (bp.layers.Affine(jnp.ones((1, 1)), jnp.ones(1)),)
    batch = jnp.ones((3, 1)), jnp.zeros((3, 1))
    run, _ = bp.training.run_to_end(
        lambda r: training.advance(r, batch), training.init(jax.random.key(0), start(None), 20)
    )
    assert training.reasons[int(run.reason)] == "diverged"
    again, restarted = bp.training.restart_unsolved(training, start, run, jax.random.key(1), 20)
    end, _ = bp.training.run_to_end(lambda r: training.advance(r, batch), again)
    assert restarted and training.reasons[int(end.reason)] == "diverged"
    assert int(end.epoch) == 2 * int(run.epoch)
