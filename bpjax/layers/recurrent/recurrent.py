"""Recurrence: a cell applied at every time step, and backpropagation through time written by hand."""

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import parallel
from bpjax.layers.layer import EMPTY, Layer, Parts, check_in_shape, uses_of
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.sequences import (
    back_where_real,
    check_sequence,
    check_state,
    in_context,
    is_last_step,
    map_shapes,
    pair,
    step_mask,
    stored_output,
    swap,
    where_real,
    zero_state,
    zeros_of,
)
from bpjax.layers.recurrent.with_snapshots import Options, unrolled_with_snapshots
from bpjax.util.call_text import call_text, is_function, shown
from bpjax.util.checks import check_count, check_flag
from bpjax.util.precision import widen
from bpjax.util.trees import select


def unroll(
    cell: Cell,
    *,
    reverse: bool = False,
    last: bool = False,
    with_state: bool = False,
    truncate: int | None = None,
    snapshots: int | None = None,
) -> Layer:
    """A cell over a sequence, x (N, T, D) to y (N, T, H), from the state 0.

    forward    sₜ₊₁, yₜ = f(sₜ, xₜ)                                   for t = 0 … T−1
    backward   λ_T = 0,   λₜ = (∂sₜ₊₁/∂sₜ)ᵀ λₜ₊₁ + (∂yₜ/∂sₜ)ᵀ dyₜ      for t = T−1 … 0
               dxₜ = (∂sₜ₊₁/∂xₜ)ᵀ λₜ₊₁ + (∂yₜ/∂xₜ)ᵀ dyₜ,   dparams likewise, summed over t

    This is the multi-stage system of optimal control (Bryson & Ho 1969, chapter 2) and its backward sweep: λ is the
    costate, dx the gradient with respect to the controls. Werbos (1990) calls it backpropagation through time. The
    sweep computes λ only; weight gradients are computed afterwards from the stored error signals (see `Cell`).

    Residuals: x, and those of the cell at every step; with `snapshots`, x, at most s states, and those of the cell at
    the last step. The backward pass then computes the other states again, by the binomial schedule of Griewank and
    Walther (2000): exactly r T − C(s + r, s + 1) steps are repeated, r the least integer with C(s + r, s) ≥ T (see
    `bpjax.layers.snapshots`). Like `remat`, use it with backpropagation only: the states are computed again from the
    weights that `backward` receives.

    Sequences of different lengths: the mask of the context (N, T), set by `masked`, is true at the real times of each
    example. At the others the state does not change, y is 0, and no error passes through x. So s_T and the output of
    `last` are those of the last real time, and with `reverse` each example starts at its own last time. Without any
    real time y is 0 and the state s₀. The blocks of `truncate` count the times of padding too.

    Args:
        cell: One time step.
        reverse: Run from the last time to the first. y stays in the order of x.
        last: y is the output of the last step only, (N, H); with `reverse` that is the step at t = 0.
        with_state: x is (sequence, s₀) and y is (outputs, s_T), so that a sequence can be continued; dy includes λ_T
            and dx includes λ₀. `init` then takes `((T, D), cell.state_shape)`.
        truncate: Truncated backpropagation through time: the steps are divided into blocks of this length, counted from
            the first step, and a `stop_gradient` between blocks keeps the error within each. The forward pass does not
            change. With `truncate` ≥ T it is the full gradient.
        snapshots: s, the number of states that are stored at the same time, the initial state included; by default
            the residuals of all steps are stored, and none is repeated.

    Raises:
        ValueError: `cell` is not a Cell, `truncate` or `snapshots` not a positive integer; in `forward`, x is not
            (N, T, D), is empty, or differs from the weights in features or dtype; the state has another shape.
    """
    if not isinstance(cell, Cell):
        got = getattr(cell, "__name__", None) or getattr(cell, "name", None) or shown(cell)
        cure = f"Call it first: `{got}(...)`." if is_function(cell) else "Make one: `bp.layers.lstm(32)`."
        raise ValueError(f"`unroll` expected a Cell, got {got}. {cure}")
    if truncate is not None:
        truncate = check_count("unroll", "truncate", truncate)
    if snapshots is not None:
        snapshots = check_count("unroll", "snapshots", snapshots)
    reverse, last = check_flag("unroll", "reverse", reverse), check_flag("unroll", "last", last)
    with_state = check_flag("unroll", "with_state", with_state)

    def init(key, in_shape):
        shape, state_shape = pair("`in_shape`", in_shape) if with_state else (in_shape, cell.state_shape)
        if state_shape != cell.state_shape:
            raise ValueError(f"`{cell.name}` expected a state of shape {cell.state_shape}, got {state_shape}.")
        steps, in_features = check_in_shape("unroll", shape, rank=2)
        params, out_shape = cell.init(key, (in_features,))
        if not last:
            out_shape = map_shapes(lambda shape: (steps, *shape), out_shape)
        return params, ((out_shape, cell.state_shape) if with_state else out_shape)

    def forward(params, x, context=EMPTY):
        here = in_context(cell, context)
        sequence, state = pair("x", x) if with_state else (x, None)
        sequence = check_sequence(cell.name, sequence)
        zero = zero_state(cell, len(sequence), sequence.dtype)
        state = zero if state is None else check_state(cell.name, state, zero)
        driven = here.inputs(params, jnp.swapaxes(sequence, 0, 1))
        reals = step_mask(cell.name, context.mask, sequence)

        def step(carry, step):
            driven, starts, real = step
            state = carry[0] if starts is None else select(starts, jax.lax.stop_gradient(carry[0]), carry[0])
            after, y, residuals = here.step(params, state, driven)
            if last:
                return (where_real(real, after, state), where_real(real, y, carry[1])), (None, residuals)
            if starts is None and real is None:
                stored[:] = stored_output(state, after, y, residuals)
            y = None if stored else where_real(real, y, zeros_of(y))
            return (where_real(real, after, state), None), (y, residuals)

        y = None
        if last:  # the scan carries the latest output only
            first = jax.tree.map(lambda a: a[0], driven)
            y = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(here.step, params, state, first)[1])
        steps, stored = (driven, starts_block(sequence.shape[1]), reals), []
        (state, y), (outputs, residuals) = jax.lax.scan(step, (state, y), steps, reverse=reverse)
        if stored:
            ((in_state, in_residuals),) = stored
            final, before = jax.tree.leaves(state)[in_state][None], jax.tree.leaves(residuals)[in_residuals]
            outputs = jnp.concatenate([final, before[:-1]] if reverse else [before[1:], final])
        y = y if last else swap(outputs)
        return ((y, state) if with_state else y), (sequence, residuals, reals)

    def backward(params, residuals, dy):
        sequence, stacked, reals = residuals
        batch, length = sequence.shape[:2]
        dy, dstate = dy if with_state else (dy, zero_state(cell, batch, sequence.dtype))
        is_last = is_last_step(length, reverse, reals)
        dparams = None if cell.gradient else jax.tree.map(lambda p: jnp.zeros_like(widen(p)), params)

        def sweep(carry, step):
            dstate, dparams = carry
            residuals, dy_here, starts, real = step
            if last and real is None:
                dy_here = jax.tree.map(lambda d: jnp.where(dy_here, d, 0), dy)
            elif last:
                dy_here = where_real(dy_here, dy, zeros_of(dy))
            dstate, delta = back_where_real(cell, back_params, residuals, dstate, dy_here, real)
            if starts is not None:
                dstate = jax.tree.map(lambda d: jnp.where(starts, 0, d), dstate)
            if cell.gradient is None:
                dparams_here, delta = delta
                dparams = jax.tree.map(lambda total, d: total + widen(d), dparams, dparams_here)
            return (dstate, dparams), delta

        back_params = cell.back_params(params)
        steps = (stacked, is_last if last else swap(dy), starts_block(length), reals)
        (dstate, dparams), delta = jax.lax.scan(sweep, (dstate, dparams), steps, reverse=not reverse)
        if cell.gradient is None:
            dparams, dx = jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params), delta
        else:
            dparams, dx = cell.gradient(params, jnp.swapaxes(sequence, 0, 1), stacked, delta)
        dx = jnp.swapaxes(dx, 0, 1)
        return dparams, ((dx, dstate) if with_state else dx)

    def starts_block(length):
        """Whether a new block starts at each time (T,), the first step excepted; None if there is only one block."""
        if truncate is None or truncate >= length:
            return None
        step = jnp.arange(length)  # of each time
        step = step[::-1] if reverse else step
        return (step % truncate == 0) & (step > 0)

    def changed(cell):
        options = Options(reverse, last, with_state, truncate)
        return unroll(cell, **options._asdict(), snapshots=snapshots)

    passes = forward, backward
    if snapshots is not None:
        passes = unrolled_with_snapshots(cell, snapshots, Options(reverse, last, with_state, truncate))
    cell_parts, uses = cell.parts, uses_of(cell.parts.layers if cell.parts else ()) | {"mask"}
    parts = cell_parts and Parts(cell_parts.layers, lambda *layers: changed(cell_parts.rebuild(*layers)))
    arguments = call_text(
        cell, reverse=(reverse, False), last=(last, False), with_state=(with_state, False), truncate=(truncate, None),
        snapshots=(snapshots, None),
    )  # fmt: skip
    return Layer(
        f"unroll({cell.name})", init, *passes, cell.kind, parts, arguments, uses, cell.settings,
        made_from=cell if _is_hashable(cell) else None,
    )  # fmt: skip


