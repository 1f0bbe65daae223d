"""Options of attention: masks, shared heads, alignments, windows, biases by distance and dropout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, drawn_params, noise_like, run, vjp

import bpjax as bp
from bpjax.layers.attention.attention import attention, cross_attention, plain_attention
from bpjax.layers.attention.distances import Distances, alibi_slopes
from bpjax.layers.attention.masked import masked
from bpjax.layers.dropout import keyed, without_dropout
from bpjax.layers.layer import Context

T, D = 5, 4
NEAR = abs(np.arange(T)[:, None] - np.arange(T)[None, :]) < 2
TRIANGLE = np.tri(T, dtype=bool)
PER_QUERY = np.random.default_rng(0).random((3, T, T)) > 0.4
PER_QUERY[0, 1] = False  # a query that sees nothing
PER_HEAD = np.random.default_rng(1).normal(size=(1, 2, T, T))


def numpy_attention(q, k, v, visible, bias, kept=1.0):
    """(o) of one head, by the textbook: q (T, F), k and v (S, F)."""
    e = np.exp(q @ k.T / np.sqrt(q.shape[1]) + bias) * visible
    total = e.sum(axis=1, keepdims=True)
    return np.divide(e, total, out=np.zeros_like(e), where=total > 0) * kept @ v


def textbook(params, x, memory, heads, key_heads, visible=True, bias=0.0):
    """The output of attention, in loops over examples and heads; visible and bias broadcast to (N, H, T, S)."""
    p = jax.tree.map(np.asarray, params)
    shape = len(x), heads, x.shape[1], memory.shape[1]
    visible, bias = np.broadcast_to(visible, shape), np.broadcast_to(bias, shape)
    q, k, v = x @ p.w_q + p.b_q, memory @ p.w_k, memory @ p.w_v + p.b_v
    split = lambda a, h: a.reshape(*a.shape[:2], h, -1)
    q, k, v = split(q, heads), split(k, key_heads), split(v, key_heads)
    o = np.zeros_like(q)
    for n in range(len(x)):
        for h in range(heads):
            g = h * key_heads // heads
            o[n, :, h] = numpy_attention(q[n, :, h], k[n, :, g], v[n, :, g], visible[n, h], bias[n, h])
    return o.reshape(len(x), x.shape[1], -1) @ p.w_o + p.b_o


ALIBI = -np.array([2.0**-4, 2.0**-8])[:, None, None] * abs(np.arange(T)[:, None] - np.arange(T))
OPTIONS = {
    "window": ({"window": 2}, None, {"visible": NEAR}),
    "causal window": ({"window": 2, "causal": True}, None, {"visible": NEAR & TRIANGLE}),
    "ALiBi": ({"bias": "alibi"}, None, {"bias": ALIBI}),
    "multi-query": ({"key_heads": 1}, None, {}),
    "mask per query": ({"causal": True}, PER_QUERY, {"visible": (PER_QUERY & TRIANGLE)[:, None]}),
    "additive mask": ({}, PER_HEAD, {"bias": PER_HEAD}),
}


@pytest.mark.parametrize("block", [2, pytest.param(8, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_that_of_the_textbook_and_the_vjp_of_plain_attention(option, block, keys):
    options, mask, expected = OPTIONS[option]
    layer, plain = attention(2, block=block, **options), plain_attention(2, **options)
    x = jax.random.normal(next(keys), (3, T, D))
    if mask is not None:
        layer, plain, x = masked(layer), masked(plain), (x, jnp.asarray(mask))
    params, _ = drawn_params(layer, (T, D), keys)
    dy = noise_like(jax.eval_shape(layer.forward, params, x)[0], keys)
    y, hand = compiled(run)(layer, params, x, dy)
    values = np.asarray(x if mask is None else x[0])
    assert relative_error(y, textbook(params, values, values, 2, options.get("key_heads", 2), **expected)) < 1e-12
    truth = compiled(vjp)(plain, params, x, dy)
    if option == "additive mask":  # JAX differentiates by the numbers that are added; to us they are constant
        hand, truth = ((dparams, dx) for dparams, (dx, _) in (hand, truth))
    assert relative_error(hand, truth) < 1e-12
    if option == "mask per query":
        np.testing.assert_array_equal(y[0, 1], params.b_o)


@pytest.mark.parametrize("block", [2, pytest.param(8, marks=pytest.mark.thorough)])
def test_a_learnt_bias_by_distance(block, keys):
    layer = attention(2, bias="relative", causal=True, block=block)
    x = jax.random.normal(next(keys), (3, T, D))
    params, _ = drawn_params(layer, (T, D), keys)
    dy = noise_like(x, keys)
    y, hand = compiled(run)(layer, params, x, dy)
    table = np.asarray(params.relative)
    distance = np.arange(T)[:, None] - np.arange(T)[None, :]
    bias = np.moveaxis(table[distance.clip(0)], 2, 0)  # near keys before the query: one bucket for each distance
    assert relative_error(y, textbook(params, np.asarray(x), np.asarray(x), 2, 2, TRIANGLE, bias)) < 1e-12
    assert relative_error(hand, compiled(vjp)(plain_attention(2, bias="relative", causal=True), params, x, dy)) < 1e-12
    assert not layer.init(next(keys), (T, D))[0].relative.any()


def test_buckets_and_slopes_are_the_published_ones():
    # distances −130, −17, −8, −1, 0, 1, 8, 17, 130 in `_relative_position_bucket` of Hugging Face's T5, 32 buckets
    at = np.array([-130, -17, -8, -1, 0, 1, 8, 17, 130])
    distances = Distances(131, 131)
    places = np.searchsorted(distances.signed(), at)
    np.testing.assert_array_equal(distances.buckets(False)[places], [15, 10, 8, 1, 0, 17, 24, 26, 31])
    np.testing.assert_array_equal(distances.buckets(True)[places], [31, 16, 8, 1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(alibi_slopes(8), 0.5 ** np.arange(1, 9))  # Press et al. 2022, section 3
    np.testing.assert_allclose(alibi_slopes(3), [2.0**-4, 2.0**-8, 2.0**-2])


@pytest.mark.parametrize("sizes", [(3, 5), pytest.param((5, 3), marks=pytest.mark.thorough)])
@pytest.mark.parametrize("causal", ["top_left", "bottom_right"])
def test_both_alignments_where_queries_and_keys_differ_in_number(causal, sizes, keys):
    t, s = sizes
    shift = s - t if causal == "bottom_right" else 0
    visible = np.arange(s)[None, :] <= np.arange(t)[:, None] + shift  # with (5, 3) bottom right, two rows see nothing
    layer = cross_attention(2, causal=causal, block=2)
    x, memory = jax.random.normal(next(keys), (2, t, 4)), jax.random.normal(next(keys), (2, s, 6))
    params, _ = drawn_params(layer, ((t, 4), (s, 6)), keys)
    dy = noise_like(x, keys)
    y, hand = compiled(run)(layer, params, (x, memory), dy)
    assert relative_error(y, textbook(params, np.asarray(x), np.asarray(memory), 2, 2, visible)) < 1e-12
    whole = cross_attention(2, causal=causal, block=8)
    assert relative_error(hand, compiled(vjp)(whole, params, (x, memory), dy)) < 1e-12


def test_grouped_queries_are_attention_with_equal_heads_of_keys(keys):
    """The gradient of a shared head is the sum over those that share it."""
    grouped, full = attention(4, key_heads=2, use_bias=False, block=2), attention(4, use_bias=False, block=2)
    x = jax.random.normal(next(keys), (2, T, 8))
    params, _ = drawn_params(grouped, (T, 8), keys)
    assert params.w_k.shape == (8, 4)
    spread = lambda w: jnp.repeat(w.reshape(8, 2, 2), 2, axis=1).reshape(8, 8)
    collect = lambda w: w.reshape(8, 2, 2, 2).sum(axis=2).reshape(8, 4)
    dy = noise_like(x, keys)
    y, (dparams, dx) = compiled(run)(grouped, params, x, dy)
    wide = params._replace(w_k=spread(params.w_k), w_v=spread(params.w_v))
    y_full, (dfull, dx_full) = compiled(run)(full, wide, x, dy)
    expected = dfull._replace(w_k=collect(dfull.w_k), w_v=collect(dfull.w_v))
    assert relative_error((y, dparams, dx), (y_full, expected, dx_full)) < 1e-12


def test_dropout_drops_the_same_weights_in_blocks_and_whole(keys):
    blocks, plain = keyed(attention(2, dropout=0.4, block=2)), keyed(plain_attention(2, dropout=0.4))
    x = jax.random.normal(next(keys), (3, T, D)), jax.random.key(5)
    params, _ = drawn_params(blocks, (T, D), keys)
    dy = noise_like(x[0], keys)
    y, hand = compiled(run)(blocks, params, x, dy)
    y_plain, hand_plain = compiled(run)(plain, params, x, dy)
    assert relative_error((y, hand[0], hand[1][0]), (y_plain, hand_plain[0], hand_plain[1][0])) < 1e-12
    assert relative_error(hand, compiled(vjp)(plain, params, x, dy)) < 1e-12


def test_dropout_drops_the_right_share_and_keeps_the_mean(keys):
    t = 64
    layer = attention(1, dropout=0.25, use_bias=False)
    eye = jnp.eye(t)
    params = layer.init(next(keys), (t, t))[0]._replace(w_q=0 * eye, w_k=0 * eye, w_v=eye, w_o=eye)
    forward = jax.jit(lambda key: layer.forward_in(Context(key=key), params, eye[None])[0][0] * t)
    weights = np.asarray(forward(jax.random.key(0)))  # P = 1 / T everywhere, v = I: the factors themselves
    np.testing.assert_allclose(np.unique(weights.round(12)), [0, round(4 / 3, 12)])
    assert abs((weights == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / t**2)
    assert (np.asarray(forward(jax.random.key(1))) != weights).any()


def test_without_dropout_the_part_is_removed(keys):
    network = keyed(bp.chain(attention(2, dropout=0.5), bp.over_positions(bp.dense(2))))
    assert repr(without_dropout(network).layers[0]) == "attention(2)"
    assert without_dropout(network).layers[0] is attention(2)
    assert repr(network.layers[0].layers[0]) == "attention(2, dropout=0.5)"


def test_tiles_outside_a_window_are_left_out(keys):
    layer = attention(2, causal=True, window=2, block=2)
    params, _ = layer.init(next(keys), (16, D))
    jaxpr = jax.make_jaxpr(lambda x: layer.forward(params, x)[0])(jnp.zeros((1, 16, D)))
    (length,) = {e.params["length"] for e in jaxpr.eqns if e.primitive.name == "scan"}
    assert length == 15  # eight tiles on the diagonal and seven below it, of 64


def test_bad_arguments(keys):
    x = jnp.zeros((2, 3, 4))
    params, _ = attention(2).init(next(keys), (3, 4))
    in_context = lambda layer, **c: functools.partial(layer.forward_in, Context(**c), params, x)
    for make, message in [
        (lambda: attention(4, key_heads=3), "`key_heads` to divide the 4 heads, got 3"),
        (lambda: attention(2, window=0), "`window` to be an integer ≥ 1"),
        (lambda: attention(2, bias="rotary"), "`bias` to be one of alibi, relative"),  # type: ignore[arg-type]
        (lambda: attention(2, dropout=1.0), "`dropout` to be a number below 1"),
        (lambda: attention(2, causal="top_left"), "`causal` to be True or False"),  # type: ignore[arg-type]
        (lambda: cross_attention(2, causal="left"), "`causal` to be one of top_left, bottom_right"),  # type: ignore[arg-type]
        (lambda: attention(2, dropout=0.5).forward(params, x), "with dropout expected a key"),
        (
            in_context(attention(2), mask=jnp.ones((2, 3, 4), bool)),
            r"mask of shape \(2, 2, 3, 3\), .* got \(2, 1, 3, 4\)",
        ),
        (in_context(attention(2), mask=jnp.ones((2, 3, 3), int)), r"or of numbers to add to the scores, got int64"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
