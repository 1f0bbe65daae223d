"""Attention: the output at a position is a weighted mean over other positions, with weights computed from both."""

import functools
from typing import Literal

from bpjax.layers.attention.form import Form, make_form
from bpjax.layers.attention.heads import (
    Attention,
    affine_backward,
    attend_heads,
    attend_heads_backward,
    check_mask,
    make_params,
    out_of_heads,
)
from bpjax.layers.attention.positions import check_sequence
from bpjax.layers.dropout import dropout as dropout_layer
from bpjax.layers.initializers import Initializer, lecun_normal, zeros
from bpjax.layers.layer import EMPTY, Backward, ForwardInContext, Kind, Layer, Parts, check_in_shape
from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_flag


def attention(
    heads: int,
    head_features: int | None = None,
    causal: bool = False,
    rotary: bool = False,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
    block: int = 128,
    *,
    key_heads: int | None = None,
    window: int | None = None,
    bias: Literal["alibi", "relative"] | None = None,
    dropout: float = 0.0,
) -> Layer:
    """Self-attention with several heads, x (N, T, D) to y of the same shape.

    forward    q = x W_q + b_q     k = x W_k       v = x W_v + b_v     each (N, T, H, F): a head has F features
               S = q kᵀ / √F + B   P = softmax(S)      o = P′ v              in each head; P′ = P without dropout
               y = o W_o + b_o                                               o (N, T, H F): all heads concatenated
    backward   dW_o = oᵀ dy        do = dy W_oᵀ
               dv = P′ᵀ do         dS = P ⊙ (dP − D)      dP = r′ ⊙ (do vᵀ)      D = Σ_f do ⊙ o
               dq = dS k / √F      dk = dSᵀ q / √F        dB = dS, summed over the pairs of each distance
               dW_q = xᵀ dq, ...   dx = dq W_qᵀ + dk W_kᵀ + dv W_vᵀ

    The mask of the context, set by `masked`, is (N, T), true at real positions; the others are not attended to. Or it
    is (N, T, T) or (N, H, T, T), with 1 for an axis that does not matter: booleans, true where query t sees key s, or
    numbers that are added to the scores. A mask has no gradient. A query without any visible key has o = 0, so y = b_o,
    and no gradient.

    S and P are T × T. If T > `block`, both passes compute them in tiles of `block` × `block`, so that memory grows as
    T; tiles without a visible key are skipped (`causal`, `window`). Residuals: `AttentionResiduals`.
    Vaswani et al. 2017; Dao et al. 2022.

    Args:
        heads: H, the number of heads.
        head_features: F, the features of a head; D / H by default.
        causal: The output at t depends on positions 0 … t only.
        rotary: Rotate q and k by their positions (`rotate`).
        use_bias: Add b_q, b_v and b_o.
        weights: Initializer of the weights, or its name.
        biases: Initializer of the biases, or its name.
        block: The side of a tile of S.
        key_heads: G, the number of heads of keys and values, each shared by H / G heads of queries (grouped queries,
            Ainslie et al. 2023; G = 1: multi-query attention, Shazeer 2019); H by default.
        window: Query t sees keys with |t − s| < `window` only; with `causal` the last `window` keys, t among them.
        bias: B, by distance: "alibi", −m |t − s| with a fixed slope m for each head (Press et al. 2022), or "relative",
            a learnt number for each head and each of 32 buckets of distances (Raffel et al. 2020), at first 0.
        dropout: The probability that a weight of P is dropped; the others are scaled by 1 / (1 − `dropout`). The key is
            that of the context, as for `dropout`. The same key drops the same weights for every `block`.

    Raises:
        ValueError: `heads`, `head_features`, `block` or `window` is not a positive integer; F is odd with `rotary`;
            `heads` does not divide D, or `key_heads` not the heads; `bias` is unknown; `dropout` is not in [0, 1); in
            `forward`, `x` is not (N, T, D) or differs in dtype from the weights, the params belong to another layer,
            the mask has other axes or a wrong dtype, or the context has no key for the dropout.
    """
    block = check_count("attention", "block", block)
    options = {"key_heads": key_heads, "window": window, "bias": bias, "dropout": dropout}
    made = "attention", heads, head_features, use_bias, weights, biases, block
    return _self_attention(make_form(*made, causal=check_flag("attention", "causal", causal), rotary=rotary, **options))


def plain_attention(
    heads: int,
    head_features: int | None = None,
    causal: bool = False,
    rotary: bool = False,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
    *,
    key_heads: int | None = None,
    window: int | None = None,
    bias: Literal["alibi", "relative"] | None = None,
    dropout: float = 0.0,
) -> Layer:
    """`attention` with the whole T × T matrix of every head, as in textbooks: an oracle for `attention` in blocks.

    Args:
        heads: H, the number of heads.
        head_features: F, the features of a head; D / H by default.
        causal: The output at t depends on positions 0 … t only.
        rotary: Rotate q and k by their positions (`rotate`).
        use_bias: Add b_q, b_v and b_o.
        weights: Initializer of the weights, or its name.
        biases: Initializer of the biases, or its name.
        key_heads: As in `attention`, and so are the following.
        window: The keys that a query sees.
        bias: "alibi" or "relative".
        dropout: The probability that a weight is dropped.

    Raises:
        ValueError: as `attention`.
    """
    options = {"key_heads": key_heads, "window": window, "bias": bias, "dropout": dropout}
    made = "plain_attention", heads, head_features, use_bias, weights, biases, None
    return _self_attention(
        make_form(*made, causal=check_flag("plain_attention", "causal", causal), rotary=rotary, **options)
    )


