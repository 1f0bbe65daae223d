"""Embeddings and position encodings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, noise_like, run, run_and_vjp

from bpjax.layers.attention.positions import learned_positions, rotate, sinusoidal_positions
from bpjax.layers.embedding import Embedding, embedding


def test_embedding_by_hand():
    # W = [[1, 2], [3, 4], [5, 6]], tokens (2, 0, 2):  y = rows 2, 0, 2
    # dy = [[1, 10], [2, 20], [4, 40]]:  dW[2] = dy₀ + dy₂ = (5, 50), dW[0] = dy₁ = (2, 20), dW[1] = 0
    params = Embedding(jnp.array([[1.0, 2], [3, 4], [5, 6]]))
    y, (dparams, dx) = run(embedding(3, 2), params, jnp.array([[2, 0, 2]]), jnp.array([[[1.0, 10], [2, 20], [4, 40]]]))
    np.testing.assert_array_equal(y, [[[5, 6], [1, 2], [5, 6]]])
    np.testing.assert_array_equal(dparams.w, [[2, 20], [0, 0], [5, 50]])
    assert dx.dtype == jax.dtypes.float0 and dx.shape == (1, 3)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32, jnp.uint32, jnp.int64])
@pytest.mark.parametrize("in_shape", [(), (4,), (2, 3)])
def test_embedding_is_the_vjp_for_any_positions_and_integer_dtypes(in_shape, dtype, keys):
    layer = embedding(300, 3)
    params, out_shape = layer.init(next(keys), in_shape)
    assert out_shape == (*in_shape, 3)
    x = jnp.asarray(np.random.default_rng(1).integers(0, 7, (5, *in_shape)), dtype)
    dy = noise_like(jnp.empty((5, *out_shape)), keys)
    _, found, truth = compiled(run_and_vjp)(layer, params, x, dy)
    assert relative_error(found, truth) < 1e-12


def test_the_gradient_of_a_frequent_token_is_summed_in_float32():
    # 1,000 times 1 for one token: a sum in bfloat16 would stop at 256, because 256 + 1 rounds to 256
    params = Embedding(jnp.zeros((2, 1), jnp.bfloat16))
    layer, x = embedding(2, 1), jnp.ones((1000,), jnp.int32)
    dparams, _ = layer.backward(params, layer.forward(params, x)[1], jnp.ones((1000, 1), jnp.bfloat16))
    assert dparams.w.dtype == jnp.bfloat16
    assert float(dparams.w[1, 0]) == 1000


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.int64])
def test_tokens_out_of_range(dtype, keys):
    layer = embedding(5, 2)
    params, _ = layer.init(next(keys), (3,))
    x = jnp.array([[0, 4, 1], [2, -1, 5]], dtype)
    with pytest.raises(ValueError, match=r"tokens from 0 to 4, got -1 at index \(1, 1\) \(2 of 6 out of range\)"):
        layer.forward(params, x)
    y, residuals = jax.jit(layer.forward)(params, x)  # traced: NaN, not the row of another token
    np.testing.assert_array_equal(jnp.isnan(y).all(-1), [[False, False, False], [False, True, True]])
    np.testing.assert_array_equal(y[0], params.w[jnp.array([0, 4, 1])])
    dparams, _ = layer.backward(params, residuals, jnp.ones((2, 3, 2)))
    np.testing.assert_array_equal(dparams.w[:, 0], [1, 1, 1, 0, 1])


def test_embedding_bad_input(keys):
    layer = embedding(5, 2)
    params, _ = layer.init(next(keys), (3,))
    for arguments, message in {
        (0, 2): "`vocabulary` to be an integer ≥ 1, got 0",
        (2, 1.5): "`features` to be an integer ≥ 1, got 1.5",
    }.items():
        with pytest.raises(ValueError, match=message):
            embedding(*arguments)
    with pytest.raises(ValueError, match=r"integer dtype, got float64\[1, 3\]. Convert them"):
        layer.forward(params, jnp.zeros((1, 3)))
    for shape in [(), (0, 3)]:
        with pytest.raises(ValueError, match="at least one example"):
            layer.forward(params, jnp.zeros(shape, jnp.int32))
    with pytest.raises(ValueError, match="Do they belong to another network"):
        layer.forward(embedding(4, 2).init(next(keys), (3,))[0], jnp.zeros((1, 3), jnp.int32))
    with pytest.raises(ValueError, match="positive integer"):
        layer.init(next(keys), (0,))


def test_the_same_arguments_give_the_same_layer():
    assert embedding(5, 2) is embedding(5, 2)


def test_sinusoidal_positions_by_hand():
    # D = 4: wavelengths 1 and 100;  p₂ = (sin 2, cos 2, sin 0.02, cos 0.02)
    y, _ = sinusoidal_positions().forward((), jnp.ones((2, 3, 4)))
    np.testing.assert_allclose(y[1, 0], [1, 2, 1, 2], rtol=1e-15)
    np.testing.assert_allclose(y[1, 2], 1 + np.array([np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)]), rtol=1e-14)


def test_the_gradient_of_learned_positions_is_summed_over_examples_and_0_after_the_sequence(keys):
    layer = learned_positions(5)
    params, out_shape = layer.init(next(keys), (3, 2))
    x, dy = (noise_like(jnp.empty((4, 3, 2)), keys) for _ in range(2))
    y, (dparams, dx), truth = compiled(run_and_vjp)(layer, params, x, dy)
    assert out_shape == (3, 2) and params.w.shape == (5, 2)
    np.testing.assert_array_equal(y, np.asarray(x) + np.asarray(params.w)[:3])
    np.testing.assert_allclose(dparams.w[:3], np.asarray(dy).sum(0), rtol=1e-14)
    assert not dparams.w[3:].any()
    assert relative_error((dparams, dx), truth) < 1e-12


def test_rotary_positions_by_hand():
    # D = 4: pairs (x₀, x₂) rotated by t, (x₁, x₃) by t / 100; at t = 1, x = (1, 0, 0, 1)
    y = rotate(jnp.array([[1.0, 0, 0, 1]] * 2), axis=0)
    np.testing.assert_allclose(y[0], [1, 0, 0, 1], rtol=1e-15)
    np.testing.assert_allclose(y[1], [np.cos(1), -np.sin(0.01), np.sin(1), np.cos(0.01)], rtol=1e-14)
    np.testing.assert_allclose(rotate(y, axis=0, back=True), [[1, 0, 0, 1]] * 2, atol=1e-15)


def test_the_product_of_rotated_vectors_depends_only_on_their_distance(keys):
    q, k = jax.random.normal(next(keys), (1, 6)), jax.random.normal(next(keys), (1, 6))
    qs, ks = rotate(jnp.repeat(q, 5, 0), axis=0), rotate(jnp.repeat(k, 5, 0), axis=0)
    products = np.asarray(qs @ ks.T)
    np.testing.assert_allclose(products[1:, 1:], products[:-1, :-1], rtol=1e-12)
    assert abs(products[0, 0] - products[0, 1]) > 1e-3


def test_positions_bad_input(keys):
    fixed, learnt = sinusoidal_positions(), learned_positions(3)
    params, _ = learnt.init(next(keys), (2, 4))
    with pytest.raises(ValueError, match="even D, since features are used in pairs, got 3"):
        fixed.init(next(keys), (4, 3))
    with pytest.raises(ValueError, match="even D"):
        fixed.forward((), jnp.zeros((1, 4, 3)))
    with pytest.raises(ValueError, match=r"shape \(N, T, D\), examples, time steps and features, got \(4, 2\)"):
        fixed.forward((), jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match="at most 3 steps, got 4"):
        learnt.init(next(keys), (4, 4))
    with pytest.raises(ValueError, match="at most 3 steps, got 4"):
        learnt.forward(params, jnp.zeros((1, 4, 4)))
    with pytest.raises(ValueError, match="Do they belong to another network"):
        learnt.forward(params, jnp.zeros((1, 2, 6)))
    with pytest.raises(ValueError, match="in the dtype of its weights, float64, got float32"):
        learnt.forward(params, jnp.zeros((1, 2, 4), jnp.float32))
    with pytest.raises(ValueError, match="`length` to be an integer ≥ 1"):
        learned_positions(0)
