"""Sequences: embeddings, positions, attention, and what is made of them, and what they are checked at."""

import jax
import jax.numpy as jnp

from bpjax.diagnostics.cases.case import LayerCase
from bpjax.layers.embedding import embedding


def tokens(key, patterns: int, in_shape):
    """Tokens from 0 to 4, (N, *in_shape)."""
    return jax.random.randint(key, (patterns, *in_shape), 0, 5, jnp.int32)


CASES: dict[str, LayerCase] = {
    "embedding(5, 3)": LayerCase(embedding(5, 3), (4,), tokens),
}
