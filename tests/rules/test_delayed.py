"""Delayed updates and synthetic gradients against NumPy, the exact stability limit and backpropagation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers.convolution.conv import conv
from bpjax.layers.shapes import flatten
from bpjax.rules.delayed import delayed
from bpjax.rules.synthetic import synthetic_gradients

theory = bp.theory


def problem(keys, sizes=(3, 3, 2), output=None):
    network = bp.mlp(sizes, bp.tanh, output=output)
    params, _ = network.init(next(keys), sizes[:1])
    return (
        network,
        params,
        (jax.random.normal(next(keys), (4, sizes[0])), jax.random.uniform(next(keys), (4, sizes[-1]))),
    )


def layer_by_hand(x, delta):
    """dW and db of a dense layer."""
    return x.T @ delta, delta.sum(axis=0)


def backprop_by_hand(weights, x, t):
    """The gradient of ½ Σ (t − o)² for two layers of tanh units."""
    (w1, b1), (w2, b2) = weights
    h = np.tanh(x @ w1 + b1)
    o = np.tanh(h @ w2 + b2)
    delta = (1 - o**2) * (o - t)
    return [layer_by_hand(x, (1 - h**2) * (delta @ w2.T)), layer_by_hand(h, delta)]


# --- Delayed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "by_layer"), [(2, (2, 2)), ((3, 1), (3, 1)), ([2, 0], (2, 0))], ids=str)
def test_five_steps_on_a_3_3_2_net(steps, by_layer, keys):
    """w(t+1) = w(t) − η g(t−τ), for the batch of step t−τ; the first τ steps change nothing."""
    network, params, _ = problem(keys, output=bp.tanh)
    rule = delayed(bp.backprop(network, bp.squared_error), steps)
    state, compiled = rule.init(next(keys), params), quick_jit(rule.grads)
    weights, past = [(np.array(params[l].w), np.array(params[l].b)) for l in (0, 2)], []
    for time in range(5):
        x, t = jax.random.normal(next(keys), (4, 3)), jax.random.uniform(next(keys), (4, 2))
        value, grads, state = compiled(params, state, (x, t))
        assert float(value) == pytest.approx(float(bp.squared_error.value(network.forward(params, x)[0], t)))
        params = jax.tree.map(lambda w, g: w - 0.2 * g, params, grads)
        past.append(backprop_by_hand(weights, np.asarray(x), np.asarray(t)))
        for l, tau in enumerate(by_layer):
            if time >= tau:
                weights[l] = tuple(w - 0.2 * g for w, g in zip(weights[l], past[time - tau][l], strict=True))
            else:
                assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads[2 * l]))
        for l, (w, b) in zip((0, 2), weights, strict=True):
            np.testing.assert_allclose(params[l].w, w, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(params[l].b, b, rtol=1e-12, atol=1e-12)


def quadratic(rate, tau):
    """The rule and its training step on ½ w²: (w, state) -> (w, state)."""
    rule = delayed(bp.backprop(bp.dense(1, use_bias=False), bp.squared_error), tau)
    batch = jnp.ones((1, 1)), jnp.zeros((1, 1))

    def step(w, state):
        _, grads, state = rule.grads(w, state, batch)
        return jax.tree.map(lambda w, g: w - rate * g, w, grads), state

    return rule, step


@pytest.mark.parametrize("tau", [0, 1, 2, 5])
def test_the_stability_limit_is_exact(tau, keys):
    """X23: the map of τ steps, after which the ring buffer is at its start, contracts below the limit, not above it."""
    params, _ = bp.dense(1, use_bias=False).init(next(keys), (1,))
    key = next(keys)

    def round_trip(flat, rate):
        rule, step = quadratic(rate, tau)
        fresh = rule.init(key, params)
        state = fresh._replace(buffers=[fresh.buffers[0]._replace(past=flat[1:].reshape(tau, 1, 1))])
        w = params._replace(w=flat[:1].reshape(1, 1))
        for _ in range(max(tau, 1)):
            w, state = step(w, state)
        return jnp.concatenate([w.w.ravel(), state.buffers[0].past.ravel()])

    jacobian = quick_jit(jax.jacobian(round_trip))
    for factor, is_stable in ((0.9999, True), (1.0001, False)):
        matrix = jacobian(jnp.ones(1 + tau), factor * float(theory.delay_limit(tau)))
        assert (np.abs(np.linalg.eigvals(matrix)).max() < 1) == is_stable


def test_a_run_shrinks_below_the_limit_and_grows_above_it(keys):
    params = bp.dense(1, use_bias=False).init(next(keys), (1,))[0]._replace(w=jnp.ones((1, 1)))
    key = next(keys)

    def last(factor):
        rule, step = quadratic(factor * float(theory.delay_limit(2)), 2)
        start = params, rule.init(key, params)
        _, path = jax.lax.scan(lambda s, _: (step(*s), jnp.abs(s[0].w)), start, None, length=40_000)
        return jnp.max(path[-20:])

    below, above = quick_jit(jax.vmap(last))(jnp.array([0.999, 1.001]))
    assert below < 1e-3 and above > 1e3


def test_no_delay_changes_nothing(keys):
    network, params, batch = problem(keys)
    undelayed = bp.backprop(network, bp.squared_error)
    rule = delayed(undelayed, 0)
    grads = rule.grads(params, rule.init(next(keys), params), batch)[1]
    assert relative_error(grads, undelayed.grads(params, (), batch)[1]) == 0


def test_it_delays_any_rule_and_trains_by_fit(keys):
    network, params, batch = problem(keys)
    rule = delayed(delayed(bp.rules.weight_noise(bp.backprop(network, bp.squared_error), 0.01), 1), 2)
    result = bp.fit(rule, optax.sgd(0.05), params, batch, key=next(keys), epochs=100)
    assert result.history.error[-1] < 0.5 * result.history.error[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rule: delayed(rule, -1), "`steps`.*≥ 0, got -1"),
        (lambda rule: delayed(rule, (1, 0.5)), "`steps`.*≥ 0, got 0.5"),
        (lambda rule: delayed(rule._replace(network=None), (1, 0)), "rule with a `network`.*`backprop` has none"),
        (lambda rule: delayed(rule, (2, 1, 0)).init(None, PARAMS), "each of the 2 layers.*got \\(2, 1, 0\\)"),
    ],
)
def test_bad_delays(make, message):
    with pytest.raises(ValueError, match=message):
        make(bp.backprop(bp.mlp((3, 3, 2)), bp.squared_error))


PARAMS, _ = bp.mlp((3, 3, 2)).init(jax.random.key(0), (3,))


# --- Synthetic -------------------------------------------------------------------------------------------------------


def test_five_steps_of_synthetic_gradients_on_a_3_3_2_net(keys):
    network, params, (x, t) = problem(keys, output=bp.tanh)
    rule = synthetic_gradients(network, bp.squared_error, 0.3)
    state, compiled = rule.init(next(keys), params), quick_jit(rule.grads)
    (w1, b1), (w2, b2) = [(np.array(params[l].w), np.array(params[l].b)) for l in (0, 2)]
    a, c, x_n, t_n = np.zeros((3, 3)), np.zeros(3), np.asarray(x), np.asarray(t)
    for time in range(5):
        value, grads, state = compiled(params, state, (x, t))
        assert float(value) == pytest.approx(float(bp.squared_error.value(network.forward(params, x)[0], t)))
        assert time > 0 or not any(leaf.any() for leaf in grads[0])  # M is 0 in the first step, so the direction is 0
        params = jax.tree.map(lambda w, g: w - 0.2 * g, params, grads)
        h = np.tanh(x_n @ w1 + b1)
        o = np.tanh(h @ w2 + b2)
        prediction = h @ a + c
        delta1, delta2 = (1 - h**2) * prediction, (1 - o**2) * (o - t_n)
        error = prediction - delta2 @ w2.T
        a, c = a - 0.3 * h.T @ error / 4, c - 0.3 * error.mean(axis=0)
        w1, b1 = w1 - 0.2 * x_n.T @ delta1, b1 - 0.2 * delta1.sum(axis=0)
        w2, b2 = w2 - 0.2 * h.T @ delta2, b2 - 0.2 * delta2.sum(axis=0)
        for found, true in zip(jax.tree.leaves((params, state)), (w1, b1, w2, b2, a, c), strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("with_target", [False, True])
def test_exact_predictions_are_backprop_and_stay_exact(with_target, keys):
    """With three examples and more inputs than examples, linear models exist that predict every error signal."""
    network, params, (x, t) = problem(keys, (3, 5, 4, 2))
    x, t = x[:3], t[:3]
    rule = synthetic_gradients(network, bp.squared_error, with_target=with_target)
    states = [np.tanh(x @ params[0].w + params[0].b[None])]
    states.append(np.tanh(states[0] @ params[2].w + params[2].b[None]))
    delta = states[1] @ params[4].w + params[4].b[None] - t
    truths = [delta @ params[4].w.T]
    truths.insert(0, ((1 - states[1] ** 2) * truths[0]) @ params[2].w.T)
    models = []
    for h, truth, fresh in zip(states, truths, rule.init(next(keys), params), strict=True):
        inputs = np.concatenate([h, t], axis=1) if with_target else h
        models.append(bp.layers.Affine(jnp.asarray(np.linalg.lstsq(inputs, truth, rcond=None)[0]), fresh.b))
    _, grads, after = quick_jit(rule.grads)(params, models, (x, t))
    assert relative_error(grads, quick_jit(bp.backprop(network, bp.squared_error).grads)(params, (), (x, t))[1]) < 1e-11
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_the_models_learn_the_error_signal_of_fixed_weights(keys):
    """Sixty examples with labels, a linear network, models that see the target: ∂E/∂h is linear in their input."""
    network = bp.chain(bp.dense(3), bp.dense(2))
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (60, 3)), jax.random.randint(next(keys), (60,), 0, 2)
    one_hot = bp.squared_error._replace(
        gradient=lambda o, t: o - jax.nn.one_hot(t, 2), value=lambda o, t: jnp.sum((o - jax.nn.one_hot(t, 2)) ** 2) / 2
    )
    rule = synthetic_gradients(network, one_hot, 0.2, with_target=True)
    state = rule.init(next(keys), params)

    @quick_jit
    def trained(state):
        state = jax.lax.fori_loop(0, 5000, lambda _, state: rule.grads(params, state, batch)[2], state)
        return rule.grads(params, state, batch)[1], bp.backprop(network, one_hot).grads(params, (), batch)[1]

    assert relative_error(*trained(state)) < 1e-6


def test_images_are_flattened_for_the_models(keys):
    network = bp.chain(conv(2, (3, 3)), bp.tanh, flatten, bp.dense(2))
    params, _ = network.init(next(keys), (4, 5, 1))
    batch = jax.random.normal(next(keys), (3, 4, 5, 1)), jax.random.normal(next(keys), (3, 2))
    rule = synthetic_gradients(network, bp.squared_error, in_shape=(4, 5, 1))
    state, compiled = rule.init(next(keys), params), quick_jit(rule.grads)
    for _ in range(2):
        _, grads, state = compiled(params, state, batch)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)
    assert all(leaf.any() for leaf in jax.tree.leaves(grads))
    with pytest.raises(ValueError, match="`synthetic_gradients` expected `in_shape`.*begins with conv"):
        synthetic_gradients(network, bp.squared_error).init(next(keys), params)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: synthetic_gradients(bp.dense, bp.squared_error), "expected a Layer"),
        (lambda n: synthetic_gradients(n, jnp.sum), "expected a Loss"),
        (lambda n: synthetic_gradients(n, bp.squared_error, 0.0), "`rate`.*> 0"),
        (lambda n: synthetic_gradients(n, bp.squared_error).init(None, PARAMS[:1]), "params made by its `init`"),
        (
            lambda n: synthetic_gradients(bp.chain(n.layers[0]), bp.squared_error).init(None, PARAMS[:1]),
            "a hidden layer",
        ),
    ],
)
def test_bad_synthetic_gradients(make, message):
    with pytest.raises(ValueError, match=message):
        make(bp.mlp((3, 3, 2)))
