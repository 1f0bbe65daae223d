"""Plain-text tables."""

import re


def table(header, rows) -> list[str]:
    """Lines of a plain-text table: columns of text are aligned left, columns of numbers right."""
    rows = [header, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    numeric = [all(re.match(r"-?(\d|inf\b|nan\b)|$", row[c]) for row in rows[1:]) for c in range(len(header))]

    def line(row):
        cells = (
            f"{cell:>{w}}" if right else f"{cell:<{w}}" for cell, w, right in zip(row, widths, numeric, strict=True)
        )
        return "  ".join(cells).rstrip()

    return [line(rows[0]), "  ".join("─" * w for w in widths), *map(line, rows[1:]), ""]
