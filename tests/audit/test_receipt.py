"""Receipts: each known property is found for the rules that have it and for no other, user-defined rules included."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.audit.receipt import receipt, replace_feedback
from bpjax.audit.resampling import resampled, solve_for_output
from bpjax.rules.direct import direct_feedback, direct_random_target_projection
from bpjax.rules.feedback import batch_manhattan, feedback_alignment, gradient_through, sign_symmetry
from bpjax.rules.kolen_pollack import kolen_pollack
from bpjax.rules.units import units
from bpjax.rules.weight_mirror import weight_mirror

NETWORK, LOSS = bp.mlp((4, 5, 4, 2), bp.tanh, output=bp.sigmoid), bp.squared_error
PARAMS, _ = NETWORK.init(jax.random.key(1), (4,))
PARAMS = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), PARAMS)
RNG = np.random.default_rng(3)
BATCH = jnp.asarray(RNG.normal(size=(6, 4))), jnp.asarray(RNG.uniform(0.1, 0.9, (6, 2)))


def of(rule, params=PARAMS, batch=BATCH):
    return receipt(rule, params, batch, key=jax.random.key(7), show=False)


def readme_rule(network, loss):
    """The README's rule: its state is the pytree itself, with random biases."""

    def init(key, params):
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        return structure.unflatten([jax.random.normal(k, w.shape) for k, w in zip(keys, leaves, strict=True)])

    def grads(params, feedback, batch):
        x, target = batch
        output, residuals = network.forward(params, x)
        dparams, _ = network.backward(feedback, residuals, loss.gradient(output, target))
        return loss.value(output, target), dparams, feedback

    return bp.Rule("feedback alignment", init, grads, network, loss)


def test_backprop_is_the_gradient_and_has_no_other_property():
    found = of(bp.backprop(NETWORK, LOSS))
    assert found.exact and found.parallel and found.error < 1e-14
    assert found.feedback == () and found.with_params is None and found.signs is None
    assert not found.layer_local and not found.direct
    assert [layer.local for layer in found.layers] == [False, False, None]
    assert all(layer.change_at_same_output > 0.01 for layer in found.layers[:2])
    assert found.verdict.startswith("the gradient, to ")


@pytest.mark.parametrize("make", [feedback_alignment, readme_rule, kolen_pollack, weight_mirror])
def test_feedback_weights_are_found_and_replaced_by_the_params(make):
    found = of(make(NETWORK, LOSS))
    where = {kolen_pollack: ("rule_state.feedback", "rule_state.forward"), weight_mirror: ("rule_state.feedback",)}
    assert found.feedback == where.get(make, ("rule_state",))
    assert found.with_params == 0.0 and found.bitwise
    assert not found.exact and found.error > 0.1
    assert all(layer.angle > 20 for layer in found.layers[:2]) and found.layers[2].angle < 1e-5
    assert not found.layer_local and not found.direct
    # before the output layer fixed feedback is direct; that of Kolen-Pollack follows the resampled weights
    assert (found.layers[1].change_at_same_output < 1e-12) == (make is not kolen_pollack)
    assert found.layers[0].change_at_same_output > 1e-3
    assert "with the params as feedback weights it is backprop bit for bit" in found.verdict


def test_direct_feedback_is_found_direct_and_not_local():
    found = of(direct_feedback(NETWORK, LOSS))
    assert found.direct and not found.layer_local and not found.exact
    assert all(layer.change_at_same_output < 1e-12 and layer.local is False for layer in found.layers[:2])
    assert found.feedback == () and found.signs is False
    assert "direct: at the same output" in found.verdict


def test_target_projection_is_found_layer_local():
    found = of(direct_random_target_projection(NETWORK, LOSS))
    assert found.layer_local and all(layer.local for layer in found.layers[:2])
    assert "layer-local" in found.verdict and "direct:" not in found.verdict


def test_sign_symmetry_is_found_by_weights_of_one_size():
    found = of(sign_symmetry(NETWORK, LOSS))
    assert found.signs and not found.exact and not found.direct
    assert "it is parallel to backprop" in found.verdict
    for kind, where in (("brSF", "rule_state.magnitudes"), ("frSF", "rule_state")):
        magnitudes = of(sign_symmetry(NETWORK, LOSS, kind))
        assert magnitudes.feedback == (where,) and magnitudes.bitwise and magnitudes.signs is None
    assert of(batch_manhattan(bp.backprop(NETWORK, LOSS))).signs is False


def test_wrong_implementations_are_detected():
    """Feedback that is drawn and never used, so that the rule is backprop; and feedback used with a wrong factor."""

    def forgets(params, state, batch):
        return *gradient_through(NETWORK, LOSS, params, params, batch), state

    rule = feedback_alignment(NETWORK, LOSS)
    found = of(rule._replace(grads=forgets))
    assert found.exact and found.parallel and found.verdict.startswith("the gradient")

    def doubles(params, state, batch):
        twice = jax.tree.map(lambda b: 2 * b, state)
        return *gradient_through(NETWORK, LOSS, params, twice, batch), state

    found = of(rule._replace(grads=doubles))
    assert not found.bitwise and found.with_params > 0.9
    assert "it is not backprop" in found.verdict


