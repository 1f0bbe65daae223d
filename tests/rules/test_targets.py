"""Difference target propagation: the paper's equations in NumPy, and its closed forms for exact inverses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers.convolution.conv import conv
from bpjax.layers.shapes import flatten
from bpjax.rules.targets import Inverses, difference_target_propagation, distances
from bpjax.types import Params

RATE, STEPS = 0.2, 5
DATA = np.random.default_rng(13)
X, T = DATA.normal(size=(4, 3)), DATA.uniform(-0.8, 0.8, (4, 2))
SHAPES = ((3, 3), (3, 4), (4, 3), (3, 2))
WEIGHTS = [DATA.normal(size=shape) / 2 for shape in SHAPES]
BIASES = [DATA.normal(size=shape[1:]) / 2 for shape in SHAPES]
MAPS = [(DATA.normal(size=shape) / 2, DATA.normal(size=shape[1:]) / 2) for shape in ((4, 3), (3, 4))]
NOISE = [DATA.normal(size=(4, width)) for _ in range(STEPS) for width in (3, 4)]
NETWORK = bp.mlp((3, 3, 4, 3, 2), bp.tanh, output=bp.sigmoid)


def pytree(w, b) -> Params:
    layers = [(bp.layers.Affine(jnp.asarray(wl), jnp.asarray(bl)), ()) for wl, bl in zip(w, b, strict=True)]
    return tuple(part for layer in layers for part in layer)


def maps(table):
    return [bp.layers.Affine(jnp.asarray(v), jnp.asarray(c)) for v, c in table]


PARAMS = pytree(WEIGHTS, BIASES)


@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_step_by_step_with_given_noise(mean):
    """Algorithm 1: forward; targets; the inverses learn; the layers learn. Two inverses, of layers 2 and 3."""
    eta, rho, sigma = 0.4, 0.3, 0.5
    loss, share = (bp.losses.batch_mean(bp.squared_error), 1 / 4) if mean else (bp.squared_error, 1.0)

    optimizer = optax.sgd(RATE)

    @quick_jit
    def step(run, noise_of_step):
        given = iter(noise_of_step)

        def noise(key, shape, dtype):
            drawn = next(given)
            assert drawn.shape == shape
            return jnp.asarray(drawn, dtype)

        rule = difference_target_propagation(NETWORK, loss, eta, rho, sigma, noise=noise)
        result = bp.make_train_step(rule, optimizer)(run, (jnp.asarray(X), jnp.asarray(T)))
        assert next(given, None) is None
        return result

    state = difference_target_propagation(NETWORK, loss, eta, rho, sigma).init(jax.random.key(0), PARAMS)
    assert [(m.w.shape, m.b.shape) for m in state.maps] == [((4, 3), (3,)), ((3, 4), (4,))]
    run = bp.training.TrainState(PARAMS, optimizer.init(PARAMS), state._replace(maps=maps(MAPS)))
    w, b, g = [a.copy() for a in WEIGHTS], [a.copy() for a in BIASES], [[a.copy() for a in m] for m in MAPS]
    for noise_of_step in zip(NOISE[::2], NOISE[1::2], strict=True):
        run, metrics = step(run, noise_of_step)
        h = [X]
        for l in (0, 1, 2):
            h.append(np.tanh(h[-1] @ w[l] + b[l]))
        o = 1 / (1 + np.exp(-(h[3] @ w[3] + b[3])))
        assert float(metrics.value) == pytest.approx(share * 0.5 * np.sum((T - o) ** 2), rel=1e-12)
        delta = share * o * (1 - o) * (o - T)
        target = {3: h[3] - eta * delta @ w[3].T}
        for l in (3, 2):
            v, c = g[l - 2]
            target[l - 1] = h[l - 1] - np.tanh(h[l] @ v + c) + np.tanh(target[l] @ v + c)
        for l, xi in zip((2, 3), noise_of_step, strict=True):
            v, c = g[l - 2]
            noisy = h[l - 1] + sigma * xi
            y = np.tanh(noisy @ w[l - 1] + b[l - 1])
            back = np.tanh(y @ v + c)
            d = (1 - back**2) * (back - noisy)
            g[l - 2] = [v - rho * y.T @ d / 4, c - rho * d.sum(axis=0) / 4]
        deltas = [(1 - h[l] ** 2) * (h[l] - target[l]) / eta for l in (1, 2, 3)] + [delta]
        for l, d in enumerate(deltas):
            w[l] = w[l] - RATE * h[l].T @ d
            b[l] = b[l] - RATE * d.sum(axis=0)
    assert relative_error(run.params, pytree(w, b)) < 1e-12
    end = run.rule
    assert isinstance(end, Inverses)
    assert relative_error(end.maps, maps(g)) < 1e-12
    assert relative_error(run.params, PARAMS) > 0.01
    assert relative_error(end.maps, maps(MAPS)) > 0.01


def test_with_exact_inverses_the_forward_pass_maps_each_target_to_the_next():
    """f_l = tanh(h W), square, f⁻¹(y) = artanh(y) W⁻¹: f_l(ĥ_{l−1}) = ĥ_l, down to the first layer."""
    w = [DATA.normal(size=(3, 3)) for _ in range(2)]
    h = [0.3 * DATA.normal(size=(4, 3))]
    for wl in w:
        h.append(np.tanh(h[-1] @ wl))
    inverses = [lambda y, wl=wl: jnp.arctanh(y) @ np.linalg.inv(wl) for wl in w]
    top = h[2] - 0.05 * DATA.normal(size=(4, 3))
    gaps = distances([jnp.asarray(y) for y in h], jnp.asarray(h[2] - top), inverses)
    assert len(gaps) == 3
    targets = [y - gap for y, gap in zip(h, gaps, strict=True)]
    np.testing.assert_allclose(targets[2], top, rtol=1e-12)
    for l in (0, 1):
        np.testing.assert_allclose(np.tanh(targets[l] @ w[l]), targets[l + 1], rtol=1e-9)
        assert np.abs(targets[l] - h[l]).max() > 0.01


def linear(w) -> tuple[bp.Layer, Params]:
    """A deep linear network of square layers, (N, 3) to (N, 3)."""
    network = bp.chain(*[bp.dense(3, use_bias=False) for _ in w])
    return network, tuple(bp.layers.Affine(jnp.asarray(wl)) for wl in w)


def exact(w):
    return maps([(np.linalg.inv(wl), np.zeros(3)) for wl in w[1:-1]])


def test_linear_layers_with_exact_inverses_take_a_gauss_newton_step(keys):
    """δ W_Lᵀ W_{L−1}⁻¹ … at every layer for any step size, because h_{l−1} − ĥ_{l−1} = (h_l − ĥ_l) W_l⁻¹."""
    w = [DATA.normal(size=(3, 3)) for _ in range(4)]
    network, params = linear(w)
    x, t = DATA.normal(size=(5, 3)), DATA.normal(size=(5, 3))
    h = [x]
    for wl in w:
        h.append(h[-1] @ wl)
    delta = h[4] - t
    signal = {3: delta @ w[3].T}
    signal[2] = signal[3] @ np.linalg.inv(w[2])
    signal[1] = signal[2] @ np.linalg.inv(w[1])
    expected = [h[0].T @ signal[1], h[1].T @ signal[2], h[2].T @ signal[3], h[3].T @ delta]
    direction = quick_jit(lambda step, *a: difference_target_propagation(network, bp.squared_error, step).grads(*a)[1])
    for step in (0.01, 1.0):
        grads = direction(step, params, Inverses(next(keys), exact(w)), (jnp.asarray(x), jnp.asarray(t)))
        assert relative_error(grads, tuple(bp.layers.Affine(jnp.asarray(e)) for e in expected)) < 1e-10
    truth = bp.backprop(network, bp.squared_error).grads(params, (), (jnp.asarray(x), jnp.asarray(t)))[1]
    assert relative_error(grads[0], truth[0]) > 0.1


def test_with_orthogonal_weights_it_is_backpropagation(keys):
    w = [np.linalg.qr(DATA.normal(size=(3, 3)))[0] for _ in range(4)]
    network, params = linear(w)
    batch = jnp.asarray(DATA.normal(size=(5, 3))), jnp.asarray(DATA.normal(size=(5, 3)))
    rule = difference_target_propagation(network, bp.squared_error)
    grads = rule.grads(params, Inverses(next(keys), exact(w)), batch)[1]
    assert relative_error(grads, bp.backprop(network, bp.squared_error).grads(params, (), batch)[1]) < 1e-12


def test_with_one_hidden_layer_it_is_backpropagation(keys):
    network = bp.mlp((3, 4, 2), bp.tanh, output=bp.sigmoid)
    params, _ = network.init(next(keys), (3,))
    rule = difference_target_propagation(network, bp.squared_error)
    state = rule.init(next(keys), params)
    assert state.maps == []
    grads = rule.grads(params, state, (jnp.asarray(X), jnp.asarray(T)))[1]
    truth = bp.backprop(network, bp.squared_error).grads(params, (), (jnp.asarray(X), jnp.asarray(T)))[1]
    assert relative_error(grads, truth) < 1e-12


def test_inverses_learn_to_be_inverses(keys):
    """For a fixed linear layer V converges to W⁻¹, which reconstructs any noise."""
    data = np.random.default_rng(0)  # a separate generator: the rate is chosen for these weights
    w = [data.normal(size=(3, 3)) / 4 + np.eye(3) for _ in range(3)]
    network, params = linear(w)
    rule = difference_target_propagation(network, bp.squared_error, rate=0.1, deviation=1.0)
    batch = jnp.asarray(data.normal(size=(20, 3))), jnp.asarray(data.normal(size=(20, 3)))
    begin = rule.init(next(keys), params)
    train = lambda state: jax.lax.fori_loop(0, 3000, lambda _, state: rule.grads(params, state, batch)[2], state)
    end = quick_jit(train)(begin)
    assert relative_error(begin.maps[0].w, np.linalg.inv(w[1])) > 0.3
    assert relative_error(end.maps[0].w, np.linalg.inv(w[1])) < 1e-6


def test_bad_arguments_and_layers_without_an_inverse_raise(keys):
    for values, name in (((0.0, 1.0, 1.0), "step"), ((1.0, -1.0, 1.0), "rate"), ((1.0, 1.0, -1.0), "deviation")):
        with pytest.raises(ValueError, match=f"expected `{name}` to be a finite number"):
            difference_target_propagation(NETWORK, bp.squared_error, *values)
    images = bp.chain(conv(2, (2, 2)), bp.relu, flatten, bp.dense(4), bp.tanh, bp.dense(3))
    for network, in_shape, got in (
        (images, (3, 4, 1), r"all dense, .*got \['conv.*', 'dense', 'dense'\]"),
        (bp.chain(bp.dense(2), bp.tanh), (3,), r"two or more layers of units.*got \['dense'\]"),
    ):
        with pytest.raises(ValueError, match=got):
            difference_target_propagation(network, bp.squared_error).init(
                next(keys), network.init(next(keys), in_shape)[0]
            )
    with pytest.raises(ValueError, match="expected a network with weights and params made by its `init`"):
        difference_target_propagation(NETWORK, bp.squared_error).init(next(keys), ())
    halves = bp.layers.identity._replace(name="halves", init=lambda key, in_shape: ((), (in_shape[0] // 2,)))
    narrowing = bp.chain(bp.dense(4), halves, bp.dense(2))
    with pytest.raises(ValueError, match=r"to keep its width.*got weights \[\(3, 4\), \(2, 2\)\]"):
        difference_target_propagation(narrowing, bp.squared_error).init(next(keys), narrowing.init(next(keys), (3,))[0])
