"""Positions added around an image: zeros or another number, mirrored, repeated or wrapped around.

With n positions along an axis, position i of the padded axis is x at

    zeros        i − low where that is inside, else `value`
    reflect      mirrored at the first and the last position, which are not repeated:   c b | a b c d | c b
    replicate    the nearest position:                                                  a a | a b c d | d d
    circular     (i − low) mod n:                                                       c d | a b c d | a b
"""

import functools
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.layers.convolution.windows import IMAGES, Pairs, check_image, check_image_shape
from bpjax.layers.layer import Layer
from bpjax.types import Array, Shape
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import check_choice, check_number
from bpjax.util.precision import widen

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


def pad(padding: int | tuple[tuple[int, int], ...], mode: PaddingMode = "zeros", value: float = 0.0) -> Layer:
    """Positions added before and after each spatial axis, x (N, *spatial, C) to y (N, *O, C) with O = n + low + high.

    forward    y_i  = x at the position that the mode says for i, or `value`
    backward   dx_j = Σ dy_i over the i that read j

        zeros        `value` outside
        reflect      c b | a b c d | c b        low, high ≤ n − 1
        replicate    a a | a b c d | d d
        circular     c d | a b c d | a b        low, high ≤ n

    In mode "zeros" a negative number cuts positions off. The modes are those of `torch.nn.functional.pad`. Residuals:
    the shape of x. `conv` pads by itself: `conv(8, 3, padding_mode="reflect")`.

    Args:
        padding: A pair (low, high) for each spatial axis, or one number for both ends of a sequence.
        mode: "zeros", "reflect", "replicate" or "circular".
        value: Of the positions outside, in mode "zeros".

    Raises:
        ValueError: an argument is not as described; in `init` and `forward`, x has another rank, or is too small to be
            mirrored, wrapped or cut so far.
    """
    mode = check_mode("pad", mode)
    check_number("pad", "value", value)
    if mode != "zeros" and value != 0:
        raise ValueError(f'`pad` expected `value` to be 0 in mode "{mode}", which pads with values of x, got {value}.')
    return _pad(_check_pairs(padding, negative=mode == "zeros"), mode, float(value))


@functools.cache
def _pad(pairs: Pairs, mode: PaddingMode, value: float) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        spatial, channels = check_image_shape("pad", in_shape, len(pairs))
        check_room("pad", spatial, pairs, mode)
        return (), (*(n + low + high for n, (low, high) in zip(spatial, pairs, strict=True)), channels)

    def forward(params, x):
        x = check_image("pad", x, len(pairs))
        check_room("pad", x.shape[1:-1], pairs, mode)
        return padded(x, pairs, mode, value), x[:0]

    def backward(params, empty, dy):
        return (), unpadded(dy, pairs, empty.shape[1:-1], mode)

    arguments = call_text(pairs, mode=(mode, "zeros"), value=(value, 0.0))
    return Layer("pad", init, forward, backward, arguments=arguments)


def padded(x: Array, pairs: Pairs, mode: PaddingMode, value: float = 0.0) -> Array:
    """The forward pass of `pad`."""
    if mode == "zeros":
        return lax.pad(x, jnp.array(value, x.dtype), [(0, 0, 0), *((*pair, 0) for pair in pairs), (0, 0, 0)])
    for axis, (low, high) in enumerate(pairs, start=1):
        if low or high:
            before, after = ends(x, axis, low, high, mode)
            x = jnp.concatenate([before, x, after], axis=axis)
    return x


def ends(x: Array, axis: int, low: int, high: int, mode: PaddingMode) -> tuple[Array, Array]:
    """The positions before and after x along one axis."""
    n = x.shape[axis]
    part = functools.partial(lax.slice_in_dim, x, axis=axis)
    if mode == "circular":
        return part(n - low, n), part(0, high)
    if mode == "reflect":
        return jnp.flip(part(1, low + 1), axis), jnp.flip(part(n - 1 - high, n - 1), axis)
    repeated = lambda edge, count: jnp.broadcast_to(edge, [*x.shape[:axis], count, *x.shape[axis + 1 :]])
    return repeated(part(0, 1), low), repeated(part(n - 1, n), high)


def unpadded(dy: Array, pairs: Pairs, spatial: Shape, mode: PaddingMode) -> Array:
    """The backward pass of `pad`: what was copied from a position is added to it."""
    if mode == "zeros":
        inverse = [(-low, -high, 0) for low, high in pairs]
        return lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *inverse, (0, 0, 0)])
    dx = widen(dy)
    for axis, ((low, high), n) in enumerate(zip(pairs, spatial, strict=True), start=1):
        if low or high:
            dx = _returned(dx, axis, low, high, n, mode)
    return dx.astype(dy.dtype)


def _returned(dy: Array, axis: int, low: int, high: int, n: int, mode: PaddingMode) -> Array:
    """dx along one axis: the middle of dy, and both ends added where they came from."""
    part = functools.partial(lax.slice_in_dim, dy, axis=axis)
    before, middle, after = part(0, low), part(low, low + n), part(low + n, low + n + high)
    if mode == "circular":
        return middle + _at(before, axis, n - low, n) + _at(after, axis, 0, n)
    if mode == "reflect":
        return middle + _at(jnp.flip(before, axis), axis, 1, n) + _at(jnp.flip(after, axis), axis, n - 1 - high, n)
    before, after = (end.sum(axis=axis, keepdims=True) for end in (before, after))
    return middle + _at(before, axis, 0, n) + _at(after, axis, n - 1, n)


def _at(piece: Array, axis: int, start: int, n: int) -> Array:
    """Zeros of length n along the axis with the piece from `start` on."""
    room = [(0, 0, 0)] * piece.ndim
    room[axis] = (start, n - start - piece.shape[axis], 0)
    return lax.pad(piece, jnp.zeros((), piece.dtype), room)


def check_mode(who: str, mode, name: str = "mode") -> PaddingMode:
    """`mode` itself, or a `ValueError`."""
    check_choice(who, name, mode, MODES)
    return mode


def check_room(who: str, spatial: Shape, pairs: Pairs, mode: PaddingMode) -> None:
    """Raise a `ValueError` where an axis is too short to be mirrored, wrapped or cut so far."""
    for n, (low, high) in zip(spatial, pairs, strict=True):
        most = {"reflect": n - 1, "circular": n}.get(mode)
        if most is not None and max(low, high) > most:
            raise ValueError(
                f'`{who}` expected a padding of at most {most} in mode "{mode}" for {n} positions, got {(low, high)}. '
                "Pad less, or use another mode."
            )
        if n + low + high < 1 or low < -n or high < -n:
            raise ValueError(f"`{who}` expected to leave at least one position of {n}, got {(low, high)}. Cut less.")


def _check_pairs(padding, negative: bool) -> Pairs:
    """A pair of integers for each spatial axis, or a `ValueError`."""
    is_integer = lambda n: isinstance(n, int | np.integer) and not isinstance(n, bool) and abs(int(n)) < 2**31
    given = ((padding, padding),) if is_integer(padding) else padding
    is_pair = lambda pair: isinstance(pair, tuple | list) and len(pair) == 2 and all(map(is_integer, pair))
    good = isinstance(given, tuple | list) and len(given) in IMAGES and all(map(is_pair, given))
    if not good or not (negative or all(n >= 0 for pair in given for n in pair)):
        raise ValueError(
            "`pad` expected `padding` to be a pair (low, high) of integers for each of one to three spatial axes, "
            f'((low, high), ...), ≥ 0 unless the mode is "zeros", got {shown(padding)}.'
        )
    return tuple((int(low), int(high)) for low, high in given)
