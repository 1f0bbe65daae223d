"""Recurrence: a cell applied at every time step, and backpropagation through time written by hand."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import parallel
from bpjax.layers.layer import (
    EMPTY,
    Context,
    Init,
    Kind,
    Layer,
    Parts,
    call_repr,
    check_in_shape,
    is_shape,
    uses_of,
    with_context,
)
from bpjax.types import Array, Params, Residuals
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_count, check_flag
from bpjax.util.precision import widen
from bpjax.util.trees import described


def _inputs_unchanged(params, x):
    return x


class Step(Protocol):
    """One time step of a cell."""

    def __call__(self, params: Params, state: Any, driven: Any, /) -> tuple[Any, Any, Residuals]:
        """(state, y, residuals)."""
        ...


class StepBackward(Protocol):
    """The backward pass of one time step."""

    def __call__(self, params: Params, residuals: Residuals, dstate: Any, dy: Any, /) -> tuple[Any, Any]:
        """(dstate, delta)."""
        ...


class Inputs(Protocol):
    """The contribution of the inputs of all times."""

    def __call__(self, params: Params, x: Array, /) -> Any:
        """The array or pytree (T, N, ...) that `step` receives, a time at a time."""
        ...


class GradientOverTime(Protocol):
    """The gradients of all times, from their error signals."""

    def __call__(self, params: Params, x: Array, residuals: Residuals, delta: Any, /) -> tuple[Params, Array]:
        """(dparams, dx (T, N, D))."""
        ...


class Cell(NamedTuple):
    """One time step of a dynamic system and its derivative, sₜ₊₁, yₜ = f(sₜ, xₜ); `unroll` makes a `Layer` of it.

    The state is a pytree of arrays (N, ...) in the dtype of x. As in a layer, `residuals` hold no parameters, and
    `back` and `gradient` read weights only from the `params` they receive.

    A new cell needs `init`, `step` and `back`, where `back` returns `(dparams, dx)` of the step as `delta`; `unroll`
    sums the dparams. `inputs` and `gradient` make a cell fast: they compute for all times at once what does not depend
    on the state.
    """

    name: str
    state_shape: Any
    """Shape of the state without the batch axis, or a pytree of shapes."""
    init: Init
    """(key, (D,)) -> (params, out_shape)."""
    step: Step
    """(params, state, driven) -> (state, y, residuals), at one time; driven is x (N, D) at that time, or the output of
    `inputs`."""
    back: StepBackward
    """(params, residuals, dstate, dy) -> (dstate, delta), at one time: from the cotangent of the new state to that of
    the old one. `delta` is the error signal for `gradient`, else `(dparams, dx)` of the step."""
    inputs: Inputs = _inputs_unchanged
    """(params, x (T, N, D)) -> driven (T, N, ...), before the first step."""
    gradient: GradientOverTime | None = None
    """(params, x, residuals, delta), each (T, N, ...) -> (dparams, dx (T, N, D)), after the backward sweep: the
    gradient of a weight is one matrix product over all times."""
    kind: Kind = Kind.LEAF
    """The kind of the layer that `unroll` makes of the cell."""
    parts: Parts | None = None
    """The layers that the cell is made of, if any."""
    arguments: str | None = None
    """For `repr`, as in a layer."""

    def __repr__(self) -> str:
        """The call that makes the cell: `lstm(128)`."""
        return call_repr(self)


def unroll(
    cell: Cell, *, reverse: bool = False, last: bool = False, with_state: bool = False, truncate: int | None = None
) -> Layer:
    """A cell over a sequence, x (N, T, D) to y (N, T, H), from the state 0.

    forward    sₜ₊₁, yₜ = f(sₜ, xₜ)                                   for t = 0 … T−1
    backward   λ_T = 0,   λₜ = (∂sₜ₊₁/∂sₜ)ᵀ λₜ₊₁ + (∂yₜ/∂sₜ)ᵀ dyₜ      for t = T−1 … 0
               dxₜ = (∂sₜ₊₁/∂xₜ)ᵀ λₜ₊₁ + (∂yₜ/∂xₜ)ᵀ dyₜ,   dparams likewise, summed over t

    This is the multi-stage system of optimal control (Bryson & Ho 1969, chapter 2) and its backward sweep: λ is the
    costate, dx the gradient with respect to the controls. Werbos (1990) calls it backpropagation through time. The
    sweep computes λ only; weight gradients are computed afterwards from the stored error signals (see `Cell`).

    Residuals: x, and those of the cell at every step.

    Args:
        cell: One time step.
        reverse: Run from the last time to the first. y stays in the order of x.
        last: y is the output of the last step only, (N, H); with `reverse` that is the step at t = 0.
        with_state: x is (sequence, s₀) and y is (outputs, s_T), so that a sequence can be continued; dy includes λ_T
            and dx includes λ₀. `init` then takes `((T, D), cell.state_shape)`.
        truncate: Truncated backpropagation through time: the steps are divided into blocks of this length, counted from
            the first step, and a `stop_gradient` between blocks keeps the error within each. The forward pass does not
            change. With `truncate` ≥ T it is the full gradient.

    Raises:
        ValueError: `cell` is not a Cell or `truncate` not a positive integer; in `forward`, x is not (N, T, D), is
            empty, or differs from the weights in features or dtype; the state has another shape.
    """
    if not isinstance(cell, Cell):
        got = getattr(cell, "__name__", None) or getattr(cell, "name", None) or repr(cell)
        cure = f"Call it first: `{got}(...)`." if callable(cell) else "Make one: `bp.layers.lstm(32)`."
        raise ValueError(f"`unroll` expected a Cell, got {got}. {cure}")
    if truncate is not None:
        truncate = check_count("unroll", "truncate", truncate)
    reverse, last = check_flag("unroll", "reverse", reverse), check_flag("unroll", "last", last)
    with_state = check_flag("unroll", "with_state", with_state)

    def init(key, in_shape):
        shape, state_shape = _pair("`in_shape`", in_shape) if with_state else (in_shape, cell.state_shape)
        if state_shape != cell.state_shape:
            raise ValueError(f"`{cell.name}` expected a state of shape {cell.state_shape}, got {state_shape}.")
        steps, in_features = check_in_shape("unroll", shape, rank=2)
        params, out_shape = cell.init(key, (in_features,))
        if not last:
            out_shape = _map_shapes(lambda shape: (steps, *shape), out_shape)
        return params, ((out_shape, cell.state_shape) if with_state else out_shape)

    def forward(params, x, context=EMPTY):
        here = _in_context(cell, context)
        sequence, state = _pair("x", x) if with_state else (x, None)
        sequence = _check_sequence(cell.name, sequence)
        zero = _zero_state(cell, len(sequence), sequence.dtype)
        state = zero if state is None else _check_state(cell.name, state, zero)
        driven = here.inputs(params, jnp.swapaxes(sequence, 0, 1))

        def step(carry, step):
            driven, starts = step
            state = carry[0] if starts is None else _where(starts, jax.lax.stop_gradient(carry[0]), carry[0])
            state, y, residuals = here.step(params, state, driven)
            return ((state, y), (None, residuals)) if last else ((state, None), (y, residuals))

        y = None
        if last:  # the scan carries the latest output only
            first = jax.tree.map(lambda a: a[0], driven)
            y = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(here.step, params, state, first)[1])
        steps = (driven, starts_block(sequence.shape[1]))
        (state, y), (outputs, residuals) = jax.lax.scan(step, (state, y), steps, reverse=reverse)
        y = y if last else _swap(outputs)
        return ((y, state) if with_state else y), (sequence, residuals)

    def backward(params, residuals, dy):
        sequence, stacked = residuals
        batch, length = sequence.shape[:2]
        dy, dstate = dy if with_state else (dy, _zero_state(cell, batch, sequence.dtype))
        is_last = jnp.arange(length) == (0 if reverse else length - 1)
        dparams = None if cell.gradient else jax.tree.map(lambda p: jnp.zeros_like(widen(p)), params)

        def sweep(carry, step):
            dstate, dparams = carry
            residuals, dy_here, starts = step
            if last:
                dy_here = jax.tree.map(lambda d: jnp.where(dy_here, d, 0), dy)
            dstate, delta = cell.back(params, residuals, dstate, dy_here)
            if starts is not None:
                dstate = jax.tree.map(lambda d: jnp.where(starts, 0, d), dstate)
            if cell.gradient is None:
                dparams_here, delta = delta
                dparams = jax.tree.map(lambda total, d: total + widen(d), dparams, dparams_here)
            return (dstate, dparams), delta

        steps = (stacked, is_last if last else _swap(dy), starts_block(length))
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

    options = {"reverse": reverse, "last": last, "with_state": with_state, "truncate": truncate}
    cell_parts, uses = cell.parts, uses_of(cell.parts.layers if cell.parts else ())
    parts = cell_parts and Parts(cell_parts.layers, lambda *layers: unroll(cell_parts.rebuild(*layers), **options))
    defaults = {"reverse": False, "last": False, "with_state": False, "truncate": None}
    arguments = call_text(cell, **{name: (value, defaults[name]) for name, value in options.items()})
    return Layer(f"unroll({cell.name})", init, forward, backward, cell.kind, parts, arguments, uses)


def bidirectional(
    cell: Cell, backward_cell: Cell | None = None, *, last: bool = False, truncate: int | None = None
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

    Raises:
        ValueError: as `unroll`.
    """
    ahead = unroll(cell, last=last, truncate=truncate)
    behind = unroll(cell if backward_cell is None else backward_cell, reverse=True, last=last, truncate=truncate)
    return _bidirectional(ahead, behind)


