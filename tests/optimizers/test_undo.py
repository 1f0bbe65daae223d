"""Steps that are undone, exactly, and how training reports them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from passes import quick_jit
from quadratic import at, close, error, run, start

import bpjax as bp
from bpjax.optimizers.undo import accepted_points

MASK, REST = {"w": bp.layers.Affine(True, False)}, {"w": bp.layers.Affine(False, True)}


def exact_step(optimizer):
    """One step by `take_step`, compiled."""

    @quick_jit
    def step(params, state):
        value, grads = jax.value_and_grad(error)(params)
        return bp.optimizers.take_step(optimizer, grads, state, params, value)

    return step


@pytest.mark.parametrize(
    "make", [bp.optimizers.bold_driver, bp.optimizers.traingda, bp.optimizers.traingdx, bp.optimizers.silva_almeida]
)
def test_a_bad_step_is_undone_exactly_however_bad(make):
    optimizer, params = make(3e38), start("float32")  # the weights become infinite
    state, step = optimizer.init(params), exact_step(optimizer)
    for _ in range(3):
        params, state, refused = step(params, state)
    assert refused and not np.isfinite(jax.tree.leaves(params)[0]).all()
    assert close(accepted_points(state)[0].params, start("float32"), 0)
    state = bp.optimizers.set_hyperparameters(state, learning_rate=0.02)
    after, state, refused = step(params, state)
    rate = bp.optimizers.hyperparameter(state, "learning_rate").astype(jnp.float32)
    expected = jax.tree.map(lambda w, g: w - rate * g, start("float32"), jax.grad(error)(start("float32")))
    assert refused and close(after, expected, 1e-7)


@pytest.mark.parametrize("make", [bp.optimizers.bold_driver, bp.optimizers.traingdx, bp.optimizers.silva_almeida])
def test_undoing_in_a_plain_loop_and_under_vmap_is_the_same(make):
    def exactly(rate):
        optimizer, params = make(rate), start()

        def step(carry, _):
            value, grads = jax.value_and_grad(error)(carry[0])
            params, state, refused = bp.optimizers.take_step(optimizer, grads, carry[1], carry[0], value)
            return (params, state), refused

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=15)

    rates = jnp.array([0.05, 0.6, 5.0])
    (together, _), refused = quick_jit(jax.vmap(exactly))(rates)
    assert (refused.sum(axis=1) > 0).tolist() == [False, True, True] or refused.sum() > 0
    single = quick_jit(lambda rate: (exactly(rate), run(make(rate), 15)[0][0]))
    for i, rate in enumerate(rates):
        ((alone, _), undone), plain = single(rate)
        assert close(at(together, i), alone, 1e-12)
        assert (undone == refused[i]).all()
        assert close(plain, alone, 1e-9)


def test_under_a_mask_only_its_own_weights_are_taken_back():
    optimizer = optax.chain(
        optax.masked(bp.optimizers.bold_driver(50.0), MASK),
        optax.masked(optax.scale(-0.1), REST),
    )
    first = params = start()
    state, step = optimizer.init(params), exact_step(optimizer)
    for _ in range(2):
        before = params
        params, state, refused = step(params, state)
    assert refused
    slope = jax.grad(error)(first)["w"].w
    assert close(params["w"].w, first["w"].w - 35.0 * slope)
    assert close(params["w"].b, before["w"].b - 0.1 * jax.grad(error)(before)["w"].b)


# In training

NETWORK = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, weights=bp.uniform(1.0), biases=bp.uniform(1.0))
RULE, DATA = bp.backprop(NETWORK, bp.squared_error), bp.xor().present()


@pytest.fixture
def params(keys):
    return NETWORK.init(next(keys), (2,))[0]


def test_the_history_shows_rate_momentum_and_refused_steps(params):
    fit = bp.fit(RULE, bp.optimizers.bold_driver(200.0, 0.5), params, DATA, key=jax.random.key(0), epochs=40)
    history = fit.history
    ratios = history.learning_rate[1:] / history.learning_rate[:-1]
    shrunk = np.isclose(ratios, 0.7)
    assert shrunk.any() and (np.isclose(ratios, 1.05) | np.isclose(ratios, 1.0) | shrunk).all()
    assert (shrunk == (history.refused[1:] > 0)).all()
    assert (history.momentum == 0.5).all()
    plain = bp.fit(RULE, optax.sgd(0.1), params, DATA, key=jax.random.key(0), epochs=2).history
    assert plain.learning_rate is None and plain.momentum is None and (plain.refused == 0).all()


@pytest.mark.parametrize("optimizer", [optax.adam(0.01), bp.momentum(0.1, 0.9)], ids=["optax", "bpjax"])
def test_a_batch_whose_gradient_is_not_finite_is_skipped_and_counted(params, optimizer):
    x, t = DATA
    poisoned = RULE._replace(
        grads=lambda p, s, batch: (
            *jax.tree.map(lambda a: jnp.where(batch[0][0, 0] == 7, jnp.nan, a), RULE.grads(p, s, batch)[:2]),
            s,
        ),
        name="poisoned",
    )
    training = bp.training.make_training(poisoned, optimizer, batch_size=1, shuffle=False, chunk=1)
    clean = bp.training.make_training(RULE, optimizer, batch_size=1, shuffle=False, chunk=1)
    with_bad = (jnp.concatenate([x, jnp.full((1, 2), 7.0)]), jnp.concatenate([t, t[:1]]))

    @quick_jit
    def everything(begin):
        bad, history = training.advance(begin, with_bad)
        good, _ = clean.advance(begin, (x, t))
        step = bp.make_train_step(poisoned, optimizer)(good.state, (with_bad[0][4:], with_bad[1][4:]))
        return bad, history, good, step

    bad, history, good, (state, metrics) = everything(training.init(jax.random.key(0), params, 5))
    assert history.refused.tolist() == [1.0]
    # the epoch's error is NaN, so the run counts as diverged and keeps the weights before it
    assert training.reasons[int(bad.reason)] == "diverged"
    assert metrics.refused == 1 and close(state, good.state, 0)


def test_a_step_that_will_be_undone_stops_nothing(params):
    rule = bp.backprop(bp.mlp((2, 2, 1), bp.tanh), bp.squared_error)
    fit = bp.fit(rule, bp.optimizers.bold_driver(1e9), params[:3], DATA, key=jax.random.key(0), epochs=200)
    assert fit.reason == "epoch limit" and fit.history.refused.sum() > 20
    assert fit.history.error[-1] < fit.history.error[0]
