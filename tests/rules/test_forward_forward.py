"""Forward-forward and mono-forward: the papers' equations in NumPy, and `jax.grad` of each local loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit
from tanh_classifier import (
    BIASES,
    HEADS,
    NETWORK,
    PARAMS,
    RATE,
    STEPS,
    WEIGHTS,
    T,
    X,
    bits,
    pytree,
    softmax,
    trained,
)

import bpjax as bp
from bpjax.layers.normalization.unit_length import unit_length
from bpjax.layers.shapes import flatten
from bpjax.rules.forward_forward import (
    ff_goodness,
    ff_predict,
    forward_forward,
    mono_forward,
    mono_predict,
    with_label,
)
from bpjax.types import Params

FF = bp.chain(bp.dense(3), bp.tanh, unit_length, bp.dense(3), bp.tanh, unit_length, bp.dense(2))
THETA = 0.7


def ff_pytree(w, b) -> Params:
    a1, a2, a3 = (bp.layers.Affine(jnp.asarray(wl), jnp.asarray(bl)) for wl, bl in zip(w, b, strict=True))
    return (a1, (), (), a2, (), (), a3)


FF_PARAMS = ff_pytree(WEIGHTS, BIASES)


def drawn_false(labels, classes, key):
    """The false labels of a step from this state, never the true ones."""
    shift = jax.random.randint(jax.random.split(key)[0], labels.shape, 1, classes, jnp.int32)
    return (labels + shift) % classes


def sigma(a):
    return 1 / (1 + np.exp(-a))


def test_forward_forward_step_by_step():
    """With two classes the false label is the other one, so the step is deterministic."""
    rule, optimizer = forward_forward(FF, bp.softmax_cross_entropy, THETA), optax.sgd(RATE)
    step = bp.make_train_step(rule, optimizer)
    start = bp.training.TrainState(FF_PARAMS, optimizer.init(FF_PARAMS), rule.init(jax.random.key(0), FF_PARAMS))
    batch = (jnp.asarray(X), jnp.asarray(T))
    end, metrics = quick_jit(lambda s: jax.lax.scan(lambda s, _: step(s, batch), s, None, length=STEPS))(start)

    true, false = X.copy(), X.copy()
    true[:, :2], false[:, :2] = T, 1 - T
    w, b = [a.copy() for a in WEIGHTS], [a.copy() for a in BIASES]

    def direction(h):
        return h / np.sqrt(np.sum(h * h, axis=1, keepdims=True) + 1e-8)

    for value in metrics.value:
        inputs, deltas = [], []
        y = np.concatenate([true, false])
        for l in (0, 1):
            h = np.tanh(y @ w[l] + b[l])
            excess = np.sum(h * h, axis=1, keepdims=True) - THETA
            slope = np.concatenate([-sigma(-excess[:4]), sigma(excess[4:])])
            inputs.append(y)
            deltas.append((1 - h * h) * 2 * h * slope)
            y = direction(h)
        y = direction(np.tanh(direction(np.tanh(X @ w[0] + b[0])) @ w[1] + b[1]))
        o = y @ w[2] + b[2]
        assert float(value) == pytest.approx(-np.sum(T * np.log(softmax(o))), rel=1e-12)
        for l, (below, delta) in enumerate(zip([*inputs, y], [*deltas, softmax(o) - T], strict=True)):
            w[l] = w[l] - RATE * below.T @ delta
            b[l] = b[l] - RATE * delta.sum(axis=0)
    assert relative_error(end.params, ff_pytree(w, b)) < 1e-12
    assert relative_error(end.params, FF_PARAMS) > 0.01


@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_forward_forward_is_jax_grad_of_the_loss_of_each_layer(mean, keys):
    """E = Σ softplus(θ − G⁺) + softplus(G⁻ − θ), with four classes, relu and images."""
    network = bp.chain(flatten, bp.dense(5), bp.relu, unit_length, bp.dense(4), bp.relu, unit_length, bp.dense(4))
    params, _ = network.init(next(keys), (2, 3, 1))
    x, labels = jax.random.normal(next(keys), (6, 2, 3, 1)), jnp.array([0, 2, 1, 1, 0, 3])
    loss = bp.losses.batch_mean(bp.softmax_cross_entropy) if mean else bp.softmax_cross_entropy
    rule = forward_forward(network, loss, THETA, in_shape=(2, 3, 1))
    grads_of = quick_jit(rule.grads)
    state = rule.init(next(keys), params)
    _, grads, after = grads_of(params, state, (x, labels))
    false, other = (drawn_false(labels, 4, key) for key in (state, after))
    assert (false != other).any()

    def layer_loss(affine, first, below):
        total = 0.0
        for chosen, sign in ((labels, 1), (false, -1)):
            h, _ = below.forward(params[:first], with_label(x, chosen, 4))
            h = jax.nn.relu(h @ affine.w + affine.b[None])
            total += jnp.sum(jax.nn.softplus(sign * (THETA - jnp.sum(h * h, axis=1))))
        return total / (6 if mean else 1)

    @quick_jit
    def truths(params):
        hidden = [jax.grad(layer_loss)(params[first], first, bp.chain(*network.layers[:first])) for first in (1, 4)]
        return [*hidden, bp.backprop(network, loss).grads(params, (), (x, labels))[1][-1]]

    assert relative_error([grads[1], grads[4], grads[-1]], truths(params)) < 1e-12


def test_no_layer_of_forward_forward_depends_on_a_later_one(keys):
    rule = forward_forward(FF, bp.squared_error)
    state, other = rule.init(next(keys), FF_PARAMS), FF.init(next(keys), (3,))[0]
    grads = rule.grads(FF_PARAMS, state, (X, T))[1]
    for l in (0, 1):
        changed = rule.grads((*FF_PARAMS[: 3 * l + 3], *other[3 * l + 3 :]), state, (X, T))[1]
        assert bits(changed[: 3 * l + 1], grads[: 3 * l + 1])
        assert not bits(changed[3 * l + 3], grads[3 * l + 3])


def test_the_label_with_the_largest_goodness_is_predicted():
    """Σ h² of both hidden layers, and of the second one only, in NumPy."""
    first, second = np.zeros((4, 2)), np.zeros((4, 2))
    for label in (0, 1):
        x = X.copy()
        x[:, :2] = np.eye(2)[label]
        h = np.tanh(x @ WEIGHTS[0] + BIASES[0])
        first[:, label] = np.sum(h * h, axis=1)
        h = np.tanh(h / np.linalg.norm(h, axis=1, keepdims=True) @ WEIGHTS[1] + BIASES[1])
        second[:, label] = np.sum(h * h, axis=1)
    for skip, expected in ((0, first + second), (1, second)):
        found = quick_jit(lambda p, x, skip=skip: ff_goodness(FF, p, x, 2, skip))(FF_PARAMS, jnp.asarray(X))
        np.testing.assert_allclose(found, expected, rtol=1e-7)  # ε of the length
        labels = quick_jit(lambda p, x, skip=skip: ff_predict(FF, p, x, 2, skip))(FF_PARAMS, jnp.asarray(X))
        assert (labels == expected.argmax(axis=1)).all()


def test_unit_length_is_a_layer(keys):
    x, dy = jax.random.normal(next(keys), (3, 2, 2)), jax.random.normal(next(keys), (3, 2, 2))
    y, residuals = unit_length.forward((), x)
    np.testing.assert_allclose(jnp.sum(y**2, axis=(1, 2)), 1, rtol=1e-7)
    _, vjp = jax.vjp(lambda x: unit_length.forward((), x)[0], x)
    assert relative_error(unit_length.backward((), residuals, dy)[1], vjp(dy)[0]) < 1e-12
    assert (unit_length.forward((), jnp.zeros((2, 3)))[0] == 0).all()
    assert unit_length.forward((), x.astype(jnp.bfloat16))[0].dtype == jnp.bfloat16


# --- Mono-forward ---------------------------------------------------------------------------------------------------


def test_mono_forward_step_by_step(keys):
    """Gₗ = hₗ Mₗᵀ, cross entropy of each; the output layer learns from the squared error."""
    rho = 0.3
    rule = mono_forward(NETWORK, bp.squared_error, rate=rho)
    given = [bp.layers.Affine(jnp.asarray(head[0])) for head in HEADS]
    assert jax.tree.structure(rule.init(next(keys), PARAMS)) == jax.tree.structure(given)
    values, params, heads_after = trained(rule, given, (jnp.asarray(X), jnp.asarray(T)))
    w, b, m = [a.copy() for a in WEIGHTS], [a.copy() for a in BIASES], [head[0].T.copy() for head in HEADS]
    for value in values:
        h1 = np.tanh(X @ w[0] + b[0])
        h2 = np.tanh(h1 @ w[1] + b[1])
        o = h2 @ w[2] + b[2]
        assert float(value) == pytest.approx(0.5 * np.sum((o - T) ** 2), rel=1e-12)
        deltas = []
        for l, h in enumerate((h1, h2)):
            e = softmax(h @ m[l].T) - T
            deltas.append((1 - h * h) * (e @ m[l]))
            m[l] = m[l] - rho * e.T @ h / 4
        for l, (y, delta) in enumerate(zip((X, h1, h2), [*deltas, o - T], strict=True)):
            w[l] = w[l] - RATE * y.T @ delta
            b[l] = b[l] - RATE * delta.sum(axis=0)
    assert relative_error(params, pytree(w, b)) < 1e-12
    assert relative_error(heads_after, [bp.layers.Affine(jnp.asarray(a.T)) for a in m]) < 1e-12
    h1 = np.tanh(X @ w[0] + b[0])
    best = np.argmax(h1 @ m[0].T + np.tanh(h1 @ w[1] + b[1]) @ m[1].T, axis=1)
    assert (mono_predict(NETWORK, params, heads_after, jnp.asarray(X)) == best).all()


@pytest.mark.thorough
@pytest.mark.parametrize("make", [mono_forward, forward_forward])
def test_both_ways_to_predict_learn_three_classes(make, keys):
    """Three classes along three directions; the entries for the label, at the front, are 0."""
    width, classes, examples = 8, 3, 60
    length = [unit_length] if make is forward_forward else []
    hidden = [bp.dense(16), bp.relu, *length, bp.dense(16), bp.relu, *length]
    network = bp.chain(*hidden, bp.dense(classes))
    labels = jax.random.randint(next(keys), (examples,), 0, classes)
    x = 2 * jax.random.normal(next(keys), (classes, width))[labels] + jax.random.normal(next(keys), (examples, width))
    x = jnp.pad(x, ((0, 0), (classes, 0)))
    params, _ = network.init(next(keys), (classes + width,))
    rule = make(network, bp.losses.batch_mean(bp.softmax_cross_entropy))
    optimizer = optax.adam(0.02)
    step = bp.make_train_step(rule, optimizer)
    start = bp.training.TrainState(params, optimizer.init(params), rule.init(next(keys), params))

    @quick_jit
    def trained(start):
        end, _ = jax.lax.scan(lambda s, _: step(s, (x, labels)), start, None, length=150)
        one_pass = jnp.argmax(network.forward(end.params, x)[0], axis=1)
        if make is forward_forward:
            return one_pass, ff_predict(network, end.params, x, classes)
        return one_pass, mono_predict(network, end.params, end.rule, x)

    one_pass, by_goodness = trained(start)
    assert (one_pass == labels).mean() > 0.9
    assert (by_goodness == labels).mean() > 0.9


def test_bad_arguments_of_forward_forward_raise(keys):
    with pytest.raises(ValueError, match="`threshold` to be a finite number > 0"):
        forward_forward(FF, bp.squared_error, 0.0)
    with pytest.raises(ValueError, match=r"expected every hidden layer to end with `unit_length`.*got a dense .* tanh"):
        forward_forward(NETWORK, bp.squared_error).init(next(keys), PARAMS)
    narrow = bp.chain(bp.dense(4), bp.tanh, unit_length, bp.dense(4))
    params, _ = narrow.init(next(keys), (3,))
    with pytest.raises(ValueError, match=r"at least K inputs.*got outputs of shape \(N, 4\) for 3 inputs"):
        forward_forward(narrow, bp.squared_error).init(next(keys), params)
    with pytest.raises(ValueError, match="`ff_goodness` expected `classes` to be an integer ≥ 2"):
        ff_predict(FF, FF_PARAMS, jnp.asarray(X), 1)
    with pytest.raises(ValueError, match="expected `skip` below the number of hidden layers, 2, got 2"):
        ff_predict(FF, FF_PARAMS, jnp.asarray(X), 2, skip=2)
