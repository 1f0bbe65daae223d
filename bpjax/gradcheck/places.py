"""The line of the user's source that an operation of a jaxpr was written in, and the operation in words."""

import linecache
import re
from pathlib import Path
from typing import NamedTuple

from bpjax.util.jaxprs import opened
from bpjax.util.source_files import is_library

_ROOM = Path(__file__).parent
OWN = (f"{_ROOM.as_posix()}/", f"{(_ROOM.parent / 'tape').as_posix()}/")
"""Folders whose lines are not the user's, beside those of libraries: the tape and the gradient check."""

LIBRARY_FUNCTION = re.compile(r"/jax/_src/(nn|numpy|scipy|image)/")
"""Files of JAX with the functions that users call by name."""


class Place(NamedTuple):
    """A line of the user's source."""

    file: str
    line: int
    code: str  # its text without indentation, empty where there is no source
    call: str  # the function of JAX that the line calls, empty for an operator
    callers: tuple[tuple[str, int], ...] = ()  # (file, line) of the lines that call the function, the innermost first

    @property
    def name(self) -> str:
        """The variable that the statement assigns, or an empty string."""
        found = re.match(r"([A-Za-z_]\w*)\s*(?::[^=]*)?=(?!=)", self.code)
        return found.group(1) if found else ""

    @property
    def known(self) -> bool:
        """Whether there is such a line."""
        return bool(self.file)

    def __str__(self) -> str:
        called = f" (called from line {self.callers[0][1]})" if self.callers and self.callers[0][0] == self.file else ""
        return f"line {self.line} of {Path(self.file).name}{called}"


NOWHERE = Place("", 0, "", "")


def places_of(equation) -> list[Place]:
    """The lines outside JAX, NumPy and this package that were active while an equation was traced, innermost first."""
    traceback = equation.source_info.traceback
    call, lines = "", []
    for frame in traceback.frames if traceback is not None else []:
        file = frame.file_name.replace("\\", "/")
        if not _is_hidden(file):
            lines.append((frame.file_name, frame.line_num))
        elif not lines and LIBRARY_FUNCTION.search(file) and frame.function_name.isidentifier():
            call = frame.function_name if not frame.function_name.startswith(("_", "deferring")) else call
    return [
        Place(file, line, linecache.getline(file, line).strip(), call if k == 0 else "", tuple(lines[k + 1 :]))
        for k, (file, line) in enumerate(lines)
    ]


def place_of(equation) -> Place:
    """The innermost of these lines, or `NOWHERE`."""
    return next(iter(places_of(equation)), NOWHERE)


def _is_hidden(file: str) -> bool:
    return is_library(file) or file.startswith(OWN)


def is_library_function(jaxpr) -> bool:
    """Whether a function called inside belongs to JAX: its equations are shared by all lines that call it."""
    source = getattr(opened(jaxpr).debug_info, "func_src_info", None) or ""
    return "/jax/" in source.replace("\\", "/")


NOUNS = {
    "add": "sum", "add_any": "sum", "sub": "difference", "mul": "product", "div": "quotient", "neg": "negation",
    "reduce_sum": "sum", "reduce_max": "maximum", "reduce_min": "minimum", "dot_general": "matrix product",
    "exp": "exponential", "exp2": "exponential", "log": "logarithm", "log1p": "logarithm", "sqrt": "square root",
    "rsqrt": "inverse square root", "square": "square", "integer_pow": "power", "pow": "power", "max": "maximum",
    "min": "minimum", "select_n": "selection", "concatenate": "concatenation", "slice": "slice",
    "dynamic_slice": "slice", "gather": "indexing", "scatter": "indexed update", "scatter-add": "indexed sum",
    "conv_general_dilated": "convolution", "cumsum": "cumulative sum", "transpose": "transpose", "abs": "magnitude",
    "broadcast_in_dim": "broadcast", "rev": "reversal", "reduce_prod": "product", "logistic": "sigmoid",
}  # fmt: skip
"""Primitives in words; a primitive that is not here keeps its name."""


COMPOUND = frozenset(
    "softmax log_softmax logsumexp var std mean silu swish gelu softplus norm standardize relu elu sigmoid "
    "average cov log_sigmoid glu mish".split()
)
"""Functions of JAX made of several operations that are worth to be told apart."""


def in_words(primitive: str, place: Place) -> str:
    """An operation as its user knows it, "sum of the softmax", "mean", "matrix product"."""
    noun = NOUNS.get(primitive, primitive)
    if place.call not in COMPOUND:
        return noun
    if place.call == "mean" and primitive in ("reduce_sum", "div"):
        return "mean"
    return f"{noun} of the {place.call}"
