"""Lp pooling: the norm of every window."""

import functools

import jax
import jax.numpy as jnp

from bpjax.layers.convolution.pooling import pool_init, pool_text, pool_windows
from bpjax.layers.convolution.windows import Padding, Placed, Windows, add, check_image, place, seen, sent_back
from bpjax.layers.layer import Layer
from bpjax.types import Array, Shape
from bpjax.util.checks import check_number
from bpjax.util.precision import widen


def lp_pool(
    power: float,
    window: int | Shape,
    stride: int | Shape | None = None,
    padding: Padding = "VALID",
    dilation: int | Shape = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The Lp norm of every window in each channel, x (N, *spatial, C) to y (N, *O, C).

    forward    y_o  = (Σₜ |x_(s·o + d·t − low)|^p)^(1/p)
    backward   dx_i = Σ dy_o sign(x_i) (|x_i| / y_o)^(p − 1)       over the windows o that contain i

    Where all values of a window are 0, y = 0 and dx = 0. Powers are taken of |x| / max |x|, which cannot overflow.
    Sermanet, Chintala & LeCun 2012. `torch.nn.LPPool2d` differs in two ways: it takes x^p without |·|, which is NaN for
    odd p and a negative sum, and in ceil mode it scales the last windows as if they were whole. Residuals: x and y.

    Args:
        power: p ≥ 1; 1 gives sums of |x|, large p approaches the maximum of |x|.
        window: The size of a window, as in `max_pool`.
        stride: s, an integer or one per spatial axis; the size of the window by default.
        padding: "SAME", "VALID" or a pair (low, high) of zeros for each spatial axis, smaller than the window.
        dilation: d, an integer or one per spatial axis.
        ceil_mode: As in `max_pool`.

    Raises:
        ValueError: `power` is not a finite number ≥ 1; otherwise as `max_pool`.
    """
    check_number("lp_pool", "power", power, least=1.0)
    return _lp_pool(float(power), pool_windows("lp_pool", window, stride, padding, dilation, ceil_mode))


@functools.cache
def _lp_pool(p: float, shape: Windows) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def forward(params, x):
        x = check_image("lp_pool", x, shape.rank)
        y = _norms(widen(x), place("lp_pool", shape, x.shape[1:-1]), p).astype(x.dtype)
        return y, (x, y)

    def backward(params, residuals, dy):
        x, y = residuals
        at, wide, norm = place("lp_pool", shape, x.shape[1:-1]), widen(dy), widen(y)
        some = jnp.where(norm == 0, 1.0, norm)
        pieces = [wide * jnp.sign(x_t) * (jnp.abs(x_t) / some) ** (p - 1) for x_t in seen(widen(x), at)]
        return (), sent_back(pieces, at).astype(dy.dtype)

    arguments = f"{p:g}, {pool_text(shape)}"
    return Layer("lp pool", pool_init("lp_pool", shape), forward, backward, arguments=arguments)


def _norms(x: Array, at: Placed, p: float) -> Array:
    """m (Σ (|x| / m)^p)^(1/p) for every window, with its largest |x| as m, a constant for derivatives by JAX."""
    sizes = [jnp.abs(x_t) for x_t in seen(x, at)]
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, sizes))
    scale = jnp.where((largest == 0) | (largest == jnp.inf), 1.0, largest)
    powers = add((size / scale) ** p for size in sizes)
    return jnp.where(largest == 0, 0.0, scale * jnp.where(largest == 0, 1.0, powers) ** (1 / p))
