"""Every quantity of the textbook."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error

import bpjax as bp


@pytest.fixture
def trained(keys):
    network = bp.mlp((4, 5, 3), bp.tanh, output=bp.sigmoid)
    params, _ = network.init(next(keys), (4,))
    return network, params, (jax.random.normal(next(keys), (6, 4)), jax.random.uniform(next(keys), (6, 3)))


def test_error_signals_are_the_derivatives_by_the_net_inputs(trained):
    """δ = ∂E/∂a by jax.grad through a probe added to the net input of each layer of units."""
    network, params, (x, target) = trained

    def error(probes):
        h = jnp.tanh(x @ params[0].w + params[0].b[None, :] + probes[0])
        o = jax.nn.sigmoid(h @ params[2].w + params[2].b[None, :] + probes[1])
        return 0.5 * jnp.sum((target - o) ** 2)

    deltas = jax.grad(error)((jnp.zeros((6, 5)), jnp.zeros((6, 3))))
    found = bp.signals(network, bp.squared_error)(params, (x, target))
    assert relative_error(tuple(s.error_signal for s in found), deltas) < 1e-12


def test_inputs_net_inputs_and_outputs(trained):
    network, params, (x, target) = trained
    hidden, output = bp.signals(network, bp.squared_error)(params, (x, target))
    assert repr(hidden) == (
        "Signals(input=float64[6, 4], net_input=float64[6, 5], output=float64[6, 5], error_signal=float64[6, 5])"
    )
    np.testing.assert_array_equal(hidden.input, x)
    np.testing.assert_array_equal(output.input, hidden.output)
    np.testing.assert_allclose(hidden.output, np.tanh(np.asarray(hidden.net_input)), rtol=1e-14)
    np.testing.assert_allclose(output.output, network.forward(params, x)[0], rtol=1e-14)


def test_gradients_are_products_of_signals(trained):
    """ΔW = −η xᵀ δ, Δb = −η Σ δ: signals and gradients agree."""
    network, params, batch = trained
    _, grads, _ = bp.backprop(network, bp.squared_error).grads(params, (), batch)
    for signal, gradient in zip(
        bp.signals(network, bp.squared_error)(params, batch), (grads[0], grads[2]), strict=True
    ):
        np.testing.assert_allclose(gradient.w, signal.input.T @ signal.error_signal, rtol=1e-12)
        np.testing.assert_allclose(gradient.b, signal.error_signal.sum(axis=0), rtol=1e-12)


def test_one_forward_pass_and_one_compilation(keys):
    calls = []
    layer = bp.dense(3)
    counted = layer._replace(forward=lambda params, x: (calls.append(1), layer.forward(params, x))[1])
    network = bp.chain(counted, bp.tanh)
    params, _ = network.init(next(keys), (4,))
    batch = jax.random.normal(next(keys), (6, 4)), jnp.zeros((6, 3))
    signals = bp.signals(network, bp.squared_error)
    for _ in range(3):
        signals(params, batch)
    assert len(calls) == 1


def test_nested_chains_and_leading_activations(keys):
    network = bp.chain(bp.tanh, bp.chain(bp.dense(3), bp.relu), bp.chain(bp.dense(2)))
    params, _ = network.init(next(keys), (4,))
    batch = jax.random.normal(next(keys), (6, 4)), jnp.zeros((6, 2))
    first, hidden, output = bp.signals(network, bp.squared_error)(params, batch)
    np.testing.assert_allclose(first.output, np.tanh(np.asarray(batch[0])))
    assert hidden.net_input.shape == (6, 3) and output.output.shape == (6, 2)
    np.testing.assert_array_equal(output.output, output.net_input)
