"""Layers that compute nothing: they give the numbers of an example another shape, or choose positions."""

import math

import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.types import Shape
from bpjax.util.checks import as_floating, check_count


def reshape(shape: Shape) -> Layer:
    """The numbers of each example in another shape: x (N, ...) to y (N, *shape), last axis fastest.

    forward    y = x in `shape`
    backward   dx = dy in the shape of x

    One entry of `shape` may be −1: whatever remains. Kept: of x its shape alone, as an empty array.

    Raises:
        ValueError: `shape` holds something else than positive integers and at most one −1; in `init` and
            `forward`, an example has not as many numbers as `shape`.
    """
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    for size in shape:
        if size != -1:
            check_count("reshape", "shape", size)
    if shape.count(-1) > 1:
        raise ValueError(f"`reshape` expected at most one −1 in `shape`, got {shape}.")
    known = math.prod(size for size in shape if size != -1)

    def filled(in_shape):
        numbers = math.prod(in_shape)
        if numbers % known or (-1 not in shape and numbers != known):
            raise ValueError(
                f"`reshape({shape})` expected examples of {'a multiple of ' * (-1 in shape)}{known} number(s), got "
                f"{numbers}, shape {tuple(in_shape)}."
            )
        return tuple(numbers // known if size == -1 else size for size in shape)

    def init(key, in_shape):
        return (), filled(in_shape)

    def forward(params, x):
        x = as_floating("reshape", "x", x)
        return x.reshape(len(x), *filled(x.shape[1:])), x[:0]

    def backward(params, empty, dy):
        return (), dy.reshape(len(dy), *empty.shape[1:])

    return Layer("reshape", init, forward, backward)


flatten = reshape((-1,))._replace(name="flatten")
"""The numbers of each example in a row, x (N, ...) to y (N, D): from an image or a sequence to a `dense` layer."""


def _last_position() -> Layer:
    """The last position of a sequence, x (N, T, ...) to y (N, ...): y = x_T. Kept: of x its shape alone."""

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
    if len(in_shape) < 2:
        raise ValueError(f"`{who}` expected an `in_shape` (T, ..., D), positions before features, got {in_shape!r}.")
    return tuple(in_shape)


def check_positions(who: str, x):
    """`x` as a float array with a position axis, or a `ValueError`."""
    x = as_floating(who, "x", x)
    if x.ndim < 3:
        raise ValueError(f"`{who}` expected `x` of shape (N, T, ..., D), positions before features, got {x.shape}.")
    return x


last_position = _last_position()
"""What a sequence ends with, x (N, T, D) to y (N, D)."""
