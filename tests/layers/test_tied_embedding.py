"""Padding of an embedding, and the embedding tied to the output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, drawn_params, run, vjp

import bpjax as bp
from bpjax.layers.combinators.tied_embedding import TiedEmbedding, tied_embedding
from bpjax.layers.dense import dense
from bpjax.layers.embedding import Embedding, embedding

TOKENS = jnp.array([[1, 0, 2], [0, 2, 2]])


def test_a_padding_token_has_no_features_and_its_row_no_gradient(keys):
    layer = embedding(4, 3, padding=0)
    params, _ = layer.init(next(keys), (3,))
    assert not params.w[0].any() and params.w[1:].all()
    params = Embedding(params.w.at[0].set(7.0))  # whatever W holds
    y, residuals = layer.forward(params, TOKENS)
    assert not y[0, 1].any() and not y[1, 0].any()
    np.testing.assert_array_equal(y[0, 0], params.w[1])
    (dw,), _ = layer.backward(params, residuals, jnp.ones((2, 3, 3)))
    np.testing.assert_array_equal(dw, np.array([0, 1, 3, 0])[:, None] * np.ones((1, 3)))


def test_a_tied_embedding_sums_both_gradients_of_its_table(keys):
    layer = tied_embedding(bp.chain(bp.over_positions(dense(3)), bp.tanh), 4, 3, padding=0)
    params, out_shape = drawn_params(layer, (3,), keys)
    dy = jax.random.normal(next(keys), (2, *out_shape))
    y, hand = compiled(run)(layer, params, TOKENS, dy)
    assert relative_error(hand, compiled(vjp)(layer, params, TOKENS, dy)) < 1e-12
    w, (affine, _), b = jax.tree.map(np.asarray, params)
    e = w[np.asarray(TOKENS)] * (np.asarray(TOKENS) != 0)[..., None]
    h = np.tanh(e @ affine.w + affine.b)
    np.testing.assert_allclose(y, h @ w.T + b, rtol=1e-12)
    dw = np.einsum("ntv,nth->vh", dy, h)  # of the output
    np.add.at(dw, TOKENS, ((np.asarray(dy) @ w) * (1 - h**2)) @ affine.w.T * (np.asarray(TOKENS) != 0)[..., None])
    np.testing.assert_allclose(hand[0].w, dw, rtol=1e-12)


def test_bad_arguments(keys):
    for make, message in [
        (lambda: embedding(4, 3, padding=4), "`padding` to be an integer ≥ 0 and ≤ 3, got 4"),
        (lambda: tied_embedding(dense(2), 4, 3).init(next(keys), ()), r"to keep the shape \(3,\), got \(2,\)"),
        (lambda: tied_embedding(bp.tanh, 4, 3).forward(TiedEmbedding(jnp.ones((3, 4)), ()), TOKENS), "another network"),
        (lambda: tied_embedding(bp.dense, 4, 3), "expected a Layer"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(ValueError, match=message):
            make()
