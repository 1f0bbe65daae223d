"""Reductions over windows. Along an axis, window o covers the entries s·o + d·t of the padded array, t = 0 … k − 1.

The derivative of a maximum records the position t of the maximum in each window. It reads and writes strided slices,
one for each position t, so it needs no scatter: XLA's `select_and_scatter` is many times slower on a CPU.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.tape.derivatives.registry import derivative
from bpjax.tape.derivatives.shapes import as_tuple
from bpjax.types import Array, Shape
from bpjax.util.jaxprs import evaluate_jaxpr, opened

UNROLLED = 32
"""Windows of up to this many positions are read by that many slices, larger ones in a loop."""


class Windows(NamedTuple):
    """Windows on an array; each tuple has one entry per axis."""

    size: Shape  # k
    stride: Shape  # s
    padding: tuple  # (low, high)
    base_dilation: Shape  # distance of the entries of the array in the padded array
    dilation: Shape  # d
    array: Shape  # the shape of the array
    out: Shape  # how many windows along each axis: the shape of the output

    @property
    def config(self) -> list:
        """The argument of `lax.pad`."""
        return [(low, high, b - 1) for (low, high), b in zip(self.padding, self.base_dilation, strict=True)]

    @property
    def extent(self) -> Shape:
        """From the first entry at one position to the last."""
        return tuple(s * (o - 1) + 1 for s, o in zip(self.stride, self.out, strict=True))

    @property
    def starts(self) -> np.ndarray:
        """Where the entries at each position t begin, in row-major order: (positions, axes)."""
        offsets = itertools.product(*(range(0, k * d, d) for k, d in zip(self.size, self.dilation, strict=True)))
        return np.array(list(offsets), np.int32).reshape(math.prod(self.size), len(self.size))

    @property
    def tiles(self) -> bool:
        """Whether the windows cover every entry exactly once."""
        covered = tuple(o * k for o, k in zip(self.out, self.size, strict=True)) == self.array
        plain = all(b == 1 for b in self.base_dilation + self.dilation) and not any(map(any, self.padding))
        return covered and plain and self.stride == self.size

    @property
    def interleaves(self) -> bool:
        """Whether entries whose indices are equal modulo the stride are reached by the same few positions."""
        plain = all(b == 1 for b in self.base_dilation + self.dilation)
        return plain and any(s > 1 for s in self.stride) and len(self.starts) <= UNROLLED

    def per_window(self, y: Array) -> Array:
        """Windows that tile: y with an axis of size 1 after each axis, to be broadcast over the entries of a window."""
        return y.reshape(tuple(itertools.chain.from_iterable((o, 1) for o in self.out)))

    def read(self, padded: Array, start) -> Array:
        """The entries at one position of all windows."""
        if isinstance(start, np.ndarray):
            end = start + np.array(self.extent)
            return lax.slice(padded, start.tolist(), end.tolist(), self.stride)
        window = lax.dynamic_slice(padded, start, self.extent)
        return lax.slice(window, (0,) * window.ndim, window.shape, self.stride)

    def over_positions(self, step, carry):
        """carry = step(carry, t, start) at every position t."""
        if len(self.starts) <= UNROLLED:
            for t, start in enumerate(self.starts):
                carry = step(carry, t, start)
            return carry
        positions = jnp.arange(len(self.starts)), jnp.asarray(self.starts)
        return lax.scan(lambda carry, at: (step(carry, at[0], list(at[1])), None), carry, positions)[0]


def _windows(x, y, window_dimensions, window_strides, padding, base_dilation=None, window_dilation=None) -> Windows:
    ones = (1,) * x.ndim
    sizes = tuple(window_dimensions), tuple(window_strides), tuple(map(tuple, padding))
    return Windows(*sizes, tuple(base_dilation or ones), tuple(window_dilation or ones), x.shape, y.shape)


# --- Sums ------------------------------------------------------------------------------------------------------------


@derivative("reduce_window_sum")
def reduce_window_sum(x, y, dy, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    """y_o = Σ_t x_{s·o + d·t}      dx_i = Σ dy_o over the windows o that contain i: a sum over windows of dy."""
    w = _windows(x, y, window_dimensions, window_strides, padding, base_dilation, window_dilation)

    def dx():
        if w.tiles:
            apart = tuple(itertools.chain.from_iterable(zip(w.out, w.size, strict=True)))
            return jnp.broadcast_to(w.per_window(dy), apart).reshape(x.shape)
        if 0 in w.array + w.out:
            return jnp.zeros_like(x)
        reach = [d * (k - 1) for d, k in zip(w.dilation, w.size, strict=True)]
        low = [r - low for r, (low, _) in zip(reach, w.padding, strict=True)]
        span = [b * (n - 1) + 1 + r for b, n, r in zip(w.base_dilation, w.array, reach, strict=True)]
        config = [(lo, n - lo - e, s - 1) for lo, n, e, s in zip(low, span, w.extent, w.stride, strict=True)]
        spread = lax.pad(dy, jnp.zeros((), dy.dtype), config)
        ones = (1,) * x.ndim
        return lax.reduce_window(spread, 0.0, lax.add, w.size, w.base_dilation, [(0, 0)] * x.ndim, ones, w.dilation)

    return dx


# --- Maxima and minima -----------------------------------------------------------------------------------------------


def first_selected(x, y, w: Windows, lowest: float) -> Array:
    """The first position t of each window with x = y (or NaN); padding counts as `lowest`."""
    positions = len(w.starts)
    dtype = np.min_scalar_type(positions)
    padded = lax.pad(x, jnp.array(lowest, x.dtype), w.config)

    def step(found, t, start):
        x_t = w.read(padded, start)
        is_first = ((x_t == y) | (x_t != x_t)) & (found == positions)
        return jnp.where(is_first, jnp.asarray(t, dtype), found)

    return w.over_positions(step, jnp.full(w.out, positions, dtype))


def add_at_selected(dy, found, w: Windows) -> Array:
    """Σ dy_o over the windows o whose selected position is the entry i, for every entry i of the array."""
    zero = jnp.zeros((), dy.dtype)
    if w.tiles:
        t = np.arange(len(w.starts), dtype=found.dtype)
        t = t.reshape(tuple(itertools.chain.from_iterable((1, k) for k in w.size)))
        return jnp.where(w.per_window(found) == t, w.per_window(dy), zero).reshape(w.array)
    if w.interleaves and 0 not in w.array + w.out:
        return _add_by_residue(dy, found, w)
    padded = jax.eval_shape(lambda: lax.pad(jnp.zeros(w.array), 0.0, w.config)).shape

    def step(total, t, start):
        piece = jnp.where(found == jnp.asarray(t, found.dtype), dy, zero)
        spread = lax.pad(piece, zero, [(0, 0, s - 1) for s in w.stride])
        if isinstance(start, np.ndarray):
            edges = [(i, n - i - e, 0) for i, n, e in zip(start.tolist(), padded, w.extent, strict=True)]
            return total + lax.pad(spread, zero, edges)
        return lax.dynamic_update_slice(total, lax.dynamic_slice(total, start, w.extent) + spread, start)

    if 0 in w.array + w.out:
        return jnp.zeros(w.array, dy.dtype)
    total = w.over_positions(step, jnp.zeros(padded, dy.dtype))
    inside = lax.pad(total, zero, [(-low, -high, 0) for low, high in w.padding])
    return lax.slice(inside, (0,) * inside.ndim, inside.shape, w.base_dilation)


def _add_by_residue(dy, found, w: Windows) -> Array:
    """`add_at_selected` without zeros between the windows: position t = s j + r adds dy_o to entry s (o + j) + r.

    The entries with the same r are summed apart, then interleaved.
    """
    zero, rank = jnp.zeros((), dy.dtype), dy.ndim
    length = [o + (k - 1) // s for o, k, s in zip(w.out, w.size, w.stride, strict=True)]
    classes = {residue: jnp.zeros(length, dy.dtype) for residue in itertools.product(*map(range, w.stride))}
    for t, start in enumerate(w.starts.tolist()):
        places = [divmod(a, s) for a, s in zip(start, w.stride, strict=True)]
        piece = jnp.where(found == jnp.asarray(t, found.dtype), dy, zero)
        edges = [(j, n - j - o, 0) for (j, _), n, o in zip(places, length, w.out, strict=True)]
        classes[tuple(r for _, r in places)] += lax.pad(piece, zero, edges)
    apart = jnp.stack(list(classes.values())).reshape(*w.stride, *length)
    order = tuple(itertools.chain.from_iterable((rank + axis, axis) for axis in range(rank)))
    whole = [n * s for n, s in zip(length, w.stride, strict=True)]
    total = apart.transpose(order).reshape(whole)
    inside = [(-low, low + m - n, 0) for (low, _), m, n in zip(w.padding, w.array, whole, strict=True)]
    return lax.pad(total, zero, inside)


def read_selected(x, found, w: Windows) -> Array:
    """The entry of x at the selected position of each window; 0 at the padding."""
    padded = lax.pad(x, jnp.zeros((), x.dtype), w.config)

    def step(total, t, start):
        return jnp.where(found == jnp.asarray(t, found.dtype), w.read(padded, start), total)

    return w.over_positions(step, jnp.zeros(w.out, x.dtype))


@derivative("reduce_window_max")
def reduce_window_max(x, y, dy, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    """y_o = max_t x_{s·o + d·t}      dx_i = Σ dy_o over the windows o whose first maximum is x_i, as in JAX."""
    w = _windows(x, y, window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return lambda: add_at_selected(dy, first_selected(x, y, w, -math.inf), w)


@derivative("reduce_window_min")
def reduce_window_min(x, y, dy, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    """y_o = min_t x_{s·o + d·t}      dx_i = Σ dy_o over the windows o whose first minimum is x_i, as in JAX."""
    w = _windows(x, y, window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return lambda: add_at_selected(dy, first_selected(x, y, w, math.inf), w)


def _selected_by(select_prim, x, w: Windows) -> Array:
    """The position that `select_and_scatter_add` and `select_and_gather_add` select: of a maximum (ge) or minimum."""
    lowest, reducer = (-math.inf, lax.max) if select_prim.name == "ge" else (math.inf, lax.min)
    y = lax.reduce_window(x, lowest, reducer, w.size, w.stride, w.padding, w.base_dilation, w.dilation)
    return first_selected(x, y, w, lowest)


@derivative("select_and_scatter_add")
def select_and_scatter_add(u, x, y, dy, *, select_prim, window_dimensions, window_strides, padding):
    """y_i = Σ u_o over the windows o whose first maximum is x_i (JAX's derivative of it)      du_o = dy at it."""
    w = _windows(x, u, window_dimensions, window_strides, padding)
    return lambda: read_selected(dy, _selected_by(select_prim, x, w), w), None


@derivative("select_and_gather_add")
def select_and_gather_add(
    u, x, y, dy, *, select_prim, window_dimensions, window_strides, padding, base_dilation, window_dilation
):
    """y_o = u at the first maximum of x in window o      du_i = Σ dy_o over these windows o."""
    w = _windows(x, y, window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return lambda: add_at_selected(dy, _selected_by(select_prim, x, w), w), None


# --- Any function ----------------------------------------------------------------------------------------------------


@derivative("reduce_window")
def reduce_window(
    *arguments, jaxpr, consts, window_dimensions, window_strides, padding, base_dilation, window_dilation
):
    """y_o = f(… f(f(init, x_{s·o}), x_{s·o + d}) …)      dx by the chain rule, from the last step to the first.

    The function f is differentiated by `jax.vjp`. JAX has no reverse mode of this primitive.
    """
    *inputs, ys, dys = arguments
    n, outputs = len(inputs) // 2, as_tuple(ys)
    w = _windows(inputs[0], outputs[0], window_dimensions, window_strides, padding, base_dilation, window_dilation)

    def fold(*inputs):
        padded = [lax.pad(x, init, w.config) for x, init in zip(inputs[:n], inputs[n:], strict=True)]
        step = lambda carry, t, start: evaluate_jaxpr(
            opened(jaxpr), consts, [*carry, *(w.read(x, start) for x in padded)]
        )
        return w.over_positions(step, [jnp.broadcast_to(init, w.out) for init in inputs[n:]])

    _, pull_back = jax.vjp(fold, *inputs)
    return tuple(
        pull_back([jnp.zeros_like(y) if dy is None else dy for y, dy in zip(outputs, as_tuple(dys), strict=True)])
    )
