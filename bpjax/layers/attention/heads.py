"""The common parts of all attention layers: parameters, projections into heads, and their backward passes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.attention.blocks import attend, attend_backward
from bpjax.layers.attention.distances import BUCKETS, Distances, alibi, of_table, table_gradient
from bpjax.layers.attention.form import Form
from bpjax.layers.attention.pattern import Pattern, seed_of
from bpjax.layers.attention.positions import check_even, rotate
from bpjax.layers.layer import Context
from bpjax.layers.params import Shapes, check_params
from bpjax.layers.product import affine, bias_gradient, input_gradient, weight_gradient
from bpjax.types import Array, Shape
from bpjax.util.checks import check_same_dtype
from bpjax.util.precision import widen


class Attention(NamedTuple):
    """The parameters of attention with H heads of F features, from x (N, T, D) to a memory (N, S, M) or to x itself.

    Biases are None in layers without. Keys never have a bias: it would add the same value to all scores of a query,
    which leaves the softmax unchanged, and its gradient would be rounding error.
    """

    w_q: Array  # (D, H F) queries from x
    w_k: Array  # (M, G F) keys from the memory; G heads of keys and values, G = H unless queries share them
    w_v: Array  # (M, G F) values from the memory
    w_o: Array  # (H F, D) the output from all heads
    b_q: Array | None = None  # (H F,)
    b_v: Array | None = None  # (G F,)
    b_o: Array | None = None  # (D,)
    relative: Array | None = None  # (B, H) the learnt bias of each bucket of distances


class AttentionResiduals(NamedTuple):
    """The residuals of attention.

    q, k, v and the bias could be recomputed, but only with the weights of the forward pass, and `backward` may receive
    others.
    """

    x: Array  # (N, T, D)
    memory: Array  # (N, S, M); the same as x in self-attention
    q: Array  # (N, H, T, F), rotated in layers with rotary positions, as is k
    k: Array  # (N, G, S, F)
    v: Array  # (N, G, S, F)
    o: Array  # (N, T, H, F) the input of w_o
    softmax: Array  # L (N, H, T), or P (N, H, T, S) where one block holds it; see `blocks.attend`
    mask: Array | None = None  # see `Pattern`, as are the following
    bias: Array | None = None  # (H, T + S − 1), the learnt one
    seed: Array | None = None  # (2,)


def make_params(form: Form, key, features: int, memory_features: int) -> Attention:
    """Initial params for x with D features and a memory with M, or a `ValueError` where the heads do not divide D."""
    if form.head_features is None and features % form.heads:
        raise ValueError(
            f"`{form.who}` expected a number of features D that {form.heads} heads divide, got D = {features}. "
            "Choose other `heads`, or give `head_features`."
        )
    per_head = form.head_features or features // form.heads
    if form.rotary:
        check_even(form.who, "number of features of a head with `rotary`", per_head)
    shapes, dtype = weight_shapes(form, features, memory_features), jnp.result_type(float)
    keys = jax.random.split(key, 7)
    ws = [form.weights(k, shape, dtype) for k, shape in zip(keys[:4], shapes, strict=True)]
    relative = jnp.zeros((BUCKETS, form.heads), dtype) if form.bias == "relative" else None
    if not form.use_bias:
        return Attention(*ws, relative=relative)
    sizes = [shapes[0][1:], shapes[2][1:], shapes[3][1:]]
    biases = [form.biases(k, size, dtype) for k, size in zip(keys[4:], sizes, strict=True)]
    return Attention(*ws, *biases, relative=relative)


def weight_shapes(form: Form, features: int, memory_features: int) -> list[Shape]:
    """The shapes of w_q, w_k, w_v and w_o for x with D features and a memory with M."""
    per_head = form.head_features or features // form.heads
    width, shared = form.heads * per_head, form.key_heads * per_head
    return [(features, width), (memory_features, shared), (memory_features, shared), (width, features)]


def attend_heads(form: Form, mask, context: Context, params: Attention, x, memory) -> AttentionResiduals:
    """The forward pass up to o, the input of the output projection.

    Args:
        form: The static arguments of the layer.
        mask: (N, S), true where a position of the memory is visible, or another one of `check_mask`; None for all.
        context: With the key of the dropout.
        params: The parameters of the layer.
        x: The sequence that queries, (N, T, D).
        memory: The sequence that is queried, (N, S, M); x itself in self-attention.
    """
    shapes = param_shapes(form, x.shape[-1], memory.shape[-1])
    check_params(f"`{form.who}` with {form.heads} heads", params, Attention, shapes)
    check_same_dtype(form.who, x, params.w_q)
    mask = with_four_axes(form, mask, x, memory)
    q, k, v = (
        affine(source, w, b).reshape(*source.shape[:2], heads, -1).swapaxes(1, 2)
        for source, heads, w, b in (
            (x, form.heads, params.w_q, params.b_q),
            (memory, form.key_heads, params.w_k, None),
            (memory, form.key_heads, params.w_v, params.b_v),
        )
    )
    if form.rotary:
        q, k = rotate(q, axis=2), rotate(k, axis=2)
    seed = bias = None
    if form.dropout:
        if context.key is None:
            raise ValueError(
                f"`{form.who}` with dropout expected a key: train with `bp.layers.keyed(network)` or the rule "
                "transform `bp.rules.fresh_keys(rule)`, predict with `bp.layers.without_dropout(network)`."
            )
        seed = seed_of(context.key)
    if params.relative is not None:
        bias = of_table(params.relative, distances_of(form, q, k), form.is_causal)
    residuals = AttentionResiduals(x, memory, q, k, v, q, q, mask, bias, seed)
    o, softmax = attend(q, shared(form, k), shared(form, v), pattern_of(form, residuals), form.block)
    return residuals._replace(o=o.swapaxes(1, 2), softmax=softmax)


def distances_of(form: Form, q, k) -> Distances:
    """The distances between queries and keys."""
    return Distances(q.shape[2], k.shape[2], form.offset(q.shape[2], k.shape[2]))


def pattern_of(form: Form, residuals: AttentionResiduals) -> Pattern:
    """Which keys are visible, and what is added to the scores."""
    bias, distances = residuals.bias, distances_of(form, residuals.q, residuals.k)
    if form.bias == "alibi":
        bias = alibi(form.heads, distances, widen(residuals.q[:0]).dtype)
    return Pattern(
        (distances.queries, distances.keys), form.is_causal, distances.offset, form.window, form.dropout,
        residuals.mask, bias, residuals.seed,
    )  # fmt: skip


def shared(form: Form, k) -> Array:
    """Keys or values (N, G, S, F) for all heads of queries, (N, H, S, F)."""
    return k if form.key_heads == form.heads else jnp.repeat(k, form.heads // form.key_heads, axis=1)


def shared_backward(form: Form, dk) -> Array:
    """The sum over the heads of queries that share a head of keys or values, (N, H, S, F) to (N, G, S, F)."""
    if form.key_heads == form.heads:
        return dk
    groups = widen(dk).reshape(dk.shape[0], form.key_heads, -1, *dk.shape[2:])
    return groups.sum(axis=2).astype(dk.dtype)


def out_of_heads(params: Attention, o) -> Array:
    """The output projection, y = o W_o + b_o."""
    return affine(o.reshape(*o.shape[:2], -1), params.w_o, params.b_o)


def attend_heads_backward(form: Form, params: Attention, residuals: AttentionResiduals, dy):
    """(dw_o, db_o, drelative, (dq, dk, dv)), the last three as (N, T, H F), before the rotation.

    Args:
        form: The static arguments of the layer.
        params: The parameters through which errors are transported.
        residuals: The result of `attend_heads`.
        dy: The cotangent of the output, (N, T, D).
    """
    o = residuals.o
    ((dw_o, db_o),), do = affine_backward(form, o.reshape(*o.shape[:2], -1), [(params.w_o, dy)])
    do = do.reshape(o.shape)
    d = jnp.sum(widen(do) * widen(o), axis=-1).swapaxes(1, 2)
    q, k, v = residuals.q, shared(form, residuals.k), shared(form, residuals.v)
    pattern = pattern_of(form, residuals)
    dq, dk, dv, dbias = attend_backward(q, k, v, residuals.softmax, d, do.swapaxes(1, 2), pattern, form.block)
    dk, dv = shared_backward(form, dk), shared_backward(form, dv)
    if form.rotary:
        dq, dk = rotate(dq, axis=2, back=True), rotate(dk, axis=2, back=True)
    drelative = None
    if params.relative is not None and dbias is not None:
        drelative = table_gradient(params.relative, dbias, distances_of(form, q, k), form.is_causal)
    return dw_o, db_o, drelative, tuple(a.swapaxes(1, 2).reshape(o.shape[0], a.shape[2], -1) for a in (dq, dk, dv))


def affine_backward(form: Form, x, into: list):
    """([(dw, db), ...], dx) of several maps y = x w + b of the same x, in two products.

    Args:
        form: The static arguments of the layer.
        x: The common input, (..., D).
        into: The pairs (w, dy) of the maps.
    """
    ws, dys = zip(*into, strict=True)
    packed = jnp.concatenate(dys, axis=-1)
    ends = np.cumsum([dy.shape[-1] for dy in dys])[:-1]
    dws = jnp.split(weight_gradient(x, packed), ends, axis=1)
    dbs = [bias_gradient(dy) if form.use_bias else None for dy in dys]
    return list(zip(dws, dbs, strict=True)), input_gradient(packed, jnp.concatenate(ws, axis=1))


def check_mask(who: str, mask) -> Array | None:
    """`mask` as an array of booleans (N, T), or one with the axes of the scores, or a `ValueError`."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    is_number = jnp.issubdtype(mask.dtype, jnp.floating)
    if mask.ndim not in (2, 3, 4) or not (mask.dtype == bool or (is_number and mask.ndim > 2)):
        raise ValueError(
            f"`{who}` expected a mask (N, T) of booleans, true where a position is real, or a mask (N, T, S) or "
            f"(N, H, T, S) of booleans or of numbers to add to the scores, got {mask.dtype}{list(mask.shape)}. "
            "Make one: `jnp.arange(T)[None, :] < lengths[:, None]`."
        )
    return mask


