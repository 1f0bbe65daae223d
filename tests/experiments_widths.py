"""Whether what an experiment prints fits a terminal of 80 columns."""

WIDTH = 80


def too_wide(text: str) -> list[str]:
    """The lines that are wider than 80 columns or in which a cell of a table was cut off ("…").

    Lines with a gradient receipt are not wrapped and are left out.
    """
    lines = (line.rstrip() for line in text.splitlines() if "receipt" not in line)
    return [line for line in lines if len(line) > WIDTH or "…" in line]
