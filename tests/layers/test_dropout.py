"""Dropout: masks, keys, networks with and without it, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import quick_jit, run

import bpjax as bp
from bpjax.layers.dropout import dropout, keyed, without_dropout
from bpjax.layers.layer import no_gradient
from bpjax.rules.transforms import fresh_keys


def test_by_hand(keys):
    # p = 0.75: y = 4 x and dx = 4 dy where the entry is not dropped, else 0
    layer, key = keyed(dropout(0.75)), next(keys)
    x, dy = (jax.random.normal(next(keys), (400, 5)) for _ in range(2))
    y, (dparams, (dx, dkey)) = run(layer, (), (x, key), dy)
    passed = np.asarray(y != 0)
    np.testing.assert_array_equal(y, np.where(passed, 4 * x, 0))
    np.testing.assert_array_equal(dx, np.where(passed, 4 * dy, 0))
    assert dparams == () and dkey.dtype == jax.dtypes.float0 and dkey.shape == ()
    share = passed.mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5
    assert (passed.any(axis=1) != passed.all(axis=1)).any() and passed.any(axis=0).all()  # every entry independently


def test_the_mean_is_that_without(keys):
    layer, x = keyed(dropout(0.3)), jnp.array([[1.0, -2.0, 3.0]])
    draws = jax.vmap(lambda key: layer.forward((), (x, key))[0])(jax.random.split(next(keys), 20_000))
    np.testing.assert_allclose(draws.mean(axis=0), x, rtol=0.02)  # 4 standard errors: 4 √(0.3 / 0.7 / 20,000)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_same_key_drops_the_same_in_every_dtype(dtype):
    y, _ = keyed(dropout(0.5)).forward((), (jnp.ones((40, 5), dtype), jax.random.key(3)))
    wide, _ = keyed(dropout(0.5)).forward((), (jnp.ones((40, 5)), jax.random.key(3)))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(jnp.float64), wide)


def test_half_precision_is_rounded_once(keys):
    x = jax.random.normal(next(keys), (100, 5), jnp.bfloat16)
    y, _ = keyed(dropout(0.1)).forward((), (x, next(keys)))
    once = (np.asarray(x, np.float32) * np.float32(1 / (1 - np.float32(0.1)))).astype(jnp.bfloat16)
    np.testing.assert_array_equal(y, np.where(np.asarray(y) == 0, 0, once))


@pytest.mark.parametrize(("rate", "share"), [(0.0, 1.0), (1 - 1e-9, 0.0)])
def test_the_ends_of_the_range(rate, share, keys):
    x, dy = (jax.random.normal(next(keys), (50, 4)) for _ in range(2))
    y, (_, (dx, _)) = run(keyed(dropout(rate)), (), (x, next(keys)), dy)
    assert np.mean(y != 0) == share and np.isfinite(y).all()
    np.testing.assert_array_equal(y, share * x)
    np.testing.assert_array_equal(dx, share * dy)


def test_dropouts_of_a_network_draw_apart(keys):
    layer = keyed(bp.chain(dropout(0.5), bp.over_positions(dropout(0.5))))
    y, (first, second) = layer.forward(((), ()), (jnp.ones((20, 3, 2)), next(keys)))
    masks = first.reshape(-1), second.reshape(-1)
    assert (masks[0] != masks[1]).any()
    np.testing.assert_array_equal(y.reshape(-1), 4.0 * (masks[0] & masks[1]))


def test_predicting_is_the_network_without(keys):
    network = bp.chain(bp.dense(3), dropout(0.5), bp.sigmoid, dropout(0.1))
    params, _ = network.init(next(keys), (2,))
    x = jax.random.normal(next(keys), (5, 2))
    for form in (without_dropout(network), without_dropout(keyed(network))):
        np.testing.assert_array_equal(form.forward(params, x)[0], jax.nn.sigmoid(bp.dense(3).forward(params[0], x)[0]))


def test_the_rate_may_be_traced(keys):
    x, key = jnp.ones((200, 5)), next(keys)
    share = jax.jit(lambda rate: jnp.mean(keyed(dropout(rate)).forward((), (x, key))[0] > 0))
    assert float(share(0.0)) == 1 and float(share(0.3)) > float(share(0.8)) > 0


NETWORK = bp.chain(bp.dense(16), bp.tanh, dropout(0.2), bp.dense(1), bp.sigmoid)


def test_a_rule_with_fresh_keys(keys):
    rule = fresh_keys(bp.backprop(keyed(NETWORK), bp.squared_error))
    plain = bp.autodiff(keyed(NETWORK), bp.squared_error)
    params, _ = NETWORK.init(next(keys), (2,))
    x, target = bp.xor().present()
    state = rule.init(next(keys), params)
    grads = quick_jit(rule.grads)
    first, direction, after = grads(params, state, (x, target))
    again, _, _ = grads(params, state, (x, target))
    other, _, _ = grads(params, after, (x, target))
    assert first == again and first != other
    own = ((x, jax.random.split(state.key)[0]), target)  # each call splits the key and keeps the second part
    value, expected, _ = quick_jit(plain.grads)(params, (), own)
    assert abs(first - value) < 1e-14 and relative_error(direction, expected) < 1e-13
    values = []
    for _ in range(4):
        value, _, state = grads(params, state, (x, target))
        values.append(float(value))
    assert len(set(values)) == 4


def test_a_network_with_dropout_is_trained(keys):
    rule = fresh_keys(bp.backprop(keyed(NETWORK), bp.squared_error))
    data = bp.xor().present()
    params, _ = NETWORK.init(next(keys), (2,))
    found = bp.fit(
        rule, bp.momentum(0.3, 0.9), params, data, key=next(keys), epochs=1000, stops=(bp.outputs_within(0.4),),
        validation=data, chunk=250,
    )  # fmt: skip
    assert found.reason == "every output right"
    assert (np.abs(without_dropout(NETWORK).forward(found.params, data[0])[0] - data[1]) < 0.4).all()


def test_runs_with_separate_keys_can_be_vmapped(keys):
    rule = fresh_keys(bp.backprop(keyed(NETWORK), bp.squared_error))
    data, step = bp.xor().present(), bp.make_train_step(rule, bp.momentum(0.1, 0.9))
    params, _ = NETWORK.init(next(keys), (2,))
    optimizer = bp.momentum(0.1, 0.9).init(params)
    start = lambda key: bp.training.TrainState(params, optimizer, rule.init(key, params))
    steps = lambda state: jax.lax.scan(lambda s, _: step(s, data), state, length=3)
    split = jax.random.split(next(keys), 3)
    one = quick_jit(lambda key: steps(start(key))[0])
    together = quick_jit(jax.vmap(lambda key: steps(start(key))[0]))(split)
    for i, key in enumerate(split):
        alone = one(key)
        assert relative_error(jax.tree.map(lambda p, i=i: p[i], together.params), alone.params) < 1e-13
    assert (together.params[0].w[0] != together.params[0].w[1]).any()


X = jnp.ones((2, 2))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: dropout(1.0), "`rate` below 1"),
        (lambda: dropout(-0.1), "`rate` to be a finite number ≥ 0"),
        (lambda: dropout(0.5).forward((), X), r"expected a key: train with `bp.layers.keyed\(network\)`"),
        (lambda: keyed(bp.tanh), "with a layer that takes a key"),
        (lambda: keyed(dropout), "`keyed` expected a Layer"),  # type: ignore[arg-type]
        (lambda: keyed(dropout(0.5)).forward((), X), r"the input `\(x, key\)`"),
        (lambda: keyed(dropout(0.5)).forward((), (X, X)), r"the input `\(x, key\)`"),
        (lambda: keyed(dropout(0.5)).forward((), (X, jax.random.split(jax.random.key(0)))), r"the input `\(x, key\)`"),
        (lambda: keyed(dropout(0.5)).forward((), (X.astype(int), jax.random.key(0))), "floating-point"),
        (lambda: without_dropout(dropout), "`without_dropout` expected a Layer"),  # type: ignore[arg-type]
        (lambda: fresh_keys(bp.backprop(NETWORK, bp.squared_error)), "of a keyed network, got backprop of the network"),
        (lambda: fresh_keys(bp.Rule("own", lambda *a: (), lambda *a: a)), "own without a network"),
    ],
)
def test_errors(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_key_has_no_gradient():
    assert no_gradient(jax.random.key(0)).shape == ()
