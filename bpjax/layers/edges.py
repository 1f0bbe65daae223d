"""Which inputs feed which units, where not all feed all: lists of edges, and the sums that run along them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array, Key
from bpjax.util.checks import check_count, check_number


class Edges(NamedTuple):
    """Edges from inputs to units. Plain numbers, never trained; edge e has weight e of the layer `sparse`."""

    source: np.ndarray  # (E,) the input an edge comes from, 0 ... D − 1
    target: np.ndarray  # (E,) the unit it goes to, 0 ... H − 1
    inputs: int  # D
    outputs: int  # H


def random_edges(
    key: Key, inputs: int, outputs: int, per_unit: int | None = None, density: float | None = None
) -> Edges:
    """Edges drawn at random, none twice: `per_unit` into every unit, or a `density` of all D · H of them.

    Memory and work grow with the number of edges, not with D · H.

    Raises:
        ValueError: both or neither of `per_unit` and `density` are given, or they ask for more edges than there are.
    """
    _check_sizes("random_edges", inputs, outputs)
    if (per_unit is None) == (density is None):
        raise ValueError(
            f"`random_edges` expected either `per_unit` or `density`, got per_unit={per_unit!r}, density={density!r}."
        )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    if per_unit is not None:
        check_count("random_edges", "per_unit", per_unit)
        _check_at_most_inputs("random_edges", "per_unit", per_unit, inputs)
        source = np.stack([np.sort(rng.choice(inputs, per_unit, replace=False)) for _ in range(outputs)])
        return Edges(source.ravel(), np.repeat(np.arange(outputs), per_unit), inputs, outputs)
    check_number("random_edges", "density", density, above=0.0, most=1.0)
    count = max(1, round(float(density) * inputs * outputs))  # type: ignore[arg-type]
    target, source = np.divmod(np.sort(rng.choice(inputs * outputs, count, replace=False, shuffle=False)), inputs)
    return Edges(source, target, inputs, outputs)


def banded_edges(inputs: int, outputs: int, width: int) -> Edges:
    """A receptive field of `width` neighbouring inputs for every unit, the fields spread evenly over the inputs.

    Unit h sits at h (D − 1) / (H − 1). Fields that would stick out at the rim are moved in, none is smaller.

    Raises:
        ValueError: `width` is not an integer from 1 to `inputs`.
    """
    _check_sizes("banded_edges", inputs, outputs)
    check_count("banded_edges", "width", width)
    _check_at_most_inputs("banded_edges", "width", width, inputs)
    centre = np.linspace(0, inputs - 1, outputs) if outputs > 1 else np.array([(inputs - 1) / 2])
    start = np.clip(np.rint(centre - (width - 1) / 2).astype(int), 0, inputs - width)
    source = (start[:, None] + np.arange(width)).ravel()
    return Edges(source, np.repeat(np.arange(outputs), width), inputs, outputs)


def edges_from_mask(mask) -> Edges:
    """The edges where a mask (D, H) is true, unit by unit.

    Raises:
        ValueError: `mask` is not a matrix of booleans.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(
            f"`edges_from_mask` expected booleans (inputs, units), got {mask.dtype}{list(mask.shape)}. "
            "Make them by a comparison, such as `w != 0`."
        )
    target, source = np.nonzero(mask.T)
    return Edges(source, target, *mask.shape)


def _check_sizes(who: str, inputs, outputs) -> None:
    check_count(who, "inputs", inputs)
    check_count(who, "outputs", outputs)


def _check_at_most_inputs(who: str, name: str, value: int, inputs: int) -> None:
    if value > inputs:
        raise ValueError(f"`{who}` expected `{name}` to be at most the number of inputs, {inputs}, got {value}.")


