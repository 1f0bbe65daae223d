"""Normalizations against NumPy Jacobians; batch statistics; weight norm; resnet."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from full_size import FULL
from oracles import relative_error
from passes import compiled, compiled_rules, drawn_params, noise_like, run, run_and_vjp

import bpjax as bp
from bpjax.layers.combinators.chain import chain, parallel, residual
from bpjax.layers.combinators.remat import remat
from bpjax.layers.combinators.repeat import repeat
from bpjax.layers.dense import dense
from bpjax.layers.normalization.batch import BatchStatistics, batch_norm
from bpjax.layers.normalization.group import group_norm
from bpjax.layers.normalization.layer import Gains, layer_norm, rms_norm
from bpjax.layers.normalization.statistics import batch_statistics, init_statistics, running_statistics, with_statistics
from bpjax.layers.normalization.weight import WeightNormed, weight_norm
from bpjax.networks.resnet import resnet

KEY = jax.random.key(3)


def random_params(layer, in_shape, keys):
    return drawn_params(layer, in_shape, keys)[0]


def vjp_error(layer, in_shape, x, keys):
    params = random_params(layer, in_shape, keys)
    dy = noise_like(jax.eval_shape(layer.forward, params, x)[0], keys)

    found, expected = map(jax.tree.leaves, compiled(run_and_vjp)(layer, params, x, dy)[1:])
    assert all(np.isfinite(leaf).all() for leaf in found)
    return max(float(abs(a - b).max()) for a, b in zip(found, expected, strict=True))


# NumPy oracle: for values v (n,) that are averaged together, x̂ = (v − μ) / σ has the Jacobian
# (I − 1 1ᵀ / n − x̂ x̂ᵀ / n) / σ;  v / r has (I − x̂ x̂ᵀ / n) / r. Each block of values is multiplied by its matrix.


def oracle_block(v, dv_hat, epsilon, centred=True):
    n = len(v)
    v = v - v.mean() if centred else v
    scale = np.sqrt((v**2).mean() + epsilon)
    v_hat = v / scale
    jacobian = (np.eye(n) - np.ones((n, n)) * centred / n - np.outer(v_hat, v_hat) / n) / scale
    return v_hat, jacobian.T @ dv_hat


def oracle(blocks, x, gain, bias, dy, epsilon, centred=True):
    """(y, dg, db, dx); `blocks` are boolean masks of the values that are averaged together."""
    x_hat, dx, dx_hat = np.zeros_like(x), np.zeros_like(x), gain * dy
    for block in blocks:
        x_hat[block], dx[block] = oracle_block(x[block], dx_hat[block], epsilon, centred)
    sums = tuple(range(x.ndim - 1))
    return gain * x_hat + bias, (dy * x_hat).sum(sums), dy.sum(sums), dx


def blocks_of(kind, shape):
    labels = np.empty(shape, int)
    for index in np.ndindex(shape):
        n, c = index[0], index[-1]
        labels[index] = {
            "row": np.ravel_multi_index(index[:-1], shape[:-1]),
            "channel": c,
            "group of 2": n * shape[-1] + c // 2,
        }[kind]
    return [labels == label for label in np.unique(labels)]


ORACLES = {
    "layer norm": (layer_norm(), "row", 1e-5, (3, 5)),
    "layer norm, positions": (layer_norm(0.1), "row", 0.1, (2, 3, 4)),
    "rms norm": (rms_norm(1e-3, use_bias=True), "row", 1e-3, (2, 3, 4)),
    "group norm": (group_norm(3), "group of 2", 1e-5, (2, 3, 2, 6)),
    "batch norm": (batch_norm(), "channel", 1e-5, (4, 3)),
    "batch norm, image": (batch_norm(0.01), "channel", 0.01, (2, 3, 2, 3)),
}


@pytest.mark.parametrize("name", ORACLES)
def test_forward_and_backward_are_those_of_the_jacobian(name, keys):
    layer, kind, epsilon, shape = ORACLES[name]
    x, dy = jax.random.normal(next(keys), shape) + 2.0, jax.random.normal(next(keys), shape)
    params = random_params(layer, shape[1:], keys)
    y, (dparams, dx) = compiled(run)(layer, params, x, dy)
    arrays = [np.asarray(a) for a in (x, params.gain, params.bias, dy)]
    expected = oracle(blocks_of(kind, shape), *arrays, epsilon, centred=name != "rms norm")
    for found, wanted in zip((y, dparams.gain, dparams.bias, dx), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)


def test_layer_norm_by_hand():
    # x = (1, 3): μ = 2, variance 1; ε = 3: σ = 2, x̂ = (−1/2, 1/2). g = (2, 2), b = (0, 1): y = (−1, 2)
    # dy = (1, 0): dg = (−1/2, 0), dx̂ = (2, 0), mean(dx̂) = 1, mean(dx̂ x̂) = −1/2
    # dx = ((2, 0) − 1 + x̂ / 2) / 2 = (3/8, −3/8)
    params = Gains(jnp.array([2.0, 2.0]), jnp.array([0.0, 1.0]))
    y, (dparams, dx) = run(layer_norm(3.0), params, jnp.array([[1.0, 3.0]]), jnp.array([[1.0, 0.0]]))
    np.testing.assert_array_equal(y, [[-1, 2]])
    np.testing.assert_array_equal(dparams.gain, [-0.5, 0])
    np.testing.assert_array_equal(dparams.bias, [1, 0])
    np.testing.assert_array_equal(dx, [[3 / 8, -3 / 8]])


def test_rms_norm_by_hand():
    # x = (1, 7): mean square 25, ε = 24 makes r = 7: x̂ = (1/7, 1); g = 1, dy = (7, 0)
    # mean(dx̂ x̂) = 1/2, dx = ((7, 0) − x̂ / 2) / 7 = (1 − 1/98, −1/14)
    y, (dparams, dx) = run(rms_norm(24.0), Gains(jnp.ones(2)), jnp.array([[1.0, 7.0]]), jnp.array([[7.0, 0.0]]))
    np.testing.assert_allclose(y, [[1 / 7, 1]], rtol=1e-15)
    np.testing.assert_allclose(dparams.gain, [1, 0], rtol=1e-15)
    np.testing.assert_allclose(dx, [[1 - 1 / 98, -1 / 14]], rtol=1e-14)


CONSTANT = lambda shape: jnp.full(shape, 0.7)
EDGE_CASES = {
    "layer norm without bias": (layer_norm(use_bias=False), (2, 3), None),
    "layer norm of one feature": (layer_norm(), (4, 1), None),
    "layer norm, equal values": (layer_norm(), (5,), CONSTANT),
    "rms norm of one feature": (rms_norm(), (1,), None),
    "rms norm of zeros": (rms_norm(), (4,), jnp.zeros),
    "one group": (group_norm(1), (2, 2, 4), None),
    "as many groups as channels": (group_norm(4, use_bias=False), (3, 4), None),
    "groups without positions": (group_norm(2), (6,), None),
    "groups of one value": (group_norm(4), (4,), None),
    "groups, equal values": (group_norm(2), (3, 4), CONSTANT),
    "batch norm without bias": (batch_norm(use_bias=False), (2, 2, 3), None),
    "batch norm, equal values": (batch_norm(), (2, 3), CONSTANT),
    "weight norm without bias": (weight_norm(3, use_bias=False), (4,), None),
    "weight norm of one input": (weight_norm(3), (1,), None),
}


@pytest.mark.thorough
@pytest.mark.parametrize("examples", [1, 3])
@pytest.mark.parametrize("name", EDGE_CASES)
def test_backward_is_the_vjp_in_edge_cases(name, examples, keys):
    layer, in_shape, make = EDGE_CASES[name]
    shape = (examples, *in_shape)
    x = jax.random.normal(next(keys), shape) if make is None else make(shape)
    assert vjp_error(layer, in_shape, x, keys) < 1e-10  # of gradients up to 1/√ε = 300


@pytest.mark.parametrize(("layer", "in_shape"), [(layer_norm(), (1,)), (group_norm(3), (3,)), (batch_norm(), (3,))])
def test_a_single_value_is_normalized_to_zero_and_has_no_gradient(layer, in_shape, keys):
    params = random_params(layer, in_shape, keys)
    y, (dparams, dx) = compiled(run)(layer, params, jnp.full((1, *in_shape), 5.0), jnp.ones((1, *in_shape)))
    np.testing.assert_array_equal(y[0], params.bias)
    assert not dx.any() and not dparams.gain.any()


@pytest.mark.parametrize(
    ("layer", "shape"), [(layer_norm(), (8, 256)), (group_norm(2), (4, 8, 8)), (batch_norm(), (256, 4))]
)
def test_a_mean_of_ten_thousand_costs_no_digits_in_float32(layer, shape, keys):
    # x is exact in float32, so both inputs are equal; Σ x² / n − μ² would have no correct digit
    x = (1e4 + jax.random.normal(next(keys), shape)).astype(jnp.float32)
    params = random_params(layer, shape[1:], keys)
    dy = jax.random.normal(next(keys), shape)
    truth = compiled(run)(layer, params, x.astype(jnp.float64), dy)
    found = compiled(run)(layer, bp.util.cast(params, jnp.float32), x, dy.astype(jnp.float32))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert relative_error(found, truth) < 2e-6


@pytest.mark.parametrize("layer", [layer_norm(), rms_norm(use_bias=True), group_norm(4), batch_norm()])
def test_half_precision_is_rounded_once(layer, keys):
    x, dy = (100.0 + jax.random.normal(k, (16, 8)) for k in (next(keys), next(keys)))
    params, x, dy = bp.util.cast((random_params(layer, (8,), keys), x, dy), jnp.float16)
    truth = compiled(run)(layer, *bp.util.cast((params, x, dy), jnp.float64))
    found = compiled(run)(layer, params, x, dy)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float16)}
    assert relative_error(found, truth) < 5e-4  # half a unit in the last place is 4.9e-4


def test_the_same_arguments_make_the_same_layer():
    assert layer_norm() is layer_norm(1e-5) and group_norm(2) is group_norm(2) and batch_norm() is batch_norm()
    assert weight_norm(3, weights="he") is weight_norm(3, weights="he")


# batch statistics

TWO_NORMS = chain(dense(4), batch_norm(), parallel(chain(dense(3), batch_norm(), bp.tanh), dense(3)))


def data(keys, examples=6):
    return 2.0 + jax.random.normal(next(keys), (examples, 3))


def test_statistics_of_a_batch_by_hand():
    # x = 1, 3, 8: mean 4, variance (9 + 1 + 16) / 3 = 26/3, divided by the count
    params, _ = batch_norm().init(KEY, (1,))
    ((mean, variance),) = batch_statistics(batch_norm(), params, jnp.array([[1.0], [3.0], [8.0]]))
    np.testing.assert_allclose((mean[0], variance[0]), (4, 26 / 3), rtol=1e-15)


def test_statistics_are_in_forward_order_and_reproduce_the_output_of_their_batch(keys):
    params, x = random_params(TWO_NORMS, (3,), keys), data(keys)
    statistics = batch_statistics(TWO_NORMS, params, x)
    assert [s.mean.shape for s in statistics] == [(4,), (3,)]
    np.testing.assert_allclose(statistics[0].mean, dense(4).forward(params[0], x)[0].mean(0), rtol=1e-13)
    y = with_statistics(TWO_NORMS, statistics).forward(params, x)[0]
    np.testing.assert_allclose(y, TWO_NORMS.forward(params, x)[0], rtol=1e-12)
    row = with_statistics(TWO_NORMS, statistics).forward(params, x[2:3])[0]
    np.testing.assert_allclose(row, y[2:3], rtol=1e-12)


def test_running_statistics_by_hand():
    # a mean of 0 and a variance of 1 to begin with; then a batch of mean 2 and variance 4, momentum 0.75
    params, _ = batch_norm().init(KEY, (1,))
    x = jnp.array([[0.0], [4.0]])
    statistics = init_statistics(batch_norm(), params, x)
    residuals = batch_norm().forward(params, x)[1]
    ((mean, variance),) = running_statistics(residuals, statistics, 0.75)
    assert (float(mean[0]), float(variance[0])) == (0.5, 1.75)
    again = running_statistics(residuals, (BatchStatistics(mean, variance),), 0.75)
    assert (float(again[0].mean[0]), float(again[0].variance[0])) == (0.875, 2.3125)


def test_the_training_loop_of_the_docstring(keys):
    network = chain(dense(6), batch_norm(), bp.tanh, dense(1))
    params, x = network.init(next(keys), (3,))[0], data(keys, 32)
    target, loss = jnp.sin(x.sum(axis=1, keepdims=True)), bp.squared_error
    optimizer = optax.sgd(0.01)
    state, statistics = optimizer.init(params), init_statistics(network, params, x)

    @jax.jit
    def step(params, state, statistics, x, target):
        y, residuals = network.forward(params, x)
        grads, _ = network.backward(params, residuals, loss.gradient(y, target))
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, running_statistics(residuals, statistics)

    first = loss.value(network.forward(params, x)[0], target)
    for _ in range(200):
        params, state, statistics = step(params, state, statistics, x, target)
    exact = batch_statistics(network, params, x)
    assert relative_error(statistics, exact) < 0.05
    for known in (statistics, exact):
        assert loss.value(with_statistics(network, known).forward(params, x)[0], target) < 0.3 * first


def test_statistics_of_half_precision_are_float32(keys):
    params, x = bp.util.cast((random_params(TWO_NORMS, (3,), keys), data(keys)), jnp.bfloat16)
    statistics = batch_statistics(TWO_NORMS, params, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(statistics)} == {jnp.dtype(jnp.float32)}
    assert with_statistics(TWO_NORMS, statistics).forward(params, x)[0].dtype == jnp.bfloat16


def test_backward_with_given_statistics_is_the_vjp(keys):
    params, x = random_params(TWO_NORMS, (3,), keys), data(keys)
    network = with_statistics(TWO_NORMS, batch_statistics(TWO_NORMS, params, x))
    assert vjp_error(network, (3,), data(keys), keys) < 1e-12


# weight norm


def test_weight_norm_against_the_equations_of_salimans_and_kingma(keys):
    layer = weight_norm(3)
    params, x = random_params(layer, (5,), keys), jax.random.normal(next(keys), (4, 5))
    dy = jax.random.normal(next(keys), (4, 3))
    y, (dparams, dx) = compiled(run)(layer, params, x, dy)
    v, g, b, x, dy = map(np.asarray, (*params, x, dy))
    for h in range(3):
        length = np.sqrt((v[:, h] ** 2).sum())
        w = g[h] * v[:, h] / length
        dw = x.T @ dy[:, h]
        dg = dw @ v[:, h] / length
        dv = g[h] / length * dw - g[h] * dg / length**2 * v[:, h]
        np.testing.assert_allclose(y[:, h], x @ w + b[h], rtol=1e-12)
        np.testing.assert_allclose(dparams.g[h], dg, rtol=1e-12)
        np.testing.assert_allclose(dparams.v[:, h], dv, rtol=1e-11, atol=1e-13)
        assert abs(dparams.v[:, h] @ v[:, h]) < 1e-12
    w = g * v / np.linalg.norm(v, axis=0)
    np.testing.assert_allclose(dx, dy @ w.T, rtol=1e-12)


def test_the_initial_weights_of_weight_norm_are_those_of_dense():
    params, affine = weight_norm(3).init(KEY, (5,))[0], dense(3).init(KEY, (5,))[0]
    x = jnp.ones((2, 5))
    np.testing.assert_allclose(weight_norm(3).forward(params, x)[0], dense(3).forward(affine, x)[0], rtol=1e-14)


def test_weights_of_length_zero_stay_zero():
    params = WeightNormed(jnp.zeros((2, 1)), jnp.array([3.0]), jnp.array([0.5]))
    y, (dparams, dx) = run(weight_norm(1), params, jnp.ones((4, 2)), jnp.ones((4, 1)))
    assert (y == 0.5).all() and not dparams.v.any() and not dparams.g.any() and not dx.any()


# resnet


@pytest.mark.thorough
def test_resnet_agrees_with_autodiff_in_float32(float32):
    network = resnet(3, (4, 8) if FULL else (4,))
    params, out_shape = network.init(KEY, (64,))
    x, labels = jax.random.normal(KEY, (4, 64)), jnp.array([0, 1, 2, 0])
    assert out_shape == (3,)
    rules = compiled_rules(network, bp.softmax_cross_entropy)
    report = bp.compare(*rules, params, (x, labels), timed=False, show=False)
    assert report.ok, report


@pytest.mark.thorough
def test_resnet_with_batch_norm(keys):
    network = resnet(3, (2, 4), image=None, norm=batch_norm())
    assert vjp_error(network, (3, 4, 1), jax.random.normal(next(keys), (3, 3, 4, 1)), keys) < 1e-10


def test_resnet_has_six_n_plus_two_layers_and_halves_the_image():
    network = resnet(10, (16, 32, 64), blocks=3, image=(32, 32, 3))
    shapes = jax.eval_shape(lambda: network.init(KEY, (32 * 32 * 3,))[0])
    sizes = [leaf.shape for leaf in jax.tree.leaves(shapes)]
    assert sum(len(s) == 4 and s[:2] == (3, 3) for s in sizes) + sum(len(s) == 2 for s in sizes) == 6 * 3 + 2
    assert sum(len(s) == 4 and s[:2] == (1, 1) for s in sizes) == 2
    y, _ = jax.eval_shape(chain(*network.layers[:-2]).forward, shapes[:-2], jnp.ones((2, 3072)))
    assert y.shape == (2, 8, 8, 64)


GAINS, _ = layer_norm().init(KEY, (3,))
STATISTICS = batch_statistics(batch_norm(), batch_norm().init(KEY, (3,))[0], jnp.ones((2, 3)))
REPEATED = repeat(residual(chain(dense(3), batch_norm())), 2)
REMAT = remat(chain(dense(3), batch_norm()))
X = jnp.ones((2, 3))

BAD = {
    "epsilon": (lambda: layer_norm(0.0), r"`layer_norm` expected `epsilon` to be a finite number > 0, got 0.0"),
    "epsilon, rms": (lambda: rms_norm(-1.0), r"`rms_norm` expected `epsilon`"),
    "epsilon, group": (lambda: group_norm(2, 0.0), r"`group_norm` expected `epsilon`"),
    "epsilon, batch": (lambda: batch_norm(float("nan")), r"`batch_norm` expected `epsilon`.*got nan"),
    "groups": (lambda: group_norm(0), r"`groups` to be an integer ≥ 1, got 0"),
    "groups that do not divide": (
        lambda: group_norm(4).init(KEY, (5, 6)),
        r"`group_norm\(4\)` expected a number of channels that 4 groups divide, got 6\. Use one of 1, 2, 3, 6 groups",
    ),
    "groups of other params": (lambda: group_norm(2).forward(GAINS, X), r"that 2 groups divide, got 3"),
    "in_shape": (lambda: layer_norm().init(KEY, (2, 0)), r"`in_shape` of 2 positive integer"),
    "in_shape of none": (lambda: layer_norm().init(KEY, ()), r"`in_shape` of 1 positive integer"),
    "no batch axis": (lambda: layer_norm().forward(GAINS, X[0]), r"`x` of shape \(N, ..., 3\), got \(3,\)\. Add the"),
    "features": (lambda: layer_norm().forward(GAINS, X[:, :2]), r"got \(2, 2\)"),
    "empty": (lambda: layer_norm().forward(GAINS, X[:0]), r"at least one example, got an empty batch"),
    "another dtype": (lambda: layer_norm().forward(GAINS, X.astype(jnp.float32)), r"dtype of its weights, float64"),
    "integers": (lambda: layer_norm().forward(GAINS, jnp.ones((2, 3), int)), r"floating-point type, got int64"),
    "params without bias": (lambda: layer_norm(use_bias=False).forward(GAINS, X), r"Gains\(gain=\(D,\), bias=None\)"),
    "params of another layer": (lambda: rms_norm().forward((X,), X), r"`rms_norm` expected params Gains.*`init`"),
    "momentum": (lambda: running_statistics((), (), 1.0), r"`momentum` between 0 and 1, got 1.0"),
    "statistics of another network": (
        lambda: running_statistics(batch_norm().forward(GAINS, X)[1], ()),
        r"shapes of those in the residuals, \[\(3,\)\], got \[\]\. Make them with `init_statistics",
    ),
    "too many statistics": (
        lambda: with_statistics(batch_norm(), (*STATISTICS, *STATISTICS)),
        r"statistics for the network's 1 batch norm\(s\), got 2",
    ),
    "statistics of other channels": (
        lambda: with_statistics(batch_norm(), (BatchStatistics(jnp.zeros(2), jnp.ones(2)),)).forward(GAINS, X),
        r"`batch_norm` expected statistics of shape \(3,\), got mean \(2,\)",
    ),
    "stacked statistics": (
        lambda: with_statistics(REPEATED, (BatchStatistics(jnp.zeros((2, 3)), jnp.ones((2, 3))),)),
        r"mean of shape \(C,\).*got \(2, 3\): a `repeat` has one layer",
    ),
    "inside a repeat": (
        lambda: init_statistics(REPEATED, REPEATED.init(KEY, (3,))[0], X),
        r"`init_statistics` expected to find .* found 0\. `repeat` and `remat` do not expose",
    ),
    "inside a remat": (
        lambda: batch_statistics(REMAT, REMAT.init(KEY, (3,))[0], X),
        r"`batch_statistics` expected to find statistics of the network's 1 batch norm",
    ),
    "weight norm's features": (lambda: weight_norm(0), r"`weight_norm` expected `features`"),
    "weight norm's params": (lambda: weight_norm(3).forward(GAINS, X), r"WeightNormed\(v=\(D, 3\), g=\(3,\)"),
    "weight norm's x": (
        lambda: weight_norm(3).forward(weight_norm(3).init(KEY, (3,))[0], X[:, :2]),
        r"`weight_norm` expected `x` of shape \(N, 3\), got \(2, 2\)",
    ),
    "resnet's channels": (lambda: resnet(3, ()), r"`channels` to be a tuple of integers ≥ 1, at least 1"),
    "resnet's image": (lambda: resnet(3, image=(8, 8)), r"`image` to be \(H, W, C\)"),
    "resnet's norm": (lambda: resnet(3, norm=batch_norm), r"`resnet` expected a Layer, got batch_norm\. Call it"),
    "resnet's groups": (lambda: resnet(3, (6,)).init(KEY, (64,)), r"that 4 groups divide, got 6"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call()
