"""A loop of equal steps and its reversal from a few stored states: one compiled step, whatever the number of steps."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.snapshots import binomial_schedule
from bpjax.util.trees import select


class SweepStep(Protocol):
    """One step of the forward sweep."""

    def __call__(self, index: Any, state: Any, /) -> tuple[Any, Any, Any]:
        """(state, output, residuals)."""
        ...


class SweepBack(Protocol):
    """The reversal of one step."""

    def __call__(self, index: Any, residuals: Any, carry: Any, /) -> tuple[Any, Any]:
        """(carry, output)."""
        ...


class Snapshots(NamedTuple):
    """What the forward sweep stores for the reversal."""

    states: Any  # (slots, ...) at most as many as there are snapshots; () for a single step
    last: Any  # residuals of the last step


class _Repeats(NamedTuple):
    """The steps that the reversal computes again, in order, (repeated steps,); −1 where there is no slot."""

    step: Any
    restore: Any  # the slot of the state to start from; −1 to continue from the last one
    store: Any  # the slot for the state after the step
    is_reversed: Any  # whether the step is reversed with the residuals just computed


def sweep_forward(
    step: SweepStep, state: Any, length: int, snapshots: int, every: bool, axis: int = 0
) -> tuple[Any, Any, Snapshots]:
    """Run all steps and store the first states of the binomial schedule.

    Args:
        step: (index, state) -> (state, output, residuals); the state keeps its shapes and dtypes.
        state: before the first step.
        length: the number of steps.
        snapshots: the number of states that may be stored at the same time.
        every: whether to return the outputs of all steps, stacked, or the output of the last step.
        axis: along which outputs are stacked.

    Returns:
        The state after the last step, the outputs, and what is stored.
    """
    slots, _ = _tables(length, snapshots)
    outputs = jax.eval_shape(step, jnp.zeros((), jnp.int32), state)[1] if every else None
    stacked = _empty(outputs, length, axis)
    states: Any = ()
    if length > 1:
        states = _empty(state, max(slots) + 1)

        def body(carry, row):
            state, states, stacked = carry
            index, slot = row
            states = _put(states, slot, state, slot >= 0)
            state, output, _ = step(index, state)
            return (state, states, _put(stacked, index, output, axis=axis) if every else None), None

        rows = (jnp.arange(length - 1, dtype=jnp.int32), jnp.asarray(slots))
        (state, states, stacked), _ = jax.lax.scan(body, (state, states, stacked), rows)
    state, output, residuals = step(jnp.int32(length - 1), state)
    output = _put(stacked, length - 1, output, axis=axis) if every else output
    return state, output, Snapshots(states, residuals)


def sweep_back(
    step: SweepStep, back: SweepBack, stored: Snapshots, carry: Any, length: int, snapshots: int, axis: int = 0
) -> tuple[Any, Any]:
    """Reverse all steps, from the last to the first; exactly `repeated_steps(length, snapshots)` are computed again.

    Args:
        step: as in `sweep_forward`.
        back: (index, residuals, carry) -> (carry, output).
        stored: what the forward sweep stored.
        carry: before the last step is reversed.
        length: as in `sweep_forward`.
        snapshots: as in `sweep_forward`.
        axis: along which the outputs are stacked.

    Returns:
        The carry after the first step is reversed, and the outputs of all steps, stacked.
    """
    carry, output = back(jnp.int32(length - 1), stored.last, carry)
    stacked = _put(_empty(output, length, axis), length - 1, output, axis=axis)
    if length == 1:
        return carry, stacked
    _, repeats = _tables(length, snapshots)
    zeros = jax.tree.map(lambda o: jnp.zeros(o.shape, o.dtype), output)

    def body(loop, row: _Repeats):
        state, states, carry, stacked = loop
        state = select(row.restore >= 0, at(states, row.restore), state)
        after, _, residuals = step(row.step, state)
        reverse = lambda carry: back(row.step, residuals, carry)
        carry, output = jax.lax.cond(row.is_reversed, reverse, lambda carry: (carry, zeros), carry)
        states = _put(states, row.store, after, row.store >= 0)
        return (after, states, carry, _put(stacked, row.step, output, row.is_reversed, axis)), None

    loop = (at(stored.states, 0), stored.states, carry, stacked)
    (_, _, carry, stacked), _ = jax.lax.scan(body, loop, jax.tree.map(jnp.asarray, repeats))
    return carry, stacked


def _tables(length: int, snapshots: int) -> tuple[np.ndarray, _Repeats]:
    """The slot of each state of the forward sweep (length − 1,), −1 for none, and the repeated steps."""
    actions = binomial_schedule(length, snapshots)
    first = next(place for place, action in enumerate(actions) if action.kind == "reverse")
    slots = np.full(length - 1, -1, np.int32)
    for action in actions[:first]:
        if action.kind == "snapshot":
            slots[action.step] = action.slot
    rows, restore = [], -1
    for action in actions[first + 1 :]:
        if action.kind == "restore":
            restore = action.slot
        elif action.kind == "snapshot":
            rows[-1][2] = action.slot
        else:
            rows.append([action.step, restore, -1, action.kind == "reverse"])
            restore = -1
    step, load, store, is_reversed = np.array(rows, np.int32).reshape(-1, 4).T
    return slots, _Repeats(step, load, store, is_reversed.astype(bool))


def _empty(tree, length: int, axis: int = 0):
    """Zeros of the shapes and dtypes of the arrays, with a further axis of this length."""
    return jax.tree.map(lambda a: jnp.zeros((*a.shape[:axis], length, *a.shape[axis:]), a.dtype), tree)


def at(tree, index, axis: int = 0):
    """The entries at an index of an axis; those at 0 for a negative index."""
    index = jnp.maximum(index, 0)
    return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, index, axis, keepdims=False), tree)


def _put(tree, index, values, condition=None, axis: int = 0):
    """The tree with values at an index of an axis, in place; unchanged where the condition is false."""
    if condition is not None:
        values = select(condition, values, at(tree, index, axis))
    index = jnp.maximum(index, 0)
    return jax.tree.map(lambda a, v: jax.lax.dynamic_update_index_in_dim(a, v, index, axis), tree, values)
