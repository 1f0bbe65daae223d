"""Layers without arithmetic: they reshape each example, or select positions."""

import math

import jax.numpy as jnp
import numpy as np

from bpjax.layers.layer import Layer, as_shape, check_any_shape
from bpjax.types import Shape
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_count


def reshape(shape: Shape) -> Layer:
    """Each example reshaped, x (N, ...) to y (N, *shape), last axis fastest.

    forward    y = x in `shape`
    backward   dx = dy in the shape of x

    One entry of `shape` may be −1, which is inferred from the others. Residuals: an empty array with the shape of x.

    Raises:
        ValueError: `shape` holds anything else than positive integers and at most one −1; in `init` and `forward`,
            the size of an example is not that of `shape`.
    """
    shape = tuple(-1 if _is_minus_one(size) else check_count("reshape", "shape", size) for size in as_shape(shape))
    if shape.count(-1) > 1:
        raise ValueError(f"`reshape` expected at most one −1 in `shape`, got {shape}.")
    known = math.prod(size for size in shape if size != -1)

    def filled(in_shape):
        total = math.prod(in_shape)
        if total % known or (-1 not in shape and total != known):
            raise ValueError(
                f"`reshape({shape})` expected examples of {'a multiple of ' * (-1 in shape)}{known} value(s), got "
                f"{total}, shape {tuple(in_shape)}."
            )
        return tuple(total // known if size == -1 else size for size in shape)

    def init(key, in_shape):
        return (), filled(check_any_shape("reshape", in_shape))

    def forward(params, x):
        x = as_floating("reshape", "x", x)
        return x.reshape(len(x), *filled(x.shape[1:])), x[:0]

    def backward(params, empty, dy):
        return (), dy.reshape(len(dy), *empty.shape[1:])

    return Layer("reshape", init, forward, backward, arguments=call_text(shape))


def _is_minus_one(size) -> bool:
    return isinstance(size, int | np.integer) and size == -1


flatten = reshape((-1,))._replace(name="flatten", arguments=None)
"""Each example as a vector, x (N, ...) to y (N, D), for a `dense` layer after images or sequences."""


def _last_position() -> Layer:
    """The last position of a sequence, x (N, T, ...) to y (N, ...): y = x_T. Residuals: the shape of x."""

    def init(key, in_shape):
        return (), check_has_positions("last_position", in_shape)[1:]

    def forward(params, x):
        x = check_positions("last_position", x)
        return x[:, -1], x[:0]

    def backward(params, empty, dy):
        return (), jnp.zeros((len(dy), *empty.shape[1:]), dy.dtype).at[:, -1].set(dy)

    return Layer("last position", init, forward, backward)


def check_has_positions(who: str, in_shape: Shape) -> Shape:
    """`in_shape` as a tuple with a position axis, or a `ValueError`."""
    in_shape = check_any_shape(who, in_shape)
    if len(in_shape) < 2:
        raise ValueError(f"`{who}` expected an `in_shape` (T, ..., D), positions before features, got {in_shape!r}.")
    return in_shape


def check_positions(who: str, x):
    """`x` as a float array with a position axis, or a `ValueError`."""
    x = as_floating(who, "x", x)
    if x.ndim < 3:
        raise ValueError(f"`{who}` expected `x` of shape (N, T, ..., D), positions before features, got {x.shape}.")
    return x


last_position = _last_position()
"""The last position of a sequence, x (N, T, D) to y (N, D)."""
