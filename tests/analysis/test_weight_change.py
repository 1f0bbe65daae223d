"""Δw in `signals`: the gradient term and the momentum term, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bpjax as bp

# One linear unit, E = ½ Σ (t − o)². x = 1, 2, t = 3, 1, w = 1, b = 0: o = 1, 2; δ = o − t = −2, 1.
# ∂E/∂w = Σ δ x = −2 + 2 = 0, ∂E/∂b = −1. With x = 1, 3: o = 1, 3; δ = −2, 2; ∂E/∂w = 4, ∂E/∂b = 0.
NETWORK = bp.dense(1)
PARAMS = bp.layers.Affine(jnp.ones((1, 1)), jnp.zeros(1))
FIRST = (jnp.asarray([[1.0], [2.0]]), jnp.asarray([[3.0], [1.0]]))
SECOND = (jnp.asarray([[1.0], [3.0]]), jnp.asarray([[3.0], [1.0]]))
ETA, ALPHA = 0.1, 0.5

FORMS = {
    # form: ((gradient term, momentum term) of w, of b) in the second step, after v = 0·α and the first batch's gradient
    "heavy_ball": ((-0.4, 0.0), (0.0, 0.05)),  # v_b = −0.1 · −1 = 0.1; α v = 0.05
    "convex": ((-0.2, 0.0), (0.0, 0.025)),  # v_b = −0.5 · 0.1 · −1 = 0.05; −(1 − α) η g = −0.2
    "velocity": ((-0.4, 0.0), (0.0, 0.05)),  # v_b = −1; −η α v = 0.05
    "nesterov": ((-0.6, 0.0), (0.0, 0.025)),  # α (α v − η g) − η g: α² v = 0.025 and −(1 + α) η g = −0.6
}


@pytest.mark.parametrize("form", FORMS)
def test_the_momentum_term_stands_apart(form):
    optimizer = bp.momentum(ETA, ALPHA, form=form)
    signals = bp.signals(NETWORK, bp.squared_error, optimizer)
    state = optimizer.init(PARAMS)
    _, grads, _ = bp.backprop(NETWORK, bp.squared_error).grads(PARAMS, (), FIRST)
    np.testing.assert_allclose([grads.w[0, 0], grads.b[0]], [0.0, -1.0], atol=1e-15)
    _, state = optimizer.update(grads, state, PARAMS)
    (layer,) = signals(PARAMS, SECOND, state)
    np.testing.assert_array_equal(layer.error_signal[:, 0], [-2.0, 2.0])
    (gradient_w, carried_w), (gradient_b, carried_b) = FORMS[form]
    total, gradient, carried = layer.change
    np.testing.assert_allclose([gradient.w[0, 0], gradient.b[0]], [gradient_w, gradient_b], atol=1e-15)
    np.testing.assert_allclose([carried.w[0, 0], carried.b[0]], [carried_w, carried_b], atol=1e-15)
    np.testing.assert_allclose(total.w, gradient.w + carried.w, atol=1e-15)


def test_a_learning_rate_and_the_sign_of_the_textbook():
    (layer,) = bp.signals(NETWORK, bp.squared_error, 0.1, sign="textbook")(PARAMS, SECOND)
    np.testing.assert_array_equal(layer.error_signal[:, 0], [2.0, -2.0])
    np.testing.assert_allclose(layer.change.total.w, 0.1 * layer.input.T @ layer.error_signal)  # +η xᵀ δ
    np.testing.assert_allclose(layer.change.total.w, [[-0.4]], atol=1e-15)
    assert not np.any(layer.change.momentum_term.w)


def test_changes_have_the_structure_of_each_layer_and_go_through_vmap(keys):
    network = bp.chain(bp.tanh, bp.chain(bp.dense(3), bp.relu), bp.dense(2, use_bias=False))
    params, _ = network.init(next(keys), (4,))
    batch = jax.random.normal(next(keys), (6, 4)), jnp.zeros((6, 2))
    signals = bp.signals(network, bp.squared_error, optax.sgd(0.3))
    first, hidden, output = signals(params, batch)
    grads = jax.jit(jax.grad(lambda p: 0.5 * jnp.sum(network.forward(p, batch[0])[0] ** 2)))(params)
    assert jax.tree.leaves(first.change) == []
    for layer, gradient in ((hidden, grads[1][0]), (output, grads[2])):
        jax.tree.map(lambda c, g: np.testing.assert_allclose(c, -0.3 * g, atol=1e-14), layer.change.total, gradient)
    several = jax.jit(jax.vmap(signals, in_axes=(0, None)))(
        jax.tree.map(lambda w: jnp.stack([w, 2 * w]), params), batch
    )
    np.testing.assert_allclose(several[1].error_signal[0], hidden.error_signal, rtol=1e-12)


def test_the_table():
    text = str(bp.signals(NETWORK, bp.squared_error, 0.1)(PARAMS, SECOND))
    assert "δ = ∂E/∂a" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["1", "1", "1", "1", "-2"] in rows and ["1", "2", "3", "3", "2"] in rows  # unit, example, a, o, δ
    assert ["w[1,1]", "-0.4", "0", "-0.4"] in rows  # gradient term, momentum term, Δw
    assert max(map(len, text.splitlines())) <= 80
    assert "… 1 more rows" in bp.signals(NETWORK, bp.squared_error)(PARAMS, SECOND).table(rows=1)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`signals` expected `sign` to be one of gradient, textbook"):
        bp.signals(NETWORK, bp.squared_error, sign="minus")
    with pytest.raises(ValueError, match="`signals` expected `optimizer`"):
        bp.signals(NETWORK, bp.squared_error, bp.momentum)
    with pytest.raises(ValueError, match="`signals` expected `optimizer` to be a finite number > 0"):
        bp.signals(NETWORK, bp.squared_error, -0.1)
