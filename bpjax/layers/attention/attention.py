"""Attention: what comes in at one place is a weighted mean of what is at others, the weights made from both."""

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
               y = o W_o + b_o                                               o (N, T, H F): the heads side by side
    backward   dW_o = oᵀ dy        do = dy W_oᵀ
               dv = Pᵀ do          dS = P ⊙ (do vᵀ − D)      D = Σ_f do ⊙ o
               dq = dS k / √F      dk = dSᵀ q / √F
               dW_q = xᵀ dq, ...   dx = dq W_qᵀ + dk W_kᵀ + dv W_vᵀ

    F is `head_features`, or D / H. With `causal` the output at t sees 0 … t alone; with `rotary` q and k are turned by
    their positions (`rotate`). It takes a mask (N, T), true where a position is real: `masked` hands it over, and the
    others are not seen. A position that sees none has o = 0, so y = b_o, and no gradient.

    S and P are T × T. Where T is above `block` they are made a `block` × `block` part at a time, in both directions, so
    that memory grows as T; with `causal` the parts above the diagonal are left out. `Kept` says what is kept.
    Vaswani et al. 2017; Dao et al. 2022.

    Raises:
        ValueError: `heads`, `head_features` or `block` is not a positive integer; F is odd with `rotary`; D cannot
            be divided by `heads`; in `forward`, `x` is not (N, T, D), has another dtype than the weights, or the params
            are another layer's; a mask is not of booleans (N, T).
    """
    check_count("attention", "block", block)
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
    """`attention` with the whole T × T matrix of every head kept, as textbooks write it: the oracle of that in blocks.

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

    It takes a "memory_mask" (N, S), true where a position of the memory is real. `in_shape` is ((T, D), (S, M)).

    Raises:
        ValueError: as `attention`; in `forward`, what comes in is not a pair, or the memory differs from x in its
            number of examples or dtype.
    """
    check_count("cross_attention", "block", block)
    form = make_form("cross_attention", heads, head_features, False, False, use_bias, weights, biases, int(block))
    return _cross_attention(form)


@functools.cache
def _self_attention(form: Form) -> Layer:
    """The same layer for the same arguments, so that what was compiled for one serves all of its kind."""

    def init(key, in_shape):
        length, features = check_in_shape(form.who, in_shape, rank=2)
        return make_params(form, key, features, features), (length, features)

    def forward(params, x, context=EMPTY):
        x, mask = check_sequence(form.who, "x", x), check_mask(form.who, context.mask)
        kept = attend_heads(form, mask, params, x, x)
        return out_of_heads(params, kept.o), (kept, mask)

    def backward(params, residuals, dy):
        kept, mask = residuals
        dw_o, db_o, (dq, dk, dv) = attend_heads_backward(form, mask, params, kept, dy)
        into = [(params.w_q, dq), (params.w_k, dk), (params.w_v, dv)]
        ((dw_q, db_q), (dw_k, _), (dw_v, db_v)), dx = affine_backward(form, kept.x, into)
        return Attention(dw_q, dw_k, dw_v, dw_o, db_q, db_v, db_o), dx

    name, uses = form.who.replace("_", " "), frozenset({"mask"})
    return Layer(name, init, forward, backward, arguments=form.text(), uses=uses)


@functools.cache
def _cross_attention(form: Form) -> Layer:
    """The same layer for the same arguments, so that what was compiled for one serves all of its kind."""

    def init(key, in_shape):
        if not isinstance(in_shape, tuple | list) or len(in_shape) != 2:
            raise ValueError(f"`cross_attention` expected an `in_shape` ((T, D), (S, M)), got {in_shape!r}.")
        length, features = check_in_shape("cross_attention", in_shape[0], rank=2)
        _, memory_features = check_in_shape("cross_attention", in_shape[1], rank=2)
        return make_params(form, key, features, memory_features), (length, features)

    def forward(params, x, context=EMPTY):
        (x, memory), mask = check_pair(x), check_mask("cross_attention", context.memory_mask)
        kept = attend_heads(form, mask, params, x, memory)
        return out_of_heads(params, kept.o), (kept, mask)

    def backward(params, residuals, dy):
        kept, mask = residuals
        dw_o, db_o, (dq, dk, dv) = attend_heads_backward(form, mask, params, kept, dy)
        ((dw_q, db_q),), dx = affine_backward(form, kept.x, [(params.w_q, dq)])
        into = [(params.w_k, dk), (params.w_v, dv)]
        ((dw_k, _), (dw_v, db_v)), dmemory = affine_backward(form, kept.memory, into)
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
