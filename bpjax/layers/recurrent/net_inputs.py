"""The net inputs x Wx + h Wh + b of recurrent cells: their parameters, gradients and checks.

x Wx is computed for all times at once. h Wh and b are added at each step, where the addition is fused with the gates;
added to x Wx beforehand, b would cost another pass over an array of all times.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import check_in_shape
from bpjax.layers.params import Shapes, check_params
from bpjax.layers.product import affine, bias_gradient, input_gradient, weight_gradient
from bpjax.types import Array
from bpjax.util.checks import check_same_dtype
from bpjax.util.precision import widen


class Recurrent(NamedTuple):
    """The parameters of a cell with G gates of H units; G = 1 in an Elman cell."""

    wx: Array  # (D, G H) from the inputs
    wh: Array  # (H, G H) from the previous state
    b: Array | None  # (G H,); None in cells without biases


def initial_params(who, key, in_shape, features, gates, weights, recurrent, use_bias=True) -> Recurrent:
    """Initial params of all gates, concatenated; the recurrent weights are drawn per gate, H × H each.

    Args:
        who: The cell, for messages.
        key: The key of the draw.
        in_shape: (D,).
        features: H.
        gates: G.
        weights: The initializer of Wx.
        recurrent: The initializer of the H × H blocks of Wh.
        use_bias: Whether there is b, initially 0.
    """
    (in_features,) = check_in_shape(who, in_shape, rank=1)
    dtype = jnp.result_type(float)
    key_x, *keys_h = jax.random.split(key, 1 + gates)
    wh = jnp.concatenate([recurrent(k, (features, features), dtype) for k in keys_h], axis=1)
    wx = weights(key_x, (in_features, gates * features), dtype)
    return Recurrent(wx, wh, jnp.zeros(gates * features, dtype) if use_bias else None)


def gradient_of_net_inputs(params, x, residuals, delta):
    """(dparams, dx) of a cell from the error signals at its net inputs; the field `gradient` of `Cell`.

    Args:
        params: `Recurrent`.
        x: Inputs (T, N, D).
        residuals: The residuals of the steps, h first.
        delta: The error signals (T, N, G H).
    """
    db = None if params.b is None else bias_gradient(delta)
    dparams = Recurrent(weight_gradient(x, delta), weight_gradient(residuals[0], delta), db)
    return dparams, input_gradient(delta, params.wx)


def transposed_wh(params) -> Array:
    """Whᵀ (G H, H), which carries errors to the previous state; the field `back_params` of `Cell`."""
    return params.wh.T


def recurrent_shapes(features: int, gates: int, use_bias: bool = True) -> Shapes:
    """The shapes of the params of G gates of H units, for `check_params`."""
    width = gates * features
    return {"wx": ("D", width), "wh": (features, width), "b": (width,) if use_bias else None}


def net_input(driven: Array, recurrent: Array, b: Array | None) -> Array:
    """x Wx + h Wh + b (N, G H) at one time, half precision widened to float32; `recurrent` is h Wh."""
    a = widen(driven) + widen(recurrent)
    return a if b is None else a + widen(b)[None, :]


def product_of_inputs(who: str, params, x: Array, kind: type, shapes: Shapes) -> Array:
    """x Wx for all times, (T, N, G H), as one matrix product, or a `ValueError` for params of other shapes.

    Args:
        who: The cell, for messages.
        params: Of the cell, with `wx`.
        x: Inputs (T, N, D).
        kind: The type of the params.
        shapes: Their shapes, as `check_params` takes them.
    """
    check_params(f"`{who}`", params, kind, shapes)
    steps, batch, in_features = x.shape
    if in_features != len(params.wx):
        raise ValueError(
            f"`{who}` expected `x` of shape (N, T, {len(params.wx)}), got {(batch, steps, in_features)}. "
            "Give `init` the `in_shape` of the data."
        )
    check_same_dtype(who, x, params.wx)
    return affine(x, params.wx)
