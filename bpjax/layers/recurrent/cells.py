"""Recurrent cells: Elman's and Jordan's networks, the gated recurrent unit, long short-term memory.

x (N, D) is the input at one time, h (N, H) the state before it, h′ the state after it and dh′ the error of h′. The
contribution of the inputs, x Wx + b, is computed for all times before the first step, as one matrix product. A step of
the backward pass computes only its error signal δ at the net inputs; the gradients are then one product each over the
T · N rows of all times: dWx = xᵀ δ, dWh = hᵀ δ, db = Σ δ, dx = δ Wxᵀ.

In half precision the state is rounded to the dtype of x at every step; sums and derivatives are computed in float32.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.activations import tanh
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, Parts, check_in_shape, check_layer
from bpjax.layers.product import affine, bias_gradient, input_gradient, matmul, weight_gradient
from bpjax.layers.recurrent.recurrent import Cell
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_number, check_same_dtype, other_params
from bpjax.util.precision import widen


class Recurrent(NamedTuple):
    """The parameters of a cell with G gates of H units; G = 1 in an Elman cell."""

    wx: Array  # (D, G H) from the inputs
    wh: Array  # (H, G H) from the previous state
    b: Array  # (G H,)


class Jordan(NamedTuple):
    """The parameters of a Jordan network with H hidden units and K outputs."""

    wx: Array  # (D, H) from the inputs
    wc: Array  # (K, H) from the context
    b: Array  # (H,)
    wo: Array  # (H, K) from the hidden units to the outputs
    bo: Array  # (K,)


class Gru(NamedTuple):
    """The parameters of a gated recurrent unit, its gates in the order r, z, n."""

    wx: Array  # (D, 3 H) from the inputs
    wh: Array  # (H, 3 H) from the previous state
    b: Array  # (3 H,)
    c: Array  # (H,) bias of the candidate's recurrent part, inside the reset gate


class LstmState(NamedTuple):
    """The state of a long short-term memory."""

    h: Any  # (N, H) the output
    c: Any  # (N, H) the memory


def elman(
    features: int,
    activation: Layer = tanh,
    weights: str | Initializer = lecun_normal,
    recurrent: str | Initializer = "orthogonal",
) -> Cell:
    """The simple recurrent network: hidden units with their previous values as inputs (Elman 1990).

    forward    h′ = y = φ(x Wx + h Wh + b)
    backward   δ = φ′ ⊙ (dh′ + dy)     dh = δ Whᵀ

    Residuals per step: h and the residuals of φ.

    Args:
        features: H, the number of units.
        activation: φ, any activation layer; its `backward` gives φ′.
        weights: The initializer of Wx, or the name of one.
        recurrent: The initializer of Wh, or the name of one.

    Raises:
        ValueError: `features` is not a positive integer, `activation` is not a Layer.
    """
    check_count("elman", "features", features)
    check_layer("elman", activation)
    weights, recurrent = initializer(weights), initializer(recurrent)

    def init(key, in_shape):
        return _weights("elman", key, in_shape, features, 1, weights, recurrent), (features,)

    def inputs(params, x):
        return _from_inputs("elman", params, x, features, 1)

    def step(params, h, driven):
        y, residuals = activation.forward((), driven + matmul(h, params.wh))
        return y, y, (h, residuals)

    def back(params, residuals, dh, dy):
        _, delta = activation.backward((), residuals[1], dh + dy)
        return matmul(delta, params.wh.T), delta

    parts = Parts((activation,), lambda changed: elman(features, changed, weights, recurrent))
    arguments = call_text(features, activation=(activation, tanh))
    return Cell("elman", (features,), init, step, back, inputs, _gradient, Kind.COMBINATOR, parts, arguments)


def jordan(
    features: int,
    outputs: int,
    activation: Layer = tanh,
    output: Layer = tanh,
    decay: float = 0.0,
    weights: str | Initializer = lecun_normal,
) -> Cell:
    """The network whose hidden units have its previous outputs as inputs (Jordan 1986); y is the output (N, K).

    forward    h = φ(x Wx + c Wc + b)     y = ψ(h Wo + bo)     c′ = μ c + y
    backward   δo = ψ′ ⊙ (dy + dc′)       δ = φ′ ⊙ (δo Woᵀ)    dc = μ dc′ + δ Wcᵀ

    The context c holds Jordan's state units: the previous output (μ = 0), or a decaying sum of all outputs so far. The
    weights from the outputs to the context and within the context are fixed, as in the original. There is no teacher
    forcing (the target in place of the previous output). Residuals per step: c, h and the residuals of φ and ψ.

    Args:
        features: H, the number of hidden units.
        outputs: K, the number of outputs.
        activation: φ, any activation layer.
        output: ψ, any activation layer.
        decay: μ, the fraction of the context that remains after a step.
        weights: The initializer of Wx, Wc and Wo, or the name of one.

    Raises:
        ValueError: `features` or `outputs` is not a positive integer, `decay` is not between 0 and 1, an activation
            is not a Layer.
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
        h, h_residuals = activation.forward((), driven + matmul(c, params.wc))
        y, y_residuals = output.forward((), matmul(h, params.wo) + params.bo[None, :])
        return (decay * widen(c) + widen(y)).astype(y.dtype), y, (c, h, h_residuals, y_residuals)

    def back(params, residuals, dc, dy):
        _, _, h_residuals, y_residuals = residuals
        _, delta_out = output.backward((), y_residuals, dy + dc)
        _, delta = activation.backward((), h_residuals, matmul(delta_out, params.wo.T))
        dc = decay * widen(dc) + widen(matmul(delta, params.wc.T))
        return dc.astype(dy.dtype), (delta, delta_out)

    def gradient(params, x, residuals, deltas):
        (c, h, _, _), (delta, delta_out) = residuals, deltas
        dparams = Jordan(
            weight_gradient(x, delta),
            weight_gradient(c, delta),
            bias_gradient(delta),
            weight_gradient(h, delta_out),
            bias_gradient(delta_out),
        )
        return dparams, input_gradient(delta, params.wx)

    parts = Parts((activation, output), lambda phi, psi: jordan(features, outputs, phi, psi, decay, weights))
    options = {"activation": (activation, tanh), "output": (output, tanh), "decay": (decay, 0.0)}
    arguments = call_text(features, outputs, **options)
    return Cell("jordan", (outputs,), init, step, back, inputs, gradient, Kind.COMBINATOR, parts, arguments)


