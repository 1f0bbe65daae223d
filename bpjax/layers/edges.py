"""Lists of edges, which say which inputs feed which units of a sparse layer, and sums along them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array, Key
from bpjax.util.checks import check_count, check_key, check_number


class Edges(NamedTuple):
    """Edges from inputs to units: fixed integers, not trained. Edge e has the e-th weight of the layer `sparse`."""

    source: np.ndarray  # (E,) the input at which an edge starts, 0 ... D − 1
    target: np.ndarray  # (E,) the unit at which it ends, 0 ... H − 1
    inputs: int  # D
    outputs: int  # H


def random_edges(
    key: Key, inputs: int, outputs: int, per_unit: int | None = None, density: float | None = None
) -> Edges:
    """Distinct random edges: `per_unit` into every unit, or a `density` of all D · H possible edges.

    Memory and work grow with the number of edges, not with D · H.

    Args:
        key: The key of the draw.
        inputs: D.
        outputs: H, the number of units.
        per_unit: The number of edges into every unit. Give either this or `density`.
        density: The fraction of the D · H possible edges that exist, in 0 … 1, 0 excluded.

    Raises:
        ValueError: both or neither of `per_unit` and `density` are given, or they ask for more edges than possible.
    """
    inputs, outputs = _check_sizes("random_edges", inputs, outputs)
    if (per_unit is None) == (density is None):
        raise ValueError(
            f"`random_edges` expected either `per_unit` or `density`, got per_unit={per_unit!r}, density={density!r}."
        )
    check_key("random_edges", "key", key)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    if per_unit is not None:
        per_unit = check_count("random_edges", "per_unit", per_unit)
        _check_at_most_inputs("random_edges", "per_unit", per_unit, inputs)
        source = _distinct(rng, outputs, per_unit, inputs)
        return Edges(source.ravel(), np.repeat(np.arange(outputs), per_unit), inputs, outputs)
    check_number("random_edges", "density", density, above=0.0, most=1.0)
    count = max(1, round(float(density) * inputs * outputs))  # type: ignore[arg-type]
    target, source = np.divmod(np.sort(rng.choice(inputs * outputs, count, replace=False, shuffle=False)), inputs)
    return Edges(source, target, inputs, outputs)


def _distinct(rng: np.random.Generator, rows: int, count: int, inputs: int) -> np.ndarray:
    """`count` distinct inputs for each row, sorted, (rows, count); every set is equally likely.

    Inputs that a row has already are drawn again until none is. More than half of the inputs are drawn by leaving out.
    """
    if 2 * count > inputs:
        present = np.ones((rows, inputs), bool)
        if count < inputs:
            np.put_along_axis(present, _distinct(rng, rows, inputs - count, inputs), False, axis=1)
        return np.nonzero(present)[1].reshape(rows, count)
    drawn = np.sort(rng.integers(inputs, size=(rows, count)), axis=1)
    again = np.zeros(drawn.shape, bool)
    while True:
        again[:, 1:] = drawn[:, 1:] == drawn[:, :-1]
        changed = np.flatnonzero(again.any(axis=1))
        if not len(changed):
            return drawn
        drawn[again] = rng.integers(inputs, size=np.count_nonzero(again))
        drawn[changed] = np.sort(drawn[changed], axis=1)


def banded_edges(inputs: int, outputs: int, width: int) -> Edges:
    """A receptive field of `width` neighbouring inputs for every unit, the fields spread evenly over the inputs.

    The field of unit h is centred at h (D − 1) / (H − 1). Fields that would cross the border are shifted inwards, so
    all have the same width.

    Args:
        inputs: D.
        outputs: H, the number of units.
        width: The number of inputs in a field.

    Raises:
        ValueError: `width` is not an integer from 1 to `inputs`.
    """
    inputs, outputs = _check_sizes("banded_edges", inputs, outputs)
    width = check_count("banded_edges", "width", width)
    _check_at_most_inputs("banded_edges", "width", width, inputs)
    centre = np.linspace(0, inputs - 1, outputs) if outputs > 1 else np.array([(inputs - 1) / 2])
    start = np.clip(np.rint(centre - (width - 1) / 2).astype(int), 0, inputs - width)
    source = (start[:, None] + np.arange(width)).ravel()
    return Edges(source, np.repeat(np.arange(outputs), width), inputs, outputs)


def edges_from_mask(mask) -> Edges:
    """The edges where a mask (D, H) is true, sorted by unit.

    Raises:
        ValueError: `mask` is not a matrix of booleans.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(
            f"`edges_from_mask` expected booleans (inputs, units), got {mask.dtype}{list(mask.shape)}. "
            "Make the mask by a comparison, such as `w != 0`."
        )
    target, source = np.nonzero(mask.T)
    return Edges(source, target, *mask.shape)