def check_edges(who: str, edges) -> Edges:
    """`edges` with indices in int32, or a `ValueError`."""
    if not isinstance(edges, Edges):
        raise ValueError(
            f"`{who}` expected Edges(source, target, inputs, outputs), got {type(edges).__name__}. "
            "Make them with `random_edges`, `banded_edges` or `edges_from_mask`."
        )
    source, target, inputs, outputs = edges
    _check_sizes(who, inputs, outputs)
    source, target = np.asarray(source), np.asarray(target)
    whole = np.issubdtype(source.dtype, np.integer) and np.issubdtype(target.dtype, np.integer)
    if not whole or source.ndim != 1 or source.shape != target.shape or not source.size:
        raise ValueError(
            f"`{who}` expected integers (E,) for `source` and `target`, at least one edge, got "
            f"{source.dtype}{list(source.shape)} and {target.dtype}{list(target.shape)}."
        )
    for name, index, size in (("source", source, inputs), ("target", target, outputs)):
        wrong = np.flatnonzero((index < 0) | (index >= size))
        if wrong.size:
            raise ValueError(
                f"`{who}` expected every `{name}` from 0 to {size - 1}, got {index[wrong[0]]} at edge {wrong[0]}."
            )
    pairs = source.astype(np.int64) + inputs * target.astype(np.int64)
    if len(np.unique(pairs)) < len(pairs):
        order = np.argsort(pairs, kind="stable")
        twice = order[1:][np.diff(pairs[order]) == 0][0]
        raise ValueError(
            f"`{who}` expected every edge once, got the one from {source[twice]} to {target[twice]} again "
            f"at edge {twice}. Add their weights."
        )
    return Edges(source.astype(np.int32), target.astype(np.int32), int(inputs), int(outputs))


WIDTH = 16
"""Edges of a row: so many gathers are added up in one loop, and compiled."""


class Rows(NamedTuple):
    """Edges in rows of up to 16 that meet in the same place, the long rows first; a place may have many rows.

    It is jagged diagonal storage: column j holds the j-th edge of every row that has one, so nothing is padded.
    """

    columns: tuple[np.ndarray, ...]  # the edges of column j, (rows longer than j,)
    place: np.ndarray  # (rows,) where a row meets
    places: int


def rows_by(place: np.ndarray, places: int) -> Rows:
    """Lay edges out in rows by the place, input or unit, where they meet."""
    edge = np.argsort(place, kind="stable")
    count = np.bincount(place, minlength=places)
    position = np.arange(len(place)) - (np.cumsum(count) - count)[place[edge]]
    rows = -(-count // WIDTH)
    row, column = (np.cumsum(rows) - rows)[place[edge]] + position // WIDTH, position % WIDTH
    order = np.argsort(-np.bincount(row), kind="stable")
    rank = np.argsort(order)[row]
    inside = [np.flatnonzero(column == j) for j in range(column.max() + 1)]
    columns = tuple(edge[of][np.argsort(rank[of])].astype(np.int32) for of in inside)
    return Rows(columns, np.repeat(np.arange(places), rows)[order], places)


def sum_along(w: Array, values: Array, index: np.ndarray, rows: Rows) -> Array:
    """Σₑ wₑ values[indexₑ] over the edges e that meet in a place: values (S, N) to (places, N), in their dtype.

    On a CPU gathers of whole rows of N numbers, added up in one loop, take a tenth of the time of a scatter.
    """
    total = jnp.zeros((0, values.shape[1]), values.dtype)
    for edges in rows.columns[::-1]:  # short columns first: what is there so far is the head of the next
        term, head = w[edges][:, None] * values[index[edges]], len(total)
        total = total + term if head == len(term) else jnp.concatenate([total + term[:head], term[head:]])
    if np.array_equal(rows.place, np.arange(rows.places)):
        return total
    if len(np.unique(rows.place)) < len(rows.place):
        return jax.ops.segment_sum(total, rows.place, rows.places)
    where = np.full(rows.places, len(total), np.int32)  # places without edges read the row of zeros
    where[rows.place] = np.arange(len(total))
    return jnp.concatenate([total, jnp.zeros_like(total[:1])])[where]
