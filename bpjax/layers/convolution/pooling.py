"""Pooling: a window of an image becomes one place, its largest x or its average.

Windows that tile the image are a reshape away; others are looked at place by place in strided slices. Either way the
backward pass is a mask and a sum. XLA's own derivative of a windowed maximum is a scatter, 60 times slower on a CPU
(2 × 2 windows of (64, 28, 28, 32), two cores: 0.3 ms by hand, 21 ms by `jax.grad` of `jax.lax.reduce_window`).
The y of `max_pool` is that function's nevertheless, for XLA joins it to the layers before.
"""

import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.layers.convolution.windows import (
    Padding,
    Placed,
    Windows,
    add,
    check_image,
    check_image_shape,
    place,
    seen,
    sent_back,
    windows,
)
from bpjax.layers.layer import Layer
from bpjax.types import Array, Shape
from bpjax.util.precision import widen


def max_pool(window: int | Shape, stride: int | Shape | None = None, padding: Padding = "VALID") -> Layer:
    """The largest x of every window, channel by channel: x (N, *spatial, C) to y (N, *O, C).

    forward    y_o  = maxₜ x_(s·o + t − low)                  m_o: the t it was found at
    backward   dx_i = Σ dy_o over the windows o with s·o + m_o − low = i

    Equal largest x: the first of the window, row by row, takes the whole error, as in XLA. Where a window holds a NaN,
    y is NaN and its first place takes the error. Padding is −∞ and is never chosen. `stride` is `window` where
    it is not given; places between windows, or behind the last, are not seen and get dx = 0. Kept for the backward
    pass: m alone, in the smallest type that holds it, a byte for each y where the window has up to 256 places (for
    2 × 2 windows a sixteenth of a float32 x).

    Raises:
        ValueError: an argument is out of its range, or a padding is not smaller than the window; in `init`, an
            `in_shape` of another rank, or an image smaller than the window; in `forward`, an `x` of another rank.
    """
    return _max_pool(_pool_windows("max_pool", window, stride, padding))


@functools.cache
def _max_pool(shape: Windows) -> Layer:
    def forward(params, x):
        x = check_image("max_pool", x, shape.rank)
        at = place("max_pool", shape, x.shape[1:-1])
        windowed = lambda per_axis: (1, *per_axis, 1)
        outside = ((0, 0), *at.pairs, (0, 0))
        y = lax.reduce_window(x, -math.inf, lax.max, windowed(at.size), windowed(at.stride), outside)
        return y, (_first_largest(x, y, at), x[:0])  # of x its size alone

    def backward(params, residuals, dy):
        found, empty = residuals
        at = place("max_pool", shape, empty.shape[1:-1])
        if _tiles(at):
            t = np.arange(math.prod(at.size), dtype=found.dtype).reshape(_unfolded(1, (1,) * shape.rank, at.size, 1))
            dx = jnp.where(_beside(found, at) == t, _beside(dy, at), jnp.array(0, dy.dtype))
            return (), dx.reshape(dy.shape[0], *at.spatial, dy.shape[-1])
        wide = widen(dy)
        pieces = [jnp.where(found == t, wide, jnp.zeros_like(wide)) for t in range(math.prod(at.size))]
        return (), sent_back(pieces, at).astype(dy.dtype)

    return Layer("max pool", _init("max_pool", shape), forward, backward)


def average_pool(window: int | Shape, stride: int | Shape | None = None, padding: Padding = "VALID") -> Layer:
    """The average of every window, channel by channel: x (N, *spatial, C) to y (N, *O, C).

    forward    y_o  = Σₜ x_(s·o + t − low) / n_o              over the n_o places of window o inside the image
    backward   dx_i = Σ dy_o / n_o over the windows o that see i

    Padded places do not count: a window half outside is the average of its inner half. `stride` is `window` where it
    is not given; places no window sees get dx = 0. Kept: nothing of x but its size.

    Raises:
        ValueError: as for `max_pool`.
    """
    return _average_pool(_pool_windows("average_pool", window, stride, padding))


@functools.cache
def _average_pool(shape: Windows) -> Layer:
    def forward(params, x):
        x = check_image("average_pool", x, shape.rank)
        at = place("average_pool", shape, x.shape[1:-1])
        if _tiles(at):
            apart = x.reshape(_unfolded(x.shape[0], at.out, at.size, x.shape[-1]))
            total = widen(apart).sum(axis=tuple(range(2, apart.ndim - 1, 2)))
        else:
            total = add(widen(x_t) for x_t in seen(x, at))
        return (total / _inside(at, total.dtype)).astype(x.dtype), x[:0]

    def backward(params, empty, dy):
        at = place("average_pool", shape, empty.shape[1:-1])
        share = widen(dy) / _inside(at, widen(dy).dtype)
        if _tiles(at):
            apart = _unfolded(dy.shape[0], at.out, at.size, dy.shape[-1])
            dx = jnp.broadcast_to(_beside(share, at), apart).reshape(dy.shape[0], *at.spatial, dy.shape[-1])
        else:
            dx = sent_back([share] * math.prod(at.size), at)
        return (), dx.astype(dy.dtype)

    return Layer("average pool", _init("average_pool", shape), forward, backward)


def _pool_windows(who: str, window, stride, padding) -> Windows:
    shape = windows(who, "window", window, window if stride is None else stride, padding)
    if isinstance(shape.padding, tuple):
        for k, pair in zip(shape.size, shape.padding, strict=True):
            if max(pair) >= k:
                raise ValueError(
                    f"`{who}` expected a padding smaller than the window, {shape.size}, got {padding!r}. "
                    "Pad less: a window that sees nothing but padding has no maximum and no average."
                )
    return shape


