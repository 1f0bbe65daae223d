"""The names that the source gives to values."""

from bpjax.tape.lines import Line
from bpjax.tape.values import Value


def assigned_names(lines: list[Line]) -> list[tuple[str, Value]]:
    """Each name with the value that a statement assigned to it, in the order of evaluation."""
    return []