def cross_attention(
    heads: int,
    head_features: int | None = None,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
    block: int = 128,
    *,
    causal: Literal["top_left", "bottom_right"] | None = None,
    key_heads: int | None = None,
    dropout: float = 0.0,
) -> Layer:
    """Attention to another sequence: (x (N, T, D), memory (N, S, M)) to y (N, T, D).

    `attention` with queries from x, keys and values from the memory, k = m W_k and v = m W_v + b_v:

    backward   dx = dq W_qᵀ     dm = dk W_kᵀ + dv W_vᵀ

    The "memory_mask" of the context (N, S) is true at real positions of the memory; as in `attention` it may also be
    (N, T, S) or (N, H, T, S). `in_shape` is ((T, D), (S, M)).

    Args:
        heads: H, the number of heads.
        head_features: F, the features of a head; D / H by default.
        use_bias: Add b_q, b_v and b_o.
        weights: Initializer of the weights, or its name.
        biases: Initializer of the biases, or its name.
        block: The side of a tile of S.
        causal: "top_left": query t sees the keys 0 … t (PyTorch's `is_causal`). "bottom_right": the last query sees all
            keys, query t the keys 0 … t + S − T, as a continuation of the memory does.
        key_heads: As in `attention`.
        dropout: As in `attention`.

    Raises:
        ValueError: as `attention`; in `forward`, the input is not a pair, or the memory differs from x in the number of
            examples or the dtype.
    """
    block = check_count("cross_attention", "block", block)
    made = "cross_attention", heads, head_features, use_bias, weights, biases, block
    alignment = False if causal is None else causal
    return _cross_attention(make_form(*made, causal=alignment, key_heads=key_heads, dropout=dropout))


def _make(make, form: Form, init, passes: tuple[ForwardInContext, Backward], uses: str) -> Layer:
    """The layer; dropout is a part of it, which `without_dropout` replaces by the identity."""
    forward, backward = passes
    name, arguments = form.who.replace("_", " "), form.text()
    if not form.dropout:
        return Layer(name, init, forward, backward, arguments=arguments, uses=frozenset({uses}))

    def rebuild(layer: Layer) -> Layer:
        return make(form if layer.kind is Kind.DROPOUT else form._replace(dropout=0.0))

    parts = Parts((dropout_layer(form.dropout),), rebuild)
    return Layer(name, init, forward, backward, Kind.COMBINATOR, parts, arguments, frozenset({uses, "key"}))


@functools.cache
def _self_attention(form: Form) -> Layer:
    """Cached: equal arguments return the same layer, whose compiled programs are reused."""

    def init(key, in_shape):
        length, features = check_in_shape(form.who, in_shape, rank=2)
        return make_params(form, key, features, features), (length, features)

    def forward(params, x, context=EMPTY):
        x, mask = check_sequence(form.who, "x", x), check_mask(form.who, context.mask)
        residuals = attend_heads(form, mask, context, params, x, x)
        return out_of_heads(params, residuals.o), residuals

    def backward(params, residuals, dy):
        dw_o, db_o, drelative, (dq, dk, dv) = attend_heads_backward(form, params, residuals, dy)
        into = [(params.w_q, dq), (params.w_k, dk), (params.w_v, dv)]
        ((dw_q, db_q), (dw_k, _), (dw_v, db_v)), dx = affine_backward(form, residuals.x, into)
        return Attention(dw_q, dw_k, dw_v, dw_o, db_q, db_v, db_o, drelative), dx

    return _make(_self_attention, form, init, (forward, backward), "mask")


@functools.cache
def _cross_attention(form: Form) -> Layer:
    """Cached: equal arguments return the same layer, whose compiled programs are reused."""

    def init(key, in_shape):
        if not isinstance(in_shape, tuple | list) or len(in_shape) != 2:
            raise ValueError(f"`cross_attention` expected an `in_shape` ((T, D), (S, M)), got {shown(in_shape)}.")
        length, features = check_in_shape("cross_attention", in_shape[0], rank=2)
        _, memory_features = check_in_shape("cross_attention", in_shape[1], rank=2)
        return make_params(form, key, features, memory_features), (length, features)

    def forward(params, x, context=EMPTY):
        (x, memory), mask = check_pair(x), check_mask("cross_attention", context.memory_mask)
        residuals = attend_heads(form, mask, context, params, x, memory)
        return out_of_heads(params, residuals.o), residuals

    def backward(params, residuals, dy):
        dw_o, db_o, drelative, (dq, dk, dv) = attend_heads_backward(form, params, residuals, dy)
        ((dw_q, db_q),), dx = affine_backward(form, residuals.x, [(params.w_q, dq)])
        into = [(params.w_k, dk), (params.w_v, dv)]
        ((dw_k, _), (dw_v, db_v)), dmemory = affine_backward(form, residuals.memory, into)
        return Attention(dw_q, dw_k, dw_v, dw_o, db_q, db_v, db_o, drelative), (dx, dmemory)

    return _make(_cross_attention, form, init, (forward, backward), "memory_mask")


def check_pair(x) -> tuple[Array, Array]:
    """(x, memory) of `cross_attention`, or a `ValueError`."""
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise ValueError(f"`cross_attention` expected a pair (x, memory), got a {type(x).__name__}.")
    x, memory = (check_sequence("cross_attention", n, a) for n, a in zip(("x", "memory"), x, strict=True))
    if x.shape[0] != memory.shape[0] or x.dtype != memory.dtype:
        raise ValueError(
            f"`cross_attention` expected a memory of x's examples and dtype, got "
            f"{memory.dtype}{list(memory.shape)} for x {x.dtype}{list(x.shape)}."
        )
    return x, memory
