"""Combinators, layers that change the shape only, shared weights, and the two spirals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, run, vjp

import bpjax as bp
from bpjax.layers.combinators.chain import chain, freeze, parallel, residual, shortcut
from bpjax.layers.combinators.tie import tie
from bpjax.layers.layer import Layer, map_layers, no_gradient
from bpjax.layers.shapes import flatten, last_position, reshape
from bpjax.networks.two_spirals import two_spirals_net
from bpjax.tasks.two_spirals import two_spirals


def assert_vjp(layer, in_shape, keys, dtype=jnp.float64, tolerance=1e-12):
    params, out_shape = layer.init(next(keys), in_shape)
    params, x, dy = bp.util.cast(
        (params, jax.random.normal(next(keys), (3, *in_shape)), jax.random.normal(next(keys), (3, *out_shape))), dtype
    )
    y, found = compiled(run)(layer, params, x, dy)
    assert y.shape == dy.shape and y.dtype == dtype
    assert relative_error(found, compiled(vjp)(layer, *bp.util.cast((params, x, dy), jnp.float64))) < tolerance


DENSE_TANH = chain(bp.dense(3), bp.tanh)


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [
        (residual(bp.over_positions(bp.dense(3))), (4, 3)),
        (residual(residual(DENSE_TANH)), (3,)),
        (parallel(bp.dense(3)), (2,)),
        (parallel(DENSE_TANH, bp.dense(3), bp.layers.identity), (3,)),
        (
            parallel(
                bp.over_positions(DENSE_TANH), bp.over_positions(bp.dense(2)), bp.layers.identity, combine="concatenate"
            ),
            (2, 4),
        ),
        (shortcut(bp.over_positions(DENSE_TANH)), (2, 3, 4)),
        (chain(*[shortcut(DENSE_TANH)] * 3), (2,)),
        (shortcut(parallel(DENSE_TANH, bp.dense(3))), (2,)),
        (freeze(DENSE_TANH), (2,)),
        (chain(DENSE_TANH, freeze(DENSE_TANH), bp.dense(2)), (2,)),
        (flatten, (4, 3, 2)),
        (flatten, (4,)),
        (reshape((2, -1, 3)), (4, 3)),
        (reshape((12,)), (4, 3)),
        (last_position, (4, 3)),
        (last_position, (1, 2, 3)),
        (tie(chain(*[bp.dense(3)] * 3), (0, 1, 2)), (3,)),
        (tie(chain(*[DENSE_TANH] * 4), (1, 3), (2, 0)), (3,)),
    ],
)
def test_backward_is_the_vjp(layer, in_shape, keys):
    assert_vjp(layer, in_shape, keys)


@pytest.mark.parametrize("layer", [parallel(*[bp.layers.identity] * 9), residual(bp.over_positions(bp.tanh))])
def test_half_precision_is_rounded_once(layer, keys):
    assert_vjp(layer, (5, 3), keys, jnp.bfloat16, 6e-3)  # 2⁻⁸ relative for each rounding


def test_by_hand():
    # f(x) = 3 x: residual y = 4 x, dx = 4 dy, dw = x dy; x = 2, dy = 5
    params, x, dy = bp.layers.Affine(jnp.array([[3.0]]), None), jnp.array([[2.0]]), jnp.array([[5.0]])
    triple = bp.dense(1, use_bias=False)
    y, (dparams, dx) = run(residual(triple), params, x, dy)
    assert (float(y[0, 0]), float(dx[0, 0]), float(dparams.w[0, 0])) == (8, 20, 10)
    # in parallel with 4 x the sum is 7 x, the concatenation (3 x, 4 x)
    both = params, bp.layers.Affine(jnp.array([[4.0]]), None)
    y, (dboth, dx) = run(parallel(triple, triple), both, x, dy)
    assert (float(y[0, 0]), float(dx[0, 0]), float(dboth[0].w[0, 0]), float(dboth[1].w[0, 0])) == (14, 35, 10, 10)
    y, (dboth, dx) = run(parallel(triple, triple, combine="concatenate"), both, x, jnp.array([[5.0, 7.0]]))
    np.testing.assert_array_equal(y, [[6, 8]])
    assert (float(dx[0, 0]), float(dboth[0].w[0, 0]), float(dboth[1].w[0, 0])) == (3 * 5 + 4 * 7, 10, 14)
    # shortcut: y = (x, 3 x), dx = 5 + 3 · 7
    y, (_, dx) = run(shortcut(triple), params, x, jnp.array([[5.0, 7.0]]))
    np.testing.assert_array_equal(y, [[2, 6]])
    assert float(dx[0, 0]) == 26
    # frozen: dw = 0, dx = 3 dy
    _, (dparams, dx) = run(freeze(triple), params, x, dy)
    assert (float(dparams.w[0, 0]), float(dx[0, 0])) == (0, 15)
    # tied twice: y = w² x = 18, dw = 2 w x dy = 60, dx = w² dy = 45
    y, (dtied, dx) = run(tie(chain(triple, triple), (0, 1)), (params, ()), x, dy)
    assert (float(y[0, 0]), float(dtied[0].w[0, 0]), dtied[1], float(dx[0, 0])) == (18, 60, (), 45)


def test_shapes_by_hand():
    x = jnp.arange(12.0).reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(flatten.forward((), x)[0], [np.arange(12)])
    assert reshape((-1, 4)).init(None, (3, 2, 2))[1] == (3, 4)
    np.testing.assert_array_equal(reshape((-1, 4)).forward((), x)[0][0], np.arange(12).reshape(3, 4))
    sequence = jnp.arange(6.0).reshape(1, 3, 2)
    y, (_, dx) = run(last_position, (), sequence, jnp.array([[7.0, 8.0]]))
    np.testing.assert_array_equal(y, [[4, 5]])
    np.testing.assert_array_equal(dx, [[[0, 0], [0, 0], [7, 8]]])


def lookup(size):
    """A layer of integers: y = w[x]."""

    def backward(params, x, dy):
        return jnp.zeros_like(params).at[x].add(dy), no_gradient(x)

    return Layer(
        "lookup", lambda key, s: (jnp.arange(2.0 * size).reshape(size, 2), (2,)), lambda p, x: (p[x], x), backward
    )


def test_tokens_as_the_input_of_several_branches(keys):
    tokens, dy = jnp.array([1, 0, 2]), jax.random.normal(next(keys), (3, 2))
    layer = parallel(lookup(3), chain(lookup(3), bp.tanh))
    params, _ = layer.init(next(keys), ())
    truth = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, tokens)[1](dy)
    assert relative_error(run(layer, params, tokens, dy)[1], truth) < 1e-14


def test_a_residual_connection_of_a_pair(keys):
    swap = Layer("swap", lambda k, s: ((), s), lambda p, x: (x[::-1], ()), lambda p, r, dy: ((), dy[::-1]))
    pair, dy = ((jax.random.normal(next(keys), (3, 2)), jax.random.normal(next(keys), (3, 2))) for _ in range(2))
    for layer in (residual(swap), parallel(swap, swap), chain(residual(swap), swap)):
        params, _ = layer.init(next(keys), ((2,), (2,)))
        truth = jax.vjp(lambda p, x, f=layer: f.forward(p, x)[0], params, pair)[1](dy)
        assert relative_error(run(layer, params, pair, dy)[1], truth) < 1e-14


def test_map_layers_replaces_the_parts(keys):
    layers = (
        residual(bp.tanh),
        parallel(bp.tanh, bp.tanh, combine="concatenate"),
        shortcut(bp.tanh),
        freeze(bp.tanh),
        tie(chain(bp.tanh, bp.tanh), (0, 1)),
    )
    x = jax.random.normal(next(keys), (3, 2))
    for layer in layers:
        other = map_layers(lambda part: bp.sigmoid if part is bp.tanh else part, layer)
        params, _ = layer.init(next(keys), (2,))
        assert other.name == layer.name
        assert all(part is bp.sigmoid for part in other.layers)
        assert not np.allclose(other.forward(params, x)[0], layer.forward(params, x)[0])


def test_tied_weights_stay_equal_in_training(keys):
    network = tie(chain(bp.dense(2), bp.sigmoid, bp.dense(2), bp.sigmoid, bp.dense(1)), (0, 2))
    params, _ = network.init(next(keys), (2,))
    assert [len(jax.tree.leaves(p)) for p in params] == [2, 0, 0, 0, 2]
    x, target = bp.xor().present()
    found = bp.fit(
        bp.backprop(network, bp.squared_error), bp.momentum(0.1, 0.9), params, (x, target), key=next(keys), epochs=50
    )
    assert jax.tree.structure(found.params) == jax.tree.structure(params)
    assert found.history.error[-1] < found.history.error[0]


def test_a_frozen_layer_does_not_change(keys):
    network = chain(freeze(bp.dense(3)), bp.tanh, bp.dense(1))
    params, _ = network.init(next(keys), (2,))
    for make in (bp.backprop, bp.autodiff):
        rule = make(network, bp.squared_error)
        found = bp.fit(rule, bp.momentum(0.1, 0.9), params, bp.xor().present(), key=next(keys), epochs=5)
        assert (found.params[0].w == params[0].w).all() and (found.params[2].w != params[2].w).all()


def test_the_two_spirals_net_has_138_weights(keys):
    params, out_shape = two_spirals_net().init(next(keys), (2,))
    assert out_shape == (1,)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 138  # Lang & Witbrock 1988
    widths = [leaf.shape[0] for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert widths == [2, 7, 12, 17]
    with pytest.raises(ValueError, match="`hidden` to be an integer"):
        two_spirals_net((5, 0))


def test_two_spirals():
    for task in (two_spirals(), bp.tasks.task("two_spirals")):
        x, target = (np.asarray(a) for a in task.present())
        assert x.shape == (194, 2) and target.shape == (194, 1) and task.hidden == (5, 5, 5)
        assert len({tuple(row) for row in x}) == 194
        np.testing.assert_array_equal(target[:, 0], [1, 0] * 97)
        np.testing.assert_array_equal(x[::2], -x[1::2])
        np.testing.assert_allclose(x[0], [0, 6.5], atol=1e-15)  # φ = 0, r = 6.5
        np.testing.assert_allclose(x[16], [6.5 * 96 / 104, 0], atol=1e-14)  # i = 8: a quarter turn, r = 6
        np.testing.assert_allclose(x[192], [0, 0.5], atol=1e-14)  # i = 96: three turns, r = 0.5
    assert set(np.unique(two_spirals((0.1, 0.9)).present()[1])) == {0.1, 0.9}
    with pytest.raises(ValueError, match="levels"):
        two_spirals((1.0, 0.0)).present()


X = jnp.ones((2, 3))
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: residual(bp.dense), "`residual` expected a Layer"),  # type: ignore[arg-type]
        (lambda: residual(bp.dense(4)).init(KEY, (3,)), r"from \(3,\) to \(4,\). Use a projection .* `parallel"),
        (lambda: residual(bp.dense(4)).forward(bp.dense(4).init(KEY, (3,))[0], X), r"from \(2, 3\) to \(2, 4\)"),
        (lambda: parallel(), "at least one layer"),
        (lambda: parallel(bp.tanh, bp.dense), "`parallel` expected a Layer"),  # type: ignore[arg-type]
        (lambda: parallel(bp.tanh, combine="product"), "`combine` to be 'sum' or 'concatenate'"),  # type: ignore
        (lambda: parallel(bp.dense(2), bp.dense(3)).init(KEY, (3,)), r"\(2,\) from dense, \(3,\) from dense"),
        (
            lambda: parallel(bp.layers.identity, flatten, combine="concatenate").init(KEY, (2, 3)),
            "differ at most in the last axis",
        ),
        (lambda: parallel(bp.tanh, bp.tanh).forward(((),), X), "`parallel` of 2 layers expected a tuple of 2"),
        (lambda: parallel(bp.tanh, bp.tanh).forward(X, X), "got a Array|got a ArrayImpl"),
        (lambda: shortcut(bp.dense), "`shortcut` expected a Layer"),  # type: ignore[arg-type]
        (lambda: shortcut(flatten).init(KEY, (2, 3)), r"flatten from \(2, 3\) to \(6,\)"),
        (lambda: shortcut(bp.tanh).forward((), jnp.ones((2, 3), int)), "floating-point"),
        (lambda: freeze(3), "`freeze` expected a Layer, got 3"),  # type: ignore[arg-type]
        (lambda: reshape((2, -1, -1)), "at most one −1"),
        (lambda: reshape((2, 0)), "integer ≥ 1"),
        (lambda: reshape((2, 2)).init(KEY, (3,)), r"examples of 4 value\(s\), got 3"),
        (lambda: reshape((2, -1)).forward((), X), r"a multiple of 2 value\(s\), got 3"),
        (lambda: flatten.forward((), jnp.ones((2, 3), int)), "floating-point"),
        (lambda: last_position.forward((), X), "positions before features"),
        (lambda: tie(bp.tanh, (0, 1)), "`tie` expected a chain, got tanh"),
        (lambda: tie(chain(bp.tanh)), "at least one group"),
        (lambda: tie(chain(bp.tanh, bp.tanh), (0,)), "at least two places"),
        (lambda: tie(chain(bp.tanh, bp.tanh), (0, 2)), "places below 2"),
        (lambda: tie(chain(bp.tanh, bp.tanh), (0, -1)), "`place` to be an integer ≥ 0"),
        (lambda: tie(chain(bp.tanh, bp.tanh), (0, 1), (1, 0)), "every place once, got 1 twice"),
        (
            lambda: tie(chain(bp.dense(2), bp.dense(2)), (0, 1)).init(KEY, (3,)),
            r"layer 0 \(dense\) with Affine\(w=\(3, 2\), b=\(2,\)\) and layer 1 \(dense\) with Affine\(w=\(2, 2\)",
        ),
        (
            lambda: tie(chain(bp.dense(3), bp.dense(3)), (0, 1)).forward(
                chain(bp.dense(3), bp.dense(3)).init(KEY, (3,))[0], X
            ),
            r"`\(\)` as the params of layer 1, which shares those of layer 0",
        ),
        (lambda: tie(chain(bp.tanh, bp.tanh), (0, 1)).forward(((),), X), "`tie` of 2 layers expected a tuple of 2"),
    ],
)
def test_errors(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
