"""A network between an embedding and the transposed embedding: one table for the input and the output of tokens."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.embedding import Embedding, embedding
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer
from bpjax.layers.params import check_params
from bpjax.layers.product import affine, bias_gradient, input_gradient, weight_gradient
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag


class TiedEmbedding(NamedTuple):
    """The parameters of a network with a tied embedding."""

    w: Array  # (V, F) a row for each token, for the input and for the output
    network: Any  # the params of the network
    b: Array | None = None  # (V,)


def tied_embedding(
    network: Layer,
    vocabulary: int,
    features: int,
    weights: str | Initializer = lecun_normal,
    *,
    use_bias: bool = True,
    padding: int | None = None,
) -> Layer:
    """Tokens x (N, ...) to logits (N, ..., V), with the same table at both ends: y = f(W[x]) Wᵀ + b.

    forward    e = W[x]     h = f(e)     y = h Wᵀ + b
    backward   dh = dy W     dW = dyᵀ h + Σ de at the rows of the tokens     db = Σ dy

    Both gradients of W are added, as `tie` does for layers of the same params. Press & Wolf 2017. Residuals: the
    tokens, h and those of the network.

    Args:
        network: f, from (N, ..., F) to the same shape.
        vocabulary: V, the number of tokens.
        features: F, the length of a row.
        weights: The initializer of W, or the name of one.
        use_bias: Whether to add b.
        padding: A token whose row of e is 0, as in `embedding`; its logit is as any other.

    Raises:
        ValueError: `network` is not a Layer, `vocabulary` or `features` not a positive integer, `padding` no token; in
            `init`, the network changes the shape; in `forward`, as `embedding`.
    """
    check_layer("tied_embedding", network)
    vocabulary = check_count("tied_embedding", "vocabulary", vocabulary)
    features = check_count("tied_embedding", "features", features)
    use_bias, weights = check_flag("tied_embedding", "use_bias", use_bias), initializer(weights)
    rows = embedding(vocabulary, features, weights, padding=padding)

    def init(key, in_shape):
        key_w, key_network = jax.random.split(key)
        (w,), shape = rows.init(key_w, in_shape)
        params, out_shape = network.init(key_network, shape)
        if tuple(out_shape) != tuple(shape):
            raise ValueError(
                f"`tied_embedding` expected `{network.name}` to keep the shape {shape}, got {out_shape}. "
                f"Its output is multiplied with rows of {features} features."
            )
        return TiedEmbedding(w, params, jnp.zeros(vocabulary, w.dtype) if use_bias else None), (*shape[:-1], vocabulary)

    def forward(params, x, context=EMPTY):
        shapes = {"w": (vocabulary, features), "b": (vocabulary,) if use_bias else None}
        check_params(f"`tied_embedding(…, {vocabulary}, {features})`", params, TiedEmbedding, shapes)
        e, tokens = rows.forward(Embedding(params.w), x)
        h, residuals = network.forward_in(context.for_part(0), params.network, e)
        return affine(h, params.w.T, params.b), (tokens, h, residuals)

    def backward(params, residuals, dy):
        tokens, h, network_residuals = residuals
        dnetwork, de = network.backward(params.network, network_residuals, input_gradient(dy, params.w.T))
        (dw,), dx = rows.backward(Embedding(params.w), tokens, de)
        db = bias_gradient(dy) if use_bias else None
        return TiedEmbedding(dw + weight_gradient(dy, h), dnetwork, db), dx

    def rebuild(changed):
        return tied_embedding(changed, vocabulary, features, weights, use_bias=use_bias, padding=padding)

    options = {"use_bias": (use_bias, True), "padding": (padding, None)}
    arguments = f"{{parts}}, {call_text(vocabulary, features, **options)}"
    parts = Parts((network,), rebuild)
    return Layer("tied embedding", init, forward, backward, Kind.COMBINATOR, parts, arguments, network.uses)
