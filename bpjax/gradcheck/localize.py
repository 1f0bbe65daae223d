"""The first wrong quantity in backward order, and the mistake that explains it."""

import jax

from bpjax.gradcheck.mistakes import layer_mistake, scale_mistake, wiring_mistake
from bpjax.gradcheck.quantity import Quantity
from bpjax.gradcheck.report import Row, Wrong
from bpjax.gradcheck.trace import Trace

Measured = dict[str, Quantity]
"""By leaf path, "[0].w"; the value of the loss under "value"."""


def localize(rows: list[Row], measured: Measured, trace: Trace | None, value: Row | None, examples: int):
    """(Wrong, mistake) for the first wrong quantity, or (None, None) where all are right.

    Backward order: the loss first, then the layers from the last to the first. A layer is wrong when its backward does
    not fit its forward, or when it does and its gradient in the network is wrong nevertheless.

    Args:
        rows: the leaves of the gradient, in backward order.
        measured: what the rows were computed from.
        trace: of the network; None for plain functions.
        value: the value of the loss; None where there is none.
        examples: in the batch.
    """
    if trace is not None and not trace.loss.gradient.ok:
        mistake = scale_mistake([trace.loss.quantity], examples, 4 * trace.loss.gradient.tolerance) or "unknown"
        return Wrong(None, value.name if value else "loss", "gradient"), mistake
    if value is not None and not value.agreement.ok:
        return _wrong_row(value, measured, examples)
    if trace is not None:
        for index in reversed(range(len(trace.chain))):
            wrong, mistake = _localize_in_layer(index, rows, measured, trace, examples)
            if wrong is not None:
                return wrong, mistake
    row = next((row for row in rows if not row.agreement.ok), None)
    return (None, None) if row is None else _wrong_row(row, measured, examples)


def _wrong_row(row: Row, measured: Measured, examples: int):
    """(Wrong, mistake) of one wrong row, of which only the numbers are known."""
    mistake = scale_mistake([measured[row.leaf]], examples, 4 * row.agreement.tolerance) or "unknown"
    return Wrong(row.layer, row.name, row.leaf), mistake


def _localize_in_layer(index: int, rows: list[Row], measured: Measured, trace: Trace, examples: int):
    """(Wrong, mistake) where this layer is wrong, else (None, None)."""
    part, comparison = trace.chain[index], trace.per_layer[index]
    if comparison.wrong is not None:
        leaf = "dx" if comparison.wrong == "dx" else prefix(part.path) + comparison.wrong
        return Wrong(index, part.layer.name, leaf), layer_mistake(part.layer, comparison)
    leaves = [row for row in reversed(rows) if row.layer == index]
    row = next((row for row in leaves if not row.agreement.ok), None)
    if row is None:
        return None, None
    mistake = wiring_mistake(trace, index, [measured[row.leaf] for row in leaves], examples)
    return Wrong(index, part.layer.name, row.leaf), mistake


def prefix(path: tuple[int, ...]) -> str:
    """A part's path as `jax.tree_util.keystr` prints it, "[2]"."""
    return jax.tree_util.keystr(tuple(jax.tree_util.SequenceKey(i) for i in path))
