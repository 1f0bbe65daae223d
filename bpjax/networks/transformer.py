"""A decoder-only transformer that predicts the next token, a small GPT."""

from typing import Literal

from bpjax.layers.activations import gelu
from bpjax.layers.attention.attention import attention
from bpjax.layers.attention.positions import learned_positions, sinusoidal_positions
from bpjax.layers.combinators.chain import chain, residual
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.combinators.repeat import repeat
from bpjax.layers.dense import dense
from bpjax.layers.embedding import embedding
from bpjax.layers.layer import Layer, check_in_shape
from bpjax.layers.normalization.layer import layer_norm
from bpjax.util.call_text import shown
from bpjax.util.checks import check_choice, check_count


def transformer(
    vocabulary: int,
    features: int,
    heads: int,
    blocks: int,
    length: int,
    positions: Literal["rotary", "sinusoidal", "learned"] = "rotary",
) -> Layer:
    """Tokens x (N, T) to logits (N, T, V) for the next token at each position, from the tokens up to it; T ≤ `length`.

    An embedding, positions, `blocks` causal blocks (`transformer_block`) as one loop (`repeat`), a final `layer_norm`,
    and a dense map to the vocabulary. Train it with `softmax_cross_entropy` and labels (N, T). Vaswani et al. 2017,
    with the norms before attention and MLP, as in Radford et al. 2019.

    Args:
        vocabulary: V, the number of tokens.
        features: D, of the residual stream.
        heads: Of each attention.
        blocks: The depth.
        length: The largest T.
        positions: "rotary" (in every attention), "sinusoidal" or "learned" (added to the embedding).

    Raises:
        ValueError: a number is not a positive integer, or `positions` is unknown; in `init`, `in_shape` is not (T,)
            with T ≤ `length`, or the heads do not divide the features.
    """
    features, blocks, length = (
        check_count("transformer", name, count)
        for name, count in {"features": features, "blocks": blocks, "length": length}.items()
    )
    layers = {"rotary": (), "sinusoidal": (sinusoidal_positions(),), "learned": (learned_positions(length),)}
    check_choice("transformer", "positions", positions, layers)
    block = transformer_block(features, heads, causal=True, rotary=positions == "rotary")
    network = chain(
        embedding(vocabulary, features),
        *layers[positions],
        repeat(block, blocks),
        layer_norm(),
        over_positions(dense(vocabulary)),
    )

    def init(key, in_shape):
        (steps,) = check_in_shape("transformer", in_shape, rank=1)
        if steps > length:
            raise ValueError(
                f"`transformer` of `length` {length} expected an `in_shape` (T,) up to it, got {shown(in_shape)}."
            )
        return network.init(key, in_shape)

    return network._replace(init=init)


def transformer_block(features: int, heads: int, causal: bool = False, rotary: bool = False) -> Layer:
    """One block, x (N, T, D) to y of the same shape: attention, then an MLP of 4 D hidden units at every position.

    forward    h = x + attention(norm(x))
               y = h + W₂ gelu(W₁ norm(h) + b₁) + b₂

    In `masked(...)` its attention does not see padding.

    Args:
        features: D.
        heads: Of the attention.
        causal: As in `attention`.
        rotary: As in `attention`.

    Raises:
        ValueError: `features` or `heads` is not a positive integer; in `init`, they do not fit each other.
    """
    features = check_count("transformer_block", "features", features)
    return chain(
        residual(chain(layer_norm(), attention(heads, causal=causal, rotary=rotary))),
        residual(chain(layer_norm(), over_positions(dense(4 * features)), gelu, over_positions(dense(features)))),
    )
