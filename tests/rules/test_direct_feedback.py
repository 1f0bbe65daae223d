"""Direct feedback: against the papers' equations in NumPy, and independence of later layers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers.convolution.conv import conv
from bpjax.layers.normalization.layer import layer_norm
from bpjax.layers.shapes import flatten
from bpjax.rules.direct import direct_feedback, direct_random_target_projection
from bpjax.rules.feedback import feedback_alignment
from bpjax.rules.units import merge_units, propagate, unit_backward, units

RATE, STEPS = 0.3, 5
NETWORK = bp.mlp((3, 3, 4, 2), bp.tanh, output=bp.tanh)
DATA = np.random.default_rng(11)
X, T = DATA.normal(size=(4, 3)), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
SHAPES = ((3, 3), (3, 4), (4, 2))
WEIGHTS = [DATA.normal(size=shape) / 2 for shape in SHAPES]
BIASES = [DATA.normal(size=shape[1:]) / 2 for shape in SHAPES]
DIRECT = [DATA.normal(size=(width, 2)) for width in (3, 4)]


def pytree(w, b):
    layers = [(bp.layers.Affine(jnp.asarray(wl), jnp.asarray(bl)), ()) for wl, bl in zip(w, b, strict=True)]
    return tuple(part for layer in layers for part in layer)


PARAMS = pytree(WEIGHTS, BIASES)


def golden(signal_of, share=1.0):
    """NumPy: e = φ′ ⊙ (o − t) at the output, δₗ = φ′ ⊙ (signal_of(e) Bₗᵀ) in hidden layers, W ← W − η xᵀ δ."""
    w, b, errors = [a.copy() for a in WEIGHTS], [a.copy() for a in BIASES], []
    for _ in range(STEPS):
        y = [X]
        for wl, bl in zip(w, b, strict=True):
            y.append(np.tanh(y[-1] @ wl + bl))
        errors.append(share * 0.5 * np.sum((T - y[-1]) ** 2))
        e = share * (1 - y[3] ** 2) * (y[3] - T)
        deltas = [(1 - y[l + 1] ** 2) * (signal_of(e) @ DIRECT[l].T) for l in (0, 1)] + [e]
        for l, delta in enumerate(deltas):
            w[l] = w[l] - RATE * y[l].T @ delta
            b[l] = b[l] - RATE * delta.sum(axis=0)
    return errors, pytree(w, b)


@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
@pytest.mark.parametrize("kind", ["error", "target"])
def test_step_by_step(kind, mean):
    loss, share = (bp.losses.batch_mean(bp.squared_error), 1 / 4) if mean else (bp.squared_error, 1.0)
    make = direct_feedback if kind == "error" else direct_random_target_projection
    rule, optimizer = make(NETWORK, loss), optax.sgd(RATE)
    step = bp.make_train_step(rule, optimizer)
    start = bp.training.TrainState(PARAMS, optimizer.init(PARAMS), tuple(map(jnp.asarray, DIRECT)))
    end, metrics = quick_jit(lambda s: jax.lax.scan(lambda s, _: step(s, (X, T)), s, None, length=STEPS))(start)
    errors, params = golden((lambda e: e) if kind == "error" else (lambda e: share * T), share)
    np.testing.assert_allclose(metrics.value, errors, rtol=1e-12)
    assert relative_error(end.params, params) < 1e-12
    assert relative_error(end.params, PARAMS) > 0.01
    assert all((a == b).all() for a, b in zip(end.rule, DIRECT, strict=True))


def test_with_one_hidden_layer_it_is_feedback_alignment_to_the_last_bit(keys):
    """X18, for the same B; with two hidden layers they differ."""
    network = bp.mlp((3, 4, 2), bp.tanh, output=bp.sigmoid)
    params, _ = network.init(next(keys), (3,))
    direct, aligned = (rule(network, bp.squared_error) for rule in (direct_feedback, feedback_alignment))
    state = aligned.init(next(keys), params)
    one = aligned.grads(params, state, (X, T))[1]
    other = direct.grads(params, (state[2].w,), (X, T))[1]
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))

    aligned = feedback_alignment(NETWORK, bp.squared_error)
    state = aligned.init(next(keys), PARAMS)
    one = aligned.grads(PARAMS, state, (X, T))[1]
    straight = state[2].w @ state[4].w  # the product of the matrices in between
    other = direct_feedback(NETWORK, bp.squared_error).grads(PARAMS, (straight, state[4].w), (X, T))[1]
    assert relative_error(other[2:], one[2:]) < 1e-14
    assert relative_error(other[0], one[0]) > 0.01


def test_linear_units_with_the_true_products_are_backprop(keys):
    """Two linear layers propagate e (W₂ W₃)ᵀ, so direct feedback with B₁ = W₂ W₃ is backpropagation."""
    network = bp.mlp((3, 3, 4, 2), bp.layers.identity)
    params, _ = network.init(next(keys), (3,))
    w2, w3 = params[2].w, params[4].w
    found = direct_feedback(network, bp.squared_error).grads(params, (w2 @ w3, w3), (X, T))[1]
    assert relative_error(found, bp.backprop(network, bp.squared_error).grads(params, (), (X, T))[1]) < 1e-13


def test_zero_weights_learn_by_direct_feedback_and_not_by_backprop():
    """Section 7.2 (d): in a tanh network of zeros only the direction of direct feedback is not 0."""
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    stuck = bp.backprop(NETWORK, bp.squared_error).grads(zeros, (), (X, T))[1]
    assert not any(leaf.any() for leaf in jax.tree.leaves(stuck[:4]))
    moved = direct_feedback(NETWORK, bp.squared_error).grads(zeros, tuple(map(jnp.asarray, DIRECT)), (X, T))[1]
    assert moved[0].w.all()


def test_only_the_target_reaches_hidden_layers(keys):
    """With other weights in later layers, and so another error, a hidden layer's direction is the same bit by bit."""
    rule = direct_random_target_projection(NETWORK, bp.squared_error)
    state = tuple(map(jnp.asarray, DIRECT))
    drawn = jax.tree.map(lambda w: jax.random.normal(next(keys), w.shape), PARAMS)
    before = rule.grads(PARAMS, state, (X, T))[1]
    after = rule.grads((*PARAMS[:4], *drawn[4:]), state, (X, T))[1]
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (before[:4], after[:4])), strict=True))
    assert (before[4].w != after[4].w).any()


