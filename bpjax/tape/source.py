"""Where in the user's source an operation was written."""

import itertools
import linecache
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from bpjax.util.source_files import is_library

TAPE = str(Path(__file__).parent).replace("\\", "/") + "/"
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
        line, end_line, column, end_column = next(
            itertools.islice(self.code.co_positions(), self.instruction // 2, None)
        )
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
    return is_library(file) or file.replace("\\", "/").startswith(TAPE)


def frames_of(equation, run: int, calls: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The user's frames of an equation, the innermost first.

    JAX keeps the frames inside the function that was traced; those outside differ from call to call.

    Args:
        equation: an equation of a jaxpr.
        run: the number of this run of the jaxpr.
        calls: the frames of the equation that calls the function.
    """
    traceback = equation.source_info.traceback
    if traceback is None:
        return calls
    frames = [Frame(code, k, run) for code, k in zip(*traceback.raw_frames(), strict=True)]
    return (*(frame for frame in frames if not is_hidden(frame.file)), *calls)
