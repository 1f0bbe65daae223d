"""FIR synapses: the filter by hand, Wan's network, and temporal backpropagation in loops over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, drawn_params, noise_like, quick_jit, run, run_and_vjp

import bpjax as bp
from bpjax.layers.recurrent.fir import fir


def test_by_hand():
    # W₀ = 1, W₁ = 10, b = 0.5:  y = (1, 2 + 10, 3 + 20) + 0.5
    # dy = (1, 0, 2):  dxₜ = dyₜ + 10 dyₜ₊₁ = (1, 20, 2)   dW₀ = 1·1 + 3·2 = 7   dW₁ = x₁·2 = 4   db = 3
    params = bp.layers.Affine(jnp.array([[[1.0]], [[10.0]]]), jnp.array([0.5]))
    x, dy = jnp.array([[[1.0], [2], [3]]]), jnp.array([[[1.0], [0], [2]]])
    y, (dparams, dx) = compiled(run)(fir(1, 2), params, x, dy)
    np.testing.assert_array_equal(y[0, :, 0], [1.5, 12.5, 23.5])
    np.testing.assert_array_equal(dx[0, :, 0], [1, 20, 2])
    np.testing.assert_array_equal(dparams.w[:, 0, 0], [7, 4])
    np.testing.assert_array_equal(dparams.b, [3])


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (2, 3, 2, 3, 5), (1, 6, 1, 4, 1), (2, 5, 3, 1, 5), (7, 9, 8, 12, 4)]
)
def test_backward_is_the_vjp_of_forward(shape, keys):
    examples, steps, in_features, features, taps = shape
    layer = fir(features, taps)
    params, out_shape = drawn_params(layer, (steps, in_features), keys)
    assert out_shape == (steps, features)
    x, dy = (noise_like(jnp.empty((examples, steps, n)), keys) for n in (in_features, features))
    y, found, truth = compiled(run_and_vjp)(layer, params, x, dy)
    w = np.asarray(params.w)
    for t in range(steps):  # the sum of the definition
        expected = np.asarray(params.b) + sum(np.asarray(x)[:, t - k] @ w[k] for k in range(min(taps, t + 1)))
        np.testing.assert_allclose(y[:, t], expected, rtol=1e-11, atol=1e-12)
    assert relative_error(found, truth) < 1e-12


def test_one_tap_is_a_dense_layer_at_every_time(keys):
    dense, x = bp.over_positions(bp.dense(3)), jax.random.normal(next(keys), (2, 5, 4))
    params, _ = dense.init(next(keys), (5, 4))
    y = fir(3, 1).forward(bp.layers.Affine(params.w[None], params.b), x)[0]
    assert relative_error(y, dense.forward(params, x)[0]) < 1e-14


def test_wans_network_has_1105_parameters(keys):
    network = bp.chain(fir(12, 25), bp.tanh, fir(12, 5), bp.tanh, fir(1, 5))
    params, out_shape = network.init(next(keys), (40, 1))
    assert out_shape == (40, 1)
    assert sum(p.size for p in jax.tree.leaves(params)) == 1105  # 25·12 + 5·144 + 5·12 + 25 biases


def test_backward_is_temporal_backpropagation_with_constant_weights(keys):
    # Wan 1990: at the output δₜ = eₜ, at hidden units δₜ = φ′ Σₖ δₜ₊ₖ Wₖᵀ; each time changes Wₖ by xₜ₋ₖᵀ δₜ. Summed
    network = bp.chain(fir(3, 3), bp.tanh, fir(2, 2))
    steps = 6
    params = noise_like(network.init(next(keys), (steps, 2))[0], keys)
    x, target = jax.random.normal(next(keys), (1, steps, 2)), jax.random.normal(next(keys), (1, steps, 2))
    (w1, b1), _, (w2, b2) = jax.tree.map(np.asarray, params)
    u = np.asarray(x)[0]
    h = np.array([np.tanh(b1 + sum(u[t - k] @ w1[k] for k in range(3) if t >= k)) for t in range(steps)])
    o = np.array([b2 + sum(h[t - k] @ w2[k] for k in range(2) if t >= k) for t in range(steps)])
    top = o - np.asarray(target)[0]
    below = [(1 - h[t] ** 2) * sum(w2[k] @ top[t + k] for k in range(2) if t + k < steps) for t in range(steps)]
    change = [np.zeros_like(w) for w in (w1, w2)]
    for t in range(steps):
        for signal, delta, total in ((u, below, change[0]), (h, top, change[1])):
            for k in range(len(total)):
                if t >= k:
                    total[k] += np.outer(signal[t - k], delta[t])
    rule, twin = (make(network, bp.squared_error) for make in (bp.backprop, bp.autodiff))
    found, reference = quick_jit(lambda *batch: [r.grads(params, (), batch)[1] for r in (rule, twin)])(x, target)
    assert relative_error([found[0].w, found[2].w], change) < 1e-12
    assert relative_error(found, reference) < 1e-12


PARAMS = fir(2, 3).init(jax.random.key(0), (4, 2))[0]
BAD = {
    "features": (lambda: fir(2, 3).forward(PARAMS, jnp.ones((1, 4, 3))), r"shape \(N, T, 2\).*got \(1, 4, 3\)"),
    "rank": (lambda: fir(2, 3).forward(PARAMS, jnp.ones((4, 2))), r"shape \(N, T, 2\).*got \(4, 2\)"),
    "no time": (lambda: fir(2, 3).forward(PARAMS, jnp.ones((1, 0, 2))), r"N and T at least 1, got \(1, 0, 2\)"),
    "integers": (lambda: fir(2, 3).forward(PARAMS, jnp.ones((1, 4, 2), int)), r"floating-point type, got int64"),
    "dtype": (lambda: fir(2, 3).forward(PARAMS, jnp.ones((1, 4, 2), jnp.float32)), r"float64, got float32"),
    "params": (lambda: fir(2, 4).forward(PARAMS, jnp.ones((1, 4, 2))), r"Affine\(w=\(4, D, 2\).*another network"),
    "in_shape": (lambda: fir(2, 3).init(jax.random.key(0), (2,)), r"`fir` expected an `in_shape` of 2"),
    "taps": (lambda: fir(2, 0), r"`fir` expected `taps` to be an integer ≥ 1, got 0"),
    "units": (lambda: fir(-1, 2), r"`fir` expected `features` to be an integer ≥ 1, got -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises(name):
    act, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        act()