def _bidirectional(ahead: Layer, behind: Layer) -> Layer:
    both = parallel(ahead, behind, combine="concatenate")
    return both._replace(name="bidirectional", parts=Parts((ahead, behind), _bidirectional), arguments=None)


def _in_context(cell: Cell, context: Context) -> Cell:
    """The cell with its layers in a context, the same at every step: dropout uses one mask for all times."""
    if cell.parts is None or not uses_of(cell.parts.layers):
        return cell
    layers = enumerate(cell.parts.layers)
    return cell.parts.rebuild(*(with_context(layer, context.for_part(index)) for index, layer in layers))


def _map_shapes(change, shapes):
    """Apply `change` to every shape of a pytree of shapes."""
    return jax.tree.map(change, shapes, is_leaf=is_shape)


def _swap(tree):
    """(N, T, ...) to (T, N, ...) or back: a scan runs along the first axis."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)


def _where(condition, a, b):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), a, b)


def _zero_state(cell: Cell, batch: int, dtype):
    return _map_shapes(lambda shape: jnp.zeros((batch, *shape), dtype), cell.state_shape)


def _pair(what: str, pair):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        got = f"{len(pair)} entries" if isinstance(pair, tuple | list) else f"shape {jnp.shape(pair)}"
        raise ValueError(f"`unroll(..., with_state=True)` expected {what} as a pair (sequence, state), got {got}.")
    return pair


def _check_sequence(who: str, x) -> Array:
    """`x` as a float array of shape (N, T, D), with N, T, D ≥ 1, or a `ValueError`."""
    x = as_floating(who, "x", x)
    if x.ndim != 3:
        raise ValueError(f"`{who}` expected `x` of shape (N, T, D), got {x.shape}. Add the missing axis.")
    if 0 in x.shape:
        raise ValueError(
            f"`{who}` expected at least one example, one time and one feature, got `x` of shape {x.shape}."
        )
    return x


def _check_state(who: str, state, expected):
    """`state`, if it has the structure, shapes and dtypes of `expected`, or a `ValueError`."""
    if described(state) != described(expected):
        raise ValueError(f"`{who}` expected the state {described(expected)}, got {described(state)}.")
    return state
