"""Local losses: the papers' equations in NumPy, and `jax.grad` of each local loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import quick_jit
from tanh_classifier import (
    BIASES,
    HEADS,
    LABELS,
    NETWORK,
    PARAMS,
    RATE,
    WEIGHTS,
    T,
    X,
    bits,
    pytree,
    softmax,
    trained,
)

import bpjax as bp
from bpjax.layers.convolution.conv import conv
from bpjax.layers.shapes import flatten
from bpjax.rules.local import local_losses


@pytest.mark.parametrize("rho", [0.3, 0.0], ids=["trained heads", "fixed heads"])
@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_local_losses_step_by_step(rho, mean):
    """The cross entropy of every head's softmax; the heads learn from its mean over the batch."""
    loss = bp.losses.batch_mean(bp.softmax_cross_entropy) if mean else bp.softmax_cross_entropy
    rule = local_losses(NETWORK, loss, rate=rho)
    heads = [bp.layers.Affine(*map(jnp.asarray, head)) for head in HEADS]
    values, params, heads_after = trained(rule, heads, (jnp.asarray(X), jnp.asarray(LABELS)))

    share = 1 / 4 if mean else 1.0
    w, b = [a.copy() for a in WEIGHTS], [a.copy() for a in BIASES]
    heads = [[a.copy() for a in head] for head in HEADS]
    for value in values:
        h1 = np.tanh(X @ w[0] + b[0])
        h2 = np.tanh(h1 @ w[1] + b[1])
        o = h2 @ w[2] + b[2]
        assert float(value) == pytest.approx(-share * np.sum(T * np.log(softmax(o))), rel=1e-12)
        deltas = []
        for h, head in zip((h1, h2), heads, strict=True):
            e = softmax(h @ head[0] + head[1]) - T
            deltas.append(share * (1 - h * h) * (e @ head[0].T))
            head[0] = head[0] - rho * h.T @ e / 4
            head[1] = head[1] - rho * e.sum(axis=0) / 4
        deltas.append(share * (softmax(o) - T))
        for l, (y, delta) in enumerate(zip((X, h1, h2), deltas, strict=True)):
            w[l] = w[l] - RATE * y.T @ delta
            b[l] = b[l] - RATE * delta.sum(axis=0)
    assert relative_error(params, pytree(w, b)) < 1e-12
    assert relative_error(heads_after, [bp.layers.Affine(*map(jnp.asarray, head)) for head in heads]) < 1e-12
    assert relative_error(params, PARAMS) > 0.01
    assert (relative_error(heads_after, [bp.layers.Affine(*map(jnp.asarray, head)) for head in HEADS]) > 0.01) == (
        rho > 0
    )


def test_no_layer_depends_on_a_later_one(keys):
    """With other weights and heads in later layers, a layer's direction is the same bit by bit."""
    rule = local_losses(NETWORK, bp.squared_error)
    state = rule.init(next(keys), PARAMS)
    other_params, other_state = NETWORK.init(next(keys), (3,))[0], rule.init(next(keys), PARAMS)
    grads = rule.grads(PARAMS, state, (X, T))[1]
    for l in (0, 1):
        params = (*PARAMS[: 2 * l + 2], *other_params[2 * l + 2 :])
        heads = [*state[: l + 1], *other_state[l + 1 :]]
        changed = rule.grads(params, heads, (X, T))[1]
        assert bits(changed[: 2 * l + 1], grads[: 2 * l + 1])
        assert not bits(changed[2 * l + 2], grads[2 * l + 2])


def test_image_layers_learn_by_jax_grad_of_their_local_loss(keys):
    """A convolution, relu and flatten are one layer of units; targets are labels; the head sees all of its outputs."""
    network = bp.chain(conv(2, (2, 2)), bp.relu, flatten, bp.dense(4), bp.tanh, bp.dense(3))
    params, _ = network.init(next(keys), (3, 4, 1))
    x, labels = jax.random.normal(next(keys), (5, 3, 4, 1)), jnp.array([0, 2, 1, 1, 0])
    rule = local_losses(network, bp.softmax_cross_entropy, in_shape=(3, 4, 1))
    heads = rule.init(next(keys), params)
    assert [head.w.shape for head in heads] == [(24, 3), (4, 3)]
    grads = quick_jit(rule.grads)(params, heads, (x, labels))[1]

    def local_loss(p, x, first, last, head):
        h = bp.chain(*network.layers[first:last]).forward(p, x)[0]
        logits = h.reshape(5, -1) @ head.w + head.b[None]
        return -jnp.sum(jax.nn.log_softmax(logits)[jnp.arange(5), labels])

    @quick_jit
    def truths(params, heads):
        h, _ = bp.chain(*network.layers[:3]).forward(params[:3], x)
        below = jax.grad(local_loss)(params[:3], x, 0, 3, heads[0])
        return below, jax.grad(local_loss)(params[3:5], h, 3, 5, heads[1])

    assert relative_error((grads[:3], grads[3:5]), truths(params, heads)) < 1e-12


def test_bad_arguments_of_local_losses_raise(keys):
    with pytest.raises(ValueError, match="`local_losses` expected `rate` to be a finite number ≥ 0"):
        local_losses(NETWORK, bp.squared_error, rate=-1.0)
    shallow = bp.mlp((3, 2))
    with pytest.raises(ValueError, match="`local_losses` expected a network with a hidden layer"):
        local_losses(shallow, bp.squared_error).init(next(keys), shallow.init(next(keys), (3,))[0])
