"""A transformer that reads one sequence and writes another, with cross attention between them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.activations import gelu
from bpjax.layers.attention.attention import attention, cross_attention
from bpjax.layers.attention.positions import sinusoidal_positions
from bpjax.layers.combinators.chain import chain, residual
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.combinators.repeat import repeat
from bpjax.layers.dense import dense
from bpjax.layers.embedding import embedding
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, uses_of
from bpjax.layers.normalization.layer import layer_norm
from bpjax.networks.transformer import transformer_block
from bpjax.types import Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, other_params


class DecoderBlock(NamedTuple):
    """The parameters of a decoder block, or what its parts leave for the backward pass."""

    attention: Params
    norm: Params
    cross_attention: Params
    mlp: Params


class EncoderDecoder(NamedTuple):
    """The parameters of an encoder-decoder network, or what its parts leave for the backward pass."""

    encoder: Params
    tokens: Params
    decoder: Params
    output: Params


def decoder_block(features: int, heads: int) -> Layer:
    """One block of a decoder, (x (N, T, D), memory (N, S, M)) to (y (N, T, D), memory).

    forward    h = x + attention(norm(x)), causal
               g = h + cross_attention(norm(h), memory)
               y = g + W₂ gelu(W₁ norm(g) + b₁) + b₂
    backward   that of the parts from last to first; dmemory: what arrives plus that of the cross attention

    The memory is passed on, so that blocks can be put into a `chain`. Vaswani et al. 2017, with the norms before the
    parts. The context's mask is that of x, its memory_mask that of the memory.

    Args:
        features: D.
        heads: Of both attentions.

    Raises:
        ValueError: `features` or `heads` is not a positive integer; in `init`, `in_shape` is not ((T, D), (S, M)), or
            they do not fit each other.
    """
    features = check_count("decoder_block", "features", features)
    return _decoder_block(
        residual(chain(layer_norm(), attention(heads, causal=True))),
        layer_norm(),
        cross_attention(heads),
        residual(chain(layer_norm(), over_positions(dense(4 * features)), gelu, over_positions(dense(features)))),
        arguments=f"{features}, {heads}",
    )


def _decoder_block(own: Layer, norm: Layer, cross: Layer, mlp: Layer, arguments: str | None = None) -> Layer:
    parts = own, norm, cross, mlp

    def init(key, in_shape):
        shape, memory_shape = check_pair_of_shapes("decoder_block", in_shape)
        shapes = shape, shape, (shape, memory_shape), shape
        made = [p.init(k, s)[0] for p, k, s in zip(parts, jax.random.split(key, 4), shapes, strict=True)]
        return DecoderBlock(*made), (shape, memory_shape)

    def forward(params, x, context=EMPTY):
        (x, memory), params = check_pair("decoder_block", x), check_parts("decoder_block", DecoderBlock, params)
        h, at_own = own.forward_in(context.for_part(0), params.attention, x)
        n, at_norm = norm.forward(params.norm, h)
        seen, at_cross = cross.forward_in(context.for_part(2), params.cross_attention, (n, memory))
        y, at_mlp = mlp.forward_in(context.for_part(3), params.mlp, h + seen)
        return (y, memory), DecoderBlock(at_own, at_norm, at_cross, at_mlp)

    def backward(params, residuals, dy):
        dy, dmemory = dy
        dmlp, dg = mlp.backward(params.mlp, residuals.mlp, dy)
        dcross, (dn, dseen) = cross.backward(params.cross_attention, residuals.cross_attention, dg)
        dnorm, dh = norm.backward(params.norm, residuals.norm, dn)
        down, dx = own.backward(params.attention, residuals.attention, dg + dh)
        return DecoderBlock(down, dnorm, dcross, dmlp), (dx, dmemory + dseen)

    made_of = Parts(parts, _decoder_block)
    return Layer("decoder block", init, forward, backward, Kind.COMBINATOR, made_of, arguments, uses_of(parts))


def encoder_decoder(source_vocabulary: int, vocabulary: int, features: int, heads: int, blocks: int) -> Layer:
    """Tokens (source (N, S), target (N, T)) to logits (N, T, V) for the next token at each position of the target.

    The encoder: an embedding, sines and cosines for positions, `blocks` times `transformer_block`, a `layer_norm`; its
    output is the memory. The decoder: the same with `decoder_block`, and a dense map to the vocabulary. The logits at t
    depend on the target up to t and on the whole source. Train it on (source, target[:, :-1]) with the labels
    target[:, 1:]. Vaswani et al. 2017, with the norms before the parts.

    For padded sources use `masked(network, "memory_mask")`: the mask (N, S) is that of the encoder and of the cross
    attention. Residuals: those of the parts.

    Args:
        source_vocabulary: The number of tokens of the source.
        vocabulary: V, the number of tokens of the target.
        features: D, even.
        heads: Of each attention.
        blocks: The depth of the encoder and of the decoder.

    Raises:
        ValueError: a number is not a positive integer; in `init`, `in_shape` is not ((S,), (T,)), or the heads do not
            divide the features; in `forward`, the input is not a pair.
    """
    who = "encoder_decoder"
    features, blocks = check_count(who, "features", features), check_count(who, "blocks", blocks)
    return _encoder_decoder(
        chain(
            embedding(source_vocabulary, features), sinusoidal_positions(),
            repeat(transformer_block(features, heads), blocks), layer_norm(),
        ),
        chain(embedding(vocabulary, features), sinusoidal_positions()),
        chain(*[decoder_block(features, heads) for _ in range(blocks)]),
        chain(layer_norm(), over_positions(dense(vocabulary))),
        arguments=f"{source_vocabulary}, {vocabulary}, {features}, {heads}, {blocks}",
    )  # fmt: skip


def _encoder_decoder(encoder: Layer, tokens: Layer, decoder: Layer, output: Layer, arguments=None) -> Layer:
    parts = encoder, tokens, decoder, output

    def init(key, in_shape):
        source_shape, shape = check_pair_of_shapes("encoder_decoder", in_shape)
        keys = jax.random.split(key, 4)
        of_encoder, memory_shape = encoder.init(keys[0], source_shape)
        of_tokens, hidden_shape = tokens.init(keys[1], shape)
        of_decoder, _ = decoder.init(keys[2], (hidden_shape, memory_shape))
        of_output, out_shape = output.init(keys[3], hidden_shape)
        return EncoderDecoder(of_encoder, of_tokens, of_decoder, of_output), out_shape

    def forward(params, x, context=EMPTY):
        source, target = check_pair("encoder_decoder", x)
        params = check_parts("encoder_decoder", EncoderDecoder, params)
        of_source = context.for_part(0)._replace(mask=context.memory_mask, memory_mask=None)
        memory, at_encoder = encoder.forward_in(of_source, params.encoder, source)
        e, at_tokens = tokens.forward(params.tokens, target)
        (h, _), at_decoder = decoder.forward_in(context.for_part(2), params.decoder, (e, memory))
        y, at_output = output.forward(params.output, h)
        return y, EncoderDecoder(at_encoder, at_tokens, at_decoder, at_output)

    def backward(params, residuals, dy):
        doutput, dh = output.backward(params.output, residuals.output, dy)
        nothing = jnp.zeros((), dy.dtype)  # the memory that the last block passes on is not used
        ddecoder, (de, dmemory) = decoder.backward(params.decoder, residuals.decoder, (dh, nothing))
        dtokens, dtarget = tokens.backward(params.tokens, residuals.tokens, de)
        dencoder, dsource = encoder.backward(params.encoder, residuals.encoder, dmemory)
        return EncoderDecoder(dencoder, dtokens, ddecoder, doutput), (dsource, dtarget)

    made_of = Parts(parts, _encoder_decoder)
    uses = uses_of(parts)
    return Layer("encoder decoder", init, forward, backward, Kind.COMBINATOR, made_of, arguments, uses)


def check_pair_of_shapes(who: str, in_shape):
    """A pair of shapes, or a `ValueError`."""
    if not isinstance(in_shape, tuple | list) or len(in_shape) != 2 or not all(map(_is_sequence, in_shape)):
        raise ValueError(f"`{who}` expected an `in_shape` of two shapes, of the two sequences, got {shown(in_shape)}.")
    return tuple(in_shape[0]), tuple(in_shape[1])


def check_pair(who: str, x):
    """A pair of sequences, or a `ValueError`."""
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise ValueError(f"`{who}` expected a pair of sequences, got a {type(x).__name__}.")
    return x


def check_parts(who: str, kind: type, params):
    """The params of a layer with named parts, or a `ValueError`."""
    if not isinstance(params, kind):
        raise other_params(f"`{who}`", f"{kind.__name__}({', '.join(kind._fields)})", params)  # type: ignore[attr-defined]
    return params


def _is_sequence(shape) -> bool:
    return isinstance(shape, tuple | list)
