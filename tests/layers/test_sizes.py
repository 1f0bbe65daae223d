"""Sizes and shapes: NumPy's integers are integers, and nothing else is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax import layers

pytestmark = pytest.mark.thorough

KEY = jax.random.key(0)
I = np.int64
NETWORKS = {
    "dense": (bp.dense(I(3)), (I(4),)),
    "an int": (bp.dense(3), 4),
    "a list": (bp.dense(3), [4]),
    "a shape as an array": (bp.dense(3), np.array([4])),
    "mlp": (bp.mlp((I(4), np.int32(2))), (I(4),)),
    "mlp of an array": (bp.mlp(np.array([4, 3, 2])), (4,)),
    "conv": (bp.conv(I(4), (I(3), np.int8(3)), I(2), groups=I(2)), (I(8), 8, I(2))),
    "pool": (layers.max_pool((I(2), 2)), (I(4), I(4), 3)),
    "global pool": (layers.global_max_pool, (I(4), 4, I(3))),
    "reshape": (layers.reshape((I(2), I(-1))), (I(8),)),
    "flatten": (layers.flatten, np.array([2, 3])),
    "elman": (layers.unroll(layers.elman(I(3))), (I(5), I(4))),
    "lstm": (layers.unroll(layers.lstm(np.uint8(3)), last=True), (I(5), I(4))),
    "jordan": (layers.unroll(layers.jordan(I(3), I(2))), (I(5), I(4))),
    "spiking": (layers.unroll(layers.leaky_integrate_and_fire(I(3))), (5, I(4))),
    "fir": (layers.fir(I(3), I(2)), (I(5), I(4))),
    "attention": (layers.attention(I(2), block=I(4)), (I(5), I(4))),
    "group norm": (layers.group_norm(I(2)), (I(4),)),
    "embedding": (layers.embedding(I(7), I(3)), (I(5),)),
    "repeat": (layers.repeat(bp.dense(4), I(2)), (I(4),)),
    "shortcut": (layers.shortcut(bp.dense(3)), (I(4),)),
    "over positions": (layers.over_positions(bp.dense(3)), (I(5), I(4))),
    "activation": (bp.tanh, (I(4), 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_numpy_integers_are_integers(name):
    network, in_shape = NETWORKS[name]
    shapes = []
    params = jax.eval_shape(lambda: (lambda p, s: (shapes.append(s), p)[1])(*network.init(KEY, in_shape)))
    assert all(type(n) is int for n in jax.tree.leaves(shapes))
    example = tuple(int(n) for n in np.atleast_1d(np.asarray(in_shape)))
    dtype = jnp.int32 if name == "embedding" else jnp.float64
    y = jax.eval_shape(lambda p, x: network.forward(p, x)[0], params, jax.ShapeDtypeStruct((3, *example), dtype))
    assert y.shape == (3, *shapes[0])


NOT_SIZES = (3.0, True, "3", None, 0, -1, np.float32(3), np.True_)
SIZES = {
    "dense": bp.dense,
    "in_shape": lambda n: bp.dense(2).init(KEY, (n,)),
    "mlp": lambda n: bp.mlp((n, 2)),
    "conv": lambda n: bp.conv(2, (n, 3)),
    "embedding": lambda n: layers.embedding(n, 3),
    "lstm": layers.lstm,
    "attention": layers.attention,
    "activation's in_shape": lambda n: bp.tanh.init(KEY, (n,)),
}


@pytest.mark.parametrize("value", NOT_SIZES, ids=repr)
@pytest.mark.parametrize("name", SIZES)
def test_anything_else_is_refused(name, value):
    with pytest.raises(ValueError, match="integer"):
        SIZES[name](value)


FLAGS = {
    "dense": bp.dense,
    "conv": lambda n, b: bp.conv(n, 3, use_bias=b),
    "weight_norm": layers.weight_norm,
    "conv_transpose": lambda n, b: layers.conv_transpose(n, 3, use_bias=b),
    "layer_norm": lambda n, b: layers.layer_norm(use_bias=b),
    "rms_norm": lambda n, b: layers.rms_norm(use_bias=b),
    "group_norm": lambda n, b: layers.group_norm(n, use_bias=b),
    "batch_norm": lambda n, b: layers.batch_norm(use_bias=b),
    "attention": lambda n, b: layers.attention(n, use_bias=b),
    "cross": lambda n, b: layers.cross_attention(n, use_bias=b),
    "sparse": lambda n, b: layers.sparse(layers.edges_from_mask(np.ones((n, n), bool)), b),
}


@pytest.mark.parametrize("value", ["tanh", bp.tanh, 1, None], ids=["text", "layer", "number", "none"])
@pytest.mark.parametrize("name", FLAGS)
def test_use_bias_is_a_boolean(name, value):
    with pytest.raises(ValueError, match="`use_bias` to be True or False, got"):
        FLAGS[name](3, value)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_tokens_of_every_width(dtype):
    table = layers.Embedding(jnp.arange(14.0).reshape(7, 2))
    tokens = np.array([[0, 6], [3, 1]], dtype)
    y, residuals = layers.embedding(7, 2).forward(table, tokens)
    np.testing.assert_array_equal(y[0, 1], [12, 13])
    dw = layers.embedding(7, 2).backward(table, residuals, jnp.ones_like(y))[0].w
    np.testing.assert_array_equal(dw[:, 0], [1, 1, 0, 1, 0, 0, 1])


def test_a_token_that_jax_would_narrow_into_the_vocabulary(float32):
    with pytest.raises(ValueError, match="got 4294967297 at index"):  # 2³² + 1 is 1 in 32 bits
        layers.embedding(7, 2).forward(layers.Embedding(jnp.ones((7, 2))), np.array([2**32 + 1]))
