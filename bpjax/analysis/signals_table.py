"""The signals of a network as text: one row per unit and example, one row per weight."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from bpjax.util.text_table import table

SIGNS = {"gradient": "δ = ∂E/∂a", "textbook": "δ = −∂E/∂a"}


def as_text(layers, sign: str, rows: int) -> str:
    """Tables for the layers of units, input side first; examples, units and weights are counted from 1."""
    lines = [f"x input · a net input · o output · {SIGNS[sign]} error signal", ""]
    if layers:
        x = np.asarray(layers[0].input)
        lines += _shortened(
            ("input", "example", "x"), ((_place(u), str(n), _number(v)) for n, u, v in _entries(x)), rows
        )
    for number, layer in enumerate(layers, 1):
        header = (f"unit of layer {number}", "example", "a", "o", "δ")
        lines += _shortened(header, _unit_rows(layer), rows)
        change = getattr(layer, "change", None)
        if change is not None and jax.tree.leaves(change.total):
            header = (f"weight of layer {number}", "gradient term", "momentum term", "Δw")
            lines += _shortened(header, _weight_rows(change), rows)
    return "\n".join(lines).rstrip()


def _shortened(header, found: Iterator, most: int) -> list[str]:
    """The first rows, and how many there are beyond."""
    rows = list(found)
    more = [f"… {len(rows) - most} more rows", ""] if len(rows) > most else []
    lines = table(header, rows[:most])
    return [*lines[:-1], *more] if more else lines


def _entries(array: np.ndarray) -> Iterator[tuple[int, tuple[int, ...], Any]]:
    """(example, place of the unit, value), example after example."""
    for index in np.ndindex(array.shape):
        yield index[0] + 1, index[1:], array[index]


def _unit_rows(layer) -> Iterator[tuple[str, ...]]:
    a, o, delta = (np.asarray(array) for array in (layer.net_input, layer.output, layer.error_signal))
    if o.shape == a.shape:
        for n, unit, value in _entries(a):
            yield _place(unit), str(n), _number(value), _number(o[n - 1][unit]), _number(delta[n - 1][unit])
        return
    for n, unit, value in _entries(a):  # pooled or reshaped: o has other units than a
        yield _place(unit), str(n), _number(value), "", _number(delta[n - 1][unit])


def _weight_rows(change) -> Iterator[tuple[str, ...]]:
    parts = [jax.tree_util.tree_leaves_with_path(tree) for tree in (change.gradient_term, change.momentum_term)]
    for (path, gradient), (_, carried) in zip(*parts, strict=True):
        gradient, carried = np.asarray(gradient), np.asarray(carried)
        name = jax.tree_util.keystr(path).lstrip(".") or "w"
        for index in np.ndindex(gradient.shape):
            values = gradient[index], carried[index], gradient[index] + carried[index]
            yield (f"{name}[{_place(index)}]", *map(_number, values))


def _place(index: tuple[int, ...]) -> str:
    return ",".join(str(i + 1) for i in index) or "1"


def _number(value) -> str:
    return f"{float(value):.6g}"
