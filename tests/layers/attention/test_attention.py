"""Attention whole and in blocks, masks, and transformers, against NumPy and `jax.vjp`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_size import at_full_size
from oracles import relative_error
from passes import QUICKLY, compiled, compiled_rules, drawn_params, noise_like, run, vjp

import bpjax as bp
from bpjax.layers.attention.attention import attention, cross_attention, plain_attention
from bpjax.layers.attention.masked import masked
from bpjax.layers.combinators.chain import chain, residual
from bpjax.layers.combinators.repeat import repeat
from bpjax.layers.dense import dense
from bpjax.layers.layer import Context
from bpjax.networks.transformer import transformer, transformer_block

MASK = np.arange(5)[None, :] < np.array([5, 0, 3])[:, None]  # the second example is padding only


def prepare(layer, in_shape, keys, x):
    """(params, y, (dparams, dx) by hand, dy), compiled; no entry of the params is 0."""
    params, _ = drawn_params(layer, in_shape, keys)
    dy = noise_like(jax.eval_shape(layer.forward, params, x)[0], keys)
    y, hand = compiled(run)(layer, params, x, dy)
    return params, y, hand, dy


def numpy_attention(params, x, memory, heads, visible, dy):
    """(y, dparams, dx, dmemory) by the textbook, in loops over examples and heads; visible (N, T, S)."""
    p = jax.tree.map(np.asarray, params)
    y, grads = np.zeros_like(x), jax.tree.map(np.zeros_like, p)
    dx, dmemory = np.zeros_like(x), np.zeros_like(memory)
    f = p.w_q.shape[1] // heads
    for n in range(len(x)):
        y[n] += p.b_o
        grads.b_o[:] += dy[n].sum(0)
        for h in range(heads):
            part = slice(h * f, (h + 1) * f)
            q, k = x[n] @ p.w_q[:, part] + p.b_q[part], memory[n] @ p.w_k[:, part]
            v = memory[n] @ p.w_v[:, part] + p.b_v[part]
            e = np.exp(q @ k.T / np.sqrt(f)) * visible[n]
            total = e.sum(1, keepdims=True)
            prob = np.divide(e, total, out=np.zeros_like(e), where=total > 0)
            o = prob @ v
            y[n] += o @ p.w_o[part]
            grads.w_o[part] += o.T @ dy[n]
            do = dy[n] @ p.w_o[part].T
            dprob = do @ v.T
            ds = prob * (dprob - (prob * dprob).sum(1, keepdims=True)) / np.sqrt(f)
            dq, dk, dv = ds @ k, ds.T @ q, prob.T @ do
            grads.w_q[:, part] += x[n].T @ dq
            grads.w_k[:, part] += memory[n].T @ dk
            grads.w_v[:, part] += memory[n].T @ dv
            grads.b_q[part] += dq.sum(0)
            grads.b_v[part] += dv.sum(0)
            dx[n] += dq @ p.w_q[:, part].T
            dmemory[n] += dk @ p.w_k[:, part].T + dv @ p.w_v[:, part].T
    return y, grads, dx, dmemory


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_attention_is_that_of_numpy_and_of_plain_attention(block, causal, keys):
    x = jax.random.normal(next(keys), (3, 5, 4))
    layer = masked(attention(2, head_features=3, causal=causal, block=block))
    params, y, (dparams, (dx, dmask)), dy = prepare(layer, (5, 4), keys, (x, MASK))
    visible = np.broadcast_to(MASK[:, None, :], (3, 5, 5)) & (np.tri(5, dtype=bool) if causal else True)
    expected = numpy_attention(params, np.asarray(x), np.asarray(x), 2, visible, np.asarray(dy))
    assert relative_error((y, dparams, dx), (expected[0], expected[1], expected[2] + expected[3])) < 1e-12
    assert dmask.dtype == jax.dtypes.float0 and dmask.shape == MASK.shape
    plain = masked(plain_attention(2, head_features=3, causal=causal))
    assert relative_error((dparams, (dx, dmask)), compiled(vjp)(plain, params, (x, MASK), dy)) < 1e-12


@pytest.mark.parametrize("block", [2, 7])
@pytest.mark.parametrize("rotary", [False, True])
def test_attention_without_a_mask_is_the_vjp(block, rotary, keys):
    x = jax.random.normal(next(keys), (2, 7, 4))
    layer = attention(2, rotary=rotary, block=block)
    params, _, hand, dy = prepare(layer, (7, 4), keys, x)
    assert relative_error(hand, compiled(vjp)(layer, params, x, dy)) < 1e-12
    assert relative_error(hand, compiled(vjp)(plain_attention(2, rotary=rotary), params, x, dy)) < 1e-12


@pytest.mark.parametrize("block", [2, 8])
def test_cross_attention_is_that_of_numpy(block, keys):
    x, memory = jax.random.normal(next(keys), (3, 4, 6)), jax.random.normal(next(keys), (3, 5, 2))
    layer = masked(cross_attention(2, block=block), "memory_mask")
    params, y, (dparams, (dx, _)), dy = prepare(layer, ((4, 6), (5, 2)), keys, ((x, memory), MASK))
    visible = np.broadcast_to(MASK[:, None, :], (3, 4, 5))
    expected = numpy_attention(params, np.asarray(x), np.asarray(memory), 2, visible, np.asarray(dy))
    assert relative_error((y, dparams, dx), (expected[0], expected[1], expected[2:])) < 1e-12


@pytest.mark.parametrize("block", [2, 5])
def test_a_query_without_visible_keys_outputs_the_bias_and_has_no_gradient(block, keys):
    x = jax.random.normal(next(keys), (3, 5, 4))
    params, y, (_, (dx, _)), _ = prepare(masked(attention(2, block=block)), (5, 4), keys, (x, MASK))
    np.testing.assert_array_equal(y[1], np.broadcast_to(params.b_o, (5, 4)))
    assert not dx[1].any()
    assert jnp.isfinite(dx).all()


def test_large_scores_do_not_overflow(keys):
    x = 1e3 * jax.random.normal(next(keys), (1, 5, 4), jnp.float32)
    for block in (2, 5):
        layer = attention(1, block=block, use_bias=False)
        params = bp.util.cast(layer.init(next(keys), (5, 4))[0], jnp.float32)
        y = compiled(run)(layer, params, x, jnp.zeros_like(x))[0]
        assert all(np.isfinite(a).all() for a in jax.tree.leaves((y, compiled(run)(layer, params, x, y)[1])))


def test_a_mask_reaches_every_attention_layer_of_a_network(keys):
    block = residual(chain(dense_at_positions(4), attention(2, block=2)))
    network = masked(chain(repeat(block, 2), attention(1)))
    x = jax.random.normal(next(keys), (3, 5, 4))
    params, y, hand, dy = prepare(network, (5, 4), keys, (x, MASK))
    assert relative_error(hand, compiled(vjp)(network, params, (x, MASK), dy)) < 1e-12
    other = jnp.where(jnp.asarray(MASK)[..., None], x, 7.0)  # other values at the padding
    y_other = compiled(run)(network, params, (other, MASK), dy)[0]
    np.testing.assert_allclose(y_other[2, :3], y[2, :3], rtol=1e-12)


def dense_at_positions(features):
    return bp.over_positions(dense(features))


def test_no_array_of_queries_times_keys_is_made(float32, keys):
    layer, x = attention(2, block=16), jnp.zeros((1, 256, 4))
    params, _ = layer.init(next(keys), (256, 4))

    def run(params, x):
        y, residuals = layer.forward(params, x)
        return layer.backward(params, residuals, y)

    shapes = [v.aval.shape for e in equations(jax.make_jaxpr(run)(params, x).jaxpr) for v in e.outvars]
    assert max(np.prod(shape, dtype=int) for shape in shapes) <= 3 * 256 * 8  # 2 × 256 × 256 would be 21 times that


def equations(jaxpr):
    for e in jaxpr.eqns:
        yield e
        for inner in e.params.values():
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def test_causal_blocks_above_the_diagonal_are_left_out(keys):
    x = jnp.zeros((1, 8, 4))
    params, _ = attention(2).init(next(keys), (8, 4))
    lengths = {}
    for causal in (False, True):
        layer = attention(2, causal=causal, block=2)
        jaxpr = jax.make_jaxpr(lambda p, x, layer=layer: layer.forward(p, x)[0])(params, x).jaxpr
        (lengths[causal],) = [e.params["length"] for e in equations(jaxpr) if e.primitive.name == "scan"]
    assert lengths == {False: 16, True: 10}  # 4 × 4 pairs of blocks; 4 · 5 / 2 on and below the diagonal


@pytest.mark.thorough
@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "learned"])
def test_a_transformer_is_causal(positions, keys):
    network = transformer(6, 8, 2, 2, 5, positions=positions)
    params, out_shape = network.init(next(keys), (5,))
    x = jax.random.randint(next(keys), (2, 5), 0, 6)
    forward = jax.jit(lambda x: network.forward(params, x)[0], compiler_options=QUICKLY)
    y, changed = forward(x), forward(x.at[:, 3].set((x[:, 3] + 1) % 6))
    assert out_shape == (5, 6) and y.shape == (2, 5, 6)
    np.testing.assert_allclose(changed[:, :3], y[:, :3], rtol=1e-12)
    assert (changed[:, 3:] != y[:, 3:]).any()


COMPARED = transformer(5, 8, 2, 2, 4)


@pytest.mark.thorough
@at_full_size
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_transformer_compares(dtype, float32, keys):
    params = bp.util.cast(COMPARED.init(next(keys), (4,))[0], dtype)
    x, labels = (jax.random.randint(next(keys), (3, 4), 0, 5) for _ in range(2))
    report = bp.compare(*compiled_rules(COMPARED, bp.softmax_cross_entropy), params, (x, labels), timed=False)
    assert report.ok, report


def test_bad_input(keys):
    key, x = next(keys), jnp.zeros((2, 3, 4))
    layer = attention(2)
    params, _ = layer.init(key, (3, 4))
    for make, message in [
        (lambda: attention(0), "`attention` expected `heads` to be an integer ≥ 1"),
        (lambda: attention(2, block=0), "`block` to be an integer ≥ 1, got 0"),
        (lambda: attention(2, head_features=3, rotary=True), "even number of features of a head .*, got 3"),
        (lambda: attention(2, rotary=True).init(key, (3, 6)), "even number of features of a head .*, got 3"),
        (lambda: attention(3).init(key, (3, 4)), "number of features D that 3 heads divide, got D = 4"),
        (lambda: layer.init(key, (4,)), "`in_shape` of 2"),
        (lambda: layer.forward(params, x[0]), r"shape \(N, T, D\), .* got \(3, 4\)"),
        (lambda: layer.forward(params, x.astype(jnp.float32)), "dtype of its weights, float64, got float32"),
        (lambda: layer.forward(params, jnp.zeros((2, 3, 6))), "Do they belong to another network"),
        (lambda: attention(2, use_bias=False).forward(params, x), "b_q=None, .* Do they belong to another"),
        (
            lambda: layer.forward(params, x, Context(mask=jnp.ones((2, 3)))),
            r"mask \(N, T\) of booleans, .* got float64\[2, 3\]",
        ),
        (lambda: masked(layer).forward(params, (x, np.ones(3, bool))), r"got bool\[3\]"),
        (lambda: masked(layer).forward(params, (x, np.ones((2, 4), bool))), r"mask \(2, 3\) for .* got \(2, 4\)"),
        (lambda: masked(layer).forward(params, x), r"pair \(x, mask\)"),
        (lambda: masked(dense(2)), "takes a 'mask', got dense without one"),
        (lambda: masked(attention), "expected a Layer"),  # type: ignore[arg-type]
        (lambda: cross_attention(2).init(key, (3, 4)), r"\(\(T, D\), \(S, M\)\)|integer"),
        (lambda: cross_attention(2).forward(params, x), r"pair \(x, memory\)"),
        (lambda: cross_attention(2).forward(params, (x, x[:1])), "memory of x's examples and dtype"),
        (lambda: cross_attention(2).forward(params, (x, x.astype(jnp.float32))), "memory of x's examples and dtype"),
        (lambda: transformer(5, 4, 2, 0, 3), "`blocks` to be an integer"),
        (lambda: transformer(5, 4, 2, 1, 3).init(key, (4,)), r"length` 3 expected .* got \(4,\)"),
        (lambda: transformer(5, 4, 2, 1, 3, positions="none"), "one of rotary, sinusoidal, learned, got 'none'"),  # type: ignore[arg-type]
        (lambda: transformer_block(0, 2), "`features` to be an integer"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_the_same_arguments_give_the_same_layer():
    assert attention(2, causal=True) is attention(2, causal=True)
    assert cross_attention(2) is cross_attention(2)