def test_labels_are_one_hot_targets():
    network = bp.mlp((3, 4, 2), bp.tanh)
    params, _ = network.init(jax.random.key(0), (3,))
    rule = direct_random_target_projection(network, bp.softmax_cross_entropy)
    state = rule.init(jax.random.key(1), params)
    one_hot = rule.grads(params, state, (X, T))
    labels = rule.grads(params, state, (jnp.asarray(X), jnp.array([0, 1, 0, 1])))
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (one_hot, labels)), strict=True))


# --- Layers of units ------------------------------------------------------------------------------------------------


def image_network():
    return bp.chain(
        bp.tanh, conv(2, (2, 2)), layer_norm(), bp.chain(bp.relu, flatten), bp.dense(4), bp.dense(3), bp.sigmoid
    )


def test_layers_of_units_start_at_weights(keys):
    network = image_network()
    params, _ = network.init(next(keys), (3, 4, 1))
    found = units(network, params)
    names = [([l.name for l in u.net.layers], [l.name for l in u.activation.layers]) for u in found]
    assert names == [
        (["tanh", "conv"], ["layer norm", "relu", "flatten"]),
        (["dense"], []),
        (["dense"], ["sigmoid"]),
    ]
    x = jax.random.normal(next(keys), (5, 3, 4, 1))
    forward = propagate(found, x)
    assert (forward[-1].output == network.forward(params, x)[0]).all()
    assert forward[0].net_input.shape == (5, 3, 4, 2) and forward[0].output.shape == (5, 24)


def test_the_backward_passes_of_all_layers_of_units_are_backprop(keys):
    network = image_network()
    params, _ = network.init(next(keys), (3, 4, 1))
    x, t = jax.random.normal(next(keys), (5, 3, 4, 1)), jax.random.uniform(next(keys), (5, 3))
    found = units(network, params)
    forward, backward = propagate(found, x), []
    dy = bp.squared_error.gradient(forward[-1].output, t)
    for unit, at in zip(found[::-1], forward[::-1], strict=True):
        backward.insert(0, unit_backward(unit, at, dy))
        dy = backward[0].input
    truth = bp.backprop(network, bp.squared_error).grads(params, (), (x, t))[1]
    grads = merge_units(params, [at.params for at in backward])
    assert jax.tree.structure(grads) == jax.tree.structure(truth)
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (grads, truth)), strict=True))


@pytest.mark.parametrize("make", [direct_feedback, direct_random_target_projection])
def test_the_projected_signal_travels_through_the_norm_to_the_convolution(make, keys):
    """δ of a convolution: the projected signal travels back through flatten, relu and norm, then xᵀ δ."""
    network = image_network()
    params, _ = network.init(next(keys), (3, 4, 1))
    x, t = jax.random.normal(next(keys), (5, 3, 4, 1)), jax.random.uniform(next(keys), (5, 3))
    rule = make(network, bp.squared_error, in_shape=(3, 4, 1))
    state = rule.init(next(keys), params)
    assert [b.shape for b in state] == [(24, 3), (4, 3)]
    grads = quick_jit(rule.grads)(params, state, (x, t))[1]

    @quick_jit
    def truth(params):
        output = network.forward(params, x)[0]
        signal = output * (1 - output) * (output - t) if make is direct_feedback else t
        first = bp.chain(*network.layers[:4])
        return jax.grad(lambda p: jnp.sum(first.forward(p, x)[0] * (signal @ state[0].T)))(params[:4])

    assert relative_error(grads[:4], truth(params)) < 1e-12


# --- Bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [direct_feedback, direct_random_target_projection])
def test_networks_without_hidden_layers_raise(make, keys):
    for network in (bp.dense(2), bp.over_positions(bp.dense(2)), bp.chain(bp.dense(2))):
        with pytest.raises(ValueError, match="expected a chain of at least two layers"):
            make(network, bp.squared_error)
    with pytest.raises(ValueError, match="`scale` to be a finite number"):
        make(NETWORK, bp.squared_error, scale=float("inf"))
    shallow = bp.mlp((3, 2), output=bp.tanh)
    with pytest.raises(ValueError, match=r"expected a network with a hidden layer, got one with 1 layer"):
        make(shallow, bp.squared_error).init(next(keys), shallow.init(next(keys), (3,))[0])
    params, _ = image_network().init(next(keys), (3, 4, 1))
    with pytest.raises(ValueError, match="expected `in_shape`.*begins with tanh"):
        make(image_network(), bp.squared_error).init(next(keys), params)
    with pytest.raises(ValueError, match=r"shapes \[\(3, 2\), \(4, 2\)\], one for each hidden layer, got \[\(3, 2\)\]"):
        make(NETWORK, bp.squared_error).grads(PARAMS, (jnp.asarray(DIRECT[0]),), (X, T))
