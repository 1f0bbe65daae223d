"""Recurrent cells: Elman's and Jordan's networks. The gated ones are in `gated`.

x (N, D) is the input at one time, h (N, H) the state before it, h′ the state after it and dh′ the error of h′. The
contribution of the inputs, x Wx, is computed for all times before the first step, as one matrix product. A step of
the backward pass computes only its error signal δ at the net inputs; the gradients are then one product each over the
T · N rows of all times: dWx = xᵀ δ, dWh = hᵀ δ, db = Σ δ, dx = δ Wxᵀ.

In half precision the state is rounded to the dtype of x at every step; sums and derivatives are computed in float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.activations import tanh
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, Parts, check_in_shape, check_layer
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


class Jordan(NamedTuple):
    """The parameters of a Jordan network with H hidden units and K outputs."""

    wx: Array  # (D, H) from the inputs
    wc: Array  # (K, H) from the context
    b: Array  # (H,)
    wo: Array  # (H, K) from the hidden units to the outputs
    bo: Array  # (K,)


def elman(
    features: int,
    activation: Layer = tanh,
    weights: str | Initializer = lecun_normal,
    recurrent: str | Initializer = "orthogonal",
    *,
    use_bias: bool = True,
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
        use_bias: Whether to add b.

    Raises:
        ValueError: `features` is not a positive integer, `activation` is not a Layer.
    """
    features = check_count("elman", "features", features)
    use_bias = check_flag("elman", "use_bias", use_bias)
    check_layer("elman", activation)
    weights, recurrent = initializer(weights), initializer(recurrent)

    def init(key, in_shape):
        return initial_params("elman", key, in_shape, features, 1, weights, recurrent, use_bias), (features,)

    def inputs(params, x):
        return product_of_inputs("elman", params, x, Recurrent, recurrent_shapes(features, 1, use_bias))

    def step(params, h, driven):
        y, residuals = activation.forward((), net_input(driven, matmul(h, params.wh), params.b).astype(h.dtype))
        return y, y, (h, residuals)

    def back(wh_transposed, residuals, dh, dy):
        _, delta = activation.backward((), residuals[1], dh + dy)
        return matmul(delta, wh_transposed), delta

    parts = Parts((activation,), lambda changed: elman(features, changed, weights, recurrent, use_bias=use_bias))
    arguments = call_text(features, activation=(activation, tanh), use_bias=(use_bias, True))
    return Cell(
        "elman", (features,), init, step, back, inputs, gradient_of_net_inputs, transposed_wh,
        Kind.COMBINATOR, parts, arguments,
    )  # fmt: skip


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
    features = check_count("jordan", "features", features)
    outputs = check_count("jordan", "outputs", outputs)
    check_number("jordan", "decay", decay, least=0.0, most=1.0)
    check_layer("jordan", activation)
    check_layer("jordan", output)
    weights = initializer(weights)

    n, k = features, outputs
    shapes = {"wx": ("D", n), "wc": (k, n), "b": (n,), "wo": (n, k), "bo": (k,)}

    def init(key, in_shape):
        (in_features,) = check_in_shape("jordan", in_shape, rank=1)
        dtype = jnp.result_type(float)
        key_x, key_c, key_o = jax.random.split(key, 3)
        wx, wc = weights(key_x, (in_features, features), dtype), weights(key_c, (outputs, features), dtype)
        wo = weights(key_o, (features, outputs), dtype)
        return Jordan(wx, wc, jnp.zeros(features, dtype), wo, jnp.zeros(outputs, dtype)), (outputs,)

    def inputs(params, x):
        return product_of_inputs("jordan", params, x, Jordan, shapes)

    def step(params, c, driven):
        a = net_input(driven, matmul(c, params.wc), params.b)
        h, h_residuals = activation.forward((), a.astype(c.dtype))
        y, y_residuals = output.forward((), matmul(h, params.wo) + params.bo[None, :])
        return (decay * widen(c) + widen(y)).astype(y.dtype), y, (c, h, h_residuals, y_residuals)

    def back_params(params):
        return params.wc.T, params.wo.T

    def back(transposed, residuals, dc, dy):
        wc_transposed, wo_transposed = transposed
        _, _, h_residuals, y_residuals = residuals
        _, delta_out = output.backward((), y_residuals, dy + dc)
        _, delta = activation.backward((), h_residuals, matmul(delta_out, wo_transposed))
        dc = decay * widen(dc) + widen(matmul(delta, wc_transposed))
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
    return Cell(
        "jordan", (outputs,), init, step, back, inputs, gradient, back_params, Kind.COMBINATOR, parts, arguments
    )
