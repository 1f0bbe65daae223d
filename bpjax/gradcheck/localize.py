"""The first wrong thing in backward order, and the mistake that explains it."""

import jax
import numpy as np

from bpjax.gradcheck.mistakes import layer_mistake, scale_mistake, wiring_mistake
from bpjax.gradcheck.report import Row, Wrong
from bpjax.gradcheck.trace import Inside

Found = dict[str, tuple[np.ndarray, np.ndarray]]
"""Leaf path -> (gradient under test, truth)."""


def blame(rows: list[Row], found: Found, inside: Inside | None, value: Row | None, examples: int):
    """(Wrong, mistake), or (None, None) where all is right.

    Backward order: the loss first, then the layers from the last to the first. A layer is to blame when its backward
    does not fit its forward, or when it is right alone and its gradient in the network is not.
    """
    if inside is not None and not inside.loss.gradient.ok:
        pair = (inside.loss.hand, inside.loss.truth)
        mistake = scale_mistake([pair], examples, 4 * inside.loss.gradient.tolerance) or "unknown"
        return Wrong(None, value.name if value else "loss", "gradient"), mistake
    if value is not None and not value.agreement.ok:
        mistake = scale_mistake([found["value"]], examples, 4 * value.agreement.tolerance) or "unknown"
        return Wrong(None, value.name, "value"), mistake
    if inside is not None:
        for index in reversed(range(len(inside.chain))):
            wrong, mistake = _blame_layer(index, rows, found, inside, examples)
            if wrong is not None:
                return wrong, mistake
    row = next((row for row in rows if not row.agreement.ok), None)
    if row is None:
        return None, None
    mistake = scale_mistake([found[row.leaf]], examples, 4 * row.agreement.tolerance) or "unknown"
    return Wrong(row.layer, row.name, row.leaf), mistake


def _blame_layer(index: int, rows: list[Row], found: Found, inside: Inside, examples: int):
    """(Wrong, mistake) where this layer is to blame, else (None, None)."""
    part, alone = inside.chain[index], inside.alone[index]
    own = [row for row in rows if row.layer == index]
    if alone.wrong is not None:
        leaf = "dx" if alone.wrong == "dx" else prefix(part.path) + alone.wrong
        return Wrong(index, part.layer.name, leaf), layer_mistake(part.layer, alone)
    row = next((row for row in reversed(own) if not row.agreement.ok), None)
    if row is None:
        return None, None
    pairs = [found[row.leaf] for row in reversed(own)]
    mistake = wiring_mistake(part, inside.inputs[index], inside.errors, index, pairs, examples)
    return Wrong(index, part.layer.name, row.leaf), mistake


def prefix(path: tuple[int, ...]) -> str:
    """A part's path as `jax.tree_util.keystr` prints it, "[2]"."""
    return jax.tree_util.keystr(tuple(jax.tree_util.SequenceKey(i) for i in path))
