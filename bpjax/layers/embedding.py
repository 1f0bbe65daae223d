"""Embeddings: a learnt row of features for each token of a vocabulary."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.layers.initializers import Initializer, initializer, unit_normal
from bpjax.layers.layer import Kind, Layer, check_any_shape, no_gradient
from bpjax.layers.params import check_params
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_array, check_count, is_concrete
from bpjax.util.precision import widen


class Embedding(NamedTuple):
    """The parameters of an embedding."""

    w: Array  # (V, F) a row of features for each token


def embedding(
    vocabulary: int, features: int, weights: str | Initializer = unit_normal, *, padding: int | None = None
) -> Layer:
    """The row of a learnt table for each token, integers x (N, ...) to y (N, ..., F).

    forward    yₙₜ = W[xₙₜ]
    backward   dW[v] = Σ dyₙₜ over the n, t with xₙₜ = v          tokens have no gradient

    This equals the product of one-hot rows with W, which are not formed. Tokens outside 0 … V − 1 raise where their
    values are known; inside `jit` their rows of y are NaN and they add nothing to dW. Residuals: the tokens.

    Args:
        vocabulary: V, the number of different tokens.
        features: F, the length of a row.
        weights: The initializer of W, or the name of one.
        padding: A token that stands for no token: its y is 0 whatever W, and so is the gradient of its row, which is
            initially 0.

    Raises:
        ValueError: `vocabulary` or `features` is not a positive integer, or `padding` no token; in `forward`, `x` is
            not of an integer dtype, has no example or a token outside 0 … V − 1, or the params belong to another layer.
    """
    vocabulary = check_count("embedding", "vocabulary", vocabulary)
    features = check_count("embedding", "features", features)
    if padding is not None:
        padding = check_count("embedding", "padding", padding, least=0, most=vocabulary - 1)
    return _embedding(int(vocabulary), int(features), initializer(weights), padding)


@functools.cache
def _embedding(vocabulary: int, features: int, weights: Initializer, padding: int | None) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        positions = check_any_shape("embedding", in_shape)
        w = weights(key, (vocabulary, features), jnp.result_type(float))
        return Embedding(w if padding is None else w.at[padding].set(0)), (*positions, features)

    def forward(params, x):
        check_params(f"`embedding({vocabulary}, {features})`", params, Embedding, {"w": (vocabulary, features)})
        tokens = check_tokens(x, vocabulary)
        y = jnp.take(params.w, tokens, axis=0, mode="fill", fill_value=jnp.nan)
        if padding is not None:
            y = jnp.where((tokens == padding)[..., None], 0, y)
            tokens = jnp.where(tokens == padding, vocabulary, tokens)  # so that it adds nothing to dW
        return y, tokens

    def backward(params, tokens, dy):
        dw = jnp.zeros((vocabulary, features), widen(dy).dtype)
        dw = dw.at[tokens.ravel()].add(widen(dy).reshape(-1, features), mode="drop")
        return Embedding(dw.astype(dy.dtype)), no_gradient(tokens)

    arguments = call_text(vocabulary, features, padding=(padding, None))
    return Layer("embedding", init, forward, backward, Kind.AFFINE, arguments=arguments)


def check_tokens(x, vocabulary: int) -> Array:
    """Tokens (N, ...) as int32, or a `ValueError`; traced tokens out of range cannot raise and become `vocabulary`."""
    given = x
    x = as_array("embedding", "x", x)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(
            f"`embedding` expected tokens of an integer dtype, got {x.dtype}{list(x.shape)}. "
            "Convert them: `x.astype(jnp.int32)`."
        )
    if x.ndim == 0 or x.shape[0] == 0:
        raise ValueError(f"`embedding` expected tokens (N, ...) of at least one example, got shape {x.shape}.")
    if is_concrete(x):
        values = np.asarray(given)  # as given: without x64 JAX has narrowed them
        wrong = np.argwhere((values < 0) | (values >= vocabulary))
        if len(wrong):
            index = tuple(int(i) for i in wrong[0])
            raise ValueError(
                f"`embedding` of {vocabulary} tokens expected tokens from 0 to {vocabulary - 1}, got {values[index]} "
                f"at index {index} ({len(wrong)} of {values.size} out of range)."
            )
    if x.dtype.itemsize < 4:  # so that x's dtype can hold `vocabulary` itself
        x = x.astype(jnp.int32)
    return jnp.where((x >= 0) & (x < vocabulary), x, vocabulary).astype(jnp.int32)
