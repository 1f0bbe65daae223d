"""Backpropagation through time from a few stored states; the others are computed again in the backward pass."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.checkpointed import sweep_back, sweep_forward
from bpjax.layers.layer import EMPTY, Backward, ForwardInContext
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.sequences import (
    back_where_real,
    check_sequence,
    check_state,
    in_context,
    is_last_step,
    pair,
    step_mask,
    where_real,
    zero_state,
    zeros_of,
)
from bpjax.types import Array
from bpjax.util.precision import widen
from bpjax.util.trees import select


class Options(NamedTuple):
    """The options of `unroll`."""

    reverse: bool
    last: bool
    with_state: bool
    truncate: int | None


def unrolled_with_snapshots(cell: Cell, snapshots: int, options: Options) -> tuple[ForwardInContext, Backward]:
    """The forward and the backward pass of `unroll` with a number of stored states.

    Nothing of size T is stored or computed but x, y, dy and dx: the inputs of the cell and the gradients of its weights
    are computed a step at a time.
    """

    def forward(params, x, context=EMPTY):
        sequence, state = pair("x", x) if options.with_state else (x, None)
        sequence = in_order(check_sequence(cell.name, sequence))
        zero = zero_state(cell, len(sequence), sequence.dtype)
        state = zero if state is None else check_state(cell.name, state, zero)
        reals = real_steps(context, sequence)
        step = step_of(params, sequence, context, reals)
        every = not options.last or reals is not None
        state, y, stored = sweep_forward(step, state, sequence.shape[1], snapshots, every, axis=1)
        if options.last and reals is not None:
            at = is_last_step(sequence.shape[1], False, reals).T
            y = jax.tree.map(lambda a: jnp.sum(where_axes(at, a), axis=1), y)
        y = y if options.last else jax.tree.map(in_order, y)
        return ((y, state) if options.with_state else y), (sequence, context, stored)

    def where_axes(at, a):
        return jnp.where(at.reshape(*at.shape, *(1,) * (a.ndim - 2)), a, 0)

    def real_steps(context, sequence):
        """The mask (T, N) in the order of the steps, or None."""
        mask = None if context.mask is None else in_order(jnp.asarray(context.mask))
        return step_mask(cell.name, mask, sequence)

    def backward(params, residuals, dy):
        sequence, context, stored = residuals
        batch, length = sequence.shape[:2]
        dy, dstate = dy if options.with_state else (dy, zero_state(cell, batch, sequence.dtype))
        dy = dy if options.last else jax.tree.map(in_order, dy)
        back_params, reals = cell.back_params(params), real_steps(context, sequence)
        lasts = is_last_step(length, False, reals)

        def back(index, residuals, carry):
            dstate, dparams = carry
            real = None if reals is None else reals[index]
            if not options.last:
                dy_here = jax.tree.map(lambda d: d[:, index], dy)
            elif reals is None:
                dy_here = jax.tree.map(lambda d: jnp.where(index == length - 1, d, 0), dy)
            else:
                dy_here = where_real(lasts[index], dy, zeros_of(dy))
            dstate, delta = back_where_real(cell, back_params, residuals, dstate, dy_here, real)
            if options.truncate is not None:
                dstate = jax.tree.map(lambda d: jnp.where(starts_block(index), 0, d), dstate)
            if cell.gradient is None:
                dparams_here, dx = delta
            else:
                at_one_time = jax.tree.map(lambda a: a[None], (sequence[:, index], residuals, delta))
                dparams_here, dx = cell.gradient(params, *at_one_time)
                dx = dx[0]
            return (dstate, jax.tree.map(lambda total, d: total + widen(d), dparams, dparams_here)), dx

        carry = (dstate, jax.tree.map(lambda p: jnp.zeros_like(widen(p)), params))
        step = step_of(params, sequence, context, reals)
        (dstate, dparams), dx = sweep_back(step, back, stored, carry, length, snapshots, axis=1)
        dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)
        dx = in_order(dx)
        return dparams, ((dx, dstate) if options.with_state else dx)

    def step_of(params, sequence, context, reals):
        here = in_context(cell, context)

        def step(index, state):
            if options.truncate is not None:
                state = select(starts_block(index), jax.lax.stop_gradient(state), state)
            driven = here.inputs(params, sequence[:, index][None])
            after, y, residuals = here.step(params, state, jax.tree.map(lambda a: a[0], driven))
            real = None if reals is None else reals[index]
            return where_real(real, after, state), where_real(real, y, zeros_of(y)), residuals

        return step

    def in_order(sequence: Array) -> Array:
        """From the order of time to that of the steps, or back."""
        return jnp.flip(sequence, axis=1) if options.reverse else sequence

    def starts_block(index):
        return (index % options.truncate == 0) & (index > 0)

    return forward, backward
