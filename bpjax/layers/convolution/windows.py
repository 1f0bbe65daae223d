"""The windows of a convolution or a pooling on an image: their positions, and the values inside them.

An image has a batch axis, one to three spatial axes and its channels last, (N, *spatial, C). Along an axis of n
positions window o starts at s·o − low and covers k positions at distance d:

    reach  k′ = (k − 1) d + 1        windows  O = ⌊(n + low + high − k′) / s⌋ + 1

In ceil mode O = ⌈(n + low + high − k′) / s⌉ + 1, so that the last window may reach beyond the padding, but one less
where that window would begin after the image: it would see padding alone.
"""

import functools
import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.layers.layer import check_in_shape
from bpjax.types import Array, Shape
from bpjax.util.call_text import shown
from bpjax.util.checks import as_floating

Pairs = tuple[tuple[int, int], ...]
"""((low, high), ...): the number of positions added before and after each spatial axis."""
Padding = Literal["SAME", "VALID", "CAUSAL"] | Sequence[Sequence[int]]
Named = Literal["SAME", "VALID", "CAUSAL"]

AXES = {1: "W", 2: "HW", 3: "ZHW"}
IMAGES = {1: "(N, W, C)", 2: "(N, H, W, C)", 3: "(N, Z, H, W, C)"}


class Windows(NamedTuple):
    """The size and spacing of windows; each tuple has one entry per spatial axis."""

    size: Shape  # k
    stride: Shape  # s
    padding: Named | Pairs
    dilation: Shape  # d
    ceil_mode: bool = False

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.size)

    @property
    def reach(self) -> Shape:
        """k′: the extent of a window, from its first position to its last, both included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def options(self, padding: str = "SAME") -> dict:
        """Stride, padding and dilation with their defaults, for `call_text`; the stride of a pooling is its window."""
        stride = (1,) * self.rank if padding == "SAME" else self.size
        return {
            "stride": (self.stride, stride),
            "padding": (self.padding, padding),
            "dilation": (self.dilation, (1,) * self.rank),
            "ceil_mode": (self.ceil_mode, False),
        }

    def __str__(self) -> str:
        """For messages: `(3, 3), stride (2, 2)`."""
        plain = (1,) * self.rank
        dilation = "" if self.dilation == plain else f", dilation {self.dilation}"
        return f"{self.size}, stride {self.stride}{dilation}, padding {self.padding}"


class Placed(NamedTuple):
    """Windows placed on an image of known size."""

    size: Shape  # k
    stride: Shape  # s
    dilation: Shape  # d
    pairs: Pairs  # (low, high); a negative `high` leaves out positions after the last window
    spatial: Shape  # n
    out: Shape  # O

    @property
    def reach(self) -> Shape:
        """k′: the extent of a window, from its first position to its last, both included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    @property
    def low(self) -> Shape:
        """The number of positions added before each axis."""
        return tuple(low for low, _ in self.pairs)

    @property
    def last(self) -> Shape:
        """The distance from the start of the first window to the start of the last, s (O − 1)."""
        return tuple(s * (o - 1) for s, o in zip(self.stride, self.out, strict=True))

    @property
    def is_inside(self) -> bool:
        """Whether all windows are inside the image."""
        return not any(pair[0] > 0 or pair[1] > 0 for pair in self.pairs)

    def offsets(self):
        """The positions in a window relative to its start, in row-major order."""
        return itertools.product(*(range(0, r, d) for r, d in zip(self.reach, self.dilation, strict=True)))


def windows(who: str, what: str, size, stride, padding, dilation: int | Shape = 1, named=("SAME", "VALID")) -> Windows:
    """`Windows` from the arguments of a layer, or a `ValueError`.

    Args:
        who: The layer, for messages.
        what: The name of `size` in the layer's signature, for messages.
        size: k, an integer for sequences or a tuple of one to three integers.
        stride: s, an integer or one per spatial axis.
        padding: One of the `named` ones, or a pair (low, high) for each spatial axis.
        dilation: d, an integer or one per spatial axis.
        named: The names of paddings that the layer takes.
    """
    rank = 1 if isinstance(size, int | np.integer) else len(size) if isinstance(size, tuple | list) else 0
    if rank not in IMAGES:
        raise ValueError(
            f"`{who}` expected `{what}` to be an integer for sequences, or a tuple of up to three for images, "
            f"got {shown(size)}."
        )
    sizes = per_axis(who, what, size, rank)
    strides, dilations = per_axis(who, "stride", stride, rank), per_axis(who, "dilation", dilation, rank)
    return Windows(sizes, strides, _padding(who, padding, rank, named), dilations)