def _is_hashable(cell: Cell) -> bool:
    """Whether a cell can be a key, as layers are of compiled programs; one with a dictionary of states cannot."""
    try:
        hash(cell)
    except TypeError:
        return False
    return True


def bidirectional(
    cell: Cell,
    backward_cell: Cell | None = None,
    *,
    last: bool = False,
    truncate: int | None = None,
    snapshots: int | None = None,
) -> Layer:
    """Two recurrences, one forward and one backward in time, concatenated: x (N, T, D) to y (N, T, H + H′).

    forward    y = [unroll(cell)(x), unroll(backward_cell, reverse)(x)]
    backward   dx is the sum of both

    Schuster & Paliwal 1997. Params are a pair.

    Args:
        cell: The cell that runs forward in time.
        backward_cell: The cell that runs backward in time, by default the same.
        last: y is (N, H + H′), the output of each after its last step, at t = T−1 and at t = 0.
        truncate: As in `unroll`.
        snapshots: As in `unroll`, for each of the two.

    Raises:
        ValueError: as `unroll`.
    """
    behind_cell = cell if backward_cell is None else backward_cell
    ahead = unroll(cell, last=last, truncate=truncate, snapshots=snapshots)
    behind = unroll(behind_cell, reverse=True, last=last, truncate=truncate, snapshots=snapshots)
    return _bidirectional(ahead, behind)


def _bidirectional(ahead: Layer, behind: Layer) -> Layer:
    both = parallel(ahead, behind, combine="concatenate")
    return both._replace(name="bidirectional", parts=Parts((ahead, behind), _bidirectional), arguments=None)
