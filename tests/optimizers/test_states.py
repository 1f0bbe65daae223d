"""States of optimizers as optax users treat them: donated, searched by name, made of abstract weights."""

import jax
import jax.numpy as jnp
import optax
import pytest

import bpjax as bp

PARAMS = {"w": jnp.ones(3)}
FACTORIES = {
    "learning_rate": [bp.momentum, bp.quickprop, bp.optimizers.bold_driver, bp.optimizers.supersab],
    "initial": [bp.rprop],
}
EVERY = pytest.mark.parametrize(("name", "make"), [(name, make) for name, makes in FACTORIES.items() for make in makes])


@EVERY
def test_every_leaf_is_a_buffer_that_can_be_donated(name, make):
    for optimizer in (make(jnp.asarray(0.1)), optax.inject_hyperparams(make)(**{name: 0.1})):
        pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(optimizer.init(PARAMS))]
        assert len(set(pointers)) == len(pointers)


@EVERY
def test_optax_finds_and_sets_the_one_hyperparameter(name, make):
    state = optax.inject_hyperparams(make)(**{name: 0.1}).init(PARAMS)
    assert optax.tree_utils.tree_get(state, name) == 0.1
    assert optax.tree_utils.tree_get(optax.tree_utils.tree_set(state, **{name: 0.5}), name) == 0.5


@EVERY
def test_abstract_weights_have_the_state_of_real_ones(name, make):
    found, expected = (make(0.1).init(params) for params in (jax.eval_shape(lambda: PARAMS), PARAMS))
    assert jax.tree.map(lambda a: a.aval, found) == jax.tree.map(lambda a: a.aval, expected)


def test_a_schedule_may_begin_at_zero_where_a_plain_number_may_not():
    assert bp.momentum(optax.linear_schedule(0.0, 0.1, 10)).init(PARAMS).learning_rate == 0
    with pytest.raises(ValueError, match="`learning_rate` > 0, got 0"):
        bp.momentum(0.0)
