"""The classic cells: Elman's and Jordan's networks, the gated recurrent unit, long short-term memory.

x is the input of a time (N, D), h the state before it (N, H); a prime marks the state after it, and dh′ its error. What
the inputs contribute, x Wx + b, is one product for all times before the first step. On the way back a step makes only
its error signal δ, at the net inputs; from the δ of all times each weight's gradient is again one product, over T · N
rows: dWx = xᵀ δ, dWh = hᵀ δ, db = Σ δ, dx = δ Wxᵀ.

In half precision the state is rounded at every step, to the dtype of x; sums and slopes are taken in float32.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.activations import tanh
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Layer, check_in_shape, check_layer
from bpjax.layers.product import affine, bias_gradient, input_gradient, matmul, weight_gradient
from bpjax.layers.recurrent.recurrent import Cell
from bpjax.types import Array
from bpjax.util.checks import check_count, check_number, check_same_dtype, other_params
from bpjax.util.precision import widen


class Recurrent(NamedTuple):
    """The parameters of a cell with G gates of H units; an Elman cell has one, its only."""

    wx: Array  # (D, G H) from the inputs
    wh: Array  # (H, G H) from the state before
    b: Array  # (G H,)


class Jordan(NamedTuple):
    """The parameters of a Jordan network with H hidden units and K outputs."""

    wx: Array  # (D, H) from the inputs
    wc: Array  # (K, H) from the context
    b: Array  # (H,)
    wo: Array  # (H, K) from the hidden units to the outputs
    bo: Array  # (K,)


class Gru(NamedTuple):
    """The parameters of a gated recurrent unit; gates in the order r, z, n."""

    wx: Array  # (D, 3 H) from the inputs
    wh: Array  # (H, 3 H) from the state before
    b: Array  # (3 H,)
    c: Array  # (H,) bias of the candidate's recurrent part, inside the reset gate


class LstmState(NamedTuple):
    """What a long short-term memory carries along."""

    h: Any  # (N, H) the output
    c: Any  # (N, H) the memory


def elman(
    features: int,
    activation: Layer = tanh,
    weights: str | Initializer = lecun_normal,
    recurrent: str | Initializer = "orthogonal",
) -> Cell:
    """The simple recurrent network: hidden units that see their own last values (Elman 1990).

    forward    h′ = y = φ(x Wx + h Wh + b)
    backward   δ = φ′ ⊙ (dh′ + dy)     dh = δ Whᵀ

    Kept of each step: h, and what φ keeps. `activation` is any activation layer, its own backward is used.

    Raises:
        ValueError: `features` is not a positive integer, `activation` not a Layer.
    """
    check_count("elman", "features", features)
    check_layer("elman", activation)
    weights, recurrent = initializer(weights), initializer(recurrent)

    def init(key, in_shape):
        return _weights("elman", key, in_shape, features, 1, weights, recurrent), (features,)

    def inputs(params, x):
        return _from_inputs("elman", params, x, features, 1)

    def step(params, h, driven):
        y, kept = activation.forward((), driven + matmul(h, params.wh))
        return y, y, (h, kept)

    def back(params, kept, dh, dy):
        _, delta = activation.backward((), kept[1], dh + dy)
        return matmul(delta, params.wh.T), delta

    rebuild = lambda changed: elman(features, changed, weights, recurrent)
    return Cell("elman", (features,), init, step, back, inputs, _gradient, (activation,), rebuild)


def jordan(
    features: int,
    outputs: int,
    activation: Layer = tanh,
    output: Layer = tanh,
    decay: float = 0.0,
    weights: str | Initializer = lecun_normal,
) -> Cell:
    """The network whose hidden units see its last outputs (Jordan 1986); y is the output (N, K).

    forward    h = φ(x Wx + c Wc + b)     y = ψ(h Wo + bo)     c′ = μ c + y
    backward   δo = ψ′ ⊙ (dy + dc′)       δ = φ′ ⊙ (δo Woᵀ)    dc = μ dc′ + δ Wcᵀ

    The context c holds the last output, with `decay` μ a fading sum of all outputs so far: Jordan's state units, which
    feed back into themselves. Weights there are fixed, not learnt, as his were. Teacher forcing, which puts the target
    in place of the output, is not done. Kept of each step: c, h and what φ and ψ keep.

    Raises:
        ValueError: `features` or `outputs` is not a positive integer, `decay` not between 0 and 1, an
            activation not a Layer.
    """
    check_count("jordan", "features", features)
    check_count("jordan", "outputs", outputs)
    check_number("jordan", "decay", decay, least=0.0, most=1.0)
    check_layer("jordan", activation)
    check_layer("jordan", output)
    weights = initializer(weights)

    def init(key, in_shape):
        (in_features,) = check_in_shape("jordan", in_shape, rank=1)
        dtype = jnp.result_type(float)
        key_x, key_c, key_o = jax.random.split(key, 3)
        wx, wc = weights(key_x, (in_features, features), dtype), weights(key_c, (outputs, features), dtype)
        wo = weights(key_o, (features, outputs), dtype)
        return Jordan(wx, wc, jnp.zeros(features, dtype), wo, jnp.zeros(outputs, dtype)), (outputs,)

    def inputs(params, x):
        _check_params("jordan", params, {"wc": (outputs, features), "wo": (features, outputs)})
        return _driven("jordan", params, x)

    def step(params, c, driven):
        h, kept_h = activation.forward((), driven + matmul(c, params.wc))
        y, kept_y = output.forward((), matmul(h, params.wo) + params.bo[None, :])
        return (decay * widen(c) + widen(y)).astype(y.dtype), y, (c, h, kept_h, kept_y)

    def back(params, kept, dc, dy):
        _, _, kept_h, kept_y = kept
        _, delta_out = output.backward((), kept_y, dy + dc)
        _, delta = activation.backward((), kept_h, matmul(delta_out, params.wo.T))
        dc = decay * widen(dc) + widen(matmul(delta, params.wc.T))
        return dc.astype(dy.dtype), (delta, delta_out)

    def gradient(params, x, kept, deltas):
        (c, h, _, _), (delta, delta_out) = kept, deltas
        dparams = Jordan(
            weight_gradient(x, delta),
            weight_gradient(c, delta),
            bias_gradient(delta),
            weight_gradient(h, delta_out),
            bias_gradient(delta_out),
        )
        return dparams, input_gradient(delta, params.wx)

    rebuild = lambda phi, psi: jordan(features, outputs, phi, psi, decay, weights)
    return Cell("jordan", (outputs,), init, step, back, inputs, gradient, (activation, output), rebuild)


def gru(features: int, weights: str | Initializer = lecun_normal, recurrent: str | Initializer = "orthogonal") -> Cell:
    """The gated recurrent unit (Cho et al. 2014), with the reset gate after the product, so that there is only one.

    forward    r = σ(x Wr + h Ur + br)     z = σ(x Wz + h Uz + bz)     m = h Un + c     n = tanh(x Wn + bn + r ⊙ m)
               h′ = y = (1 − z) ⊙ n + z ⊙ h
    backward   e = dh′ + dy                δz = z (1 − z) ⊙ (h − n) ⊙ e
               δn = (1 − n²) ⊙ (1 − z) ⊙ e                             dm = r ⊙ δn
               δr = r (1 − r) ⊙ m ⊙ δn     dh = z ⊙ e + δr Urᵀ + δz Uzᵀ + dm Unᵀ

    Cho's first form resets before the product, (r ⊙ h) Un; this one is cuDNN's and PyTorch's. [Wr, Wz, Wn] are `wx`,
    [Ur, Uz, Un] `wh`, [br, bz, bn] `b`. Kept of each step: h, r, z, n, m.

    Raises:
        ValueError: `features` is not a positive integer.
    """
    check_count("gru", "features", features)
    weights, recurrent = initializer(weights), initializer(recurrent)
    one, two = features, 2 * features

    def init(key, in_shape):
        made = _weights("gru", key, in_shape, features, 3, weights, recurrent)
        return Gru(*made, c=jnp.zeros(features, made.b.dtype)), (features,)

    def inputs(params, x):
        return _from_inputs("gru", params, x, features, 3)

    def step(params, h, driven):
        a, u = widen(driven), widen(matmul(h, params.wh))
        r = jax.nn.sigmoid(a[:, :one] + u[:, :one])
        z = jax.nn.sigmoid(a[:, one:two] + u[:, one:two])
        m = u[:, two:] + widen(params.c)[None, :]
        n = jnp.tanh(a[:, two:] + r * m)
        y = ((1 - z) * n + z * widen(h)).astype(h.dtype)
        return y, y, (h, *(k.astype(h.dtype) for k in (r, z, n, m)))

    def back(params, kept, dh, dy):
        h, r, z, n, m = (widen(k) for k in kept)
        e = widen(dh) + widen(dy)
        delta_n = (1 - n * n) * (1 - z) * e
        delta_z = z * (1 - z) * (h - n) * e
        delta_r = r * (1 - r) * m * delta_n
        delta = jnp.concatenate([delta_r, delta_z, delta_n], axis=1).astype(dy.dtype)
        at_state = jnp.concatenate([delta_r, delta_z, r * delta_n], axis=1).astype(dy.dtype)
        return (z * e + widen(matmul(at_state, params.wh.T))).astype(dy.dtype), delta

    def gradient(params, x, kept, delta):
        h, r = kept[:2]
        dm = (widen(r) * widen(delta[..., two:])).astype(delta.dtype)
        at_state = jnp.concatenate([delta[..., :two], dm], axis=-1)
        dparams = Gru(weight_gradient(x, delta), weight_gradient(h, at_state), bias_gradient(delta), bias_gradient(dm))
        return dparams, input_gradient(delta, params.wx)

    return Cell("gru", (features,), init, step, back, inputs, gradient)


def lstm(
    features: int,
    forget_bias: float = 1.0,
    weights: str | Initializer = lecun_normal,
    recurrent: str | Initializer = "orthogonal",
) -> Cell:
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000), without peepholes.

    forward    i = σ(aᵢ)   f = σ(a_f)   g = tanh(a_g)   o = σ(aₒ)        [aᵢ, a_f, a_g, aₒ] = x Wx + h Wh + b
               c′ = f ⊙ c + i ⊙ g       h′ = y = o ⊙ tanh c′
    backward   e = dh′ + dy             s = dc′ + o ⊙ (1 − tanh² c′) ⊙ e
               δᵢ = i (1 − i) ⊙ g ⊙ s   δ_f = f (1 − f) ⊙ c ⊙ s          δ_g = (1 − g²) ⊙ i ⊙ s
               δₒ = o (1 − o) ⊙ tanh c′ ⊙ e
               dc = f ⊙ s               dh = δ Whᵀ

    The state is `LstmState(h, c)`, the gates stand in the order i, f, g, o. b begins as 0, `forget_bias` at the forget
    gate: at first, memory is kept. Kept of each step: h, c, i, f, g, o; c′ is made again from them.

    Raises:
        ValueError: `features` is not a positive integer, or `forget_bias` not finite.
    """
    check_count("lstm", "features", features)
    check_number("lstm", "forget_bias", forget_bias)
    weights, recurrent = initializer(weights), initializer(recurrent)
    gates = [slice(k * features, (k + 1) * features) for k in range(4)]

    def init(key, in_shape):
        made = _weights("lstm", key, in_shape, features, 4, weights, recurrent)
        return made._replace(b=made.b.at[gates[1]].set(forget_bias)), (features,)

    def inputs(params, x):
        return _from_inputs("lstm", params, x, features, 4)

    def step(params, state, driven):
        h, c = state
        a = widen(driven) + widen(matmul(h, params.wh))
        i, f, o = (jax.nn.sigmoid(a[:, gates[k]]) for k in (0, 1, 3))
        g = jnp.tanh(a[:, gates[2]])
        memory = f * widen(c) + i * g
        y = (o * jnp.tanh(memory)).astype(h.dtype)
        return LstmState(y, memory.astype(h.dtype)), y, (h, c, *(k.astype(h.dtype) for k in (i, f, g, o)))

    def back(params, kept, dstate, dy):
        c, i, f, g, o = (widen(k) for k in kept[1:])
        e = widen(dstate.h) + widen(dy)
        t = jnp.tanh(f * c + i * g)
        s = widen(dstate.c) + o * (1 - t * t) * e
        parts = [i * (1 - i) * g * s, f * (1 - f) * c * s, (1 - g * g) * i * s, o * (1 - o) * t * e]
        delta = jnp.concatenate(parts, axis=1).astype(dy.dtype)
        return LstmState(matmul(delta, params.wh.T), (f * s).astype(dy.dtype)), delta

    return Cell("lstm", LstmState((features,), (features,)), init, step, back, inputs, _gradient)


