"""Adaptive pooling: windows whose size follows from the size of the output.

Along an axis of n positions window o of O covers the positions ⌊o n / O⌋ … ⌈(o + 1) n / O⌉ − 1, as in PyTorch: windows
of n / O positions where O divides n, else windows of two sizes that share positions. The average and the maximum over a
box are taken axis by axis, last axis first, so that the first of equal maxima in row-major order is found.
"""

import functools

import jax.numpy as jnp
import numpy as np

from bpjax.layers.convolution.pooling import smallest_type
from bpjax.layers.convolution.windows import IMAGES, check_image, check_image_shape
from bpjax.layers.layer import Layer
from bpjax.layers.spatial.taps import Taps, along, apply_taps, read
from bpjax.types import Array, Shape
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import check_count
from bpjax.util.precision import widen

Sizes = tuple[int | None, ...]
"""O for each spatial axis; None leaves the axis as it is."""


def adaptive_average_pool(size: int | tuple[int | None, ...]) -> Layer:
    """The average of windows that divide the image into a given number, x (N, *spatial, C) to y (N, *O, C).

    forward    y_o  = Σ x_i / n_o over the n_o positions of window o
    backward   dx_i = Σ dy_o / n_o over the windows o that contain i

    `adaptive_average_pool((1, 1))` is the global average with its axes left. Residuals: the shape of x.

    Args:
        size: O, an integer for sequences, a tuple of up to three for images and volumes; None leaves an axis unchanged.

    Raises:
        ValueError: `size` is not as described; in `init`, `in_shape` has another rank; in `forward`, `x` has another
            rank or is empty.
    """
    return _adaptive_average_pool(_check_size("adaptive_average_pool", size))


@functools.cache
def _adaptive_average_pool(size: Sizes) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def forward(params, x):
        x = check_image("adaptive_average_pool", x, len(size))
        y = widen(x)
        for axis, n, o in _axes(x.shape, size):
            y = apply_taps(y, axis, averages(n, o))
        return y.astype(x.dtype), x[:0]

    def backward(params, empty, dy):
        dx = widen(dy)
        for axis, n, o in reversed(_axes(empty.shape, size)):
            dx = apply_taps(dx, axis, averages(n, o).transposed(n))
        return (), dx.astype(dy.dtype)

    init = _init("adaptive_average_pool", size)
    return Layer("adaptive average pool", init, forward, backward, arguments=_text(size))


def adaptive_max_pool(size: int | tuple[int | None, ...]) -> Layer:
    """The maximum of windows that divide the image into a given number, x (N, *spatial, C) to y (N, *O, C).

    forward    y_o  = max x_i over the positions of window o      m_o: the position of the maximum
    backward   dx_i = Σ dy_o over the windows o with m_o = i

    Of equal maxima the first of the window in row-major order receives the whole error, as in PyTorch. If a window
    holds a NaN, y is NaN and the first NaN receives the error (in PyTorch the last). Residuals: for each axis the
    position of the maximum in its window, one byte for windows of up to 256 positions.

    Args:
        size: O, as in `adaptive_average_pool`.

    Raises:
        ValueError: as `adaptive_average_pool`.
    """
    return _adaptive_max_pool(_check_size("adaptive_max_pool", size))


@functools.cache
def _adaptive_max_pool(size: Sizes) -> Layer:
    """The cached factory, as `_adaptive_average_pool`."""

    def forward(params, x):
        x = check_image("adaptive_max_pool", x, len(size))
        y, found = x, []
        for axis, n, o in _axes(x.shape, size):
            y, m = _largest_along(y, axis, *windows_along(n, o))
            found.append(m)
        return y, (tuple(found), x[:0])

    def backward(params, residuals, dy):
        found, empty = residuals
        dx = widen(dy)
        for (axis, n, o), m in reversed(list(zip(_axes(empty.shape, size), found, strict=True))):
            dx = _sent_to_largest(dx, m, axis, n, windows_along(n, o)[0])
        return (), dx.astype(dy.dtype)

    init = _init("adaptive_max_pool", size)
    return Layer("adaptive max pool", init, forward, backward, arguments=_text(size))


@functools.cache
def windows_along(n: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """The first position of each window and its length, (O,) each."""
    which = np.arange(o, dtype=np.int32)
    start = which * n // o
    return start, -(-(which + 1) * n // o) - start


@functools.cache
def averages(n: int, o: int) -> Taps:
    """The averages over the windows along an axis."""
    starts, lengths = windows_along(n, o)
    return Taps.of([{s + t: 1 / k for t in range(k)} for s, k in zip(starts.tolist(), lengths.tolist(), strict=True)])


def _largest_along(x: Array, axis: int, start: np.ndarray, length: np.ndarray) -> tuple[Array, Array]:
    """The maximum of each window along one axis and its place m in the window: the first, or the first NaN."""
    y, found = read(x, axis, start), jnp.zeros((), smallest_type(int(length.max())))
    found = jnp.broadcast_to(found, y.shape)
    for t in range(1, int(length.max())):
        x_t = read(x, axis, np.minimum(start + t, start + length - 1))
        larger = ((x_t > y) | ((x_t != x_t) & (y == y))) & along(t < length, axis, x.ndim)
        y, found = jnp.where(larger, x_t, y), jnp.where(larger, np.array(t, found.dtype), found)
    return y, found


def _sent_to_largest(dy: Array, found: Array, axis: int, n: int, start: np.ndarray) -> Array:
    """dx_i = Σ dy_o over the windows o that contain i and whose maximum is there."""
    _, length = windows_along(n, len(start))
    taps = Taps.of([{s + t: 1.0 for t in range(k)} for s, k in zip(start.tolist(), length.tolist(), strict=True)])
    back = taps.transposed(n)
    terms = []
    for o, present in zip(back.source.T, back.weight.T, strict=True):
        place = np.clip(np.arange(n) - start[o], 0, np.iinfo(found.dtype).max).astype(found.dtype)
        here = (read(found, axis, o) == along(place, axis, dy.ndim)) & along(present > 0, axis, dy.ndim)
        terms.append(jnp.where(here, read(dy, axis, o), jnp.zeros((), dy.dtype)))
    return functools.reduce(jnp.add, terms)


def _axes(shape: Shape, size: Sizes) -> list[tuple[int, int, int]]:
    """(axis, n, O) of the spatial axes that change, last first."""
    return [(a, shape[a], o) for a, o in reversed(list(enumerate(size, start=1))) if o is not None and o != shape[a]]


def _check_size(who: str, size) -> Sizes:
    sizes = tuple(size) if isinstance(size, tuple | list) else (size,)
    if len(sizes) not in IMAGES or all(n is None for n in sizes):
        raise ValueError(
            f"`{who}` expected `size` to be an integer for sequences, or a tuple of up to three for images, "
            f"got {shown(size)}."
        )
    return tuple(None if n is None else check_count(who, "size", n) for n in sizes)


def _init(who: str, size: Sizes):
    def init(key, in_shape):
        spatial, channels = check_image_shape(who, in_shape, len(size))
        return (), (*(n if o is None else o for n, o in zip(spatial, size, strict=True)), channels)

    return init


def _text(size: Sizes) -> str:
    return call_text(size[0] if len(size) == 1 else size)
