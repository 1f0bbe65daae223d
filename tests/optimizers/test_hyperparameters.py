"""Hyperparameters are data: a float, a NumPy and a JAX number behave the same, and the latest change counts."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from passes import quick_jit
from quadratic import close, plain_step, run, start

import bpjax as bp
from bpjax.optimizers.registry import OPTIMIZERS

# every hyperparameter of every factory; 1/8, 3/4 … are the same number in float32 and float64
FACTORIES = {
    "momentum": (bp.momentum, {"learning_rate": 0.125, "momentum": 0.75}, {"form": "convex"}),
    "bold_driver": (
        bp.optimizers.bold_driver,
        {"learning_rate": 0.125, "momentum": 0.5, "growth": 1.25, "shrink": 0.75, "tolerance": 1.0625},
        {},
    ),
    "traingda": (
        bp.optimizers.traingda,
        {"learning_rate": 0.25, "growth": 1.25, "shrink": 0.75, "tolerance": 1.0625},
        {},
    ),
    "traingdx": (
        bp.optimizers.traingdx,
        {"learning_rate": 0.25, "momentum": 0.75, "growth": 1.25, "shrink": 0.75, "tolerance": 1.0625},
        {},
    ),
    "silva_almeida": (
        bp.optimizers.silva_almeida,
        {"learning_rate": 0.25, "growth": 1.25, "shrink": 0.75, "backoff": 0.25},
        {},
    ),
    "delta_bar_delta": (
        bp.optimizers.delta_bar_delta,
        {"learning_rate": 0.125, "increase": 0.03125, "decrease": 0.25, "averaging": 0.625},
        {},
    ),
    "supersab": (
        bp.optimizers.supersab,
        {"learning_rate": 0.125, "momentum": 0.25, "growth": 1.125, "shrink": 0.625, "largest": 2.0},
        {},
    ),
    "quickprop": (
        bp.quickprop,
        {"learning_rate": 0.125, "growth": 1.75, "momentum": 0.5, "decay": -0.125, "mode_switch": 0.0625},
        {"split": True},
    ),
    "rprop": (
        bp.rprop,
        {"initial": 0.125, "growth": 1.25, "shrink": 0.625, "smallest": 0.0078125, "largest": 32.0},
        {"variant": "irprop-"},
    ),
}
EVERY_FACTORY = pytest.mark.parametrize(("factory", "values", "static"), FACTORIES.values(), ids=FACTORIES)
TYPES = {"float": float, "NumPy scalar": np.float32, "NumPy array": np.array, "JAX array": jnp.array}

PARAMS = {"w": jnp.array([[1.0, -2.0, 0.5]])}
GRADS = tuple({"w": jnp.array([row])} for row in ([0.5, 1.0, -0.25], [-1.0, 0.5, -0.5], [-0.5, -2.0, 0.125]))
ERRORS = (1.0, 2.0, 0.5)


def follow(update, state, grads=GRADS):
    """The updates and states of some steps, with gradients and errors that are given."""
    updates, states = [], []
    for g, error in zip(grads, ERRORS, strict=False):
        update_of_step, state = update(g, state, PARAMS, value=jnp.asarray(error))
        updates.append(update_of_step)
        states.append(state)
    return updates, states


def assert_same(a, b):
    """Equal in structure, dtype and every bit."""
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y, strict=True), a, b)
    assert all(x.aval == y.aval for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def in_use(state):
    return state._replace(given=())


@EVERY_FACTORY
def test_the_type_of_a_number_makes_no_difference(factory, values, static):
    optimizers = [
        factory(**{name: convert(value) for name, value in values.items()}, **static) for convert in TYPES.values()
    ]
    states = [optimizer.init(PARAMS) for optimizer in optimizers]
    static_parts = [bp.optimizers.static_part(optimizer) for optimizer in optimizers]
    for other in static_parts:
        assert other == static_parts[0] and hash(other) == hash(static_parts[0])
    program = jax.jit(static_parts[0].update)
    expected = follow(program, states[0])
    for optimizer, state in zip(optimizers, states, strict=True):
        assert_same(state, states[0])
        assert_same(follow(program, state), expected)
        eager = follow(optimizer.update, state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-16), eager, expected)
        assert repr(optimizer) == repr(optimizers[0])
    other = {name: 1.0625 * value for name, value in values.items()}
    follow(program, factory(**other, **static).init(PARAMS))
    assert program._cache_size() == 1


@EVERY_FACTORY
def test_values_set_in_the_state_are_used_whatever_their_type(factory, values, static):
    other = {name: 1.0625 * value for name, value in values.items()}
    shown = {name: value for name, value in other.items() if name != "initial"}  # Rprop's is the first step size
    if factory is bp.rprop:
        other["initial"] = values["initial"]
    expected = factory(**other, **static)
    (updates,), (state,) = follow(expected.update, expected.init(PARAMS), GRADS[:1])
    for convert in TYPES.values():
        optimizer = factory(**{name: convert(value) for name, value in values.items()}, **static)
        changed = {name: convert(value) for name, value in shown.items()}
        begin = bp.optimizers.set_hyperparameters(optimizer.init(PARAMS), **changed)
        (found,), (after,) = follow(optimizer.update, begin, GRADS[:1])
        assert_same((found, in_use(after)), (updates, in_use(state)))
        (found,), _ = follow(bp.optimizers.static_part(optimizer).update, begin, GRADS[:1])
        assert_same(found, updates)


@EVERY_FACTORY
def test_the_latest_change_counts_when_the_factory_is_called_at_each_step(factory, values, static):
    """As `optax.inject_hyperparams` does: eagerly with arrays, in a program with tracers; through any wrapper."""
    names = [name for name in values if hasattr(factory(**values, **static).init(PARAMS), name)]
    adapted = {"learning_rate"} if factory not in (bp.momentum, bp.quickprop) else set()
    other = {name: 1.0625 * value for name, value in values.items()}

    def make(values):
        return optax.chain(optax.clip(10.0), factory(**values, **static))

    def one(values, state):
        return make(values).update(GRADS[1], state, PARAMS, value=jnp.asarray(2.0))[1]

    _, (begin,) = follow(make(values).update, make(values).init(PARAMS), GRADS[:1])
    for step in (one, jax.jit(one)):
        for convert in (jnp.array, float) if step is one else (jnp.array,):
            after = step({name: convert(value) for name, value in other.items()}, begin)
            for name in set(names) - adapted:
                assert float(getattr(after[1], name)) == other[name], name
            set_later = bp.optimizers.set_hyperparameters(after, **{names[-1]: values[names[-1]]})
            last = step({name: convert(value) for name, value in other.items()}, set_later)
            assert float(getattr(last[1], names[-1])) == values[names[-1]]


def test_fitting_with_any_type_and_other_values_compiles_nothing():
    network = bp.dense(1)
    rule = bp.backprop(network, bp.squared_error)
    traces = []

    def grads(*args):
        traces.append(None)
        return rule.grads(*args)

    counted = rule._replace(grads=grads)
    batch = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3), jnp.ones((4, 1))
    params, _ = network.init(jax.random.key(0), (3,))

    def curve(learning_rate, momentum):
        optimizer = bp.momentum(learning_rate, momentum)
        return bp.fit(counted, optimizer, params, batch, key=jax.random.key(1), epochs=4).history.error

    expected = curve(0.0625, 0.5)
    once, misses = len(traces), sys.modules["bpjax.training.fit"]._compiled.cache_info().misses
    for convert in TYPES.values():
        np.testing.assert_array_equal(curve(convert(0.0625), convert(0.5)), expected)
        assert not np.array_equal(curve(convert(0.03125), convert(0.25)), expected)
    assert len(traces) == once
    assert sys.modules["bpjax.training.fit"]._compiled.cache_info().misses == misses


def test_a_vmapped_factory_equals_one_optimizer_for_each_value():
    rates = (0.125, 0.25, 0.5)

    def path(rate, change):
        optimizer = bp.momentum(rate, 0.5)
        state = optimizer.init(PARAMS)
        changed = bp.optimizers.set_hyperparameters(state, learning_rate=2 * rate)
        return follow(optimizer.update, jax.tree.map(lambda a, b: jnp.where(change, a, b), changed, state))

    together = jax.jit(jax.vmap(path))
    unchanged, changed = (together(jnp.array(rates), jnp.full(3, change)) for change in (False, True))
    for i, rate in enumerate(rates):
        for found, rate_in_use in ((unchanged, rate), (changed, 2 * rate)):
            alone = bp.momentum(rate_in_use, 0.5)
            expected = follow(alone.update, alone.init(PARAMS))
            lane = jax.tree.map(lambda a, i=i: a[i], found)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-15), lane[0], expected[0])
            assert float(lane[1][-1].learning_rate) == rate_in_use


def test_hyperparams_changed_by_hand_are_followed_without_jit():
    for factory in (bp.momentum, lambda learning_rate, momentum: bp.momentum(learning_rate, momentum)):
        injected = optax.inject_hyperparams(factory)(learning_rate=0.125, momentum=0.0)
        state = injected.init(PARAMS)
        first, state = injected.update(GRADS[0], state, PARAMS)
        state.hyperparams["learning_rate"] = 0.5
        second, state = injected.update(GRADS[0], state, PARAMS)
        assert_same(second["w"], 4 * first["w"])
        third, state = injected.update(GRADS[0], bp.optimizers.set_hyperparameters(state, learning_rate=0.25), PARAMS)
        assert_same(third["w"], 2 * first["w"])


def test_an_optimizer_applies_its_own_values_to_the_state_of_another():
    state = bp.momentum(0.125, 0.0).init(PARAMS)
    other = bp.momentum(0.5, 0.0)
    for update in (other.update, jax.jit(other.update)):
        updates, after = update(GRADS[0], state, PARAMS)
        assert_same(updates["w"], -0.5 * GRADS[0]["w"])
        assert float(after.learning_rate) == 0.5


@EVERY_FACTORY
def test_injected_hyperparameters_are_followed(factory, values, static):
    numbers = {"learning_rate" if factory is not bp.rprop else "initial": list(values.values())[0]}
    numbers |= {name: values[name] for name in ("momentum", "largest") if name in values}
    injected, plain = quick_jit(
        lambda: (
            run(optax.inject_hyperparams(factory)(**numbers, **static))[0][0],
            run(factory(**numbers, **static))[0][0],
        )
    )()
    assert close(injected, plain)


def test_an_injected_schedule_is_followed():
    schedule = lambda count: 0.1 / (1 + count)
    ((injected, state), _), ((own, own_state), _) = quick_jit(
        lambda: (run(optax.inject_hyperparams(bp.momentum)(schedule, 0.5), 6), run(bp.momentum(schedule, 0.5), 6))
    )()
    assert close(injected, own)
    assert bp.optimizers.hyperparameter(own_state, "learning_rate") == pytest.approx(0.1 / 6)
    assert bp.optimizers.hyperparameter(state, "learning_rate") == pytest.approx(0.1 / 6)


def test_a_value_set_in_the_state_compiles_nothing_and_counts():
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
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(injected), strict=True):
        assert a.aval == b.aval
    assert both.hyperparams["learning_rate"] == 0.4
    assert close(both.inner_state.learning_rate, jax.tree.map(lambda w: jnp.full_like(w, 0.4), params))
    assert bp.optimizers.hyperparameter(optax.adam(0.1).init(params), "learning_rate") is None


def test_the_rate_shown_is_the_one_the_optimizer_has_adapted():
    (_, state), _ = quick_jit(lambda: run(optax.inject_hyperparams(bp.optimizers.bold_driver)(0.01), 5))()
    assert bp.optimizers.hyperparameter(state, "learning_rate") == pytest.approx(0.01 * 1.05**4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_other_values_share_the_static_part(name):
    make, value = OPTIMIZERS[name]
    a, b = (bp.optimizers.static_part(make(scale * value)) for scale in (1.0, 0.7))
    assert a == b and a.update is b.update and a.init is None


def test_forms_and_variants_are_static():
    makes = [functools.partial(bp.momentum, 0.1, 0.9, form) for form in ("heavy_ball", "convex", "velocity")]
    makes += [functools.partial(bp.rprop, 0.1, variant) for variant in ("rprop-", "rprop+", "irprop-", "irprop+")]
    assert len({bp.optimizers.static_part(make()) for make in makes}) == len(makes)
    assert bp.optimizers.static_part(optax.sgd(0.1)).init is None


def a_schedule(count):
    return 0.25 / (1 + count)


@pytest.mark.parametrize(
    ("optimizer", "call"),
    [
        (lambda: bp.momentum(0.1, 0.9), "momentum(0.1, 0.9)"),
        (lambda: bp.momentum(np.float32(0.1), jnp.array(0.9), form="convex"), "momentum(0.1, 0.9, form='convex')"),
        (lambda: bp.momentum(a_schedule, 0.9), "momentum(a_schedule, 0.9)"),
        (lambda: bp.rprop(variant="irprop-"), "rprop(variant='irprop-')"),
        (lambda: bp.rprop(0.1), "rprop()"),
        (lambda: bp.quickprop(0.5, decay=-1e-4, split=True), "quickprop(0.5, decay=-0.0001, split=True)"),
        (lambda: bp.optimizers.supersab(0.1), "supersab(0.1)"),
        (
            lambda: jax.jit(lambda rate: print_of(bp.momentum(rate, 0.9)))(0.1) or PRINTED.pop(),
            "momentum(<traced>, 0.9)",
        ),
    ],
)
def test_an_optimizer_prints_as_the_call_that_made_it(optimizer, call):
    found = optimizer()
    assert (found if isinstance(found, str) else repr(found)) == call
    if not isinstance(found, str):
        assert isinstance(found, optax.GradientTransformationExtraArgs)
        assert len(tuple(found)) == 2 and found.update(GRADS[0], found.init(PARAMS), PARAMS)


PRINTED = []


def print_of(optimizer):
    PRINTED.append(repr(optimizer))
