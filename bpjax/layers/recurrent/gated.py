"""Gated cells: the gated recurrent unit and long short-term memory. Notation as in `cells`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.product import bias_gradient, input_gradient, matmul, weight_gradient
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.net_inputs import (
    Recurrent,
    gradient_of_net_inputs,
    initial_params,
    net_input,
    product_of_inputs,
    recurrent_shapes,
    transposed_wh,
)
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag, check_number
from bpjax.util.precision import widen


class Gru(NamedTuple):
    """The parameters of a gated recurrent unit, its gates in the order r, z, n."""

    wx: Array  # (D, 3 H) from the inputs
    wh: Array  # (H, 3 H) from the previous state
    b: Array | None  # (3 H,); None, as is c, in a cell without biases
    c: Array | None  # (H,) bias of the candidate's recurrent part, inside the reset gate


class LstmState(NamedTuple):
    """The state of a long short-term memory."""

    h: Any  # (N, H) the output
    c: Any  # (N, H) the memory


def gru(
    features: int,
    weights: str | Initializer = lecun_normal,
    recurrent: str | Initializer = "orthogonal",
    *,
    use_bias: bool = True,
) -> Cell:
    """The gated recurrent unit (Cho et al. 2014), in the form with the reset gate after the matrix product.

    forward    r = σ(x Wr + h Ur + br)     z = σ(x Wz + h Uz + bz)     m = h Un + c     n = tanh(x Wn + bn + r ⊙ m)
               h′ = y = (1 − z) ⊙ n + z ⊙ h
    backward   e = dh′ + dy                δz = z (1 − z) ⊙ (h − n) ⊙ e
               δn = (1 − n²) ⊙ (1 − z) ⊙ e                             dm = r ⊙ δn
               δr = r (1 − r) ⊙ m ⊙ δn     dh = z ⊙ e + δr Urᵀ + δz Uzᵀ + dm Unᵀ

    In the original form the reset is before the product, (r ⊙ h) Un, which then needs a second product per step; this
    is the form of cuDNN and PyTorch. [Wr, Wz, Wn] is `wx`, [Ur, Uz, Un] is `wh`, [br, bz, bn] is `b`. Residuals per
    step: h, r, z, n, m.

    Args:
        features: H, the number of units.
        weights: The initializer of `wx`, or the name of one.
        recurrent: The initializer of Ur, Uz and Un, or the name of one.
        use_bias: Whether to add b and c.

    Raises:
        ValueError: `features` is not a positive integer.
    """
    features = check_count("gru", "features", features)
    use_bias = check_flag("gru", "use_bias", use_bias)
    weights, recurrent = initializer(weights), initializer(recurrent)
    one, two = features, 2 * features

    def init(key, in_shape):
        made = initial_params("gru", key, in_shape, features, 3, weights, recurrent, use_bias)
        return Gru(*made, c=jnp.zeros(features, made.wx.dtype) if use_bias else None), (features,)

    def inputs(params, x):
        shapes = {**recurrent_shapes(features, 3, use_bias), "c": (features,) if use_bias else None}
        return product_of_inputs("gru", params, x, Gru, shapes)

    def step(params, h, driven):
        a, u = widen(driven), widen(matmul(h, params.wh))
        a = a if params.b is None else a + widen(params.b)[None, :]
        r = jax.nn.sigmoid(a[:, :one] + u[:, :one])
        z = jax.nn.sigmoid(a[:, one:two] + u[:, one:two])
        m = u[:, two:] if params.c is None else u[:, two:] + widen(params.c)[None, :]
        n = jnp.tanh(a[:, two:] + r * m)
        y = ((1 - z) * n + z * widen(h)).astype(h.dtype)
        return y, y, (h, *(k.astype(h.dtype) for k in (r, z, n, m)))

    def back(wh_transposed, residuals, dh, dy):
        h, r, z, n, m = (widen(k) for k in residuals)
        e = widen(dh) + widen(dy)
        delta_n = (1 - n * n) * (1 - z) * e
        delta_z = z * (1 - z) * (h - n) * e
        delta_r = r * (1 - r) * m * delta_n
        delta = jnp.concatenate([delta_r, delta_z, delta_n], axis=1).astype(dy.dtype)
        at_state = jnp.concatenate([delta_r, delta_z, r * delta_n], axis=1).astype(dy.dtype)
        return (z * e + widen(matmul(at_state, wh_transposed))).astype(dy.dtype), delta

    def gradient(params, x, residuals, delta):
        h, r = residuals[:2]
        dm = (widen(r) * widen(delta[..., two:])).astype(delta.dtype)
        at_state = jnp.concatenate([delta[..., :two], dm], axis=-1)
        db, dc = (bias_gradient(delta), bias_gradient(dm)) if use_bias else (None, None)
        dparams = Gru(weight_gradient(x, delta), weight_gradient(h, at_state), db, dc)
        return dparams, input_gradient(delta, params.wx)

    arguments = call_text(features, use_bias=(use_bias, True))
    return Cell("gru", (features,), init, step, back, inputs, gradient, transposed_wh, arguments=arguments)


def lstm(
    features: int,
    forget_bias: float = 1.0,
    weights: str | Initializer = lecun_normal,
    recurrent: str | Initializer = "orthogonal",
    *,
    use_bias: bool = True,
) -> Cell:
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    `peephole_lstm` has peepholes or a projection, `layer_norm_lstm` normalized net inputs.

    forward    i = σ(aᵢ)   f = σ(a_f)   g = tanh(a_g)   o = σ(aₒ)        [aᵢ, a_f, a_g, aₒ] = x Wx + h Wh + b
               c′ = f ⊙ c + i ⊙ g       h′ = y = o ⊙ tanh c′
    backward   e = dh′ + dy             s = dc′ + o ⊙ (1 − tanh² c′) ⊙ e
               δᵢ = i (1 − i) ⊙ g ⊙ s   δ_f = f (1 − f) ⊙ c ⊙ s          δ_g = (1 − g²) ⊙ i ⊙ s
               δₒ = o (1 − o) ⊙ tanh c′ ⊙ e
               dc = f ⊙ s               dh = δ Whᵀ

    The state is `LstmState(h, c)`; the order of the gates is i, f, g, o. Residuals per step: h, c, i, f, g, o, from
    which the backward pass recomputes c′.

    Args:
        features: H, the number of units.
        forget_bias: The initial bias of the forget gate; a positive one makes the memory persist at first. All other
            biases are initially 0.
        weights: The initializer of Wx, or the name of one.
        recurrent: The initializer of the four H × H blocks of Wh, or the name of one.
        use_bias: Whether to add b; without it there is no `forget_bias`.

    Raises:
        ValueError: `features` is not a positive integer, or `forget_bias` is not finite.
    """
    features = check_count("lstm", "features", features)
    use_bias = check_flag("lstm", "use_bias", use_bias)
    check_number("lstm", "forget_bias", forget_bias)
    weights, recurrent = initializer(weights), initializer(recurrent)
    gates = [slice(k * features, (k + 1) * features) for k in range(4)]

    def init(key, in_shape):
        made = initial_params("lstm", key, in_shape, features, 4, weights, recurrent, use_bias)
        return with_forget_bias(made, features, forget_bias), (features,)

    def inputs(params, x):
        return product_of_inputs("lstm", params, x, Recurrent, recurrent_shapes(features, 4, use_bias))

    def step(params, state, driven):
        h, c = state
        a = net_input(driven, matmul(h, params.wh), params.b)
        i, f, o = (jax.nn.sigmoid(a[:, gates[k]]) for k in (0, 1, 3))
        g = jnp.tanh(a[:, gates[2]])
        memory = f * widen(c) + i * g
        y = (o * jnp.tanh(memory)).astype(h.dtype)
        return LstmState(y, memory.astype(h.dtype)), y, (h, c, *(k.astype(h.dtype) for k in (i, f, g, o)))

    def back(wh_transposed, residuals, dstate, dy):
        c, i, f, g, o = (widen(k) for k in residuals[1:])
        e = widen(dstate.h) + widen(dy)
        t = jnp.tanh(f * c + i * g)
        s = widen(dstate.c) + o * (1 - t * t) * e
        parts = [i * (1 - i) * g * s, f * (1 - f) * c * s, (1 - g * g) * i * s, o * (1 - o) * t * e]
        delta = jnp.concatenate(parts, axis=1).astype(dy.dtype)
        return LstmState(matmul(delta, wh_transposed), (f * s).astype(dy.dtype)), delta

    arguments = call_text(features, forget_bias=(forget_bias, 1.0), use_bias=(use_bias, True))
    shape = LstmState((features,), (features,))
    return Cell("lstm", shape, init, step, back, inputs, gradient_of_net_inputs, transposed_wh, arguments=arguments)


def with_forget_bias(params, features: int, forget_bias):
    """Params of four gates i, f, g, o with the initial bias of the forget gate, if they have a bias."""
    if params.b is None:
        return params
    return params._replace(b=params.b.at[features : 2 * features].set(forget_bias))
