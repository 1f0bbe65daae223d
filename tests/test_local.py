"""Layers with teachers of their own: the papers' equations in NumPy, `jax.grad` of each local loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error

import bpjax as bp
from bpjax.layers.convolution import conv
from bpjax.layers.shapes import flatten
from bpjax.rules.local import Head, local_losses
from bpjax.types import Params

RATE, STEPS = 0.2, 5
NETWORK = bp.mlp((3, 3, 3, 2), bp.tanh)
DATA = np.random.default_rng(3)
X, LABELS = DATA.normal(size=(4, 3)), np.array([0, 1, 1, 0])
T = np.eye(2)[LABELS]
SHAPES = ((3, 3), (3, 3), (3, 2))
WEIGHTS = [DATA.normal(size=shape) / 2 for shape in SHAPES]
BIASES = [DATA.normal(size=shape[1:]) / 2 for shape in SHAPES]
HEADS = [(DATA.normal(size=(3, 2)) / 2, DATA.normal(size=2) / 2) for _ in range(2)]


def pytree(w, b) -> Params:
    layers = [(bp.Affine(jnp.asarray(wl), jnp.asarray(bl)), ()) for wl, bl in zip(w, b, strict=True)]
    return tuple(part for layer in layers for part in layer)[:-1]


PARAMS = pytree(WEIGHTS, BIASES)


def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def trained(rule, heads, loss_batch):
    optimizer = optax.sgd(RATE)
    step = bp.make_train_step(rule, optimizer)
    start = bp.TrainState(PARAMS, optimizer.init(PARAMS), heads)
    end, metrics = jax.jit(lambda s: jax.lax.scan(lambda s, _: step(s, loss_batch), s, None, length=STEPS))(start)
    return metrics.value, end.params, end.rule


def bits(a, b):
    return all((x == y).all() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.mark.parametrize("rho", [0.3, 0.0], ids=["trained heads", "fixed heads"])
@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_local_losses_step_by_step(rho, mean):
    """Cross entropy of every layer's own softmax; the heads learn from its mean over the batch."""
    loss = bp.batch_mean(bp.softmax_cross_entropy) if mean else bp.softmax_cross_entropy
    rule = local_losses(NETWORK, loss, rate=rho)
    heads = [Head(*map(jnp.asarray, head)) for head in HEADS]
    values, params, learnt = trained(rule, heads, (jnp.asarray(X), jnp.asarray(LABELS)))

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
    assert relative_error(learnt, [Head(*map(jnp.asarray, head)) for head in heads]) < 1e-12
    assert relative_error(params, PARAMS) > 0.01
    assert (relative_error(learnt, [Head(*map(jnp.asarray, head)) for head in HEADS]) > 0.01) == (rho > 0)


def test_no_layer_depends_on_a_later_one(keys):
    """Bit by bit: other weights above, other heads above, and a layer's direction is the same."""
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


def test_images_are_taught_by_jax_grad_of_their_own_loss(keys):
    """A convolution, relu and flatten are one layer of units; labels; the head sees all of its numbers."""
    network = bp.chain(conv(2, (2, 2)), bp.relu, flatten, bp.dense(4), bp.tanh, bp.dense(3))
    params, _ = network.init(next(keys), (3, 4, 1))
    x, labels = jax.random.normal(next(keys), (5, 3, 4, 1)), jnp.array([0, 2, 1, 1, 0])
    rule = local_losses(network, bp.softmax_cross_entropy, in_shape=(3, 4, 1))
    heads = rule.init(next(keys), params)
    assert [head.w.shape for head in heads] == [(24, 3), (4, 3)]
    grads = rule.grads(params, heads, (x, labels))[1]

    def own(p, x, first, last, head):
        h = bp.chain(*network.layers[first:last]).forward(p, x)[0]
        logits = h.reshape(5, -1) @ head.w + head.b[None]
        return -jnp.sum(jax.nn.log_softmax(logits)[jnp.arange(5), labels])

    assert relative_error(grads[:3], jax.grad(own)(params[:3], x, 0, 3, heads[0])) < 1e-12
    h, _ = bp.chain(*network.layers[:3]).forward(params[:3], x)
    assert relative_error(grads[3:5], jax.grad(own)(params[3:5], h, 3, 5, heads[1])) < 1e-12


def test_what_cannot_be_taught_is_refused(keys):
    with pytest.raises(ValueError, match="`local_losses` expected `rate` to be a finite number ≥ 0"):
        local_losses(NETWORK, bp.squared_error, rate=-1.0)
    shallow = bp.mlp((3, 2))
    with pytest.raises(ValueError, match="`local_losses` expected a hidden layer to address"):
        local_losses(shallow, bp.squared_error).init(next(keys), shallow.init(next(keys), (3,))[0])
