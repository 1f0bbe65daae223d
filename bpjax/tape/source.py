"""Where in the user's source an operation was written."""

import linecache
import sysconfig
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import jax
import jaxlib
import numpy as np

from bpjax.util.jaxprs import opened

HIDDEN = tuple(str(Path(str(package.__file__)).parent) + "/" for package in (jax, jaxlib, np)) + (
    str(Path(__file__).parent) + "/",
)
"""Folders whose functions are not shown: those of JAX, NumPy and the tape."""

STANDARD_LIBRARY = sysconfig.get_path("stdlib") + "/"
COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


class Position(NamedTuple):
    """A range of source text; columns are None where Python was told not to keep them."""

    line: int
    end_line: int
    column: int | None
    end_column: int | None


class Frame(NamedTuple):
    """A line that was active while an operation was traced."""

    code: CodeType
    instruction: int  # byte offset of the instruction in the code
    run: int  # the run of a traced function in which it was active: iterations of a loop are different runs

    @property
    def file(self) -> str:
        """The name of the file, or what stands for it: `<stdin>`, `<ipython-input-…>`."""
        return self.code.co_filename

    @property
    def position(self) -> Position:
        """The range of the source text of the instruction."""
        line, end_line, column, end_column = list(self.code.co_positions())[self.instruction // 2]
        line = line or self.code.co_firstlineno
        return Position(line, end_line or line, column, end_column)


class Source(NamedTuple):
    """A line of source text."""

    file: str
    line: int
    function: str
    code: str  # the text of the line without indentation, empty where there is no source


def source_of(frame: Frame) -> Source:
    """The line of a frame."""
    line = frame.position.line
    return Source(frame.file, line, frame.code.co_name, linecache.getline(frame.file, line).strip())


def is_hidden(file: str) -> bool:
    """Whether a file belongs to JAX, NumPy, the tape or Python's standard library."""
    file = file.replace("\\", "/")
    standard = file.startswith(STANDARD_LIBRARY) and "/site-packages/" not in file
    return standard or file.startswith("<frozen") or file.startswith(HIDDEN)


def boundary_of(jaxpr) -> tuple[str, int] | None:
    """File and first line of the function that was traced to a jaxpr, None where JAX does not know it."""
    source = getattr(opened(jaxpr).debug_info, "func_src_info", None) or ""
    _, _, place = source.partition(" at ")
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdecimal() else None


def frames_of(equation, boundary: tuple[str, int] | None, run: int, calls: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The user's frames of an equation, the innermost first.

    JAX traces a function once and uses the jaxpr for later calls, so frames outside the traced function may belong to
    another call: they are replaced by those of this call.

    Args:
        equation: an equation of the jaxpr.
        boundary: file and first line of the function that was traced to this jaxpr.
        run: the number of this run of the jaxpr.
        calls: the frames of the equation that calls the function.
    """
    traceback = equation.source_info.traceback
    if traceback is None:
        return calls
    frames = [Frame(code, k, run) for code, k in zip(*traceback.raw_frames(), strict=True)]
    if boundary is None:
        frames = _without_calls(frames, calls)
    else:
        last = [k for k, frame in enumerate(frames) if (frame.file, frame.code.co_firstlineno) == boundary]
        frames = frames[: last[0] + 1] if last else []
    return (*(frame for frame in frames if not is_hidden(frame.file)), *calls)


def _without_calls(frames: list[Frame], calls: tuple[Frame, ...]) -> list[Frame]:
    """The frames inside those of the call; none where the frames belong to another call."""
    shown = [frame for frame in frames if not is_hidden(frame.file)]
    inner, outer = shown[: len(shown) - len(calls)], shown[len(shown) - len(calls) :]
    same = [frame[:2] for frame in outer] == [frame[:2] for frame in calls]
    return inner if same else []
