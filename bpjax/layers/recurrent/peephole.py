"""Long short-term memory with peepholes, and with a projection of its output. Notation as in `gated`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import check_in_shape
from bpjax.layers.product import bias_gradient, input_gradient, matmul, weight_gradient
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.gated import LstmState, with_forget_bias
from bpjax.layers.recurrent.net_inputs import net_input, product_of_inputs
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag, check_number
from bpjax.util.precision import widen


class PeepholeLstm(NamedTuple):
    """The parameters of H memory cells with P outputs, its gates in the order i, f, g, o."""

    wx: Array  # (D, 4 H) from the inputs
    wh: Array  # (P, 4 H) from the previous outputs
    b: Array | None  # (4 H,)
    peepholes: Array | None  # (3, H) from the memory to the gates i, f and o
    wp: Array | None  # (H, P) the projection; None: P = H


def peephole_lstm(
    features: int,
    projection: int | None = None,
    forget_bias: float = 1.0,
    weights: str | Initializer = lecun_normal,
    *,
    peepholes: bool = True,
    use_bias: bool = True,
) -> Cell:
    """Long short-term memory whose gates see the memory (Gers & Schmidhuber 2000), with P outputs (Sak et al. 2014).

    forward    i = σ(aᵢ + pᵢ ⊙ c)   f = σ(a_f + p_f ⊙ c)   g = tanh(a_g)        [aᵢ, a_f, a_g, aₒ] = x Wx + h Wh + b
               c′ = f ⊙ c + i ⊙ g    o = σ(aₒ + pₒ ⊙ c′)    m = o ⊙ tanh c′      h′ = y = m Wp
    backward   e = (dh′ + dy) Wpᵀ    δₒ = o (1 − o) ⊙ tanh c′ ⊙ e
               s = dc′ + o ⊙ (1 − tanh² c′) ⊙ e + pₒ ⊙ δₒ
               δᵢ = i (1 − i) ⊙ g ⊙ s    δ_f = f (1 − f) ⊙ c ⊙ s    δ_g = (1 − g²) ⊙ i ⊙ s
               dc = f ⊙ s + pᵢ ⊙ δᵢ + p_f ⊙ δ_f             dh = δ Whᵀ
               dpᵢ = Σ c ⊙ δᵢ     dp_f = Σ c ⊙ δ_f     dpₒ = Σ c′ ⊙ δₒ     dWp = Σ mᵀ (dh′ + dy)

    The input and forget gates see the old memory, the output gate the new one. Errors flow through the peepholes; in
    the original they were cut there. Without a projection h′ = m. The state is `LstmState(h, c)`. Residuals per step:
    h, c, i, f, g, o. With `peepholes=False` and a projection it is PyTorch's LSTM with `proj_size`.

    Args:
        features: H, the number of memory cells.
        projection: P, the number of outputs; H without a projection by default.
        forget_bias: The initial bias of the forget gate; all other biases and the peepholes are initially 0.
        weights: The initializer of Wx, Wh and Wp, or the name of one.
        peepholes: Whether the gates see the memory.
        use_bias: Whether to add b.

    Raises:
        ValueError: `features` or `projection` is not a positive integer, or `forget_bias` is not finite.
    """
    who = "peephole_lstm"
    features = check_count(who, "features", features)
    out = features if projection is None else check_count(who, "projection", projection)
    check_number(who, "forget_bias", forget_bias)
    peepholes, use_bias = check_flag(who, "peepholes", peepholes), check_flag(who, "use_bias", use_bias)
    weights = initializer(weights)
    shapes = {
        "wx": ("D", 4 * features),
        "wh": (out, 4 * features),
        "b": (4 * features,) if use_bias else None,
        "peepholes": (3, features) if peepholes else None,
        "wp": None if projection is None else (features, out),
    }

    def init(key, in_shape):
        (in_features,) = check_in_shape(who, in_shape, rank=1)
        dtype = jnp.result_type(float)
        keys = jax.random.split(key, 3)
        drawn = [(in_features, 4 * features), (out, 4 * features), shapes["wp"]]
        wx, wh, wp = (s and weights(k, s, dtype) for k, s in zip(keys, drawn, strict=True))
        b, p = (s and jnp.zeros(s, dtype) for s in (shapes["b"], shapes["peepholes"]))
        return with_forget_bias(PeepholeLstm(wx, wh, b, p, wp), features, forget_bias), (out,)

    def inputs(params, x):
        return product_of_inputs(who, params, x, PeepholeLstm, shapes)

    def step(params, state, driven):
        h, c = state
        a_i, a_f, a_g, a_o = jnp.split(net_input(driven, matmul(h, params.wh), params.b), 4, axis=1)
        p_i, p_f, p_o = seen(params.peepholes)
        i, f, g = jax.nn.sigmoid(a_i + p_i * widen(c)), jax.nn.sigmoid(a_f + p_f * widen(c)), jnp.tanh(a_g)
        memory = f * widen(c) + i * g
        o = jax.nn.sigmoid(a_o + p_o * memory)
        m = (o * jnp.tanh(memory)).astype(h.dtype)
        y = m if params.wp is None else matmul(m, params.wp)
        return LstmState(y, memory.astype(h.dtype)), y, (h, c, *(k.astype(h.dtype) for k in (i, f, g, o)))

    def back_params(params):
        return params.wh.T, params.peepholes, None if params.wp is None else params.wp.T

    def back(weights, residuals, dstate, dy):
        wh_transposed, p, wp_transposed = weights
        p_i, p_f, p_o = seen(p)
        c, i, f, g, o = (widen(k) for k in residuals[1:])
        error = dstate.h + dy
        e = widen(error if wp_transposed is None else matmul(error, wp_transposed))
        t = jnp.tanh(f * c + i * g)
        d_o = o * (1 - o) * t * e
        s = widen(dstate.c) + o * (1 - t * t) * e + p_o * d_o
        d_i, d_f, d_g = i * (1 - i) * g * s, f * (1 - f) * c * s, (1 - g * g) * i * s
        delta = jnp.concatenate([d_i, d_f, d_g, d_o], axis=1).astype(dy.dtype)
        dc = (f * s + p_i * d_i + p_f * d_f).astype(dy.dtype)
        return LstmState(matmul(delta, wh_transposed), dc), (delta, error)

    def gradient(params, x, residuals, deltas):
        delta, error = deltas
        h, c, i, f, g, o = residuals
        memory = widen(f) * widen(c) + widen(i) * widen(g)
        m = (widen(o) * jnp.tanh(memory)).astype(h.dtype)
        dp = None
        if params.peepholes is not None:
            d_i, d_f, _, d_o = jnp.split(widen(delta), 4, axis=-1)
            dp = jnp.stack([(a * d).sum(axis=(0, 1)) for a, d in ((widen(c), d_i), (widen(c), d_f), (memory, d_o))])
        dparams = PeepholeLstm(
            weight_gradient(x, delta),
            weight_gradient(h, delta),
            None if params.b is None else bias_gradient(delta),
            None if dp is None else dp.astype(delta.dtype),
            None if params.wp is None else weight_gradient(m, error),
        )
        return dparams, input_gradient(delta, params.wx)

    def seen(p):
        """The peepholes of i, f and o, (1, H) each, or zeros."""
        return (0.0, 0.0, 0.0) if p is None else tuple(widen(p)[k][None, :] for k in range(3))

    options = {"peepholes": (peepholes, True), "use_bias": (use_bias, True)}
    arguments = call_text(features, projection=(projection, None), forget_bias=(forget_bias, 1.0), **options)
    shape = LstmState((out,), (features,))
    return Cell("peephole_lstm", shape, init, step, back, inputs, gradient, back_params, arguments=arguments)