def per_axis(who: str, name: str, value, rank: int) -> Shape:
    """An integer ≥ 1 for each spatial axis, from one number or a tuple, or a `ValueError`."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * rank
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and 0 < n < 2**31 for n in values)
    if len(values) != rank or not whole:
        raise ValueError(
            f"`{who}` expected `{name}` to be an integer ≥ 1 or a tuple of {rank} of them, one for each "
            f"spatial axis, got {shown(value)}."
        )
    return tuple(int(n) for n in values)


def _padding(who: str, padding, rank: int, named) -> Named | Pairs:
    if isinstance(padding, str) and padding in named and (padding != "CAUSAL" or rank == 1):
        return padding  # type: ignore[return-value]
    if isinstance(padding, str) and padding == "CAUSAL" and "CAUSAL" in named:
        raise ValueError(
            f'`{who}` expected sequences, with one spatial axis, for padding="CAUSAL", got {rank} spatial axes. '
            "Give a pair (low, high) for each axis."
        )
    is_pair = lambda pair: isinstance(pair, tuple | list) and len(pair) == 2 and all(map(is_count, pair))
    is_count = lambda n: isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0
    if not isinstance(padding, tuple | list) or len(padding) != rank or not all(map(is_pair, padding)):
        names = ", ".join(f'"{name}"' for name in named)
        raise ValueError(
            f"`{who}` expected `padding` to be {names} or {rank} pair(s) of integers ≥ 0, "
            f"((low, high), ...), one pair for each spatial axis, got {shown(padding)}."
        )
    return tuple((int(low), int(high)) for low, high in padding)


@functools.cache
def place(who: str, shape: Windows, spatial: Shape) -> Placed:
    """The windows placed on an image of size `spatial`, or a `ValueError` where none fits; `who` is for messages."""
    pairs = padding_pairs(shape, spatial)
    axes = tuple(zip(spatial, pairs, shape.reach, shape.stride, strict=True))
    out = tuple((n + low + high - r) // s + 1 for n, (low, high), r, s in axes)
    if shape.ceil_mode:
        upper = [(-(-(n + low + high - r) // s) + 1, (n + low - 1) // s + 1) for n, (low, high), r, s in axes]
        out = tuple(map(min, upper))
        ends = [s * (o - 1) + r - n - low for (n, (low, _), r, s), o in zip(axes, out, strict=True)]
        pairs = tuple((low, max(high, end)) for (low, high), end in zip(pairs, ends, strict=True))
    if min(out) < 1:
        raise ValueError(
            f"`{who}` expected an image as large as a window, got {spatial} for windows of {shape}: the output would "
            'be empty. Use a smaller window, or padding="SAME".'
        )
    return Placed(shape.size, shape.stride, shape.dilation, pairs, spatial, out)


def padding_pairs(shape: Windows, spatial: Shape) -> Pairs:
    """The positions that `padding` adds before and after each axis; in ceil mode the last window may reach further."""
    if shape.padding == "VALID":
        return ((0, 0),) * shape.rank
    if shape.padding == "CAUSAL":  # ⌈n / s⌉ windows that end where the output stands
        return tuple((r - 1, 0) for r in shape.reach)
    if shape.padding != "SAME":
        return shape.padding
    # ⌈n / s⌉ windows; an odd number of added positions has one more at the end
    axes = zip(spatial, shape.reach, shape.stride, strict=True)
    totals = [max((-(-n // s) - 1) * s + r - n, 0) for n, r, s in axes]
    return tuple((total // 2, total - total // 2) for total in totals)


def check_image_shape(who: str, in_shape, rank: int) -> tuple[Shape, int]:
    """`in_shape` as its spatial axes and its channels, or a `ValueError`."""
    *spatial, channels = check_in_shape(who, in_shape, rank + 1)
    return tuple(spatial), channels


def check_image(who: str, x, rank: int | None, channels: int | None = None) -> Array:
    """`x` as a float array (N, *spatial, C) with N ≥ 1, or a `ValueError`; a `rank` or `channels` of None is any."""
    x = as_floating(who, "x", x)
    expected = IMAGES[rank] if rank else "(N, ..., C)"
    if x.ndim != rank + 2 if rank else x.ndim < 3:
        raise ValueError(
            f"`{who}` expected `x` of shape {expected}, got {x.shape}. "
            "Add the batch axis (`x[None]`) or the channel axis (`x[..., None]`)."
        )
    if channels is not None and x.shape[-1] != channels:
        raise ValueError(
            f"`{who}` expected `x` of shape {expected} with {channels} channels, last, as its weights have, "
            f"got {x.shape}. Give `init` the `in_shape` of the data."
        )
    if x.size == 0:
        raise ValueError(f"`{who}` expected at least one example and position, got an empty `x` of shape {x.shape}.")
    return x


def seen(x: Array, at: Placed, fill: float = 0.0) -> list[Array]:
    """The values in the windows: for each position in a window, in row-major order, its x in all windows (N, *O, C)."""
    if any(pair != (0, 0) for pair in at.pairs):
        outside = [(0, 0, 0), *((low, high, 0) for low, high in at.pairs), (0, 0, 0)]
        x = lax.pad(x, jnp.array(fill, x.dtype), outside)
    stride = (1, *at.stride, 1)
    return [
        lax.slice(x, (0, *t, 0), (len(x), *(i + n + 1 for i, n in zip(t, at.last, strict=True)), x.shape[-1]), stride)
        for t in at.offsets()
    ]


def sent_back(pieces: list[Array], at: Placed) -> Array:
    """The adjoint of `seen`: each piece (N, *O, C) at the positions it was read from, summed, (N, *n, C)."""
    axes = list(zip(at.spatial, at.low, at.last, at.stride, strict=True))

    def spread(t, piece):
        edges = [(i - low, n - (i - low) - last - 1, s - 1) for i, (n, low, last, s) in zip(t, axes, strict=True)]
        return lax.pad(piece, jnp.array(0, piece.dtype), [(0, 0, 0), *edges, (0, 0, 0)])

    return add(spread(t, piece) for t, piece in zip(at.offsets(), pieces, strict=True))


def add(terms: Iterable[Array]) -> Array:
    """The sum of arrays of one shape."""
    return functools.reduce(operator.add, terms)
