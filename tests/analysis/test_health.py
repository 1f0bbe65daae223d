"""Findings of `health`, on networks whose faults are made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.analysis import health_monitor


def messages(found):
    return [finding.message for finding in found.findings]


@pytest.fixture
def relu(keys):
    network = bp.mlp((3, 4, 2), bp.relu)
    params, _ = network.init(next(keys), (3,))
    return network, params, jax.random.normal(next(keys), (20, 3))


def test_a_good_network_has_no_findings(keys):
    network = bp.mlp((3, 4, 2))
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (20, 3)), jax.random.normal(next(keys), (20, 2))
    found = bp.health(network, params, batch, bp.squared_error)
    assert found.is_healthy and "Nothing found" in str(found)
    assert [layer.name for layer in found.layers] == ["dense, tanh", "dense"]
    output = np.asarray(network.forward(params, batch[0])[0])
    assert found.layers[1].output == pytest.approx(np.sqrt(np.mean(output**2)))
    assert found.layers[1].error == pytest.approx(np.sqrt(np.mean((output - batch[1]) ** 2)))


def test_dead_and_equal_units_and_inputs_without_effect(relu):
    network, (first, *rest), x = relu
    w = jnp.abs(first.w).at[:, 3].set(jnp.abs(first.w[:, 1])).at[2].set(0.0)
    params = first._replace(w=w, b=jnp.array([1.0, 1.0, -99.0, 1.0])), *rest
    found = bp.health(network, params, jnp.abs(x).at[:, 0].set(0.0).at[:, 1].add(0.5))
    assert messages(found) == [
        "unit 3 of layer 1 is dead on all 20 examples",
        "unit 4 of layer 1 has the output of another unit of the layer on all examples",
        "input 1 is 0 on all examples: its weights never change",
        "input 3 is without effect: all its weights are 0",
    ]
    assert found.layers[0].dead == 0.25 and found.layers[0].equal == 1


def test_saturated_units(relu):
    network = bp.mlp((3, 4, 2))
    params, _ = network.init(jax.random.key(1), (3,))
    params = jax.tree.map(lambda w: 1e3 * w, params[:1]) + params[1:]
    found = bp.health(network, params, relu[2])
    assert found.layers[0].saturated > 0.9 and {finding.kind for finding in found.findings} == {"saturated"}


@pytest.mark.parametrize(("factor", "kind"), [(0.01, "vanishing"), (100.0, "exploding")])
def test_signals_that_change_by_a_factor_a_layer(factor, kind):
    """y = factor · x in each of four linear layers: outputs and errors change by that factor at every layer."""
    network = bp.chain(*[bp.dense(2, use_bias=False)] * 4)
    params = (bp.layers.Affine(factor * jnp.eye(2)),) * 4
    x = jnp.array([[1.0, 0.5], [-1.0, 2.0]])
    found = bp.health(network, params, (x, jnp.zeros((2, 2))), bp.squared_error)
    assert [finding.kind for finding in found.findings] == [kind, kind]
    assert all("100.0 times a layer" in message for message in messages(found))
    assert messages(found)[0].endswith("layer 4, 100.0 times a layer")
    assert messages(found)[1].endswith("layer 1, 100.0 times a layer")


def test_a_gradient_of_zero_and_values_that_are_not_finite(relu):
    network, (first, *rest), x = relu
    batch = x, jnp.zeros((20, 2))
    dead = first._replace(b=jnp.full(4, -99.0)), *(jax.tree.map(jnp.zeros_like, layer) for layer in rest)
    found = bp.health(network, dead, batch, bp.squared_error)
    assert messages(found)[:2] == [
        "the gradient of the error is exactly 0 by every weight",
        "all 4 units of layer 1 are dead on all 20 examples",
    ]
    broken = first, *(jax.tree.map(lambda w: w * jnp.nan, layer) for layer in rest)
    assert messages(bp.health(network, broken, batch, bp.squared_error)) == [
        "the outputs of layer 2 (dense) are infinite or NaN"
    ]


@pytest.mark.thorough
def test_a_monitor_reports_a_finding_once(relu):
    network, params, x = relu
    batch, said = (x, jnp.zeros((20, 2))), []
    monitor = health_monitor(network, batch, bp.squared_error, report=said.append)
    rule = bp.backprop(network, bp.squared_error)
    dead = params[0]._replace(b=jnp.full(4, -99.0)), *params[1:]
    bp.fit(rule, bp.momentum(0.01), dead, batch, key=jax.random.key(0), epochs=6, chunk=2, on_chunk=monitor)
    assert [epoch for epoch, _ in monitor.reports] == [2, 4, 6]
    assert [text[:50] for text in said] == [
        "epoch 2: The gradient of the error is exactly 0 by",
        "epoch 2: All 4 units of layer 1 are dead on all 20",
    ]


@pytest.mark.thorough
def test_images_sequences_and_tokens_are_examined(keys):
    convolutional = bp.chain(bp.conv(2, (3, 3)), bp.relu, bp.flatten, bp.dense(2))
    params, _ = convolutional.init(next(keys), (5, 5, 1))
    assert len(bp.health(convolutional, params, jax.random.normal(next(keys), (3, 5, 5, 1))).layers) == 2
    tokens = bp.chain(bp.embedding(7, 4), bp.over_positions(bp.dense(2)))
    params, _ = tokens.init(next(keys), (6,))
    assert bp.health(tokens, params, jnp.arange(12).reshape(2, 6) % 7).layers[0].units == 4


def test_bad_input_gets_a_sentence(relu):
    network, params, x = relu
    for arguments, message in (
        ((bp.dense, params, x), "expected"),
        ((network, params, x, bp.squared_error), "beside a loss"),
        ((network, params, x, None, 2.0), "fraction"),
    ):
        with pytest.raises(ValueError, match=message):
            bp.health(*arguments)
    with pytest.raises(ValueError, match="report"):
        health_monitor(network, x, report=3)
