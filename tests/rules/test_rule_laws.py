"""Laws every rule of credit assignment obeys, over the table of all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import QUICKLY

import bpjax as bp
from bpjax.rules.registry import RULES

pytestmark = pytest.mark.usefixtures("quick_compilation")

IN_GROUPS = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in RULES]  # compiled once, in one process
TABLE = pytest.mark.parametrize("name", IN_GROUPS)
NUMBERED = pytest.mark.parametrize(
    "name", [row for row in IN_GROUPS if RULES[row.values[0]].hyperparameter is not None]
)


@functools.cache
def made(name):
    case = RULES[name]
    return case.make(case.network, case.loss)


@functools.cache
def compiled(name):
    """One compiled program for each rule, that most laws share."""
    return jax.jit(made(name).grads, compiler_options=QUICKLY)


@functools.cache
def problem(name, examples=6):
    """Params, a state and a batch with one-hot targets."""
    case, (key, key_state, key_x, key_t) = RULES[name], jax.random.split(jax.random.key(0), 4)
    params, out_shape = case.network.init(key, case.in_shape)
    x = jax.random.normal(key_x, (examples, *case.in_shape))
    labels = jax.random.randint(key_t, (examples, *out_shape[:-1]), 0, out_shape[-1])
    batch = x, jax.nn.one_hot(labels, out_shape[-1])
    return params, made(name).init(key_state, params), batch


@functools.cache
def eager(name):
    """The value, the gradients and the state after, an operation at a time."""
    return made(name).grads(*problem(name))


def kind(tree):
    return jax.tree.map(lambda a: (a.shape, a.dtype, getattr(a, "weak_type", False)), jax.tree.map(jnp.asarray, tree))


def plain(tree):
    """Keys as numbers, so that states compare."""

    def numbers(a):
        return jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a

    return jax.tree.map(numbers, tree)


def close(a, b, tolerance=1e-11):
    a, b = plain(a), plain(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.allclose(x, y, tolerance, tolerance) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@TABLE
def test_gradients_are_made_like_params_and_the_value_is_the_loss(name):
    params, state, batch = problem(name)
    value, grads, after = compiled(name)(params, state, batch)
    case = RULES[name]
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert kind(grads) == kind(params)
    assert kind(after) == kind(state)
    true_value = case.loss.value(case.network.forward(params, batch[0])[0], batch[1])
    assert value.shape == () and float(value) == pytest.approx(float(true_value), rel=1e-12)
    for _ in range(2):  # a delayed rule has no direction before
        _, grads, after = compiled(name)(params, after, batch)
    assert any(leaf.any() for leaf in jax.tree.leaves(grads))


@TABLE
def test_jit_is_the_eager_rule(name):
    params, state, batch = problem(name)
    assert close(eager(name), compiled(name)(params, state, batch))


@TABLE
def test_exact_rules_and_only_they_give_the_gradient(name):
    params, state, batch = problem(name)
    case = RULES[name]
    truth = bp.autodiff(case.network, case.loss).grads(params, (), batch)[1]
    error = relative_error(compiled(name)(params, state, batch)[1], truth)
    assert error < 1e-12 if case.exact else error > 1e-3


@TABLE
def test_vmap_over_keys_is_one_run_for_each(name):
    params, _, batch = problem(name)
    keys = jax.random.split(jax.random.key(5), 3)

    def begun(key):
        return made(name).grads(params, made(name).init(key, params), batch)

    together = jax.jit(jax.vmap(begun), compiler_options=QUICKLY)(keys)
    for i, key in enumerate(keys):
        alone = compiled(name)(params, made(name).init(key, params), batch)
        assert close(jax.tree.map(lambda a, i=i: a[i], together), alone)


@NUMBERED
def test_its_number_may_be_traced_and_swept(name):
    case, (params, _, batch) = RULES[name], problem(name)
    numbers, key = case.hyperparameter * jnp.array([0.5, 1.0]), jax.random.key(5)

    def begun(number):
        rule = case.make(case.network, case.loss, number)
        return rule.grads(params, rule.grads(params, rule.init(key, params), batch)[2], batch)

    together = jax.jit(jax.vmap(begun), compiler_options=QUICKLY)(numbers)
    for i, number in enumerate(numbers):
        assert close(jax.tree.map(lambda a, i=i: a[i], together), begun(float(number)))
    first, second = (jax.tree.map(lambda a, i=i: a[i], plain(together[1:])) for i in (0, 1))
    assert not close(first, second)


@TABLE
def test_scan_is_the_loop_and_it_learns_with_any_optimizer(name):
    params, state, batch = problem(name)
    optimizer, grads = optax.adam(0.01), compiled(name)
    start = bp.training.TrainState(params, optimizer.init(params), state)
    step = bp.make_train_step(made(name), optimizer)
    loop = lambda start: jax.lax.scan(lambda s, _: step(s, batch), start, None, length=4)
    scanned, metrics = jax.jit(loop, compiler_options=QUICKLY)(start)
    looped, alone, sizes = start, bp.make_train_step(made(name)._replace(grads=grads), optimizer), []
    for _ in range(4):
        looped, _ = alone(looped, batch)
        sizes.append(grads._cache_size())
    assert close(scanned, looped, 1e-9)
    assert sizes[0] == sizes[-1]  # compiled once: the state comes back as it went in
    assert np.isfinite(metrics.value).all()
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), scanned.params, params)))


@TABLE
@pytest.mark.parametrize("examples", [6, 1], ids=["batch", "on-line"])
def test_float32_stays_float32_and_near_float64(name, examples):
    wide = problem(name, examples)
    with jax.enable_x64(False):
        narrow = bp.util.cast(wide, jnp.float32)
        value, grads, state = compiled(name)(*narrow)
    assert kind(grads) == kind(narrow[0])
    assert kind(state) == kind(narrow[1])
    assert value.dtype == jnp.float32
    true_value, truth, true_state = compiled(name)(*wide)
    assert float(value) == pytest.approx(float(true_value), rel=1e-5)
    if not any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)):
        assert relative_error(grads, truth) < 1e-4
        assert relative_error(state, true_state) < 1e-4


@TABLE
def test_params_and_state_never_share_an_array(name):
    params, state, batch = problem(name)
    own = {id(leaf) for leaf in jax.tree.leaves(params)}
    assert not any(id(leaf) in own for leaf in jax.tree.leaves(state))
    _, grads, after = eager(name)
    assert not any(id(leaf) in own for leaf in jax.tree.leaves((grads, after)))
    held = {id(leaf) for leaf in jax.tree.leaves((state, after))}
    assert not any(id(leaf) in held for leaf in jax.tree.leaves(grads))


@TABLE
def test_it_names_what_it_was_made_from(name):
    rule, case = made(name), RULES[name]
    assert rule.name and rule.loss is case.loss
    assert rule.network is not None
    with pytest.raises(ValueError, match="expected a Layer"):
        case.make(bp.dense, case.loss)
    with pytest.raises(ValueError, match="expected a Loss"):
        case.make(case.network, "squared error")
