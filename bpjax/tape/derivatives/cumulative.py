"""Cumulative operations. Each derivative is a linear recurrence from the last entry to the first.

The docstrings describe `reverse=False`; otherwise the roles of first and last are exchanged.
"""

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import derivative
from bpjax.types import Array


def recurrence(factor: Array, term: Array, axis: int, reverse: bool) -> Array:
    """r_i = t_i + f_i r_{i−1} along an axis, or with `reverse` r_i = t_i + f_i r_{i+1}; as an associative scan."""
    if term.shape[axis] == 0:
        return term

    def compose(first, then):
        return then[0] * first[0], then[1] + then[0] * first[1]

    return lax.associative_scan(compose, (factor, term), reverse=reverse, axis=axis)[1]


def shifted(x: Array, axis: int, fill, reverse: bool = False) -> Array:
    """x_{i−1} at i along an axis, or with `reverse` x_{i+1}; `fill` where there is none."""
    if x.shape[axis] == 0:
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (-1, 1, 0) if reverse else (1, -1, 0)
    return lax.pad(x, jnp.array(fill, x.dtype), config)


@derivative("cumsum")
def cumsum(x, y, dy, *, axis, reverse):
    """y_i = Σ_{j≤i} x_j      dx_j = Σ_{i≥j} dy_i."""
    return lambda: lax.cumsum(dy, axis, reverse=not reverse)


@derivative("cumprod")
def cumprod(x, y, dy, *, axis, reverse):
    """y_i = Π_{j≤i} x_j      dx_j = y_{j−1} r_j,  r_j = dy_j + x_{j+1} r_{j+1}.

    There is no division, so zeros are no exception.
    """

    def dx():
        r = recurrence(shifted(x, axis, 1, not reverse), dy, axis, not reverse)
        return shifted(y, axis, 1, reverse) * r

    return dx


@derivative("cumlogsumexp")
def cumlogsumexp(x, y, dy, *, axis, reverse):
    """y_i = log Σ_{j≤i} eˣʲ      dx_j = exp(x_j − y_j) r_j,  r_j = dy_j + exp(y_j − y_{j+1}) r_{j+1}.

    No factor is larger than 1.
    """

    def dx():
        r = recurrence(ratio(y, shifted(y, axis, 0, not reverse)), dy, axis, not reverse)
        return ratio(x, y) * r

    def ratio(a, b):
        return jnp.where(a == b, jnp.ones_like(a), jnp.exp(a - b))  # 1 for −∞ and −∞

    return dx


@derivative("cummax", "cummin")
def cumulative_extremum(x, y, dy, *, axis, reverse):
    """y_i = max_{j≤i} x_j, or min      dy_i is divided equally between the x_j = y_i with j ≤ i.

    Equal y are neighbours: in such a run, n_i of the x_j up to i are equal to y_i, n_i = [x_i = y_i] + n_{i−1}, and
    dx_j = [x_j = y_j] r_j with r_j = dy_j / n_j + r_{j+1}. Before a run n is 0, after it r. (JAX divides by halves, in
    the order of its associative scan: the same for two equal entries.)
    """

    def dx():
        is_y = (x == y).astype(dy.dtype)
        same = lambda back: (shifted(y, axis, jnp.nan, back) == y).astype(dy.dtype)
        count = recurrence(same(reverse), is_y, axis, reverse)
        share = dy / jnp.maximum(count, 1)  # 0 only at NaN
        return is_y * recurrence(same(not reverse), share, axis, not reverse)

    return dx
