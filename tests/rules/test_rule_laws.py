"""Laws that every learning rule obeys, over the table of all rules."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import QUICKLY

import bpjax as bp
from bpjax.rules.registry import RULES

TABLE = pytest.mark.parametrize("name", RULES)
WITH_HYPERPARAMETER = pytest.mark.parametrize(
    "name", [name for name in RULES if RULES[name].hyperparameter is not None]
)
STEPS = 4
KEYS = jax.random.split(jax.random.key(5), 2)
SGD = optax.sgd(0.01, momentum=0.9)
OPTIMIZER = SGD._replace(update=jax.jit(SGD.update))  # one program instead of one per operation


@functools.cache
def made(name, hyperparameter=None):
    case = RULES[name]
    hyperparameter = case.hyperparameter if hyperparameter is None else hyperparameter
    return case.make(case.network, case.loss, *([] if hyperparameter is None else [hyperparameter]))


@functools.cache
def compiled(name):
    """One compiled program for each rule, which most laws share."""
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
    """The value, the gradients and the next state, computed one operation at a time."""
    return made(name).grads(*problem(name))


@functools.cache
def gradient(network, loss):
    """`autodiff`, compiled once for all rules with the same network."""
    return jax.jit(bp.autodiff(network, loss).grads, compiler_options=QUICKLY)


@functools.cache
def swept(name):
    """Losses and final states of several runs in one program: a scan under vmap over keys and hyperparameters.

    The first two runs differ in their key. The third has the key of the first and half its hyperparameter.
    """
    case, (params, _, batch) = RULES[name], problem(name)

    def run(key, *hyperparameter):
        rule = case.make(case.network, case.loss, *hyperparameter)
        step = bp.make_train_step(rule, OPTIMIZER)
        start = bp.training.TrainState(params, OPTIMIZER.init(params), rule.init(key, params))
        end, metrics = jax.lax.scan(lambda state, _: step(state, batch), start, None, length=STEPS)
        return metrics.value, end

    arguments = (KEYS,)
    if case.hyperparameter is not None:
        arguments = KEYS[jnp.array([0, 1, 0])], case.hyperparameter * jnp.array([1.0, 1.0, 0.5])
    return jax.jit(jax.vmap(run), compiler_options=QUICKLY)(*arguments)


def member(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], plain(tree))


def dtypes(tree):
    """Shape, dtype and weak type of every leaf."""
    return jax.tree.map(lambda a: (a.shape, a.dtype, getattr(a, "weak_type", False)), jax.tree.map(jnp.asarray, tree))


def plain(tree):
    """Typed keys as integers, so that states compare."""

    def data(a):
        return jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a

    return jax.tree.map(data, tree)


def close(a, b, tolerance=1e-11):
    a, b = plain(a), plain(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.allclose(x, y, tolerance, tolerance) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@TABLE
def test_gradients_have_the_structure_of_params_and_the_value_is_the_loss(name):
    params, state, batch = problem(name)
    value, grads, after = compiled(name)(params, state, batch)
    case = RULES[name]
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert dtypes(grads) == dtypes(params)
    assert dtypes(after) == dtypes(state)
    true_value = case.loss.value(case.network.forward(params, batch[0])[0], batch[1])
    assert value.shape == () and float(value) == pytest.approx(float(true_value), rel=1e-12)
    for _ in range(2):  # a delayed rule has a zero direction before
        _, grads, after = compiled(name)(params, after, batch)
    assert any(leaf.any() for leaf in jax.tree.leaves(grads))


@TABLE
def test_jit_is_the_eager_rule(name):
    params, state, batch = problem(name)
    assert close(eager(name), compiled(name)(params, state, batch))


@TABLE
def test_only_exact_rules_give_the_gradient(name):
    params, state, batch = problem(name)
    case = RULES[name]
    truth = gradient(case.network, case.loss)(params, (), batch)[1]
    error = relative_error(compiled(name)(params, state, batch)[1], truth)
    assert error < 1e-12 if case.exact else error > 1e-3


@pytest.mark.thorough
@TABLE
def test_vmapped_scans_are_separate_loops_and_change_all_params(name):
    """Over keys, and with a traced hyperparameter against a Python number, with an optimizer that has a state."""
    params, _, batch = problem(name)
    rule, grads, (values, ends) = made(name), compiled(name), swept(name)
    step = bp.make_train_step(rule._replace(grads=grads), OPTIMIZER)
    for i, key in enumerate(KEYS):
        run = bp.training.TrainState(params, OPTIMIZER.init(params), rule.init(key, params))
        losses, sizes = [], []
        for _ in range(STEPS):
            run, metrics = step(run, batch)
            losses.append(metrics.value)
            sizes.append(grads._cache_size())
        assert close(member((values, ends), i), (jnp.stack(losses), run), 1e-10)
        assert sizes[0] == sizes[-1]  # compiled once: the next state has the types of the first
    assert np.isfinite(values).all()
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b[None]).any(), ends.params, params)))


@pytest.mark.thorough
@WITH_HYPERPARAMETER
def test_the_hyperparameter_changes_the_run_and_may_be_traced(name):
    """`test_vmapped_scans_...` holds the traced value against a Python number; half of it is a different run."""
    _, ends = swept(name)
    assert not close(member(ends, 0), member(ends, 2), 1e-9)


@TABLE
@pytest.mark.parametrize(
    "examples", [pytest.param(6, id="batch"), pytest.param(1, id="on-line", marks=pytest.mark.thorough)]
)
def test_float32_stays_float32_and_near_float64(name, examples):
    wide = problem(name, examples)
    with jax.enable_x64(False):
        narrow = bp.util.cast(wide, jnp.float32)
        value, grads, state = compiled(name)(*narrow)
    assert dtypes(grads) == dtypes(narrow[0])
    assert dtypes(state) == dtypes(narrow[1])
    assert value.dtype == jnp.float32
    true_value, truth, true_state = compiled(name)(*wide)
    assert float(value) == pytest.approx(float(true_value), rel=1e-5)
    if not any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)):
        assert relative_error(grads, truth) < 1e-4
        assert relative_error(state, true_state) < 1e-4


@TABLE
def test_params_and_state_never_share_an_array(name):
    params, state, batch = problem(name)
    ids = {id(leaf) for leaf in jax.tree.leaves(params)}
    assert not any(id(leaf) in ids for leaf in jax.tree.leaves(state))
    _, grads, after = eager(name)
    assert not any(id(leaf) in ids for leaf in jax.tree.leaves((grads, after)))
    in_states = {id(leaf) for leaf in jax.tree.leaves((state, after))}
    assert not any(id(leaf) in in_states for leaf in jax.tree.leaves(grads))


@TABLE
def test_the_rule_has_its_network_and_loss_and_a_readable_repr(name):
    rule, case = made(name), RULES[name]
    assert rule.name and rule.loss is case.loss
    assert rule.network is not None
    assert re.fullmatch(r"[a-z_]+\(.*\b(squared_error|softmax_cross_entropy)\b.*\)", repr(rule))
    with pytest.raises(ValueError, match="expected a Layer"):
        case.make(bp.dense, case.loss)
    with pytest.raises(ValueError, match="expected a Loss"):
        case.make(case.network, "squared error")
