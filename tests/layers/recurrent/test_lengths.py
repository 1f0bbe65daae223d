"""Sequences of different lengths: a masked recurrence is that of each sequence without its padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, drawn_params, noise_like, run, vjp

from bpjax.layers.attention.attention import attention
from bpjax.layers.attention.masked import masked
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import dense
from bpjax.layers.recurrent.gated import gru, lstm
from bpjax.layers.recurrent.recurrent import bidirectional, unroll
from bpjax.layers.recurrent.stage import stage
from bpjax.util.trees import described

T, LENGTHS = 4, (4, 2, 0)
MASK = np.arange(T)[None, :] < np.array(LENGTHS)[:, None]
LAYERS = {
    "all outputs": unroll(lstm(3)),
    "last, reverse": unroll(lstm(3), last=True, reverse=True),
    "bidirectional, last": bidirectional(gru(2), last=True),
    "a cell without `gradient`": unroll(stage(dense(3), 3), last=True),
    "snapshots": unroll(lstm(3), snapshots=2),
    "last, reverse, snapshots": unroll(lstm(3), last=True, reverse=True, snapshots=2),
    "truncated": unroll(gru(3), truncate=3),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if i < 3 else pytest.mark.thorough) for i, n in enumerate(LAYERS)]
)
def test_a_masked_sequence_is_the_sequence_without_its_padding(name, keys):
    layer = LAYERS[name]
    x = jax.random.normal(next(keys), (3, T, 2))
    params, out_shape = drawn_params(layer, (T, 2), keys)
    dy = jax.random.normal(next(keys), (3, *out_shape))
    y, hand = compiled(run)(masked(layer), params, (x, MASK), dy)
    dparams, (dx, _) = hand
    expected = jax.tree.map(jnp.zeros_like, params)
    for n, length in enumerate(LENGTHS):
        if not length:
            assert not np.asarray(y[n]).any() and not np.asarray(dx[n]).any()
            continue
        here = dy[n : n + 1] if dy.ndim == 2 else dy[n : n + 1, :length]
        alone, (dalone, dx_alone) = compiled(run)(layer, params, x[n : n + 1, :length], here)
        assert relative_error(y[n : n + 1] if dy.ndim == 2 else y[n : n + 1, :length], alone) < 1e-12
        assert relative_error(dx[n : n + 1, :length], dx_alone) < 1e-12
        assert not np.asarray(dx[n, length:]).any() and (dy.ndim == 2 or not np.asarray(y[n, length:]).any())
        expected = jax.tree.map(jnp.add, expected, dalone)
    assert relative_error(dparams, expected) < 1e-12


def test_the_final_state_is_the_last_valid_one_and_padding_does_not_matter(keys):
    layer = unroll(lstm(3), with_state=True)
    params, _ = drawn_params(unroll(lstm(3)), (T, 2), keys)
    x = jax.random.normal(next(keys), (3, T, 2))
    start = lstm(3).state_shape._replace(h=jnp.ones((3, 3)), c=jnp.full((3, 3), 0.5))
    both = (x, start)
    dy = noise_like(jax.eval_shape(layer.forward, params, both)[0], keys)
    (y, state), hand = compiled(run)(masked(layer), params, (both, MASK), dy)
    assert relative_error(hand, compiled(vjp)(masked(layer), params, (both, MASK), dy)) < 1e-12
    np.testing.assert_array_equal(state.h[2], start.h[2])
    np.testing.assert_allclose(state.h[1], y[1, 1])
    np.testing.assert_allclose(hand[1][0][1].c[2], dy[1].c[2])  # the state of an empty sequence passes through
    other = jnp.where(jnp.asarray(MASK)[..., None], x, 1e3)
    assert relative_error(compiled(run)(masked(layer), params, ((other, start), MASK), dy)[0], (y, state)) == 0


def test_one_mask_serves_attention_and_recurrence(keys):
    network = masked(chain(attention(1), unroll(gru(2), last=True)))
    assert described(network.init(next(keys), (T, 2))[1]) == described((2,))


def test_bad_masks(keys):
    layer = masked(unroll(gru(2)))
    params, _ = layer.init(next(keys), (T, 2))
    x = jnp.zeros((3, T, 2))
    for mask in (np.ones((3, T)), np.ones((3, T, T), bool), np.ones(3, bool)):
        with pytest.raises(ValueError, match=r"`gru` expected a mask \(3, 4\) of booleans, .* got"):
            layer.forward(params, (x, mask))
