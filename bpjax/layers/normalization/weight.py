"""Weight normalization: the length and the direction of a unit's weights are separate parameters."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal, zeros
from bpjax.layers.layer import Layer, check_in_shape
from bpjax.layers.params import check_params
from bpjax.layers.product import bias_gradient, input_gradient, matmul, weight_gradient
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_features, check_flag, check_same_dtype
from bpjax.util.precision import widen


class WeightNormed(NamedTuple):
    """The parameters of a dense layer with weights g v / ‖v‖."""

    v: Array  # (D, H) the direction of each unit's weights, of any length
    g: Array  # (H,) their length
    b: Array | None = None  # (H,) bias, the weight from the on-neuron; None without bias


def weight_norm(
    features: int,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """A dense layer whose weights are the product of a length and a direction, x (N, D) to y (N, H).

    forward    wₕ = gₕ vₕ / ‖vₕ‖     y = x W + b
    backward   dW = xᵀ dy     dgₕ = dwₕ · vₕ / ‖vₕ‖     dvₕ = (gₕ / ‖vₕ‖) (dwₕ − dgₕ vₕ / ‖vₕ‖)     dx = dy Wᵀ

    Salimans & Kingma 2016, eqs 2 and 3. dv is orthogonal to v, so under gradient descent ‖v‖ only grows, and its growth
    makes the effective steps smaller. Initially g = ‖v‖, so W = v as in `dense`. Deviation: the paper initializes g and
    b from the first batch. A unit with v = 0 has no direction: its weights, dg and dv are 0. Residuals: x.

    With other weights B (feedback alignment), `backward` uses the lengths and directions of B, in dv and dg too. So the
    gradient is not exact even in the last layer, where that of a dense layer is.

    Args:
        features: H, the number of units.
        use_bias: Whether there is a bias b.
        weights: The initializer of v, or the name of one.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: as `dense`.
    """
    features = check_count("weight_norm", "features", features)
    use_bias = check_flag("weight_norm", "use_bias", use_bias)
    return _weight_norm(features, use_bias, initializer(weights), initializer(biases))


@functools.cache
def _weight_norm(features: int, use_bias: bool, weights: Initializer, biases: Initializer) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""
    who = f"`weight_norm({features}, use_bias={use_bias})`"
    shapes = {"v": ("D", features), "g": (features,), "b": (features,) if use_bias else None}

    def init(key, in_shape):
        (in_features,) = check_in_shape("weight_norm", in_shape, rank=1)
        key_v, key_b = jax.random.split(key)
        dtype = jnp.result_type(float)
        v = weights(key_v, (in_features, features), dtype)
        b = biases(key_b, (features,), dtype) if use_bias else None
        return WeightNormed(v, jnp.linalg.norm(v, axis=0), b), (features,)

    def forward(params, x):
        check_params(who, params, WeightNormed, shapes)
        x = check_features("weight_norm", x, len(params.v))
        check_same_dtype("weight_norm", x, params.v)
        y = matmul(x, normed(params))
        return (y + params.b[None, :] if use_bias else y), x

    def backward(params, x, dy):
        direction, inverse = split(params.v)
        dw = weight_gradient(widen(x), widen(dy))
        dg = (dw * direction).sum(axis=0)
        dv = (widen(params.g) * inverse)[None, :] * (dw - dg[None, :] * direction)
        db = bias_gradient(dy) if use_bias else None
        dparams = WeightNormed(dv.astype(params.v.dtype), dg.astype(params.g.dtype), db)
        return dparams, input_gradient(dy, normed(params))

    def normed(params):
        return (split(params.v)[0] * widen(params.g)[None, :]).astype(params.v.dtype)

    def split(v):
        """The directions v / ‖v‖ and the factors 1 / ‖v‖, both 0 where v = 0."""
        v = widen(v)
        largest = jax.lax.stop_gradient(jnp.abs(v).max(axis=0))  # without it v² would overflow or vanish
        scale = jnp.where(largest > 0, largest, 1.0)
        square = jnp.square(v / scale[None, :]).sum(axis=0)
        inverse = jnp.where(largest == 0, 0.0, 1 / jnp.sqrt(jnp.where(largest == 0, 1.0, square)) / scale)
        return v * inverse[None, :], inverse

    arguments = call_text(features, use_bias=(use_bias, True))
    return Layer("weight norm", init, forward, backward, arguments=arguments)
