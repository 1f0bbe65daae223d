"""Cases of sequence layers: embeddings, positions, attention, transformers."""

import jax
import jax.numpy as jnp

from bpjax.gradcheck.cases.case import LayerCase, normal
from bpjax.layers.activations import tanh
from bpjax.layers.attention.attention import attention, cross_attention
from bpjax.layers.attention.masked import masked
from bpjax.layers.attention.positions import learned_positions, sinusoidal_positions
from bpjax.layers.combinators.tied_embedding import tied_embedding
from bpjax.layers.dropout import keyed
from bpjax.layers.embedding import embedding
from bpjax.networks.encoder_decoder import encoder_decoder
from bpjax.networks.transformer import transformer


def tokens(key, examples: int, in_shape):
    """Tokens from 0 to 4, shape (N, *in_shape)."""
    return jax.random.randint(key, (examples, *in_shape), 0, 5, jnp.int32)


def two_texts(key, examples: int, in_shape):
    """Tokens of a source and of a target."""
    return tuple(tokens(k, examples, shape) for k, shape in zip(jax.random.split(key), in_shape, strict=True))


def padded(key, examples: int, in_shape):
    """Sequences with masks of different lengths: all positions, none, one, two, ..., all, none, ..."""
    length = in_shape[0]
    lengths = (jnp.arange(examples) - 1) % (length + 1)
    return normal(key, examples, in_shape), jnp.arange(length)[None, :] < lengths[:, None]


def with_memory(key, examples: int, in_shape):
    """A pair of sequences."""
    keys = jax.random.split(key)
    return tuple(normal(k, examples, shape) for k, shape in zip(keys, in_shape, strict=True))


def with_key(key, examples: int, in_shape):
    """(x, key)."""
    x_key, key = jax.random.split(key)
    return normal(x_key, examples, in_shape), key


CASES: dict[str, LayerCase] = {
    "embedding(5, 3)": LayerCase(embedding(5, 3), (4,), tokens),
    "tied_embedding(tanh, 5, 3, padding=0)": LayerCase(
        tied_embedding(tanh, 5, 3, padding=0), (4,), tokens, blocked=False
    ),
    "sinusoidal_positions()": LayerCase(sinusoidal_positions(), (3, 4)),
    "learned_positions(4)": LayerCase(learned_positions(4), (3, 2), blocked=False),
    "attention(2, causal), 3 blocks": LayerCase(attention(2, causal=True, block=2), (5, 4)),
    "attention(2, rotary)": LayerCase(attention(2, rotary=True, use_bias=False), (3, 4)),
    "masked(attention(2))": LayerCase(masked(attention(2)), (4, 4), padded),
    "cross_attention(2, head_features=3), blocks": LayerCase(
        cross_attention(2, head_features=3, block=2), ((3, 4), (5, 2)), with_memory
    ),
    "attention(4, key_heads=2, window=3, bias='relative'), blocks": LayerCase(
        attention(4, causal=True, key_heads=2, window=3, bias="relative", block=2), (5, 4)
    ),
    "keyed(attention(2, dropout=0.3, bias='alibi'))": LayerCase(
        keyed(attention(2, dropout=0.3, bias="alibi", block=2)), (3, 4), with_key, per_example=False
    ),
    "encoder_decoder(5, 5, 4, 2, 1)": LayerCase(encoder_decoder(5, 5, 4, 2, 1), ((4,), (3,)), two_texts),
    "transformer(5, 4, 2, 2, 3)": LayerCase(transformer(5, 4, 2, 2, 3), (3,), tokens),
}
