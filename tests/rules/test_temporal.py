"""Temporal backpropagation: loops over time, `jax.grad` with constant early units, values by hand, and its laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import noise_like, quick_jit

import bpjax as bp
from bpjax.layers.recurrent.fir import fir
from bpjax.rules.temporal import temporal_epoch, temporal_gradient

TAPS = (4, 3, 2)
FIRST = sum(TAPS) - len(TAPS)


def example(keys, series=1, steps=14, activation=bp.tanh, sizes=(2, 3, 2, 1), taps=TAPS):
    layers = [fir(features, own) for features, own in zip(sizes[1:], taps, strict=True)]
    between = [layer for own in layers for layer in (own, activation)][:-1]
    network = bp.chain(*between)
    params = noise_like(network.init(next(keys), (steps, sizes[0]))[0], keys)
    x = jax.random.normal(next(keys), (series, steps, sizes[0]))
    return network, params, x, jax.random.normal(next(keys), (series, steps, sizes[-1]))


def with_constant_early_units(params, x, target, first):
    """½ Σ e² by a forward pass in loops, hidden units before the first counted time held constant for `jax.grad`."""
    filters = [own for own in params if own != ()]
    signal = [x[:, t] for t in range(x.shape[1])]
    for l, (w, b) in enumerate(filters):
        nets = [b[None] + sum(signal[t - k] @ w[k] for k in range(len(w)) if t >= k) for t in range(len(signal))]
        signal = [jnp.tanh(a) for a in nets] if l < len(filters) - 1 else nets
        if l < len(filters) - 1:
            signal = [jax.lax.stop_gradient(y) if t < first else y for t, y in enumerate(signal)]
    return sum(jnp.sum((target[:, t] - signal[t]) ** 2) for t in range(first, len(signal))) / 2


def in_loops(params, x, target, rate):
    """One pass as in the paper, over dictionaries of absolute times."""
    filters = [[np.array(own.w), np.array(own.b)] for own in params if own != ()]
    u, d = np.asarray(x)[0], np.asarray(target)[0]
    count, last = len(filters), len(u) - 1
    taps = [len(w) for w, _ in filters]
    first, delays = sum(taps) - count, [sum(taps[l + 1 :]) - (count - l - 1) for l in range(count)]
    signals, deltas = [dict(enumerate(u))] + [{} for _ in filters], [{} for _ in filters]
    for i in range(last + 1 + delays[0]):
        if i <= last:
            filled = 0
            for l, (w, b) in enumerate(filters):
                filled += taps[l] - 1
                if i >= filled:
                    a = b + sum(signals[l][i - k] @ w[k] for k in range(taps[l]))
                    signals[l + 1][i] = np.tanh(a) if l < count - 1 else a
        for l in reversed(range(count)):
            j = i - delays[l]
            if l == count - 1:
                if first <= i <= last:
                    deltas[l][i] = d[i] - signals[count][i]
            elif first <= j <= last:
                w = filters[l + 1][0]
                arriving = sum(deltas[l + 1].get(j + k, np.zeros(w.shape[2])) @ w[k].T for k in range(taps[l + 1]))
                deltas[l][j] = (1 - signals[l + 1][j] ** 2) * arriving
        for l, (w, b) in enumerate(filters):  # after all error signals are known
            j = i - delays[l]
            if j in deltas[l]:
                for k in range(taps[l]):
                    w[k] += rate * np.outer(signals[l][j - k], deltas[l][j])
                b += rate * deltas[l][j]
    return filters


def test_one_pass_by_hand():
    # One filter of two taps, w = (1, 0), b = 0, μ = ½; x = 1, 2, 3; targets –, 3, 4. F = 1.
    # t = 1: y = 2, e = 1: w₀ = 1 + ½·2 = 2, w₁ = ½·1, b = ½.   t = 2: y = 6 + 1 + ½ = 7.5, e = −3.5:
    # w₀ = 2 − 1.75·3 = −3.25, w₁ = 0.5 − 1.75·2 = −3, b = −1.25
    params = (bp.layers.Affine(jnp.array([[[1.0]], [[0.0]]]), jnp.zeros(1)),)
    x, target = jnp.array([[[1.0], [2], [3]]]), jnp.array([[[9.0], [3], [4]]])
    after, errors = quick_jit(temporal_epoch)(params, x, target, 0.5)
    np.testing.assert_array_equal(after[0].w[:, 0, 0], [-3.25, -3])
    np.testing.assert_array_equal(after[0].b, [-1.25])
    np.testing.assert_array_equal(errors[0, :, 0], [0, 1, -3.5])
    # With constant weights e = 1, 1: dw₀ = −(2 + 3), dw₁ = −(1 + 2)
    value, grads = quick_jit(temporal_gradient)(params, x, target)
    assert value == 1
    np.testing.assert_array_equal(grads[0].w[:, 0, 0], [-5, -3])
    np.testing.assert_array_equal(grads[0].b, [-2])


@pytest.mark.parametrize("taps", [TAPS, (1, 3, 4), (5, 1, 1)])
def test_one_pass_is_the_loop_of_the_paper(taps, keys):
    _, params, x, target = example(keys, taps=taps)
    after, errors = quick_jit(temporal_epoch)(params, x, target, 0.1)
    expected = in_loops(params, x, target, 0.1)
    assert relative_error([tuple(own) for own in after if own != ()], [tuple(own) for own in expected]) < 1e-13
    assert not errors[:, : sum(taps) - 3].any() and errors[:, sum(taps) - 3 :].all()


def test_the_gradient_is_that_with_constant_early_units(keys):
    _, params, x, target = example(keys, series=2)
    value, grads = quick_jit(temporal_gradient)(params, x, target)
    expected, truth = quick_jit(jax.value_and_grad(lambda p: with_constant_early_units(p, x, target, FIRST)))(params)
    assert value == pytest.approx(float(expected), rel=1e-14)
    assert relative_error(grads, truth) < 1e-13


def test_the_gradient_is_that_of_backprop_minus_the_edge(keys):
    network, params, x, target = example(keys)

    def counted(y, target):
        return jnp.sum(jnp.square(y - target)[:, FIRST:]) / 2

    def edge(params):  # what reaches the counted outputs only through hidden units before F
        return counted(network.forward(params, x)[0], target) - with_constant_early_units(params, x, target, FIRST)

    rule = bp.backprop(network, bp.losses.Loss("counted", counted, jax.grad(counted)))

    @quick_jit
    def gradients(params):
        whole = rule.grads(params, (), (x, target))[1]
        return whole, temporal_gradient(params, x, target)[1], jax.grad(edge)(params)

    whole, found, rest = gradients(params)
    assert relative_error(jax.tree.map(jnp.add, found, rest), whole) < 1e-13
    assert relative_error(found[4], whole[4]) < 1e-14  # nothing is missing at the output
    assert relative_error(found[0], whole[0]) > 1e-3


def test_without_inner_delays_nothing_is_missing(keys):
    # A network on a tapped delay line: no edge, and a pass is plain stochastic backpropagation
    _, params, x, target = example(keys, taps=(5, 1, 1))
    w = [own for own in params if own != ()]
    windows = jnp.stack([x[0, t - 4 : t + 1][::-1].ravel() for t in range(4, x.shape[1])])

    def value(w):
        y = windows
        for l, (own, b) in enumerate(w):
            y = y @ own.reshape(-1, own.shape[2]) + b[None]
            y = jnp.tanh(y) if l < 2 else y
        return jnp.sum((target[0, 4:] - y) ** 2) / 2

    found, truth = quick_jit(lambda: (temporal_gradient(params, x, target)[1], jax.grad(value)(w)))()
    assert relative_error([own for own in found if own != ()], truth) < 1e-13


@pytest.mark.thorough
@pytest.mark.parametrize("activation", [bp.tanh, bp.sigmoid, bp.layers.softplus], ids=lambda layer: layer.name)
def test_small_steps_add_up_to_the_gradient(activation, keys):
    _, params, x, target = example(keys, series=3, activation=activation)
    params = jax.tree.map(lambda w: 0.3 * w, params)
    grads = quick_jit(lambda: temporal_gradient(params, x, target, activation)[1])()

    @quick_jit
    def change(rate):
        after = temporal_epoch(params, x, target, rate, activation).params
        return jax.tree.map(lambda new, old: (new - old) / rate, after, params)

    coarse, fine = change(1e-6), change(5e-7)
    extrapolated = jax.tree.map(lambda a, b: 2 * b - a, coarse, fine)  # removes the error of order μ
    assert relative_error(extrapolated, jax.tree.map(jnp.negative, grads)) < 1e-8
    assert relative_error(fine, jax.tree.map(jnp.negative, grads)) > 1e-8


@pytest.mark.thorough
def test_many_starts_at_once_are_the_same(keys):
    _, params, x, target = example(keys)
    starts = jax.tree.map(lambda w: jnp.stack([w, 0.5 * w]), params)
    one = lambda p: temporal_epoch(p, x, target, 0.05)
    together = quick_jit(jax.vmap(one))(starts)
    for i in range(2):
        alone = quick_jit(one)(jax.tree.map(lambda w, i=i: w[i], starts))
        assert relative_error(jax.tree.map(lambda w, i=i: w[i], together), alone) < 1e-13


@pytest.mark.thorough
def test_the_structure_and_the_dtype_stay(keys):
    _, params, x, target = example(keys)
    params, x, target = jax.tree.map(lambda a: a.astype(jnp.float32), (list(params), x, target))
    (after, errors), grads = quick_jit(
        lambda: (temporal_epoch(params, x, target, 0.1), temporal_gradient(params, x, target)[1])
    )()
    for tree in (after, grads):
        assert jax.tree.structure(tree) == jax.tree.structure(params)
        assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, params)
    assert {leaf.dtype for leaf in jax.tree.leaves((after, grads, errors))} == {jnp.dtype("float32")}


X, TARGET = jnp.ones((1, 9, 2)), jnp.ones((1, 9, 1))
PARAMS = bp.chain(fir(3, 3), bp.tanh, fir(1, 2)).init(jax.random.key(0), (9, 2))[0]
BAD = {
    "params": ((PARAMS[:2], X, TARGET, 0.1), r"params of `chain\(fir"),
    "dense": ((bp.dense(2).init(jax.random.key(0), (2,))[0], X, TARGET, 0.1), r"params of `chain\(fir"),
    "order": ((PARAMS[::-1], X, TARGET, 0.1), r"params of `chain\(fir"),
    "features": ((PARAMS, X[:, :, :1], TARGET, 0.1), r"x \(N, T, 2\).*got \(1, 9, 1\)"),
    "target": ((PARAMS, X, TARGET[:, 1:], 0.1), r"same N and T, got \(1, 9, 2\) and \(1, 8, 1\)"),
    "short": ((PARAMS, X[:, :3], TARGET[:, :3], 0.1), "more than 3 time steps.*got 3"),
    "dtype": ((PARAMS, X.astype(jnp.float32), TARGET, 0.1), "in the dtype of its weights"),
    "infinite": ((PARAMS, X.at[0, 0, 0].set(jnp.inf), TARGET, 0.1), "finite numbers in `x"),
    "rate": ((PARAMS, X, TARGET, -0.1), "`learning_rate`.*≥ 0"),
    "activation": ((PARAMS, X, TARGET, 0.1, bp.dense(3)), "an activation such as `bp.tanh`"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises(name):
    arguments, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        temporal_epoch(*arguments)
    if name != "rate":
        with pytest.raises(ValueError, match=message):
            temporal_gradient(*arguments[:3], *arguments[4:])
