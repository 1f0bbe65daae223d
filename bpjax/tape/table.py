"""The tape as a table: line and code of the source, operation in symbols, value, adjoint."""

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bpjax.tape.symbols import number_text, shape_text
from bpjax.tape.unrolled import is_key

COLUMNS = ("#", "line", "source", "operation", "value", "adjoint")
WIDTHS = {"source": (22, 36), "operation": (28, 44), "value": (22, 32), "adjoint": (22, 32)}
"""Columns whose text is cut: characters at least where the table is too wide, in this order, and at most."""

ASCII = {
    "−": "-", "·": "*", "≠": "!=", "≤": "<=", "≥": ">=", "∧": "and", "∨": "or", "⊕": "xor", "√": "sqrt ", "¬": "not ",
    "Σ": "sum", "Π": "prod", "ᵀ": ".T", "‖": "|", "×": "x", "…": "...", "²": "^2", "─": "-",
} | {sign: f"^{digit}" for digit, sign in zip("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True)} | {"⁻": "^-"}  # fmt: skip
"""What stands for a sign where the terminal has ASCII alone."""


class Row(NamedTuple):
    """A row of the table; a row without cells is a heading."""

    depth: int
    heading: str
    cells: tuple[str, ...] = ()


def rows_of(tape, every_iteration: bool = False) -> Iterator[Row]:
    """The rows of a tape: arguments, then operations; functions, branches and loops are indented.

    Args:
        tape: a `Tape`.
        every_iteration: also those of long loops, of which otherwise the first two and the last are shown.
    """
    for argument in tape.arguments:
        yield Row(0, "", ("", "", "", argument.name, array_text(argument.value), array_text(argument.adjoint)))
    yield from _Rows(every_iteration, tape.file).inside(list(tape), 0)


class _Rows:
    """The rows of entries; the code of a line is shown where it differs from that of the row before."""

    def __init__(self, every_iteration: bool, file: str | None):
        self.every_iteration = every_iteration
        self.file = file
        self.last: tuple[str, int] | None = None

    def inside(self, entries: list, depth: int) -> Iterator[Row]:
        """The entries of one run of a function, which is `depth` deep."""
        for group in runs(entries, lambda entry: entry.groups[depth : depth + 1] and entry.groups[depth].program):
            if len(group[0].groups) <= depth:
                yield from (self._row(entry, depth) for entry in group)
            else:
                yield from self._program(group, depth)

    def _program(self, entries: list, depth: int) -> Iterator[Row]:
        program = entries[0].groups[depth].program
        if len(entries) == 1 and len(entries[0].groups) == depth + 1:  # a function of one operation stands for itself
            yield self._row(entries[0], depth)
            return
        iterations = list(runs(entries, lambda entry: entry.groups[depth].iteration))
        count = sum(group[0].groups[depth].iteration is not None for group in iterations)
        yield Row(depth, program.name + (f", {count} iterations" if count else ""))
        for group in iterations:
            iteration = group[0].groups[depth].iteration
            if count > 4 and not self.every_iteration and iteration is not None and 2 <= iteration < count - 1:
                if iteration == 2:
                    yield Row(depth + 1, f"… {count - 3} more iterations")
                continue
            if iteration is not None:
                yield Row(depth + 1, f"iteration {iteration}")
            yield from self.inside(group, depth + 1)

    def _row(self, entry, depth: int) -> Row:
        source = entry.source
        place = (source.file, source.line) if source else None
        new = place != self.last and source is not None
        self.last = place
        line = str(source.line) if source and new else ""
        if source and new and source.file != self.file:
            line = f"{Path(source.file).name}:{line}"
        name = entry.name or f"v{entry.number}"
        cells = (
            str(entry.number), line, source.code if source and new else "", f"{name} = {entry.symbol}",
            array_text(entry.value), array_text(entry.adjoint),
        )  # fmt: skip
        return Row(depth, "", cells)


def runs(items: list, key: Callable) -> Iterator[list]:
    """Consecutive items with the same key."""
    start = 0
    for k in range(1, len(items) + 1):
        if k == len(items) or key(items[k]) is not key(items[start]) and key(items[k]) != key(items[start]):
            yield items[start:k]
            start = k


def array_text(array) -> str:
    """A scalar with 6 digits; an array by shape, norm and first entries; nothing for None."""
    if array is None or isinstance(array, tuple) and all(item is None for item in array):
        return ""
    if isinstance(array, tuple):
        return "; ".join(array_text(item) for item in array)
    if array.dtype == jax.dtypes.float0:
        return ""
    if is_key(array):
        return "key" if array.shape == () else f"{shape_text(array.shape)} keys"
    array = np.asarray(array)
    if array.shape == ():
        return number_text(array)
    first = " ".join(number_text(number, 3) for number in array.ravel()[:2])
    more = " …" if array.size > 2 else ""
    norm = f" ‖{number_text(norm_of(array), 4)}‖" if array.dtype.kind not in "biu" and array.size else ""
    return f"{shape_text(array.shape)}{norm} {first}{more}".rstrip()


def norm_of(array: np.ndarray) -> np.ndarray:
    """√Σ|x|², in double precision."""
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return np.asarray(np.sqrt((np.abs(wide) ** 2).sum()))


# --- As text ---------------------------------------------------------------------------------------------------------


def as_text(tape, width: int = 120, ascii: bool = False, every_iteration: bool = False) -> str:
    """The table in at most `width` columns of text."""
    clean = to_ascii if ascii else str
    dots, rule = ("...", "-") if ascii else ("…", "─")
    indent = "  "
    rows = list(rows_of(tape, every_iteration))
    cells = [
        [clean(cell) for cell in (*r.cells[:3], r.depth * indent + r.cells[3], *r.cells[4:])] for r in rows if r.cells
    ]
    widths = _widths([list(COLUMNS), *cells], width)
    lines = [clean(tape.title), "", _line(list(COLUMNS), widths, dots), rule * (sum(widths) + 2 * 5)]
    upto = sum(widths[:3]) + 2 * 3
    shown = iter(cells)
    for row in rows:
        lines.append(
            _line(next(shown), widths, dots) if row.cells else " " * upto + row.depth * indent + clean(row.heading)
        )
    if tape.fallbacks:
        lines += ["", f"differentiated by jax.vjp: {', '.join(tape.fallbacks)}"]
    return "\n".join(line.rstrip() for line in lines)


def _widths(table: list[list[str]], width: int) -> list[int]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, (_, most) in WIDTHS.items():
        k = COLUMNS.index(name)
        widths[k] = min(widths[k], most)
    for share in (1, 2):  # half of these widths where the terminal is narrow
        for name, (least, _) in WIDTHS.items():
            k = COLUMNS.index(name)
            excess = sum(widths) + 2 * (len(widths) - 1) - width
            widths[k] -= max(0, min(excess, widths[k] - least // share))
    return widths


def _line(cells: list[str], widths: list[int], dots: str) -> str:
    return "  ".join(
        cut(cell, size, dots).rjust(size) if name in ("#", "line") else cut(cell, size, dots).ljust(size)
        for name, cell, size in zip(COLUMNS, cells, widths, strict=True)
    )


def cut(text: str, width: int, dots: str) -> str:
    """A text of at most that many characters; dots stand for what is left out."""
    return text if len(text) <= width else text[: width - len(dots)].rstrip() + dots


def to_ascii(text: str) -> str:
    """The text in ASCII; characters without a spelling become `?`."""
    return "".join(ASCII.get(c, c) for c in text).encode("ascii", "replace").decode()


# --- As HTML ---------------------------------------------------------------------------------------------------------


def as_html(tape) -> str:
    """The table for a notebook."""
    lines = [f"<table><caption>{html.escape(tape.title)}</caption>"]
    lines.append("<tr>" + "".join(f"<th>{name}</th>" for name in COLUMNS) + "</tr>")
    for row in rows_of(tape):
        space = f"padding-left:{1 + 1.5 * row.depth}em"
        if not row.cells:
            lines.append(
                f'<tr><td colspan="3"></td><td colspan="3" style="{space}">{html.escape(row.heading)}</td></tr>'
            )
            continue
        styles = ["", "", "", f' style="text-align:left;{space}"', "", ""]
        cells = zip(styles, map(html.escape, row.cells), strict=True)
        lines.append("<tr>" + "".join(f"<td{style}>{cell}</td>" for style, cell in cells) + "</tr>")
    return "\n".join([*lines, "</table>"])
