"""The rectifier with a learnt slope below 0."""

import functools
from typing import NamedTuple

import jax.numpy as jnp

from bpjax.layers.layer import Layer, check_any_shape
from bpjax.layers.params import check_params
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_flag, check_number, check_same_dtype
from bpjax.util.precision import widen


class Slopes(NamedTuple):
    """The parameters of `prelu`."""

    slope: Array  # (C,) one for each channel, or (1,) for all


def prelu(slope: float = 0.25, per_channel: bool = False) -> Layer:
    """y = x where x > 0, else s x, with a learnt slope s, x (N, ..., C).

    forward    y = max(x, 0) + s min(x, 0)
    backward   ds = Σ dy x over the x ≤ 0          per channel or in all
               dx = dy where x > 0, else s dy      s at x = 0, as in PyTorch

    He, Zhang, Ren & Sun 2015. The params are `Slopes`. Weight decay would pull s to 0, that is to `relu`. Residuals: x.

    Args:
        slope: The initial s.
        per_channel: A slope for each channel, (C,), instead of one for all, (1,).

    Raises:
        ValueError: `slope` is not a finite number or `per_channel` not a boolean; in `forward`, `x` has another number
            of channels or another dtype than the slopes.
    """
    check_number("prelu", "slope", slope)
    return _prelu(float(slope), check_flag("prelu", "per_channel", per_channel))


@functools.cache
def _prelu(slope: float, per_channel: bool) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        shape = check_any_shape("prelu", in_shape)
        return Slopes(jnp.full(shape[-1] if per_channel else 1, slope, jnp.result_type(float))), shape

    def forward(params, x):
        x = as_floating("prelu", "x", x)
        check_params("`prelu`", params, Slopes, {"slope": (x.shape[-1] if per_channel else 1,)})
        check_same_dtype("prelu", x, params.slope)
        return jnp.where(x > 0, x, along(params, x) * x), x

    def backward(params, x, dy):
        products = jnp.where(x > 0, 0, widen(dy) * widen(x))
        ds = products.sum(axis=tuple(range(x.ndim - 1))) if per_channel else products.sum().reshape(1)
        return Slopes(ds.astype(params.slope.dtype)), jnp.where(x > 0, dy, along(params, x) * dy)

    def along(params, x):
        return params.slope.reshape(*(1,) * (x.ndim - 1), -1)

    arguments = call_text(slope=(slope, 0.25), per_channel=(per_channel, False))
    return Layer("prelu", init, forward, backward, arguments=arguments)
