"""The common parts of all attention layers: parameters, projections into heads, and their backward passes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.attention.blocks import attend, attend_backward
from bpjax.layers.attention.positions import check_even, rotate
from bpjax.layers.initializers import Initializer, initializer
from bpjax.layers.params import Shapes, check_params
from bpjax.layers.product import affine, bias_gradient, input_gradient, weight_gradient
from bpjax.types import Array, Shape
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag, check_same_dtype
from bpjax.util.precision import widen


class Attention(NamedTuple):
    """The parameters of attention with H heads of F features, from x (N, T, D) to a memory (N, S, M) or to x itself.

    Biases are None in layers without. Keys never have a bias: it would add the same value to all scores of a query,
    which leaves the softmax unchanged, and its gradient would be rounding error.
    """

    w_q: Array  # (D, H F) queries from x
    w_k: Array  # (M, H F) keys from the memory
    w_v: Array  # (M, H F) values from the memory
    w_o: Array  # (H F, D) the output from all heads
    b_q: Array | None = None  # (H F,)
    b_v: Array | None = None  # (H F,)
    b_o: Array | None = None  # (D,)


class AttentionResiduals(NamedTuple):
    """The residuals of attention.

    q, k and v could be recomputed from x, but only with the weights of the forward pass, and `backward` may receive
    others.
    """

    x: Array  # (N, T, D)
    memory: Array  # (N, S, M); the same as x in self-attention
    q: Array  # (N, H, T, F), rotated in layers with rotary positions, as is k
    k: Array  # (N, H, S, F)
    v: Array  # (N, H, S, F)
    o: Array  # (N, T, H, F) the input of w_o
    softmax: Array  # L (N, H, T), or P (N, H, T, S) where one block holds it; see `blocks.attend`


class Form(NamedTuple):
    """The static arguments of an attention layer."""

    who: str
    heads: int
    head_features: int | None
    causal: bool
    rotary: bool
    use_bias: bool
    weights: Initializer
    biases: Initializer
    block: int | None

    def text(self) -> str:
        """The arguments of the call, for `repr`."""
        return call_text(
            self.heads,
            head_features=(self.head_features, None),
            causal=(self.causal, False),
            rotary=(self.rotary, False),
            use_bias=(self.use_bias, True),
            block=(self.block, None if self.block is None else 128),
        )


def make_form(who, heads, head_features, causal, rotary, use_bias, weights, biases, block) -> Form:
    """The static arguments of a layer `who`, checked, or a `ValueError`; the arguments are those of `attention`."""
    heads = check_count(who, "heads", heads)
    use_bias, causal, rotary = (
        check_flag(who, name, flag) for name, flag in (("use_bias", use_bias), ("causal", causal), ("rotary", rotary))
    )
    if head_features is not None:
        head_features = check_count(who, "head_features", head_features)
        head_features = int(head_features)
    if rotary and head_features is not None:
        check_even(who, "number of features of a head with `rotary`", head_features)
    weights, biases = initializer(weights), initializer(biases)
    return Form(who, int(heads), head_features, causal, rotary, use_bias, weights, biases, block)


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
    if not form.use_bias:
        return Attention(*ws)
    sizes = [shapes[0][1:], shapes[2][1:], shapes[3][1:]]
    return Attention(*ws, *(form.biases(k, size, dtype) for k, size in zip(keys[4:], sizes, strict=True)))


def weight_shapes(form: Form, features: int, memory_features: int) -> list[Shape]:
    """The shapes of w_q, w_k, w_v and w_o for x with D features and a memory with M."""
    width = form.heads * (form.head_features or features // form.heads)
    return [(features, width), (memory_features, width), (memory_features, width), (width, features)]


def attend_heads(form: Form, mask, params: Attention, x, memory) -> AttentionResiduals:
    """The forward pass up to o, the input of the output projection.

    Args:
        form: The static arguments of the layer.
        mask: (N, S), true where a position of the memory is visible; None where all are.
        params: The parameters of the layer.
        x: The sequence that queries, (N, T, D).
        memory: The sequence that is queried, (N, S, M); x itself in self-attention.
    """
    shapes = param_shapes(form, x.shape[-1], memory.shape[-1])
    check_params(f"`{form.who}` with {form.heads} heads", params, Attention, shapes)
    check_same_dtype(form.who, x, params.w_q)
    if mask is not None and mask.shape != memory.shape[:2]:
        raise ValueError(
            f"`{form.who}` expected a mask {memory.shape[:2]} for a sequence of shape {memory.shape}, got {mask.shape}."
        )
    q, k, v = (
        affine(source, w, b).reshape(*source.shape[:2], form.heads, -1).swapaxes(1, 2)
        for source, w, b in (
            (x, params.w_q, params.b_q),
            (memory, params.w_k, None),
            (memory, params.w_v, params.b_v),
        )
    )
    if form.rotary:
        q, k = rotate(q, axis=2), rotate(k, axis=2)
    o, softmax = attend(q, k, v, mask, form.causal, form.block)
    return AttentionResiduals(x, memory, q, k, v, o.swapaxes(1, 2), softmax)


def out_of_heads(params: Attention, o) -> Array:
    """The output projection, y = o W_o + b_o."""
    return affine(o.reshape(*o.shape[:2], -1), params.w_o, params.b_o)


def attend_heads_backward(form: Form, mask, params: Attention, residuals: AttentionResiduals, dy):
    """(dw_o, db_o, (dq, dk, dv)), the last three as (N, T, H F), before the rotation.

    Args:
        form: The static arguments of the layer.
        mask: As in `attend_heads`.
        params: The parameters through which errors are transported.
        residuals: The result of `attend_heads`.
        dy: The cotangent of the output, (N, T, D).
    """
    o = residuals.o
    ((dw_o, db_o),), do = affine_backward(form, o.reshape(*o.shape[:2], -1), [(params.w_o, dy)])
    q, k, v = residuals.q, residuals.k, residuals.v
    do = do.reshape(o.shape)
    d = jnp.sum(widen(do) * widen(o), axis=-1).swapaxes(1, 2)
    softmax, do = residuals.softmax, do.swapaxes(1, 2)
    dq, dk, dv = attend_backward(q, k, v, softmax, d, do, mask, form.causal, form.block)
    if form.rotary:
        dq, dk = rotate(dq, axis=2, back=True), rotate(dk, axis=2, back=True)
    return dw_o, db_o, tuple(a.swapaxes(1, 2).reshape(o.shape[0], a.shape[2], -1) for a in (dq, dk, dv))


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
    """`mask` as an array (N, T) of booleans, or a `ValueError`."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2:
        raise ValueError(
            f"`{who}` expected a mask (N, T) of booleans, true where a position is real, got "
            f"{mask.dtype}{list(mask.shape)}. Make one: `jnp.arange(T)[None, :] < lengths[:, None]`."
        )
    return mask


def param_shapes(form: Form, features: int, memory_features: int) -> Shapes:
    """The shapes of the params for x with D features and a memory with M, for `check_params`."""
    shapes = weight_shapes(form, features, memory_features)
    biases = [shapes[i][1:] if form.use_bias else None for i in (0, 2, 3)]
    return dict(zip(Attention._fields, (*shapes, *biases), strict=True))