def with_four_axes(form: Form, mask, x, memory) -> Array | None:
    """A mask as (N or 1, H or 1, T or 1, S), or a `ValueError` where it does not fit x and the memory."""
    if mask is None:
        return None
    if mask.ndim == 2 and mask.shape != memory.shape[:2]:
        raise ValueError(
            f"`{form.who}` expected a mask {memory.shape[:2]} for a sequence of shape {memory.shape}, got {mask.shape}."
        )
    axes = {2: (0, 3), 3: (0, 2, 3), 4: (0, 1, 2, 3)}[mask.ndim]
    mask = jnp.expand_dims(mask, tuple(a for a in range(4) if a not in axes))
    full = (x.shape[0], form.heads, x.shape[1], memory.shape[1])
    if mask.shape[3] != full[3] or any(n not in (1, m) for n, m in zip(mask.shape, full, strict=True)):
        raise ValueError(
            f"`{form.who}` expected a mask of shape {full}, with 1 where an axis does not matter, got {mask.shape}."
        )
    return mask


def param_shapes(form: Form, features: int, memory_features: int) -> Shapes:
    """The shapes of the params for x with D features and a memory with M, for `check_params`."""
    shapes = weight_shapes(form, features, memory_features)
    biases = [shapes[i][1:] if form.use_bias else None for i in (0, 2, 3)]
    relative = (BUCKETS, form.heads) if form.bias == "relative" else None
    return dict(zip(Attention._fields, (*shapes, *biases, relative), strict=True))
