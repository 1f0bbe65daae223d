"""The transformer that predicts the next token: a small GPT."""

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
from bpjax.util.checks import check_choice, check_count


def transformer(
    vocabulary: int,
    features: int,
    heads: int,
    blocks: int,
    length: int,
    positions: Literal["rotary", "sinusoidal", "learned"] = "rotary",
) -> Layer:
    """Tokens x (N, T) to logits (N, T, V) for the token that follows each, from those up to it alone; T ≤ `length`.

    An embedding, positions, `blocks` blocks as one loop (`repeat`), a last `layer_norm`, and a dense map to the
    vocabulary. A block is `transformer_block`, causal. Its loss is `softmax_cross_entropy` with labels (N, T). Vaswani
    et al. 2017, with the norms before attention and net, as Radford et al. 2019 have them.

    Raises:
        ValueError: a number is not a positive integer, or `positions` is none of the three; in `init`, an
            `in_shape` other than (T,) with T ≤ `length`, or features that do not fit the heads.
    """
    for name, count in {"features": features, "blocks": blocks, "length": length}.items():
        check_count("transformer", name, count)
    placed = {"rotary": (), "sinusoidal": (sinusoidal_positions(),), "learned": (learned_positions(length),)}
    check_choice("transformer", "positions", positions, placed)
    block = transformer_block(features, heads, causal=True, rotary=positions == "rotary")
    network = chain(
        embedding(vocabulary, features),
        *placed[positions],
        repeat(block, blocks),
        layer_norm(),
        over_positions(dense(vocabulary)),
    )

    def init(key, in_shape):
        (steps,) = check_in_shape("transformer", in_shape, rank=1)
        if steps > length:
            raise ValueError(
                f"`transformer` of `length` {length} expected an `in_shape` (T,) up to it, got {in_shape!r}."
            )
        return network.init(key, in_shape)

    return network._replace(init=init)


def transformer_block(features: int, heads: int, causal: bool = False, rotary: bool = False) -> Layer:
    """One block, x (N, T, D) to y of the same shape: attention, then a net of 4 D hidden units at every position.

    forward    h = x + attention(norm(x))
               y = h + W₂ gelu(W₁ norm(h) + b₁) + b₂

    Inside `masked(...)` its attention does not see padding.

    Raises:
        ValueError: `features` or `heads` is not a positive integer; in `init`, they do not fit each other.
    """
    check_count("transformer_block", "features", features)
    return chain(
        residual(chain(layer_norm(), attention(heads, causal=causal, rotary=rotary))),
        residual(chain(layer_norm(), over_positions(dense(4 * features)), gelu, over_positions(dense(features)))),
    )
