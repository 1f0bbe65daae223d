"""Depth as a loop: `repeat` against the equivalent chain, its residuals, and `remat`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, moved, noise_like, quick_jit, run, vjp

import bpjax as bp
from bpjax.analysis.cost import temporary_bytes
from bpjax.layers.combinators.chain import parallel, residual
from bpjax.layers.combinators.remat import remat
from bpjax.layers.combinators.repeat import repeat, unstack
from bpjax.layers.dropout import dropout, keyed, without_dropout
from bpjax.layers.layer import Layer, no_gradient

BLOCKS = {
    "dense, tanh": bp.chain(bp.dense(4), bp.tanh),
    "tanh, dense": bp.chain(bp.tanh, bp.dense(4)),  # a residual y that is not the carry
    "dense, gelu": bp.chain(bp.dense(4), bp.gelu),  # residuals: its input, not y
    "tanh": bp.tanh,  # no params; residuals: y only
    "identity": bp.layers.identity,  # y is x
    "dense, dense": bp.chain(bp.dense(6), bp.sigmoid, bp.dense(4), bp.sigmoid),
    "residual": residual(bp.chain(bp.dense(4), bp.tanh)),
    "parallel": parallel(bp.dense(4), bp.chain(bp.dense(4), bp.tanh)),
    "repeat in repeat": repeat(bp.chain(bp.dense(4), bp.tanh), 2),
    "remat": remat(bp.chain(bp.dense(4), bp.tanh)),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("block", "n"), [*((block, 3) for block in BLOCKS.values()), (BLOCKS["dense, tanh"], 1)], ids=[*BLOCKS, "once"]
)
def test_repeat_equals_the_chain(block, n, keys):
    looped, chained = repeat(block, n), bp.chain(*[block] * n)
    params, out_shape = looped.init(next(keys), (4,))
    assert out_shape == (4,)
    params, (x, dy) = moved(params, keys, 0.1), noise_like([jax.ShapeDtypeStruct((3, 4), jnp.float64)] * 2, keys)

    @quick_jit
    def all_three(params, x, dy):
        return run(looped, params, x, dy), run(chained, unstack(params, n), x, dy), vjp(looped, params, x, dy)

    (y, (dparams, dx)), (chain_y, chain_gradients), by_jax = all_three(params, x, dy)
    np.testing.assert_allclose(y, chain_y, rtol=1e-13)
    assert relative_error((unstack(dparams, n), dx), chain_gradients) < 1e-13
    assert relative_error((dparams, dx), by_jax) < 1e-13


def test_initial_params_are_drawn_from_a_key_per_depth(keys):
    block, key = bp.chain(bp.dense(4), bp.tanh), next(keys)
    params, _ = repeat(block, 3).init(key, (4,))
    apart = [block.init(k, (4,))[0] for k in jax.random.split(key, 3)]
    assert relative_error(unstack(params, 3), tuple(apart)) < 1e-14
    assert (params[0].w[0] != params[0].w[1]).all()


def test_by_hand():
    # w₀ = 2, w₁ = 3, x = 5: y = 30; dy = 1: dx = 6, dw₁ = x₁ = 10, dw₀ = 3 · 5 = 15
    layer = repeat(bp.dense(1, use_bias=False), 2)
    params = bp.layers.Affine(jnp.array([[[2.0]], [[3.0]]]), None)
    (dparams, dx) = run(layer, params, jnp.array([[5.0]]), jnp.ones((1, 1)))[1]
    assert float(dx[0, 0]) == 6
    np.testing.assert_array_equal(dparams.w.ravel(), [15, 10])


@pytest.mark.parametrize(
    ("block", "floats"),
    [
        (bp.chain(bp.dense(4), bp.tanh), 3 * 12 + 12),  # every x, and the last y
        (bp.chain(bp.dense(4), bp.gelu), 3 * 24),  # x, and the net input
        (bp.tanh, 3 * 12),  # every y
        (bp.layers.identity, 3 * 12),
        (parallel(bp.dense(4), bp.chain(bp.dense(4), bp.tanh)), 3 * 24),  # x once, tanh's y
        (remat(bp.chain(bp.dense(9), bp.tanh, bp.dense(4), bp.tanh)), 3 * 12),
    ],
    ids=["dense, tanh", "dense, gelu", "tanh", "identity", "parallel", "remat"],
)
def test_every_residual_is_stored_once(block, floats, keys):
    layer = repeat(block, 3)
    params = jax.eval_shape(lambda key: layer.init(key, (4,))[0], next(keys))
    _, residuals = jax.eval_shape(layer.forward, params, jax.ShapeDtypeStruct((3, 4), jnp.float64))
    assert sum(leaf.size for leaf in jax.tree.leaves(residuals)) == floats


def rowwise(scale):
    """A layer of x and a mask: y = scale · mask ⊙ x, and the mask unchanged."""

    def forward(params, pair):
        x, mask = pair
        return (jnp.where(mask, params * x, 0), mask), (x, mask)

    def backward(params, residuals, dpair):
        (x, mask), (dy, _) = residuals, dpair
        dy = jnp.where(mask, dy, 0)
        return jnp.sum(x * dy), (params * dy, no_gradient(mask))

    return Layer("rowwise", lambda key, shapes: (jnp.asarray(scale), shapes), forward, backward)


@pytest.mark.parametrize("layer", [repeat(rowwise(0.7), 3), bp.chain(rowwise(0.5), rowwise(2.0)), remat(rowwise(0.7))])
def test_x_may_be_a_pair_with_a_part_that_has_no_gradient(layer, keys):
    params, out = layer.init(next(keys), ((4,), (4,)))
    assert out == ((4,), (4,))
    pair = jax.random.normal(next(keys), (3, 4)), jax.random.bernoulli(next(keys), 0.6, (3, 4))
    dy = jax.random.normal(next(keys), (3, 4)), np.zeros((3, 4), jax.dtypes.float0)
    dy = dy[0], np.zeros((3, 4), jax.dtypes.float0)  # float0 is no argument of a compiled program
    by_hand = lambda params, pair, d: run(layer, params, pair, (d, dy[1]))[1]
    dparams, (dx, dmask) = by_hand(params, pair, dy[0])
    assert relative_error((dparams, (dx, dmask)), vjp(layer, params, pair, dy)) < 1e-14
    compiled_dparams = jax.jit(lambda *a: by_hand(*a)[0])(params, pair, dy[0])
    assert relative_error(compiled_dparams, dparams) < 1e-14


def test_backward_uses_the_weights_it_receives(keys):
    layer = repeat(bp.chain(bp.dense(4), bp.tanh), 3)
    params, other = (layer.init(next(keys), (4,))[0] for _ in range(2))
    x, dy = noise_like([jax.ShapeDtypeStruct((3, 4), jnp.float64)] * 2, keys)
    chained = bp.chain(*[bp.chain(bp.dense(4), bp.tanh)] * 3)

    @quick_jit
    def both(params, other, x, dy):
        dparams, dx = layer.backward(other, layer.forward(params, x)[1], dy)
        residuals = chained.forward(unstack(params, 3), x)[1]
        return (unstack(dparams, 3), dx), chained.backward(unstack(other, 3), residuals, dy)

    assert relative_error(*both(params, other, x, dy)) < 1e-13


@pytest.mark.thorough
def test_gradients_vmap_and_differentiate_again(keys):
    layer = repeat(remat(bp.chain(bp.dense(3), bp.tanh)), 2)
    rule, twin = (make(layer, bp.squared_error) for make in (bp.backprop, bp.autodiff))
    params = jax.vmap(lambda k: layer.init(k, (3,))[0])(jax.random.split(next(keys), 4))
    batch = jax.random.normal(next(keys), (5, 3)), jax.random.normal(next(keys), (5, 3))
    gradients = [lambda p, r=r: r.grads(p, (), batch)[1] for r in (rule, twin)]
    assert relative_error(*quick_jit(lambda params: [jax.vmap(g)(params) for g in gradients])(params)) < 1e-13
    one = jax.tree.map(lambda p: p[0], params)
    second = quick_jit(lambda one: [jax.jvp(g, (one,), (one,))[1] for g in gradients])(one)
    assert relative_error(*second) < 1e-12


def test_every_depth_draws_a_separate_mask(keys):
    layer = keyed(repeat(dropout(0.5), 3))
    y, residuals = layer.forward((), (jnp.ones((50, 4)), next(keys)))
    (masks,) = (leaf for leaf in jax.tree.leaves(residuals) if leaf.dtype == bool)
    assert masks.shape == (3, 50, 4)
    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()
    np.testing.assert_array_equal(y, 8 * masks.all(axis=0))


@pytest.mark.thorough
@pytest.mark.parametrize("form", [lambda f: f, remat], ids=["stored", "remat"])
def test_dropout_in_a_repeat_is_the_vjp(form, keys):
    inner = repeat(form(bp.chain(bp.dense(4), dropout(0.3), bp.tanh, dropout(0.2))), 3)
    layer = keyed(bp.chain(inner, dropout(0.5)))
    params, _ = layer.init(next(keys), (4,))
    x, dy = (jax.random.normal(next(keys), (6, 4)) for _ in range(2))
    pair = x, next(keys)
    assert relative_error(compiled(run)(layer, params, pair, dy)[1], compiled(vjp)(layer, params, pair, dy)) < 1e-13
    plain = repeat(bp.chain(bp.dense(4), bp.tanh), 3)
    predicting, (first, last) = without_dropout(layer), params
    stacked = (first[0], ())
    both = quick_jit(lambda x: (predicting.forward((first, last), x)[0], plain.forward(stacked, x)[0]))
    np.testing.assert_allclose(*both(x), rtol=1e-14)


def compiled_gradient(network, params, batch):
    rule = bp.backprop(network, bp.squared_error)
    return jax.jit(lambda p, b: rule.grads(p, (), b)[:2]).lower(params, batch).compile()


def test_memory_of_depth(keys, float32):
    block = bp.chain(bp.dense(64), bp.tanh)
    network, x = repeat(block, 30), jax.ShapeDtypeStruct((64, 64), jnp.float32)
    params = jax.eval_shape(lambda key: network.init(key, (64,))[0], next(keys))
    hand = temporary_bytes(compiled_gradient(network, params, (x, x)))
    ordinary = lambda p, b: jnp.sum((jax.lax.scan(lambda x, p: (jnp.tanh(x @ p.w + p.b[None]), None), b, p[0])[0]) ** 2)
    grad = temporary_bytes(jax.jit(jax.value_and_grad(ordinary)).lower(params, x).compile())
    assert hand is not None and grad is not None
    assert hand < 1.25 * 30 * 4 * x.size  # every x, and little else
    assert hand < 0.6 * grad


def test_remat_stores_less(keys, float32):
    block = bp.chain(*[bp.dense(32), bp.tanh] * 4)
    x, stored = jax.ShapeDtypeStruct((256, 32), jnp.float32), {}
    for name, form in (("all", block), ("remat", remat(block))):
        network = repeat(form, 8)
        params = jax.eval_shape(lambda key, init=network.init: init(key, (32,))[0], next(keys))
        stored[name] = temporary_bytes(compiled_gradient(network, params, (x, x)))
    assert stored["remat"] < 0.5 * stored["all"], stored


def test_the_program_does_not_grow_with_depth(keys):
    lines = {}
    for n in (10, 200):
        network = repeat(bp.chain(bp.dense(8), bp.tanh), n)
        params = jax.eval_shape(lambda key, init=network.init: init(key, (8,))[0], next(keys))
        x = jax.ShapeDtypeStruct((4, 8), jnp.float64)
        rule = bp.backprop(network, bp.squared_error)
        lowered = jax.jit(lambda p, b, rule=rule: rule.grads(p, (), b)[:2]).lower(params, (x, x))
        lines[n] = lowered.as_text().count("\n")
    assert lines[200] == lines[10]  # so neither does its compile time


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: repeat(bp.dense, 3),  # type: ignore[arg-type]
            "`repeat` expected a Layer",
        ),
        (lambda: repeat(bp.tanh, 0), "`n` to be an integer ≥ 1"),
        (lambda: repeat(bp.tanh, 2.0), "`n` to be an integer ≥ 1"),  # type: ignore[arg-type]
        (
            lambda: remat(bp.dense),  # type: ignore[arg-type]
            "`remat` expected a Layer",
        ),
        (lambda: repeat(bp.dense(3), 2).init(jax.random.key(0), (4,)), r"dense from \(4,\) to \(3,\)"),
        (
            lambda: repeat(bp.dense(4), 2).forward(repeat(bp.dense(4), 3).init(jax.random.key(0), (4,))[0], None),
            "params with a first axis of 2",
        ),
        (lambda: repeat(bp.dense(4), 2).forward(bp.dense(4).init(jax.random.key(0), (4,))[0], None), "first axis of 2"),
    ],
)
def test_errors(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
