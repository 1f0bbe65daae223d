"""What the unrolled cells share: states of zeros, the checks of their inputs, cells in a context."""

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Context, is_shape, uses_of, with_context
from bpjax.layers.recurrent.cell import Cell
from bpjax.types import Array
from bpjax.util.checks import as_floating
from bpjax.util.trees import described


def in_context(cell: Cell, context: Context) -> Cell:
    """The cell with its layers in a context, the same at every step: dropout uses one mask for all times."""
    if cell.parts is None or not uses_of(cell.parts.layers):
        return cell
    layers = enumerate(cell.parts.layers)
    return cell.parts.rebuild(*(with_context(layer, context.for_part(index)) for index, layer in layers))


def map_shapes(change, shapes):
    """Apply `change` to every shape of a pytree of shapes."""
    return jax.tree.map(change, shapes, is_leaf=is_shape)


def swap(tree):
    """(N, T, ...) to (T, N, ...) or back: a scan runs along the first axis."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)


def stored_output(before, after, y, residuals) -> list[tuple[int, int]]:
    """Whether the outputs of all steps are among the residuals: [(index in the state, index in the residuals)], or [].

    So it is where y is a leaf of the state after the step and the residuals have that leaf of the state before it, as
    h of an LSTM: then the residuals of the next step hold y, and it is not stored a second time.
    """
    leaves = [id(leaf) for leaf in jax.tree.leaves(residuals)]
    pairs = enumerate(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    return [(i, leaves.index(id(old))) for i, (old, new) in pairs if new is y and id(old) in leaves][:1]


def zero_state(cell: Cell, batch: int, dtype):
    """The initial state of a batch."""
    return map_shapes(lambda shape: jnp.zeros((batch, *shape), dtype), cell.state_shape)


def step_mask(who: str, mask, x: Array) -> Array | None:
    """The mask of the context as (T, N) booleans, or None, or a `ValueError` where it is no mask (N, T) of x."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != bool or mask.shape != x.shape[:2]:
        raise ValueError(
            f"`{who}` expected a mask {x.shape[:2]} of booleans, true at the real times of each example, got "
            f"{mask.dtype}{list(mask.shape)}. Make one: `jnp.arange(T)[None, :] < lengths[:, None]`."
        )
    return mask.T


def where_real(real: Array | None, new, old):
    """The new arrays (N, ...) for examples whose time is real, (N,), else the old ones; the new ones without a mask."""
    if real is None:
        return new
    choose = lambda a, b: jnp.where(real.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
    return jax.tree.map(choose, new, old)


def zeros_of(tree):
    """A pytree of zeros of the same shapes."""
    return jax.tree.map(jnp.zeros_like, tree)


def back_where_real(cell: Cell, back_params, residuals, dstate, dy, real: Array | None):
    """(dstate, delta) of one time, `cell.back`; where a time is padding dstate passes unchanged, and nothing else does.

    Args:
        cell: The cell.
        back_params: What its `back` reads of the params.
        residuals: Of the step.
        dstate: The cotangent of the state after the step.
        dy: The cotangent of the output.
        real: (N,), or None without a mask.
    """
    if real is None:
        return cell.back(back_params, residuals, dstate, dy)
    past = where_real(real, zeros_of(dstate), dstate)
    before, delta = cell.back(
        back_params, residuals, where_real(real, dstate, zeros_of(dstate)), where_real(real, dy, zeros_of(dy))
    )
    return jax.tree.map(jnp.add, before, past), delta


def is_last_step(length: int, reverse: bool, real: Array | None) -> Array:
    """Where the last step of each example is: (T,) booleans, or with a mask (T, N), all false without real times."""
    if real is None:
        return jnp.arange(length) == (0 if reverse else length - 1)
    later = real if reverse else real[::-1]
    first = jnp.cumsum(later, axis=0) == 1
    return (first if reverse else first[::-1]) & real


def pair(what: str, pair):
    """`pair` itself, a (sequence, state), or a `ValueError`."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        got = f"{len(pair)} entries" if isinstance(pair, tuple | list) else f"shape {jnp.shape(pair)}"
        raise ValueError(f"`unroll(..., with_state=True)` expected {what} as a pair (sequence, state), got {got}.")
    return pair


def check_sequence(who: str, x) -> Array:
    """`x` as a float array of shape (N, T, D), with N, T, D ≥ 1, or a `ValueError`."""
    x = as_floating(who, "x", x)
    if x.ndim != 3:
        raise ValueError(f"`{who}` expected `x` of shape (N, T, D), got {x.shape}. Add the missing axis.")
    if 0 in x.shape:
        raise ValueError(
            f"`{who}` expected at least one example, one time and one feature, got `x` of shape {x.shape}."
        )
    return x


def check_state(who: str, state, expected):
    """`state`, if it has the structure, shapes and dtypes of `expected`, or a `ValueError`."""
    if described(state) != described(expected):
        raise ValueError(f"`{who}` expected the state {described(expected)}, got {described(state)}.")
    return state