def _weights(who, key, in_shape, features, gates, weights, recurrent) -> Recurrent:
    """Weights of all gates beside one another; those from the state drawn gate by gate, each H × H."""
    (in_features,) = check_in_shape(who, in_shape, rank=1)
    dtype = jnp.result_type(float)
    key_x, *keys_h = jax.random.split(key, 1 + gates)
    wh = jnp.concatenate([recurrent(k, (features, features), dtype) for k in keys_h], axis=1)
    wx = weights(key_x, (in_features, gates * features), dtype)
    return Recurrent(wx, wh, jnp.zeros(gates * features, dtype))


def _gradient(params, x, kept, delta):
    """(dparams, dx) of the cells whose δ is at x Wx + h Wh + b, h the first that is kept."""
    dparams = Recurrent(weight_gradient(x, delta), weight_gradient(kept[0], delta), bias_gradient(delta))
    return dparams, input_gradient(delta, params.wx)


def _check_params(who: str, params, shapes: dict) -> None:
    got = {name: getattr(getattr(params, name, None), "shape", None) for name in shapes}
    if got != shapes:
        raise other_params(f"`{who}`", f"with {shapes}", params)


def _from_inputs(who: str, params, x: Array, features: int, gates: int) -> Array:
    _check_params(who, params, {"wh": (features, gates * features)})
    return _driven(who, params, x)


def _driven(who: str, params, x: Array) -> Array:
    """X Wx + b for all times (T, N, G H): one matrix product."""
    steps, batch, in_features = x.shape
    if in_features != len(params.wx):
        raise ValueError(
            f"`{who}` expected `x` of shape (N, T, {len(params.wx)}), got {(batch, steps, in_features)}. "
            "Give `init` the `in_shape` of the data."
        )
    check_same_dtype(who, x, params.wx)
    return affine(x, params.wx, params.b)
