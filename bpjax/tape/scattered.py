"""Adjoints of arrays of which a use reads only some entries: what it touches, and where.

A gather from a table contributes to the adjoint of the table only at the rows that it read. `Scattered` and `Window`
keep these contributions as they are: they are added to one dense array when the adjoint is needed, stacked over the
steps of a loop, or returned to the user as a sparse array.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.types import Array, Shape

if TYPE_CHECKING:
    from bpjax.tape.values import Adjoints, Value

STATIC = {"static": True}

FEW = 8
"""A slice with less than 1 / FEW of the entries of its array has a sparse adjoint."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scattered:
    """An adjoint that is zero except at windows that begin at `indices`; overlapping windows add.

    The fields are the arguments of `lax.scatter_add`.
    """

    indices: Array  # (..., K) the start of each window along the K axes of `scatter_dims_to_operand_dims`
    updates: Array  # the windows
    shape: Shape = field(metadata=STATIC)  # of the adjoint
    dimension_numbers: lax.ScatterDimensionNumbers = field(metadata=STATIC)
    mode: lax.GatherScatterMode = field(default=lax.GatherScatterMode.FILL_OR_DROP, metadata=STATIC)
    indices_are_sorted: bool = field(default=False, metadata=STATIC)
    unique_indices: bool = field(default=False, metadata=STATIC)

    is_sparse = True  # it costs less than a dense array

    def add_to(self, total: Array | None) -> Array:
        """The sum with a dense adjoint, or with zeros."""
        return lax.scatter_add(
            jnp.zeros(self.shape, self.updates.dtype) if total is None else total,
            self.indices,
            self.updates,
            self.dimension_numbers,
            indices_are_sorted=self.indices_are_sorted,
            unique_indices=self.unique_indices,
            mode=self.mode,
        )

    def over_steps(self) -> "Scattered":
        """The sum over the steps of a loop, whose indices and updates are stacked along a new first axis."""
        numbers = self.dimension_numbers
        shifted = numbers._replace(
            update_window_dims=tuple(int(axis) + 1 for axis in numbers.update_window_dims),
            scatter_indices_batching_dims=tuple(int(axis) + 1 for axis in numbers.scatter_indices_batching_dims),
        )
        return replace(self, dimension_numbers=shifted, indices_are_sorted=False, unique_indices=False)

    def rows(self) -> tuple[Array, Array] | None:
        """The row numbers (K,) and the rows (K, ...) if whole rows are touched, else None; no row: their number."""
        numbers, row = self.dimension_numbers, self.shape[1:]
        windows = tuple(map(int, numbers.update_window_dims))
        first = self.updates.ndim - len(windows)
        of_rows = (
            tuple(map(int, numbers.scatter_dims_to_operand_dims)) == (0,)
            and not numbers.operand_batching_dims
            and windows == tuple(range(first, self.updates.ndim))
            and self.updates.shape[self.updates.ndim - len(row) :] == row
            and set(map(int, numbers.inserted_window_dims)) <= {0}
        )
        if not of_rows:
            return None
        height = 1 if numbers.inserted_window_dims else self.updates.shape[first]
        starts, last = self.indices.reshape(-1, 1), self.shape[0] - height
        if self.mode == lax.GatherScatterMode.CLIP:
            starts = jnp.clip(starts, 0, last)
        row_numbers = starts + jnp.arange(height, dtype=starts.dtype)[None, :]
        if self.mode == lax.GatherScatterMode.FILL_OR_DROP:
            row_numbers = jnp.where((starts >= 0) & (starts <= last), row_numbers, self.shape[0])
        return row_numbers.reshape(-1), self.updates.reshape(-1, *row)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Window:
    """An adjoint that is zero except in one window: the contribution of a slice."""

    starts: tuple  # one for each axis, integers if static; a window is moved back to end in the array
    updates: Array  # the window
    shape: Shape = field(metadata=STATIC)  # of the adjoint

    @property
    def is_static(self) -> bool:
        """Whether its place is known when JAX traces."""
        return all(isinstance(start, int) for start in self.starts)

    @property
    def is_sparse(self) -> bool:
        """Whether it costs less than a dense array: static windows that are not small are best padded or joined."""
        return not self.is_static or FEW * self.updates.size < int(np.prod(self.shape))

    @property
    def axes(self) -> list[int]:
        """The axes along which the window is smaller than the array."""
        return [axis for axis, size in enumerate(self.shape) if self.updates.shape[axis] != size]

    def add_to(self, total: Array | None) -> Array:
        """The sum with a dense adjoint, or with zeros."""
        if total is None:
            total, updates = jnp.zeros(self.shape, self.updates.dtype), self.updates
        else:
            updates = lax.dynamic_slice(total, self.starts, self.updates.shape) + self.updates
        return lax.dynamic_update_slice(total, updates, self.starts)

    def over_steps(self) -> Scattered:
        """The sum over the steps of a loop, whose starts and updates are stacked along a new first axis."""
        partial = [axis for axis, size in enumerate(self.shape) if self.updates.shape[axis + 1] != size] or [0]
        numbers = lax.ScatterDimensionNumbers(tuple(range(1, len(self.shape) + 1)), (), tuple(partial))
        starts = jnp.stack([self.starts[axis] for axis in partial], axis=-1)
        return Scattered(starts, self.updates, self.shape, numbers, lax.GatherScatterMode.CLIP)

    def rows(self) -> tuple[Array, Array] | None:
        """See `Scattered.rows`."""
        return jax.tree.map(lambda a: jnp.asarray(a)[None], self).over_steps().rows() if self.shape else None


def is_array(summand) -> bool:
    """Whether a contribution to an adjoint is a dense array."""
    return isinstance(summand, jax.Array | np.ndarray | np.generic)


