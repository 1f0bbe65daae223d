"""Layers of the networks of 1986: parts of the input, a sum over an image, later times, a start state."""

import jax.numpy as jnp

import bpjax as bp
from bpjax.layers.recurrent.recurrent import Cell


def columns(start: int, stop: int) -> bp.Layer:
    """Some of the features of the input, y = x[:, start:stop]; dx is dy there and 0 elsewhere.

    Args:
        start: the first feature.
        stop: the feature after the last.
    """

    def init(key, in_shape):
        return (), (stop - start,)

    def forward(params, x):
        return x[:, start:stop], jnp.zeros((0, x.shape[1]), x.dtype)

    def backward(params, residuals, dy):
        return (), jnp.pad(dy, ((0, 0), (start, residuals.shape[1] - stop)))

    return bp.Layer(f"columns {start} to {stop}", init, forward, backward)


def total() -> bp.Layer:
    """The sum of a feature over all positions of an image, x (N, H, W, C) to y (N, C); dx repeats dy."""

    def init(key, in_shape):
        return (), (in_shape[-1],)

    def forward(params, x):
        return x.sum(axis=(1, 2)), jnp.zeros((0, *x.shape[1:]), x.dtype)

    def backward(params, residuals, dy):
        return (), jnp.broadcast_to(dy[:, None, None, :], (len(dy), *residuals.shape[1:]))

    return bp.Layer("total", init, forward, backward)


def times(start: int) -> bp.Layer:
    """The sequence from time `start` on, y = x[:, start:]; dx is 0 before.

    Args:
        start: the first time that is kept.
    """

    def init(key, in_shape):
        return (), (in_shape[0] - start, *in_shape[1:])

    def forward(params, x):
        return x[:, start:], ()

    def backward(params, residuals, dy):
        return (), jnp.pad(dy, ((0, 0), (start, 0), (0, 0)))

    return bp.Layer(f"times from {start}", init, forward, backward)


def from_state(cell: Cell, steps: int) -> bp.Layer:
    """A cell that runs without input from the state x (N, H), y (N, T, H): T times `bp.unroll`'s step.

    The input of the cell is one feature that is always 0, so its weights never change.

    Args:
        cell: whose state is its output.
        steps: T.
    """
    layer = bp.unroll(cell, with_state=True)

    def silence(x):
        return jnp.zeros((len(x), steps, 1), x.dtype)

    def init(key, in_shape):
        params, (out_shape, _) = layer.init(key, ((steps, 1), in_shape))
        return params, out_shape

    def forward(params, x):
        (y, _), residuals = layer.forward(params, (silence(x), x))
        return y, residuals

    def backward(params, residuals, dy):
        dparams, (_, dx) = layer.backward(params, residuals, (dy, jnp.zeros_like(dy[:, 0])))
        return dparams, dx

    return bp.Layer(f"from state, {cell.name}", init, forward, backward)
