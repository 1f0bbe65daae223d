"""Backpropagation by hand against jax.grad, the textbook equations in NumPy, and closed forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import central_difference, relative_error, sigmoid
from passes import quick_jit

import bpjax as bp
from bpjax.gradcheck.registry import ACTIVATIONS, LOSSES
from bpjax.util.float64 import cast_on_host, to_host

OF_OUTPUTS = [
    name for name in LOSSES if name.startswith(("squared", "mean", "softmax", "binary", "huber", "hyper", "batch"))
]
GRID = list(itertools.product(ACTIVATIONS, OF_OUTPUTS))
CROSS = [pair for pair in GRID if pair[0] == GRID[0][0] or pair[1] == GRID[0][1]]
"""Every activation and every loss once."""
PAIRS = [pytest.param(*pair, id="-".join(pair), marks=[] if pair in CROSS else pytest.mark.thorough) for pair in GRID]


def problem(activation, loss, keys):
    case = LOSSES[loss]
    network = bp.mlp(
        (5, 6, 4), ACTIVATIONS[activation], output=bp.sigmoid if case.loss is bp.losses.hyper_error else None
    )
    params, _ = network.init(next(keys), (5,))
    batch = jax.random.normal(next(keys), (8, 5)), case.target(next(keys), (8, 4))
    return network, case.loss, params, batch


@pytest.mark.parametrize(("activation", "loss_name"), PAIRS)
def test_backprop_is_jax_grad(activation, loss_name, keys):
    network, loss, params, batch = problem(activation, loss_name, keys)
    rules = bp.backprop(network, loss), bp.autodiff(network, loss)
    both = quick_jit(lambda params, batch: [rule.grads(params, (), batch) for rule in rules])
    (value, grads, state), (true_value, truth, _) = both(params, batch)
    assert state == ()
    assert float(value) == float(true_value)
    assert relative_error(grads, truth) < 1e-12
    if (activation, loss_name) not in CROSS:
        return  # float32 for every activation and for every loss, not for all pairs
    inputs32 = cast_on_host(to_host((params, batch)), "float32")
    with jax.enable_x64(False):
        narrow = quick_jit(rules[0].grads)(inputs32[0], (), inputs32[1])[1]
    truth32 = both(*cast_on_host(inputs32, "float64"))[1][1]
    assert relative_error(narrow, truth32) < 1e-5


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_backprop_is_the_central_difference(depth, keys):
    network = bp.mlp((3, *[4] * (depth - 1), 2), bp.sigmoid, output=bp.sigmoid)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (5, 3)), jax.random.uniform(next(keys), (5, 2))
    _, grads, _ = quick_jit(bp.backprop(network, bp.squared_error).grads)(params, (), batch)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    error = quick_jit(lambda p: bp.squared_error.value(network.forward(unravel(p), batch[0])[0], batch[1]))
    found = jax.flatten_util.ravel_pytree(grads)[0]
    assert relative_error(found, central_difference(error, flat)) < 1e-8


def test_output_and_hidden_units_by_hand(keys):
    """δ of output and hidden units, and Δw = −η δ x, unit by unit in NumPy loops over a 3-2-2 net."""
    network = bp.mlp((3, 2, 2), bp.sigmoid, output=bp.sigmoid)
    params, _ = network.init(next(keys), (3,))
    x, t = np.asarray(jax.random.normal(next(keys), (3,))), np.array([0.2, 0.7])
    (w1, b1), _, (w2, b2), _ = jax.tree.map(np.asarray, params)

    net_hidden = [sum(x[i] * w1[i, j] for i in range(3)) + b1[j] for j in range(2)]
    hidden = [sigmoid(net) for net in net_hidden]
    net_output = [sum(hidden[j] * w2[j, k] for j in range(2)) + b2[k] for k in range(2)]
    output = [sigmoid(net) for net in net_output]
    error = 0.5 * sum((t[k] - output[k]) ** 2 for k in range(2))
    delta_output = [output[k] * (1 - output[k]) * (output[k] - t[k]) for k in range(2)]
    delta_hidden = [hidden[j] * (1 - hidden[j]) * sum(delta_output[k] * w2[j, k] for k in range(2)) for j in range(2)]

    batch = jnp.asarray(x)[None, :], jnp.asarray(t)[None, :]
    rule = bp.backprop(network, bp.squared_error)
    value, _, _ = rule.grads(params, (), batch)
    assert float(value) == pytest.approx(error, rel=1e-14)

    below, above = bp.signals(network, bp.squared_error)(params, batch)
    np.testing.assert_allclose(below.input[0], x)
    np.testing.assert_allclose(below.net_input[0], net_hidden, rtol=1e-13)
    np.testing.assert_allclose(below.output[0], hidden, rtol=1e-13)
    np.testing.assert_allclose(below.error_signal[0], delta_hidden, rtol=1e-12)
    np.testing.assert_allclose(above.error_signal[0], delta_output, rtol=1e-12)

    step = bp.make_train_step(rule, optax.sgd(0.3))
    state = bp.training.TrainState(params, optax.sgd(0.3).init(params), ())
    changed, _ = step(state, batch)
    for i, j in np.ndindex(3, 2):
        change = float(changed.params[0].w[i, j] - params[0].w[i, j])
        assert change == pytest.approx(-0.3 * delta_hidden[j] * x[i], rel=1e-11)
    for k in range(2):
        assert float(changed.params[2].b[k] - params[2].b[k]) == pytest.approx(-0.3 * delta_output[k], rel=1e-11)


@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_the_delta_rule_is_its_closed_form(rate, keys):
    """LMS on ½ mean (w·x − y)²: w_t − w* = (I − ηR)ᵗ (w₀ − w*), R the inputs' correlation; X2, section 5.6."""
    x, y = jax.random.normal(next(keys), (20, 3)), jax.random.normal(next(keys), (20, 1))
    network = bp.dense(1, use_bias=False)
    params, _ = network.init(next(keys), (3,))
    rule = bp.backprop(network, bp.losses.batch_mean(bp.squared_error))
    correlation = np.asarray(x.T @ x) / 20
    best = np.linalg.solve(correlation, np.asarray(x.T @ y) / 20)
    rate = rate * 2 / np.linalg.eigvalsh(correlation).max()
    result = bp.fit(rule, optax.sgd(rate), params, (x, y), key=next(keys), epochs=40)
    power = np.linalg.matrix_power(np.eye(3) - rate * correlation, 40)
    np.testing.assert_allclose(result.params.w - best, power @ (np.asarray(params.w) - best), rtol=1e-11, atol=1e-14)