def test_a_scaled_gradient_is_parallel_and_not_exact():
    rule = bp.backprop(NETWORK, LOSS)

    def half(params, state, batch):
        value, direction, state = rule.grads(params, state, batch)
        return value, jax.tree.map(lambda g: 0.5 * g, direction), state

    found = of(rule._replace(grads=half))
    assert found.parallel and not found.exact
    assert [layer.ratio for layer in found.layers] == pytest.approx([0.5, 0.5, 0.5])


def test_it_prints_and_goes_into_json(capsys):
    rule = feedback_alignment(bp.mlp((4, 3, 2), bp.tanh), LOSS)
    params = bp.util.cast(rule.network.init(jax.random.key(2), (4,))[0], "float32")
    found = receipt(rule, params, bp.util.cast(BATCH, "float32"), key=jax.random.key(0))
    assert capsys.readouterr().out.strip() == str(found).strip()
    text = str(found)
    assert text.startswith("receipt of feedback alignment · float32, 6 examples")
    assert "0  dense, tanh" in text
    assert "with the params at rule_state, against backprop: equal bit for bit" in text
    assert repr(found) == f"Receipt(feedback alignment: {found.verdict})"
    data = json.loads(json.dumps(found.to_dict()))
    assert data["rule"] == "feedback alignment" and data["bitwise"] and data["exact"] is False
    assert data["layers"][0]["name"] == "dense, tanh" and data["verdict"] == found.verdict
    # with one hidden layer feedback alignment is direct feedback
    assert found.direct


def test_a_network_with_too_few_later_weights_is_not_tried():
    network = bp.chain(bp.dense(1), bp.tanh, bp.dense(9, use_bias=False))  # 9 weights for 9 outputs
    params, _ = network.init(jax.random.key(0), (4,))
    found = receipt(bp.backprop(network, LOSS), params, (BATCH[0], jnp.ones((6, 9))), key=jax.random.key(0), show=False)
    assert found.layers[0].change_at_same_output is None and "not tried" in str(found)
    assert not found.direct


def test_solve_for_output():
    """x ↦ (x₀ x₁, x₀ + x₂): from two starts to points where the output is (2, 3)."""

    def output(x):
        return jnp.array([x[0] * x[1], x[0] + x[2]])

    found = solve_for_output(output, [jnp.array([1.5, 1.0, 0.2]), jnp.array([1.0, 0.5, 1.0])], jnp.array([2.0, 3.0]))
    assert len(found) == 2
    np.testing.assert_allclose([output(x) for x in found], [[2.0, 3.0]] * 2, atol=1e-12)
    assert solve_for_output(lambda x: jnp.array([x[0] ** 2]), [jnp.ones(3)], jnp.array([-1.0])) == []


def test_signs_that_stay_by_chance_do_not_make_a_layer_direct():
    """One hidden layer of few weights: uSF reads the signs of later weights, feedback alignment does not."""
    network = bp.mlp((3, 4, 2), bp.tanh)
    params, _ = network.init(jax.random.key(0), (3,))
    batch = BATCH[0][:, :3], BATCH[1]
    assert not of(sign_symmetry(network, LOSS), params, batch).direct
    assert of(feedback_alignment(network, LOSS), params, batch).direct


def test_a_layer_without_a_direction_has_no_dependence():
    """A rule whose hidden layers begin at the second batch."""
    rule = bp.backprop(NETWORK, LOSS)

    def late(params, seen, batch):
        value, direction, _ = rule.grads(params, (), batch)
        hidden = jax.tree.map(lambda g: jnp.where(seen > 0, g, 0), direction[:-2])
        return value, (*hidden, *direction[-2:]), seen + 1

    lazy = rule._replace(init=lambda key, params: jnp.zeros((), jnp.int32), grads=late)
    found = of(lazy)
    assert not found.layer_local and not found.direct and found.layers[0].local is None
    assert "(no direction), (no direction), 0.0° from it" in found.verdict
    assert receipt(lazy, PARAMS, BATCH, key=jax.random.key(0), steps=1, show=False).exact


def test_resampled_weights_all_differ():
    layers = units(NETWORK, jax.tree.map(jnp.zeros_like, PARAMS))
    for before, after in zip(layers, resampled(jax.random.key(0), layers), strict=True):
        pairs = zip(*map(jax.tree.leaves, (before.params, after.params)), strict=True)
        assert all((a != b).all() for a, b in pairs)


def test_feedback_is_found_in_the_state_by_structure():
    twice = {"fast": PARAMS, "slow": (PARAMS, jnp.ones(3)), "key": jax.random.key(0)}
    where, replaced = replace_feedback(twice, PARAMS)
    assert where == ("rule_state['fast']", "rule_state['slow'][0]")
    assert replaced["slow"][1] is twice["slow"][1]
    wider = jax.tree.map(lambda w: jnp.concatenate([w, w]), PARAMS)
    assert replace_feedback((wider, ()), PARAMS)[0] == ()


def test_bad_input():
    rule = bp.backprop(NETWORK, LOSS)
    with pytest.raises(ValueError, match="expected a rule that names what it was made from"):
        of(rule._replace(network=None))
    with pytest.raises(ValueError, match="expected as many targets as examples"):
        of(rule, batch=(BATCH[0], BATCH[1][:2]))
    shapes = bp.chain(bp.tanh, bp.sigmoid)
    with pytest.raises(ValueError, match="expected a network with weights"):
        of(bp.backprop(shapes, LOSS), ((), ()), (BATCH[1], BATCH[1]))
