"""Attention: the output at a position is a weighted mean over other positions, with weights computed from both."""

import functools

from bpjax.layers.attention.heads import (
    Attention,
    Form,
    affine_backward,
    attend_heads,
    attend_heads_backward,
    check_mask,
    make_form,
    make_params,
    out_of_heads,
)
from bpjax.layers.attention.positions import check_sequence
from bpjax.layers.initializers import Initializer, lecun_normal, zeros
from bpjax.layers.layer import EMPTY, Layer, check_in_shape
from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count


def attention(
    heads: int,
    head_features: int | None = None,
    causal: bool = False,
    rotary: bool = False,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
    block: int = 128,
) -> Layer:
    """Self-attention with several heads, x (N, T, D) to y of the same shape.

    forward    q = x W_q + b_q     k = x W_k       v = x W_v + b_v     each (N, T, H, F): a head has F features
               S = q kᵀ / √F       P = softmax(S)      o = P v               in each head
               y = o W_o + b_o                                               o (N, T, H F): all heads concatenated
    backward   dW_o = oᵀ dy        do = dy W_oᵀ
               dv = Pᵀ do          dS = P ⊙ (do vᵀ − D)      D = Σ_f do ⊙ o
               dq = dS k / √F      dk = dSᵀ q / √F
               dW_q = xᵀ dq, ...   dx = dq W_qᵀ + dk W_kᵀ + dv W_vᵀ

    The mask of the context (N, T), set by `masked`, is True at real positions; the others are not attended to. A query
    without any visible position has o = 0, so y = b_o, and no gradient.

    S and P are T × T. If T > `block`, both passes compute them in tiles of `block` × `block`, so that memory grows as
    T; with `causal` the tiles above the diagonal are skipped. Residuals: `AttentionResiduals`, and the mask.
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

    Raises:
        ValueError: `heads`, `head_features` or `block` is not a positive integer; F is odd with `rotary`; `heads` does
            not divide D; in `forward`, `x` is not (N, T, D) or differs in dtype from the weights, the params belong to
            another layer, or the mask does not consist of booleans (N, T).
    """
    block = check_count("attention", "block", block)
    return _attention("attention", heads, head_features, causal, rotary, use_bias, weights, biases, int(block))


def plain_attention(
    heads: int,
    head_features: int | None = None,
    causal: bool = False,
    rotary: bool = False,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
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

    Raises:
        ValueError: as `attention`.
    """
    return _attention("plain_attention", heads, head_features, causal, rotary, use_bias, weights, biases, None)


def _attention(who, heads, head_features, causal, rotary, use_bias, weights, biases, block) -> Layer:
    form = make_form(who, heads, head_features, causal, rotary, use_bias, weights, biases, block)
    return _self_attention(form)


def cross_attention(
    heads: int,
    head_features: int | None = None,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
    block: int = 128,
) -> Layer:
    """Attention to another sequence: (x (N, T, D), memory (N, S, M)) to y (N, T, D).

    `attention` with queries from x, keys and values from the memory, k = m W_k and v = m W_v + b_v:

    backward   dx = dq W_qᵀ     dm = dk W_kᵀ + dv W_vᵀ

    The "memory_mask" of the context (N, S) is True at real positions of the memory. `in_shape` is ((T, D), (S, M)).

    Args:
        heads: H, the number of heads.
        head_features: F, the features of a head; D / H by default.
        use_bias: Add b_q, b_v and b_o.
        weights: Initializer of the weights, or its name.
        biases: Initializer of the biases, or its name.
        block: The side of a tile of S.

    Raises:
        ValueError: as `attention`; in `forward`, the input is not a pair, or the memory differs from x in the number of
            examples or the dtype.
    """
    block = check_count("cross_attention", "block", block)
    form = make_form("cross_attention", heads, head_features, False, False, use_bias, weights, biases, int(block))
    return _cross_attention(form)


@functools.cache
def _self_attention(form: Form) -> Layer:
    """Cached: equal arguments return the same layer, whose compiled programs are reused."""

    def init(key, in_shape):
        length, features = check_in_shape(form.who, in_shape, rank=2)
        return make_params(form, key, features, features), (length, features)

    def forward(params, x, context=EMPTY):
        x, mask = check_sequence(form.who, "x", x), check_mask(form.who, context.mask)
        residuals = attend_heads(form, mask, params, x, x)
        return out_of_heads(params, residuals.o), (residuals, mask)

    def backward(params, residuals, dy):
        heads, mask = residuals
        dw_o, db_o, (dq, dk, dv) = attend_heads_backward(form, mask, params, heads, dy)
        into = [(params.w_q, dq), (params.w_k, dk), (params.w_v, dv)]
        ((dw_q, db_q), (dw_k, _), (dw_v, db_v)), dx = affine_backward(form, heads.x, into)
        return Attention(dw_q, dw_k, dw_v, dw_o, db_q, db_v, db_o), dx

    name, uses = form.who.replace("_", " "), frozenset({"mask"})
    return Layer(name, init, forward, backward, arguments=form.text(), uses=uses)


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
        residuals = attend_heads(form, mask, params, x, memory)
        return out_of_heads(params, residuals.o), (residuals, mask)

    def backward(params, residuals, dy):
        heads, mask = residuals
        dw_o, db_o, (dq, dk, dv) = attend_heads_backward(form, mask, params, heads, dy)
        ((dw_q, db_q),), dx = affine_backward(form, heads.x, [(params.w_q, dq)])
        into = [(params.w_k, dk), (params.w_v, dv)]
        ((dw_k, _), (dw_v, db_v)), dmemory = affine_backward(form, heads.memory, into)
        return Attention(dw_q, dw_k, dw_v, dw_o, db_q, db_v, db_o), (dx, dmemory)

    uses = frozenset({"memory_mask"})
    return Layer("cross attention", init, forward, backward, arguments=form.text(), uses=uses)


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