def _tiles(at: Placed) -> bool:
    """Whether the windows cover every place of the image once."""
    fits = tuple(o * k for o, k in zip(at.out, at.size, strict=True)) == at.spatial
    return fits and at.stride == at.size and not any(map(any, at.pairs))


def _unfolded(examples: int, out: Shape, size: Shape, channels: int) -> Shape:
    """(N, O₁, k₁, O₂, k₂, ..., C): an image its windows tile, with the places of a window on axes of their own."""
    return (examples, *itertools.chain.from_iterable(zip(out, size, strict=True)), channels)


def _beside(y: Array, at: Placed) -> Array:
    """What belongs to a window beside its places: (N, O₁, 1, O₂, 1, ..., C)."""
    return y.reshape(_unfolded(y.shape[0], at.out, (1,) * len(at.out), y.shape[-1]))


def _first_largest(x: Array, y: Array, at: Placed) -> Array:
    """The first place of each window, inside the image, whose x is not below y."""
    places = math.prod(at.size)
    dtype = _smallest_type(places + 1)
    if _tiles(at):
        t = np.arange(places, dtype=dtype).reshape(_unfolded(1, (1,) * len(at.size), at.size, 1))
        apart = x.reshape(_unfolded(x.shape[0], at.out, at.size, x.shape[-1]))
        t_of_largest = jnp.where(apart < _beside(y, at), np.array(places, dtype), t)
        return t_of_largest.min(axis=tuple(range(2, apart.ndim - 1, 2)))
    found = jnp.full(y.shape, places - 1, dtype)
    padded = any(map(any, at.pairs))
    inside = _places_inside(at) if padded else None
    for t, x_t in reversed(list(enumerate(seen(x, at, -math.inf)))):
        largest = ~(x_t < y) if inside is None else ~(x_t < y) & inside[t]
        found = jnp.where(largest, np.array(t, dtype), found)
    return found


def _places_inside(at: Placed) -> np.ndarray:
    """For each place of a window, row by row, whether it is inside the image, (places, 1, *O, 1)."""
    axes = []
    for n, low, k, s, o in zip(at.spatial, at.low, at.size, at.stride, at.out, strict=True):
        where = np.arange(o)[None, :] * s + np.arange(k)[:, None] - low
        axes.append((where >= 0) & (where < n))
    outer = lambda t: functools.reduce(np.logical_and.outer, [axis[i] for axis, i in zip(axes, t, strict=True)])
    return np.stack([outer(t) for t in at.offsets()])[:, None, ..., None]


def _inside(at: Placed, dtype):
    """N_o, how many places of each window are inside the image: one number, or an array (1, *O, 1)."""
    if not any(map(any, at.pairs)):
        return math.prod(at.size)
    return _places_inside(at).sum(axis=0).astype(dtype)


def _smallest_type(count: int):
    """The smallest unsigned type that tells so many places apart."""
    return np.min_scalar_type(count - 1)


def _init(who: str, shape: Windows):
    def init(key, in_shape):
        spatial, channels = check_image_shape(who, in_shape, shape.rank)
        return (), (*place(who, shape, spatial).out, channels)

    return init


def _global_init(who: str):
    def init(key, in_shape):
        rank = len(in_shape) - 1 if isinstance(in_shape, tuple | list) else 0
        _, channels = check_image_shape(who, in_shape, max(rank, 1))
        return (), (channels,)

    return init


def _global_max_pool() -> Layer:
    """The largest x of the whole image, x (N, *spatial, C) to y (N, C); ties and NaN as in `max_pool`. Kept: where."""

    def forward(params, x):
        x = check_image("global_max_pool", x, rank=None)
        places = x.reshape(len(x), -1, x.shape[-1])
        found = jnp.argmax(places, axis=1).astype(_smallest_type(places.shape[1]))
        y = jnp.take_along_axis(places, found.astype(jnp.int32)[:, None, :], axis=1)[:, 0, :]
        return y, (found, x[:0])

    def backward(params, residuals, dy):
        found, empty = residuals
        spatial = empty.shape[1:-1]
        t = np.arange(math.prod(spatial), dtype=found.dtype).reshape(1, -1, 1)
        dx = jnp.where(found[:, None, :] == t, dy[:, None, :], jnp.array(0, dy.dtype))
        return (), dx.reshape(len(dy), *spatial, dy.shape[-1])

    return Layer("global max pool", _global_init("global_max_pool"), forward, backward)


def _global_average_pool() -> Layer:
    """The average over the whole image, x (N, *spatial, C) to y (N, C): dx = dy / places. Kept: the size of x."""

    def forward(params, x):
        x = check_image("global_average_pool", x, rank=None)
        return widen(x).mean(axis=tuple(range(1, x.ndim - 1))).astype(x.dtype), x[:0]

    def backward(params, empty, dy):
        spatial = empty.shape[1:-1]
        share = (widen(dy) / math.prod(spatial)).astype(dy.dtype)
        apart = share.reshape(len(dy), *(1,) * len(spatial), dy.shape[-1])
        return (), jnp.broadcast_to(apart, (len(dy), *spatial, dy.shape[-1]))

    return Layer("global average pool", _global_init("global_average_pool"), forward, backward)


global_max_pool = _global_max_pool()
"""The largest x of the whole image, x (N, *spatial, C) to y (N, C)."""

global_average_pool = _global_average_pool()
"""The average over the whole image, x (N, *spatial, C) to y (N, C)."""