def test_xor_at_zero_weights_is_the_plateau():
    """X12: gradient 0 and E = ½, exactly."""
    network = bp.mlp((2, 2, 1), bp.sigmoid, output=bp.sigmoid, weights=bp.layers.zeros)
    params, _ = network.init(jax.random.key(0), (2,))
    value, grads, _ = bp.backprop(network, bp.squared_error).grads(params, (), bp.xor().present())
    assert float(value) == 0.5
    assert all(not leaf.any() for leaf in jax.tree.leaves(grads))


def test_with_other_weights_the_same_backward_is_another_rule(keys):
    """Feedback alignment in two lines: the hand-written backward transports errors through the params it receives."""
    network = bp.mlp((4, 5, 3), bp.tanh)
    params, _ = network.init(next(keys), (4,))
    feedback, _ = network.init(next(keys), (4,))
    x, t = jax.random.normal(next(keys), (6, 4)), jax.random.normal(next(keys), (6, 3))
    output, residuals = network.forward(params, x)
    delta = output - t
    dparams, _ = network.backward(feedback, residuals, delta)
    hidden = np.tanh(np.asarray(x @ params[0].w + params[0].b[None, :]))
    expected = np.asarray(x).T @ ((np.asarray(delta) @ np.asarray(feedback[2].w).T) * (1 - hidden**2))
    np.testing.assert_allclose(dparams[0].w, expected, rtol=1e-11, atol=1e-13)


@functools.cache
def compiled(sizes):
    """Both rules, compiled once in float64 for all dtypes."""
    network = bp.mlp(sizes, bp.tanh)
    return [jax.jit(rule(network, bp.softmax_cross_entropy).grads) for rule in (bp.backprop, bp.autodiff)]


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("sizes", [(20, 30, 10), (64, 48, 32, 10)], ids=str)
def test_half_precision_is_no_further_from_the_truth_than_jax_grad(sizes, dtype):
    """Mean relative error of the gradient over 20 networks, hand-written against jax.grad of the same forward."""
    network = bp.mlp(sizes, bp.tanh)
    by_hand, by_jax = compiled(sizes)
    errors = []
    for seed in range(20):
        key = jax.random.key(seed)
        params, _ = network.init(key, (sizes[0],))
        batch = jax.random.normal(key, (32, sizes[0])), jax.random.randint(key, (32,), 0, 10)
        narrow = bp.util.cast((params, (), batch), dtype)
        truth = by_jax(*bp.util.cast(narrow, jnp.float64))[1]
        errors.append([relative_error(grads(*narrow)[1], truth) for grads in (by_hand, by_jax)])
    hand, auto = np.mean(errors, axis=0)
    assert hand <= 1.02 * auto
    assert hand < 10 * float(jnp.finfo(dtype).eps)