def gru(features: int, weights: str | Initializer = lecun_normal, recurrent: str | Initializer = "orthogonal") -> Cell:
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

    def back(params, residuals, dh, dy):
        h, r, z, n, m = (widen(k) for k in residuals)
        e = widen(dh) + widen(dy)
        delta_n = (1 - n * n) * (1 - z) * e
        delta_z = z * (1 - z) * (h - n) * e
        delta_r = r * (1 - r) * m * delta_n
        delta = jnp.concatenate([delta_r, delta_z, delta_n], axis=1).astype(dy.dtype)
        at_state = jnp.concatenate([delta_r, delta_z, r * delta_n], axis=1).astype(dy.dtype)
        return (z * e + widen(matmul(at_state, params.wh.T))).astype(dy.dtype), delta

    def gradient(params, x, residuals, delta):
        h, r = residuals[:2]
        dm = (widen(r) * widen(delta[..., two:])).astype(delta.dtype)
        at_state = jnp.concatenate([delta[..., :two], dm], axis=-1)
        dparams = Gru(weight_gradient(x, delta), weight_gradient(h, at_state), bias_gradient(delta), bias_gradient(dm))
        return dparams, input_gradient(delta, params.wx)

    return Cell("gru", (features,), init, step, back, inputs, gradient, arguments=call_text(features))


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

    The state is `LstmState(h, c)`; the order of the gates is i, f, g, o. Residuals per step: h, c, i, f, g, o, from
    which the backward pass recomputes c′.

    Args:
        features: H, the number of units.
        forget_bias: The initial bias of the forget gate; a positive one makes the memory persist at first. All other
            biases are initially 0.
        weights: The initializer of Wx, or the name of one.
        recurrent: The initializer of the four H × H blocks of Wh, or the name of one.

    Raises:
        ValueError: `features` is not a positive integer, or `forget_bias` is not finite.
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

    def back(params, residuals, dstate, dy):
        c, i, f, g, o = (widen(k) for k in residuals[1:])
        e = widen(dstate.h) + widen(dy)
        t = jnp.tanh(f * c + i * g)
        s = widen(dstate.c) + o * (1 - t * t) * e
        parts = [i * (1 - i) * g * s, f * (1 - f) * c * s, (1 - g * g) * i * s, o * (1 - o) * t * e]
        delta = jnp.concatenate(parts, axis=1).astype(dy.dtype)
        return LstmState(matmul(delta, params.wh.T), (f * s).astype(dy.dtype)), delta

    arguments = call_text(features, forget_bias=(forget_bias, 1.0))
    shape = LstmState((features,), (features,))
    return Cell("lstm", shape, init, step, back, inputs, _gradient, arguments=arguments)


def _weights(who, key, in_shape, features, gates, weights, recurrent) -> Recurrent:
    """Initial weights of all gates, concatenated; the recurrent ones are drawn per gate, H × H each."""
    (in_features,) = check_in_shape(who, in_shape, rank=1)
    dtype = jnp.result_type(float)
    key_x, *keys_h = jax.random.split(key, 1 + gates)
    wh = jnp.concatenate([recurrent(k, (features, features), dtype) for k in keys_h], axis=1)
    wx = weights(key_x, (in_features, gates * features), dtype)
    return Recurrent(wx, wh, jnp.zeros(gates * features, dtype))


def _gradient(params, x, residuals, delta):
    """(dparams, dx) of cells with net inputs x Wx + h Wh + b, whose first residual is h."""
    dparams = Recurrent(weight_gradient(x, delta), weight_gradient(residuals[0], delta), bias_gradient(delta))
    return dparams, input_gradient(delta, params.wx)


def _check_params(who: str, params, shapes: dict) -> None:
    got = {name: getattr(getattr(params, name, None), "shape", None) for name in shapes}
    if got != shapes:
        raise other_params(f"`{who}`", f"with {shapes}", params)


def _from_inputs(who: str, params, x: Array, features: int, gates: int) -> Array:
    _check_params(who, params, {"wh": (features, gates * features)})
    return _driven(who, params, x)


def _driven(who: str, params, x: Array) -> Array:
    """x Wx + b for all times, (T, N, G H), as one matrix product."""
    steps, batch, in_features = x.shape
    if in_features != len(params.wx):
        raise ValueError(
            f"`{who}` expected `x` of shape (N, T, {len(params.wx)}), got {(batch, steps, in_features)}. "
            "Give `init` the `in_shape` of the data."
        )
    check_same_dtype(who, x, params.wx)
    return affine(x, params.wx, params.b)
