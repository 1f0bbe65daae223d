"""Long short-term memory with layer normalization. Notation as in `gated`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.normalization.layer import moments, normalized, pull_back
from bpjax.layers.product import bias_gradient, input_gradient, matmul, weight_gradient
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.gated import LstmState, with_forget_bias
from bpjax.layers.recurrent.net_inputs import initial_params, product_of_inputs, recurrent_shapes
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_number
from bpjax.util.precision import widen


class LayerNormLstm(NamedTuple):
    """The parameters of H memory cells with layer normalization, gates in the order i, f, g, o."""

    wx: Array  # (D, 4 H) from the inputs
    wh: Array  # (H, 4 H) from the previous outputs
    b: Array  # (4 H,)
    gain_x: Array  # (4 H,) of the normalized x Wx
    gain_h: Array  # (4 H,) of the normalized h Wh
    gain_c: Array  # (H,) of the normalized memory
    b_c: Array  # (H,)


class Normalized(NamedTuple):
    """Rows of mean 0 and variance 1."""

    hat: Any  # (..., K)
    inverse: Any  # (..., 1), 1 / σ


def _normalize(a, epsilon: float) -> Normalized:
    axes = (a.ndim - 1,)
    offset, _, inverse = moments(a, axes, epsilon)
    return Normalized(normalized(a, offset, inverse, axes), inverse)


def _error_before(norm: Normalized, d_hat):
    """The cotangent of what was normalized."""
    return pull_back(d_hat, norm.hat, norm.inverse, (d_hat.ndim - 1,))


def layer_norm_lstm(
    features: int,
    forget_bias: float = 1.0,
    weights: str | Initializer = lecun_normal,
    recurrent: str | Initializer = "orthogonal",
    epsilon: float = 1e-5,
) -> Cell:
    """Long short-term memory with layer normalization of its net inputs and its memory (Ba, Kiros & Hinton 2016).

    forward    a = γx ⊙ n(x Wx) + γh ⊙ n(h Wh) + b        n(v) = (v − mean v) / √(var v + ε), over all 4 H
               c′ = f ⊙ c + i ⊙ g     h′ = y = o ⊙ tanh(γc ⊙ n(c′) + bc)
    backward   e = dh′ + dy     τ = tanh(γc ⊙ n(c′) + bc)     δₒ = o (1 − o) ⊙ τ ⊙ e     ε = o ⊙ (1 − τ²) ⊙ e
               s = dc′ + n′(γc ⊙ ε)        δᵢ, δ_f, δ_g, dc = f ⊙ s as in `lstm`
               dh = n′(γh ⊙ δ) Whᵀ         dx = n′(γx ⊙ δ) Wxᵀ         n′: the backward pass of n
               dγx = Σ δ ⊙ n(x Wx)         dγh = Σ δ ⊙ n(h Wh)         dγc = Σ ε ⊙ n(c′)         dbc = Σ ε

    Equations 20 to 22 of the paper, with one b for its two biases. The state is `LstmState(h, c)`. Residuals per step:
    h, c, i, f, g, o, τ, n(x Wx), n(h Wh) and the 1 / σ of both. At h = 0, the first step, n(h Wh) is 0.

    Args:
        features: H, the number of units, at least 2.
        forget_bias: The initial bias of the forget gate; all other biases are initially 0, all gains 1.
        weights: The initializer of Wx, or the name of one.
        recurrent: The initializer of the four H × H blocks of Wh, or the name of one.
        epsilon: ε, added to the variance.

    Raises:
        ValueError: `features` is not an integer ≥ 2, `forget_bias` is not finite, or `epsilon` not above 0.
    """
    who = "layer_norm_lstm"
    features = check_count(who, "features", features, least=2)
    check_number(who, "forget_bias", forget_bias)
    check_number(who, "epsilon", epsilon, above=0.0)
    weights, recurrent = initializer(weights), initializer(recurrent)
    wide, one = (4 * features,), (features,)
    shapes = {**recurrent_shapes(features, 4), "gain_x": wide, "gain_h": wide, "gain_c": one, "b_c": one}

    def init(key, in_shape):
        made = initial_params(who, key, in_shape, features, 4, weights, recurrent)
        dtype = made.wx.dtype
        gains = jnp.ones(wide, dtype), jnp.ones(wide, dtype), jnp.ones(one, dtype)
        params = LayerNormLstm(made.wx, made.wh, jnp.zeros(wide, dtype), *gains, jnp.zeros(one, dtype))
        return with_forget_bias(params, features, forget_bias), one

    def inputs(params, x):
        product = product_of_inputs(who, params, x, LayerNormLstm, shapes)
        return Normalized(*(k.astype(x.dtype) for k in _normalize(widen(product), epsilon)))

    def step(params, state, driven):
        h, c = state
        from_h = _normalize(widen(matmul(h, params.wh)), epsilon)
        row = lambda vector: widen(vector)[None, :]
        a = row(params.gain_x) * widen(driven.hat) + row(params.gain_h) * from_h.hat + row(params.b)
        a_i, a_f, a_g, a_o = jnp.split(a, 4, axis=1)
        i, f, g, o = jax.nn.sigmoid(a_i), jax.nn.sigmoid(a_f), jnp.tanh(a_g), jax.nn.sigmoid(a_o)
        memory = f * widen(c) + i * g
        t = jnp.tanh(row(params.gain_c) * _normalize(memory, epsilon).hat + row(params.b_c))
        y = (o * t).astype(h.dtype)
        stored = (i, f, g, o, t, *from_h)
        return LstmState(y, memory.astype(h.dtype)), y, (h, c, *(k.astype(h.dtype) for k in stored), *driven)

    def back_params(params):
        return params.wh.T, params.gain_h, params.gain_c

    def back(given, residuals, dstate, dy):
        wh_transposed, gain_h, gain_c = given
        _, c, i, f, g, o, t, hat, inverse, *_ = (widen(k) for k in residuals)
        e = widen(dstate.h) + widen(dy)
        at_memory = o * (1 - t * t) * e
        norm = _normalize(f * c + i * g, epsilon)
        s = widen(dstate.c) + _error_before(norm, widen(gain_c)[None, :] * at_memory)
        parts = [i * (1 - i) * g * s, f * (1 - f) * c * s, (1 - g * g) * i * s, o * (1 - o) * t * e]
        delta = jnp.concatenate(parts, axis=1)
        at_h = _error_before(Normalized(hat, inverse), widen(gain_h)[None, :] * delta).astype(dy.dtype)
        deltas = delta.astype(dy.dtype), at_h, at_memory.astype(dy.dtype)
        return LstmState(matmul(at_h, wh_transposed), (f * s).astype(dy.dtype)), deltas

    def gradient(params, x, residuals, deltas):
        h, c, i, f, g, _, _, hat_h, _, hat_x, inverse_x = residuals
        delta, at_h, at_memory = deltas
        at_x = _error_before(
            Normalized(widen(hat_x), widen(inverse_x)), widen(params.gain_x)[None, None] * widen(delta)
        )
        at_x = at_x.astype(delta.dtype)
        memory = _normalize(widen(f) * widen(c) + widen(i) * widen(g), epsilon).hat
        total = lambda d, hat: (widen(d) * widen(hat)).sum(axis=(0, 1)).astype(delta.dtype)
        dparams = LayerNormLstm(
            weight_gradient(x, at_x), weight_gradient(h, at_h), bias_gradient(delta),
            total(delta, hat_x), total(delta, hat_h), total(at_memory, memory), bias_gradient(at_memory),
        )  # fmt: skip
        return dparams, input_gradient(at_x, params.wx)

    arguments = call_text(features, forget_bias=(forget_bias, 1.0), epsilon=(epsilon, 1e-5))
    shape = LstmState(one, one)
    return Cell(who, shape, init, step, back, inputs, gradient, back_params, arguments=arguments)
