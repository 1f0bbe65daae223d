"""Training: presentations against NumPy loops, every reason to stop, one compilation, many runs at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_unit import SGD, grads, linear, numpy_epochs
from passes import quick_jit

import bpjax as bp


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(None, [10]), (4, [4, 4, 2]), (5, [5, 5]), (1, [1] * 10), (99, [10])], ids=str
)
def test_presentations_against_numpy(batch_size, sizes, keys):
    rule, params, batch = linear()
    result = bp.fit(rule, SGD, params, batch, key=next(keys), epochs=7, batch_size=batch_size, shuffle=False, chunk=3)
    w, b, errors = numpy_epochs(params, batch, sizes, 7)
    np.testing.assert_allclose(result.params.w, w, rtol=1e-12)
    np.testing.assert_allclose(result.params.b, b, rtol=1e-12)
    np.testing.assert_allclose(result.history.error, errors, rtol=1e-12)
    assert (result.reason, result.epochs) == ("epoch limit", 7)


def test_a_mean_loss_weights_batches_by_their_examples(keys):
    rule, params, batch = linear()
    mean = bp.backprop(rule.network, bp.losses.batch_mean(bp.squared_error))
    still = bp.fit(mean, optax.sgd(0.0), params, batch, key=next(keys), epochs=1, batch_size=4)
    assert still.history.error[0] == pytest.approx(float(quick_jit(mean.grads)(params, (), batch)[0]), rel=1e-12)


def test_shuffling_presents_every_example_once_in_a_new_order(keys):
    seen = []

    def spy_grads(params, state, batch):
        jax.debug.callback(lambda x: seen.append(int(x[0, 0])), batch[0], ordered=True)
        return jnp.zeros(()), jax.tree.map(jnp.zeros_like, params), state

    spy = bp.Rule("spy", lambda key, params: (), spy_grads)
    batch = jnp.arange(8.0)[:, None], jnp.zeros((8, 1))
    bp.fit(spy, optax.sgd(0.1), jnp.zeros(2), batch, key=next(keys), epochs=3, batch_size=1, chunk=3)
    jax.effects_barrier()
    epochs = [tuple(seen[i : i + 8]) for i in (0, 8, 16)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len(set(epochs)) == 3


def test_until_every_output_is_right_then_it_classifies():
    network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, bp.uniform(1.0), bp.uniform(1.0))
    rule, optimizer = bp.backprop(network, bp.squared_error), optax.sgd(2.0)
    params, batch = network.init(jax.random.key(1), (2,))[0], bp.xor().present()
    result = bp.fit(rule, optimizer, params, batch, key=jax.random.key(0), epochs=5000, stops=bp.outputs_within(0.4))
    assert result.reason == "every output right"
    assert result.epochs == len(result.history.error) < 5000
    outputs = bp.predict(rule.network, result.params, batch[0])
    assert float(abs(outputs - batch[1]).max()) < 0.4
    before = bp.fit(rule, optimizer, params, batch, key=jax.random.key(0), epochs=result.epochs - 2)
    assert float(abs(bp.predict(rule.network, before.params, batch[0]) - batch[1]).max()) >= 0.4
    assert bp.accuracy(rule.network, result.params, batch, threshold=0.5) == 1.0


def test_error_and_gradient_goals_keep_the_weights_they_were_measured_at(keys):
    rule, params, batch = linear()
    for stop, name in (
        (bp.error_below(3.0), "error below goal"),
        (bp.training.gradient_below(0.5), "gradient below floor"),
    ):
        result = bp.fit(rule, SGD, params, batch, key=next(keys), epochs=500, stops=stop)
        value, gradient = grads(result.params, batch)
        assert result.reason == name
        assert result.history.error[-1] == pytest.approx(float(value), rel=1e-12)
        assert result.history.gradient_norm[-1] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-12)


def test_no_improvement_on_validation_data(keys):
    """Trained on noise, the validation error rises: training stops 5 epochs after its minimum."""
    rule, params, batch = linear(examples=4)
    validation = batch[0] + 1.0, batch[1] - 1.0
    result = bp.fit(
        rule,
        SGD,
        params,
        batch,
        key=next(keys),
        epochs=400,
        stops=bp.training.no_improvement(5),
        validation=validation,
    )
    assert result.reason == "no improvement"
    curve = result.history.validation_error
    assert len(curve) - 1 - int(curve.argmin()) == 5
    assert curve[0] == pytest.approx(float(grads(params, validation)[0]), rel=1e-12)


def test_a_negative_error_that_falls_is_no_divergence(keys):
    """E = Σ o − 10 is negative at the first epoch, and a million times it would be smaller still."""
    loss = bp.losses.Loss("shifted sum", lambda o, t: jnp.sum(o) - 10, lambda o, t: jnp.ones_like(o))
    rule, params = bp.backprop(bp.dense(1), loss), bp.layers.Affine(jnp.ones((2, 1)), jnp.zeros(1))
    batch = jnp.ones((3, 2)), jnp.zeros((3, 1))
    assert bp.fit(rule, optax.sgd(0.1), params, batch, key=next(keys), epochs=3).reason == "epoch limit"


@pytest.mark.parametrize("rate", [10.0, 1e300], ids=["explodes", "overflows"])
def test_divergence_is_reported_with_its_epoch_and_the_last_weights_kept(rate, keys):
    rule, params, batch = linear()
    result = bp.fit(rule, optax.sgd(rate), params, batch, key=next(keys), epochs=500, stops=(bp.error_below(1e-9),))
    assert result.reason == "diverged"
    last = result.history.error[-1]
    assert not np.isfinite(last) or last > 1e6 * result.history.error[0]
    assert (result.history.error[:-1] <= 1e6 * result.history.error[0]).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


def test_the_first_stop_that_holds_is_the_reason(keys):
    rule, params, batch = linear()
    both = (bp.training.gradient_below(1e9), bp.error_below(1e9))
    result = bp.fit(rule, SGD, params, batch, key=next(keys), stops=both)
    assert (result.reason, result.epochs) == ("gradient below floor", 1)


def test_chunks_do_not_change_the_result(keys):
    rule, params, batch = linear()
    key = next(keys)
    runs = [bp.fit(rule, SGD, params, batch, key=key, epochs=13, batch_size=3, chunk=chunk) for chunk in (1, 5, 50)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.history.error, runs[0].history.error)
        np.testing.assert_array_equal(run.params.w, runs[0].params.w)


def counted(rule):
    """The rule, and a list that grows whenever JAX traces it."""
    traces = []

    def grads(*args):
        traces.append(1)
        return rule.grads(*args)

    return rule._replace(grads=grads), traces


def test_fitting_again_compiles_nothing(keys):
    rule, params, batch = linear()
    rule, traces = counted(rule)
    optimizer = SGD
    bp.fit(rule, optimizer, params, batch, key=next(keys), epochs=20, stops=bp.error_below(1e-3))
    once = len(traces)
    bp.fit(rule, optimizer, params, batch, key=next(keys), epochs=20, stops=bp.error_below(2.0))  # another threshold
    assert once <= 2 and len(traces) == once


def test_many_runs_over_keys_and_rates_are_one_program(keys):
    rule, _, batch = linear()
    rule, traces = counted(rule)
    rates, seeds = jnp.array([0.001, 0.01, 0.05, 1.0]), jax.random.split(next(keys), 4)

    def start(rate, key):
        params, _ = rule.network.init(key, (3,))
        return bp.training.make_training(rule, optax.sgd(rate), chunk=30).init(key, params, 60)

    def step(rate, run):
        return bp.training.make_training(rule, optax.sgd(rate), chunk=30).advance(run, batch)

    many = jax.jit(jax.vmap(step))
    run, history = bp.training.run_to_end(lambda run: many(rates, run), jax.vmap(start)(rates, seeds))
    assert len(traces) == 1
    assert history.error.shape == (4, 60)
    for lane in range(4):
        params, _ = rule.network.init(seeds[lane], (3,))
        descent = bp.momentum(float(rates[lane]), 0.0)  # compiles once for all rates
        alone = bp.fit(rule, descent, params, batch, key=seeds[lane], epochs=60)
        assert int(run.epoch[lane]) == alone.epochs
        np.testing.assert_allclose(history.error[lane, : alone.epochs], alone.history.error, rtol=1e-9)
        assert np.isnan(history.error[lane, alone.epochs :]).all()
    assert int(run.epoch[3]) < 60  # it diverged, without an effect on the other runs


@pytest.mark.parametrize("name", ["adam", "momentum", "rmsprop", "lbfgs-free plateau", "injected"])
def test_any_optax_optimizer_works(name, keys):
    optimizer = {
        "adam": optax.adam(0.05),
        "momentum": optax.sgd(0.02, momentum=0.8, nesterov=True),
        "rmsprop": optax.rmsprop(0.01),
        "lbfgs-free plateau": optax.chain(optax.sgd(0.05), optax.contrib.reduce_on_plateau(patience=5)),
        "injected": optax.inject_hyperparams(optax.sgd)(learning_rate=0.05),
    }[name]
    rule, params, batch = linear()
    result = bp.fit(rule, optimizer, params, batch, key=next(keys), epochs=200)
    assert result.history.error[-1] < 0.9 * result.history.error[0]


def test_a_rule_with_a_state_carries_it_along(keys):
    rule, params, batch = linear()

    def grads(params, count, batch):
        value, grads, _ = rule.grads(params, (), batch)
        return value, grads, count + 1

    counting = rule._replace(name="counting", init=lambda key, params: jnp.zeros((), jnp.int32), grads=grads)
    result = bp.fit(counting, SGD, params, batch, key=next(keys), epochs=6, batch_size=5)
    assert int(result.state.rule) == 12


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_half_precision_trains_in_its_dtype(dtype, keys):
    rule, params, batch = linear()
    params, batch = bp.util.cast((params, batch), dtype)
    result = bp.fit(rule, optax.sgd(0.02), params, batch, key=next(keys), epochs=50, batch_size=4)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.params)} == {jnp.dtype(dtype)}
    assert result.history.error[-1] < result.history.error[0]


def test_on_chunk_is_called_between_chunks(keys):
    rule, params, batch = linear()
    seen = []
    bp.fit(
        rule,
        SGD,
        params,
        batch,
        key=next(keys),
        epochs=25,
        chunk=10,
        on_chunk=lambda run: seen.append((int(run.epoch), int(run.limit))),
    )
    assert seen == [(9, 25), (18, 25), (25, 25)]


def test_the_digits_are_learnt():
    """More than 85 % of the digits of unseen writers are classified correctly, where chance is 10 %."""
    with jax.enable_x64(False):
        network = bp.mlp((64, 32, 10))
        params, _ = network.init(jax.random.key(0), (64,))
        rule = bp.backprop(network, bp.losses.batch_mean(bp.softmax_cross_entropy))
        train, test = bp.digits("train").present(), bp.digits("test").present()
        result = bp.fit(rule, optax.adam(0.01), params, train, key=jax.random.key(1), epochs=6, batch_size=64)
        assert bp.accuracy(network, result.params, test) > 0.85
