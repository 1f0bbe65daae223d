"""Laws every rule for changing weights obeys, over the table of all of them; what bad input gets; steps taken back."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bpjax as bp
from bpjax.optimizers.registry import OPTIMIZERS
from bpjax.optimizers.undo import accepted_points

TABLE = pytest.mark.parametrize("entry", OPTIMIZERS.values(), ids=OPTIMIZERS)
CURVATURE = jnp.array([1.0, 3.0, 8.0])


def start(dtype="float64"):
    return bp.util.cast(
        {"w": bp.layers.Affine(jnp.array([[1.0, -1.0], [0.5, 2.0], [-0.3, 0.8]]), jnp.array([0.2, -0.4]))}, dtype
    )


def error(params):
    """A quadratic with three curvatures and a coupling."""
    w, b = params["w"]
    return 0.5 * jnp.sum(CURVATURE[:, None].astype(w.dtype) * w * w) + 0.5 * jnp.sum((b - w[0]) ** 2)


def plain_step(optimizer):
    """One step as any optax loop takes it."""

    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(error)(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    return step


def run(optimizer, steps=12, params=None):
    params = start() if params is None else params
    return jax.lax.scan(plain_step(optimizer), (params, optimizer.init(params)), None, length=steps)


def close(a, b, tolerance=1e-12):
    return all(
        np.allclose(x, y, rtol=tolerance, atol=tolerance)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def shape_of(tree):
    return jax.tree.map(lambda a: (a.shape, a.dtype, getattr(a, "weak_type", False)), tree)


@TABLE
def test_it_learns_a_quadratic(entry):
    _, values = run(entry.make(entry.hyperparameter), 60)
    assert values[-1] < 1e-2 * values[0]


@TABLE
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_dtypes_and_structure_are_stable(entry, dtype):
    optimizer, params = entry.make(entry.hyperparameter), start(dtype)
    state = jax.jit(optimizer.init)(params)
    (after, new), _ = jax.jit(plain_step(optimizer))((params, state), None)
    assert shape_of(after) == shape_of(params)
    assert shape_of(new) == shape_of(state)
    kept = "float32" if dtype == "bfloat16" else dtype
    wide = [a for a in jax.tree.leaves(state) if a.ndim and jnp.issubdtype(a.dtype, jnp.floating)]
    assert all(a.dtype == kept for a in wide) or accepted_points(state)  # a departure keeps the weights as they are


@TABLE
def test_bfloat16_follows_float32(entry):
    (half, _), _ = run(entry.make(entry.hyperparameter), 4, start("bfloat16"))
    (full, _), _ = run(entry.make(entry.hyperparameter), 4, start("float32"))
    assert close(bp.util.cast(half, "float32"), full, 0.05)


@TABLE
def test_jit_and_scan_equal_the_eager_loop(entry):
    optimizer, params = entry.make(entry.hyperparameter), start()
    step, carry = plain_step(optimizer), (params, optimizer.init(params))
    for _ in range(5):
        carry, _ = step(carry, None)
    assert close(carry, run(optimizer, 5)[0], 1e-12)


@TABLE
def test_the_step_compiles_once(entry):
    optimizer, params = entry.make(entry.hyperparameter), start("float32")
    step, carry = jax.jit(plain_step(optimizer)), (params, optimizer.init(params))
    for _ in range(4):
        carry, _ = step(carry, None)
    assert step._cache_size() == 1


@TABLE
def test_vmap_over_a_traced_number_equals_one_run_each(entry):
    numbers = entry.hyperparameter * jnp.array([0.5, 1.0, 1.3])
    (together, _), _ = jax.vmap(lambda n: run(entry.make(n)))(numbers)
    for i, number in enumerate(numbers):
        (alone, _), _ = run(entry.make(float(number)))
        assert close(jax.tree.map(lambda a, i=i: a[i], together), alone, 1e-11)


@TABLE
@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(entry, poison):
    optimizer = entry.make(entry.hyperparameter)
    (params, state), _ = run(optimizer, 3)
    value, grads = jax.value_and_grad(error)(params)
    bad = {"w": grads["w"]._replace(b=grads["w"].b.at[0].set(poison))}
    after, new, refused = bp.optimizers.take_step(optimizer, bad, state, params, value)
    assert refused
    if accepted_points(state):  # the bad point is left for the one before it, at a lower rate
        (point,) = accepted_points(state)
        assert close(accepted_points(new)[0]._replace(undone=False), point._replace(undone=False), 0)
        assert bp.optimizers.hyperparameter(new, "learning_rate") < bp.optimizers.hyperparameter(state, "learning_rate")
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    else:
        assert close((after, new), (params, state), 0)


@TABLE
def test_optax_can_guard_a_plain_loop(entry):
    if accepted_points(entry.make(entry.hyperparameter).init(start())):
        pytest.skip("a rule that takes steps back judges them itself, in take_step")
    optimizer = optax.apply_if_finite(entry.make(entry.hyperparameter), 5)
    (params, state), _ = run(optimizer, 2)
    bad = jax.tree.map(lambda w: jnp.full_like(w, jnp.nan), params)
    updates, after = optimizer.update(bad, state, params, value=1.0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))
    assert close(after.inner_state, state.inner_state, 0) and after.total_notfinite == 1


@TABLE
def test_it_works_in_a_chain_behind_a_clip(entry):
    optimizer = optax.chain(optax.clip(0.5), entry.make(entry.hyperparameter))
    clipped = lambda p: jax.tree.map(lambda g: jnp.clip(g, -0.5, 0.5), jax.grad(error)(p))
    (chained, _), _ = run(optimizer, 3)
    alone, params = entry.make(entry.hyperparameter), start()
    state = alone.init(params)
    for _ in range(3):
        updates, state = alone.update(clipped(params), state, params, value=error(params))
        params = optax.apply_updates(params, updates)
    assert close(chained, params)


@TABLE
def test_a_mask_leaves_the_rest_alone(entry):
    mask = {"w": bp.layers.Affine(True, False)}
    optimizer = optax.masked(entry.make(entry.hyperparameter), mask)
    params = start()
    grads = jax.grad(error)(params)
    updates, state = optimizer.update(grads, optimizer.init(params), params, value=error(params))
    assert close(updates["w"].b, grads["w"].b, 0)  # optax hands masked gradients through
    alone = entry.make(entry.hyperparameter)
    own = {"w": bp.layers.Affine(params["w"].w, None)}
    expected, _ = alone.update({"w": bp.layers.Affine(grads["w"].w, None)}, alone.init(own), own, value=error(params))
    assert close(updates["w"].w, expected["w"].w)
    frozen = optax.chain(optimizer, optax.masked(optax.set_to_zero(), {"w": bp.layers.Affine(False, True)}))
    after, _, _ = bp.optimizers.take_step(frozen, grads, frozen.init(params), params, error(params))
    assert close(after["w"].b, params["w"].b, 0)


INJECTED = {
    "momentum": (bp.momentum, {"learning_rate": 0.05, "momentum": 0.8, "form": "convex"}),
    "bold_driver": (bp.optimizers.bold_driver, {"learning_rate": 0.5, "momentum": 0.5}),
    "traingda": (bp.optimizers.traingda, {"learning_rate": 0.3}),
    "traingdx": (bp.optimizers.traingdx, {"learning_rate": 0.3}),
    "silva_almeida": (bp.optimizers.silva_almeida, {"learning_rate": 0.3}),
    "delta_bar_delta": (bp.optimizers.delta_bar_delta, {"learning_rate": 0.1}),
    "supersab": (bp.optimizers.supersab, {"learning_rate": 0.1, "largest": 2.0}),
    "quickprop": (bp.quickprop, {"learning_rate": 0.1}),
    "rprop": (bp.rprop, {"initial": 0.1, "variant": "irprop-"}),
}


@pytest.mark.parametrize(("factory", "numbers"), INJECTED.values(), ids=INJECTED)
def test_injected_hyperparameters_are_followed(factory, numbers):
    (injected, _), _ = jax.jit(lambda: run(optax.inject_hyperparams(factory)(**numbers)))()
    (plain, _), _ = run(factory(**numbers))
    assert close(injected, plain)


def test_an_injected_schedule_is_followed():
    schedule = lambda count: 0.1 / (1 + count)
    (injected, state), _ = run(optax.inject_hyperparams(bp.momentum)(schedule, 0.5), 6)
    (own, own_state), _ = run(bp.momentum(schedule, 0.5), 6)
    assert close(injected, own)
    assert bp.optimizers.hyperparameter(own_state, "learning_rate") == pytest.approx(0.1 / 6)
    assert bp.optimizers.hyperparameter(state, "learning_rate") == pytest.approx(0.1 / 6)


def test_a_number_set_in_the_state_compiles_nothing_and_counts():
    optimizer, params = bp.momentum(0.1, 0.5), start()
    step = jax.jit(plain_step(optimizer))
    state = bp.optimizers.set_hyperparameters(optimizer.init(params), learning_rate=0.02, momentum=0.7)
    (after, _), _ = step((params, state), None)
    step((params, optimizer.init(params)), None)
    assert step._cache_size() == 1
    other = bp.momentum(0.02, 0.7)
    (expected, _), _ = plain_step(other)((params, other.init(params)), None)
    assert close(after, expected, 0)
    with pytest.raises(ValueError, match="'rate'"):
        bp.optimizers.set_hyperparameters(state, rate=0.1)
    per_weight = bp.optimizers.set_hyperparameters(bp.optimizers.supersab(0.1).init(params), learning_rate=0.4)
    assert bp.optimizers.hyperparameter(per_weight, "learning_rate") == pytest.approx(0.4)
    injected = optax.inject_hyperparams(bp.optimizers.supersab)(0.1).init(params)
    both = bp.optimizers.set_hyperparameters(injected, learning_rate=0.4)
    assert shape_of(both) == shape_of(injected) and both.hyperparams["learning_rate"] == 0.4
    assert close(both.inner_state.learning_rate, jax.tree.map(lambda w: jnp.full_like(w, 0.4), params))
    assert bp.optimizers.hyperparameter(optax.adam(0.1).init(params), "learning_rate") is None


def test_the_rate_shown_is_the_one_a_rule_has_come_to():
    (_, state), _ = run(optax.inject_hyperparams(bp.optimizers.bold_driver)(0.01), 5)
    assert bp.optimizers.hyperparameter(state, "learning_rate") == pytest.approx(0.01 * 1.05**4)


def flax_model(x):
    linen = pytest.importorskip("flax.linen")
    dense = linen.Dense(1)
    return dense.init(jax.random.key(0), x), lambda params: dense.apply(params, x)


def equinox_model(x):
    eqx = pytest.importorskip("equinox")
    arrays, static = eqx.partition(eqx.nn.Linear(2, 1, key=jax.random.key(0)), eqx.is_inexact_array)
    return arrays, lambda params: jax.vmap(eqx.combine(params, static))(x)


@pytest.mark.parametrize("model", [flax_model, equinox_model])
def test_models_of_others_are_trained(model):
    x, t = bp.xor().present()
    params, apply = model(x)
    loss = lambda p: jnp.mean((apply(p) - t) ** 2)
    for name, entry in OPTIMIZERS.items():
        optimizer, trained = entry.make(entry.hyperparameter), params
        state = optimizer.init(params)
        step = jax.jit(lambda p, s, o=optimizer: bp.optimizers.take_step(o, jax.grad(loss)(p), s, p, loss(p))[:2])
        for _ in range(20):
            trained, state = step(trained, state)
        assert loss(trained) < loss(params), name
        assert jax.tree.structure(trained) == jax.tree.structure(params)


# Steps that are taken back


@pytest.mark.parametrize(
    "make", [bp.optimizers.bold_driver, bp.optimizers.traingda, bp.optimizers.traingdx, bp.optimizers.silva_almeida]
)
def test_a_bad_step_is_undone_exactly_however_bad(make):
    optimizer, params = make(3e38), start("float32")  # the weights become infinite
    state = optimizer.init(params)
    for _ in range(3):
        value, grads = jax.value_and_grad(error)(params)
        params, state, refused = bp.optimizers.take_step(optimizer, grads, state, params, value)
    assert refused and not np.isfinite(jax.tree.leaves(params)[0]).all()
    assert close(accepted_points(state)[0].params, start("float32"), 0)
    state = bp.optimizers.set_hyperparameters(state, learning_rate=0.02)
    value, grads = jax.value_and_grad(error)(params)
    after, state, refused = bp.optimizers.take_step(optimizer, grads, state, params, value)
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
    (together, _), refused = jax.vmap(exactly)(rates)
    assert (refused.sum(axis=1) > 0).tolist() == [False, True, True] or refused.sum() > 0
    for i, rate in enumerate(rates):
        (alone, _), undone = exactly(float(rate))
        assert close(jax.tree.map(lambda a, i=i: a[i], together), alone, 1e-12)
        assert (undone == refused[i]).all()
        (plain, _), _ = run(make(float(rate)), 15)
        assert close(plain, alone, 1e-9)


def test_a_masked_rule_takes_back_its_own_weights_alone():
    mask = {"w": bp.layers.Affine(True, False)}
    optimizer = optax.chain(
        optax.masked(bp.optimizers.bold_driver(50.0), mask),
        optax.masked(optax.scale(-0.1), {"w": bp.layers.Affine(False, True)}),
    )
    params = start()
    state = optimizer.init(params)
    first = params
    for _ in range(2):
        value, grads = jax.value_and_grad(error)(params)
        before = params
        params, state, refused = bp.optimizers.take_step(optimizer, grads, state, params, value)
    assert refused
    slope = jax.grad(error)(first)["w"].w
    assert close(params["w"].w, first["w"].w - 35.0 * slope)
    assert close(params["w"].b, before["w"].b - 0.1 * grads["w"].b)


# In training


@pytest.fixture
def xor(keys):
    network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, weights=bp.uniform(1.0), biases=bp.uniform(1.0))
    return bp.backprop(network, bp.squared_error), network.init(next(keys), (2,))[0], bp.xor().present()


def test_the_history_shows_rate_momentum_and_refused_steps(xor):
    rule, params, data = xor
    fit = bp.fit(rule, bp.optimizers.bold_driver(200.0, 0.5), params, data, key=jax.random.key(0), epochs=40)
    history = fit.history
    ratios = history.learning_rate[1:] / history.learning_rate[:-1]
    shrunk = np.isclose(ratios, 0.7)
    assert shrunk.any() and (np.isclose(ratios, 1.05) | np.isclose(ratios, 1.0) | shrunk).all()
    assert (shrunk == (history.refused[1:] > 0)).all()
    assert (history.momentum == 0.5).all()
    plain = bp.fit(rule, optax.sgd(0.1), params, data, key=jax.random.key(0), epochs=2).history
    assert plain.learning_rate is None and plain.momentum is None and (plain.refused == 0).all()


@pytest.mark.parametrize("optimizer", [optax.adam(0.01), bp.momentum(0.1, 0.9)], ids=["optax", "bpjax"])
def test_a_batch_whose_gradient_is_not_finite_is_skipped_and_counted(xor, optimizer):
    rule, params, (x, t) = xor
    poisoned = rule._replace(
        grads=lambda p, s, batch: (
            *jax.tree.map(lambda a: jnp.where(batch[0][0, 0] == 7, jnp.nan, a), rule.grads(p, s, batch)[:2]),
            s,
        ),
        name="poisoned",
    )
    training = bp.training.make_training(poisoned, optimizer, batch_size=1, shuffle=False, chunk=1)
    clean = bp.training.make_training(rule, optimizer, batch_size=1, shuffle=False, chunk=1)
    with_bad = (jnp.concatenate([x, jnp.full((1, 2), 7.0)]), jnp.concatenate([t, t[:1]]))
    begin = training.init(jax.random.key(0), params, 5)
    bad, history = training.advance(begin, with_bad)
    good, _ = clean.advance(begin, (x, t))
    assert history.refused.tolist() == [1.0]
    # the epoch's error is not a number, so the run counts as diverged and keeps the weights before it
    assert training.reasons[int(bad.reason)] == "diverged"
    state, metrics = bp.make_train_step(poisoned, optimizer)(good.state, (with_bad[0][4:], with_bad[1][4:]))
    assert metrics.refused == 1 and close(state, good.state, 0)


def test_a_step_that_will_be_taken_back_stops_nothing(xor):
    rule, params, data = xor
    rule = bp.backprop(bp.mlp((2, 2, 1), bp.tanh), bp.squared_error)
    fit = bp.fit(rule, bp.optimizers.bold_driver(1e9), params[:3], data, key=jax.random.key(0), epochs=200)
    assert fit.reason == "epoch limit" and fit.history.refused.sum() > 20
    assert fit.history.error[-1] < fit.history.error[0]


def test_fitting_with_other_numbers_compiles_nothing(xor):
    rule, params, data = xor
    arguments = {"key": jax.random.key(0), "epochs": 3}
    bp.fit(rule, bp.momentum(0.1, 0.9), params, data, **arguments)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        training = sys.modules["bpjax.training.fit"]  # the room binds its name to the function

        misses = training._compiled.cache_info().misses
        other = bp.fit(rule, bp.momentum(0.3, 0.2), params, data, **arguments)
        assert training._compiled.cache_info().misses == misses
        patch.undo()
    slow = bp.fit(rule, bp.momentum(0.1, 0.9), params, data, **arguments)
    assert not close(other.params, slow.params)


# Bad input

INVALID = {
    "momentum": [
        lambda: bp.momentum(0.1, 1.1),
        lambda: bp.momentum(0.1, -0.1),
        lambda: bp.optimizers.bold_driver(0.1, 2.0),
        lambda: bp.optimizers.traingdx(0.1, momentum=-1.0),
        lambda: bp.optimizers.supersab(0.1, 1.5),
        lambda: bp.quickprop(0.1, momentum=1.5),
        lambda: bp.optimizers.convert_momentum(0.1, 1.5, "convex", "heavy_ball"),
    ],
    "learning_rate": [
        lambda: bp.momentum(0.0, 0.9),
        lambda: bp.momentum(float("nan"), 0.9),
        lambda: bp.optimizers.bold_driver(-1.0),
        lambda: bp.optimizers.traingda(0.0),
        lambda: bp.optimizers.traingdx(0.0),
        lambda: bp.optimizers.silva_almeida(0.0),
        lambda: bp.optimizers.delta_bar_delta(0.0),
        lambda: bp.optimizers.supersab(0.0),
        lambda: bp.quickprop(0.0),
    ],
    "growth": [
        lambda: bp.optimizers.bold_driver(0.1, growth=1.0),
        lambda: bp.optimizers.traingda(0.1, growth=0.9),
        lambda: bp.optimizers.silva_almeida(0.1, growth=1.0),
        lambda: bp.optimizers.supersab(0.1, growth=1.0),
        lambda: bp.quickprop(0.1, growth=0.0),
        lambda: bp.rprop(growth=1.0),
    ],
    "shrink": [
        lambda: bp.optimizers.bold_driver(0.1, shrink=1.0),
        lambda: bp.optimizers.silva_almeida(0.1, shrink=0.0),
        lambda: bp.optimizers.supersab(0.1, shrink=2.0),
        lambda: bp.rprop(shrink=1.0),
    ],
    "tolerance": [
        lambda: bp.optimizers.traingda(0.1, tolerance=0.9),
        lambda: bp.losses.error_tolerance(bp.squared_error, -0.1),
    ],
    "backoff": [lambda: bp.optimizers.silva_almeida(0.1, backoff=1.0)],
    "increase": [lambda: bp.optimizers.delta_bar_delta(0.1, increase=0.0)],
    "decrease": [lambda: bp.optimizers.delta_bar_delta(0.1, decrease=1.0)],
    "averaging": [lambda: bp.optimizers.delta_bar_delta(0.1, averaging=1.0)],
    "decay": [lambda: bp.quickprop(0.1, decay=1e-4)],
    "mode_switch": [lambda: bp.quickprop(0.1, mode_switch=-1.0)],
    "initial": [lambda: bp.rprop(0.0), lambda: bp.rprop(0.1, smallest=0.2)],
    "smallest": [lambda: bp.rprop(smallest=-1.0), lambda: bp.rprop(0.1, smallest=0.2)],
    "largest": [lambda: bp.rprop(0.1, largest=0.05), lambda: bp.optimizers.supersab(0.1, largest=0.05)],
    "variant": [lambda: bp.rprop(variant="rprop*")],  # type: ignore[arg-type]
    "form": [lambda: bp.momentum(0.1, 0.9, form="polyak")],  # type: ignore[arg-type]
    "source": [lambda: bp.optimizers.convert_momentum(0.1, 0.9, "polyak", "convex")],  # type: ignore[arg-type]
    "offset": [lambda: bp.layers.flat_spot(bp.sigmoid, -0.1)],
    "factor": [lambda: bp.layers.scaled_error(bp.dense(1), 0.0)],
}


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, calls in INVALID.items() for call in calls], ids=lambda x: str(x)[:12]
)
def test_a_number_outside_its_range_is_named(name, call):
    with pytest.raises(ValueError, match=f"`{name}`.*got "):
        call()


NEEDS_VALUE = ["bold_driver", "traingda", "traingdx", "silva_almeida", "irprop+"]


@pytest.mark.parametrize("name", NEEDS_VALUE)
def test_a_rule_that_needs_the_error_says_so(name):
    entry, params = OPTIMIZERS[name], start()
    optimizer = entry.make(entry.hyperparameter)
    with pytest.raises(ValueError, match="value=error"):
        optimizer.update(jax.grad(error)(params), optimizer.init(params), params)


@pytest.mark.parametrize("name", ["bold_driver", "traingda", "traingdx", "silva_almeida", "quickprop"])
def test_a_rule_that_needs_the_weights_says_so(name):
    entry, params = OPTIMIZERS[name], start()
    optimizer = entry.make(entry.hyperparameter)
    with pytest.raises(ValueError, match="expected the weights"):
        optimizer.update(jax.grad(error)(params), optimizer.init(params), value=1.0)


def test_momentum_of_one_cannot_be_converted_to_or_from_convex():
    for source, target in (("convex", "heavy_ball"), ("velocity", "convex")):
        with pytest.raises(ValueError, match="`momentum` < 1"):
            bp.optimizers.convert_momentum(0.1, 1.0, source, target)


def test_fan_in_counts_the_bias():
    network = bp.chain(bp.dense(3), bp.tanh, bp.dense(2, use_bias=False))
    params, _ = network.init(jax.random.key(0), (5,))
    assert bp.optimizers.fan_in(params) == (bp.layers.Affine(6, 6), (), bp.layers.Affine(3, None))
    assert bp.optimizers.fan_in({"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}) == {"kernel": 5, "bias": 5}
    assert bp.optimizers.fan_in(jnp.ones(7)) == 1