def _check_sizes(who: str, inputs, outputs) -> tuple[int, int]:
    return check_count(who, "inputs", inputs), check_count(who, "outputs", outputs)


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
    inputs, outputs = _check_sizes(who, inputs, outputs)
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
            f"`{who}` expected distinct edges, got a second edge from {source[twice]} to {target[twice]} at index "
            f"{twice}. Remove it: two edges with one source and target act as one edge with the sum of their weights."
        )
    return Edges(source.astype(np.int32), target.astype(np.int32), int(inputs), int(outputs))


WIDTH = 16
"""The largest number of edges in a row, which is the number of gathers that are added in one compiled loop."""


class Rows(NamedTuple):
    """Edges grouped into rows of up to 16 that share a node (an input or a unit), long rows first.

    A node may have several rows. This is jagged diagonal storage: column j holds the j-th edge of every row that has
    one, so nothing is padded.
    """

    columns: tuple[np.ndarray, ...]  # the edges of column j, (rows longer than j,)
    node: np.ndarray  # (rows,) the node that a row's edges share
    nodes: int  # the number of nodes


def rows_by(node: np.ndarray, nodes: int) -> Rows:
    """Group edges into rows by `node` (E,), the input or the unit of each edge."""
    edge = np.argsort(node, kind="stable")
    count = np.bincount(node, minlength=nodes)
    position = np.arange(len(node)) - (np.cumsum(count) - count)[node[edge]]
    rows = -(-count // WIDTH)
    row, column = (np.cumsum(rows) - rows)[node[edge]] + position // WIDTH, position % WIDTH
    order = np.argsort(-np.bincount(row), kind="stable")
    rank = np.argsort(order)[row]
    inside = [np.flatnonzero(column == j) for j in range(column.max() + 1)]
    columns = tuple(edge[of][np.argsort(rank[of])].astype(np.int32) for of in inside)
    return Rows(columns, np.repeat(np.arange(nodes), rows)[order], nodes)


def sum_along(w: Array, values: Array, index: np.ndarray, rows: Rows) -> Array:
    """Σₑ wₑ values[indexₑ] over the edges e of each node: values (S, N) to (nodes, N), in their dtype.

    On a CPU gathers of whole rows of N values, added in one loop, take a tenth of the time of a scatter.

    Args:
        w: The weights of the edges (E,).
        values: Values of the nodes at the other end of the edges, (S, N).
        index: The row of `values` that each edge reads, (E,).
        rows: The edges grouped by the node over which the sum runs.
    """
    total = jnp.zeros((0, values.shape[1]), values.dtype)
    for edges in rows.columns[::-1]:  # short columns first: the sum so far is the head of the next, longer one
        term, head = w[edges][:, None] * values[index[edges]], len(total)
        total = total + term if head == len(term) else jnp.concatenate([total + term[:head], term[head:]])
    if np.array_equal(rows.node, np.arange(rows.nodes)):
        return total
    if len(np.unique(rows.node)) < len(rows.node):
        return jax.ops.segment_sum(total, rows.node, rows.nodes)
    where = np.full(rows.nodes, len(total), np.int32)  # nodes without edges read a row of zeros
    where[rows.node] = np.arange(len(total))
    return jnp.concatenate([total, jnp.zeros_like(total[:1])])[where]