def total(summands: Sequence) -> Any:
    """The sum of the contributions to an adjoint, as a dense array."""
    slices = [s for s in summands if isinstance(s, Window) and s.is_static and len(s.axes) == 1]
    joined, single = join(slices)
    sum_ = None
    for array in [*(s for s in summands if is_array(s)), *joined]:
        sum_ = array if sum_ is None else sum_ + array
    for summand in [*(s for s in summands if not is_array(s) and s not in slices), *single]:
        sum_ = summand.add_to(sum_)
    return sum_


def join(slices: list[Window]) -> tuple[list[Array], list[Window]]:
    """Dense arrays with slices that do not overlap one after the other, and slices that are better added alone.

    This is how the reverse sweep of x[0], x[1], … x[T − 1] takes T steps, instead of T² for sums of padded arrays.

    Args:
        slices: static, each of one axis.
    """
    layers: list[list[Window]] = []
    for window in sorted(slices, key=lambda s: (s.axes, s.starts)):
        (axis,) = window.axes
        for layer in layers:
            if layer[-1].axes == [axis] and end(layer[-1]) <= window.starts[axis]:
                layer.append(window)
                break
        else:
            layers.append([window])
    alone = [layer[0] for layer in layers if len(layer) == 1 and layer[0].is_sparse]
    return [one_after_another(layer) for layer in layers if len(layer) > 1 or not layer[0].is_sparse], alone


def end(window: Window) -> int:
    """Where a slice of one axis ends."""
    (axis,) = window.axes
    return window.starts[axis] + window.updates.shape[axis]


def one_after_another(slices: list[Window]) -> Array:
    """The sum of slices of one axis that do not overlap, in their order along it."""
    ((axis,), shape), position, parts = (slices[0].axes, slices[0].shape), 0, []

    def fill_to(start):
        if start > position:
            parts.append(jnp.zeros((*shape[:axis], start - position, *shape[axis + 1 :]), slices[0].updates.dtype))

    for window in slices:
        fill_to(window.starts[axis])
        parts.append(window.updates)
        position = end(window)
    fill_to(shape[axis])
    return lax.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def sparse_or_dense(adjoints: "Adjoints", value: "Value") -> "Array | list[Scattered | Window]":
    """The adjoint of a value: the list of its contributions if all are sparse (or none), else the dense array."""
    summands = adjoints.summands(value)
    if all(not is_array(summand) and summand.is_sparse for summand in summands):
        return summands
    return adjoints.or_zeros(value)


def add_contribution(adjoints: "Adjoints", value: "Value", contribution) -> None:
    """Add an adjoint of the kind that `sparse_or_dense` returns."""
    for summand in contribution if isinstance(contribution, list) else [contribution]:
        adjoints.add(value, summand)


def as_sparse_array(summands: list):
    """The sum of contributions as a `BCOO` array with rows stored (n_sparse=1), or None if not all are rows."""
    from jax.experimental.sparse import BCOO

    found = [None if is_array(summand) or not summand.is_sparse else summand.rows() for summand in summands]
    if not found or any(rows is None for rows in found):
        return None
    row_numbers, rows = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
    return BCOO((rows, row_numbers[:, None]), shape=summands[0].shape)


# --- Loops -----------------------------------------------------------------------------------------------------------


def loop_totals(values: "list[Value]", contributions: list, length: int) -> list[Array | None]:
    """Where a loop begins to sum the adjoints of its constants: zeros, or None where it stacks the contributions.

    Contributions are stacked if they are sparse and take no more memory, over all steps, than the dense array.

    Args:
        values: the constants.
        contributions: the shapes of what one step contributes to each, see `sparse_or_dense`.
        length: the number of steps.
    """

    def is_stacked(value, contribution):
        if not isinstance(contribution, list):
            return False
        return length * sum(summand.updates.size for summand in contribution) <= value.array.size

    return [
        None if is_stacked(value, contribution) else jnp.zeros_like(value.array)
        for value, contribution in zip(values, contributions, strict=True)
    ]


def add_step(totals: list, contributions: list) -> tuple[list, list]:
    """Add what one step contributes to the totals; where a total is None, return the contribution to be stacked."""
    sums, stacked = [], []
    for dense, contribution in zip(totals, contributions, strict=True):
        stacked.append(contribution if dense is None else None)
        if dense is not None and isinstance(contribution, list):
            for summand in contribution:
                dense = summand.add_to(dense)
        elif dense is not None:
            dense = dense + contribution
        sums.append(dense)
    return sums, stacked


def add_loop(adjoints: "Adjoints", value: "Value", dense: Array | None, stacked: list | None) -> None:
    """Add what a loop contributes to the adjoint of a constant."""
    if dense is not None:
        adjoints.add(value, dense)
    for summand in stacked or ():
        adjoints.add(value, summand.over_steps())


# --- Branches --------------------------------------------------------------------------------------------------------


def in_every_branch(contributions: list, shapes: list[list], taken: int) -> list:
    """The contributions of the branch that is taken, in a structure that all branches share.

    A contribution that is sparse in every branch becomes the list of those of all branches, with zeros for the others.

    Args:
        contributions: of the branch, see `sparse_or_dense`.
        shapes: of the contributions of each branch.
        taken: the number of the branch.
    """
    shared = []
    for contribution, columns in zip(contributions, zip(*shapes, strict=True), strict=True):
        dense = [column for column in columns if not isinstance(column, list)]
        if dense:
            zeros = jnp.zeros(dense[0].shape, dense[0].dtype)
            shared.append(total([zeros, *contribution]) if isinstance(contribution, list) else contribution)
        else:
            parts = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), list(columns))
            parts[taken] = contribution
            shared.append([summand for part in parts for summand in part])
    return shared
