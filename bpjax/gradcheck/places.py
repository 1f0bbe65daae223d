"""The line of the user's source that an operation of a jaxpr was written in, and the operation in words."""

import linecache
import re
import sysconfig
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib
import numpy as np

from bpjax.util.jaxprs import opened

_ROOM = Path(__file__).parent
HIDDEN = tuple(f"{Path(str(package.__file__)).parent.as_posix()}/" for package in (jax, jaxlib, np)) + (
    f"{_ROOM.as_posix()}/",
    f"{(_ROOM.parent / 'tape').as_posix()}/",
)
"""Folders whose lines are not the user's: JAX, NumPy, the tape and the gradient check."""

STANDARD_LIBRARY = f"{Path(sysconfig.get_path('stdlib')).as_posix()}/"
LIBRARY_FUNCTION = re.compile(r"/jax/_src/(nn|numpy|scipy|image)/")
"""Files of JAX with the functions that users call by name."""


class Place(NamedTuple):
    """A line of the user's source."""

    file: str
    line: int
    code: str  # its text without indentation, empty where there is no source
    call: str  # the function of JAX that the line calls, empty for an operator

    @property
    def name(self) -> str:
        """The variable that the statement assigns, or an empty string."""
        found = re.match(r"([A-Za-z_]\w*)\s*(?::[^=]*)?=(?!=)", self.code)
        return found.group(1) if found else ""

    @property
    def returns(self) -> bool:
        """Whether the line is a `return` statement."""
        return self.code.startswith("return")

    def __str__(self) -> str:
        return f"line {self.line} of {Path(self.file).name}"


NOWHERE = Place("", 0, "", "")


def place_of(equation) -> Place:
    """The innermost line outside JAX, NumPy and this package that was active while the equation was traced."""
    traceback = equation.source_info.traceback
    frames = traceback.frames if traceback is not None else []
    call = ""
    for frame in frames:
        file = frame.file_name.replace("\\", "/")
        if not _is_hidden(file):
            return Place(frame.file_name, frame.line_num, linecache.getline(frame.file_name, frame.line_num).strip(), call)
        if LIBRARY_FUNCTION.search(file) and frame.function_name.isidentifier():
            call = frame.function_name if not frame.function_name.startswith(("_", "deferring")) else call
    return NOWHERE


def _is_hidden(file: str) -> bool:
    standard = file.startswith(STANDARD_LIBRARY) and "/site-packages/" not in file
    return standard or file.startswith("<frozen") or file.startswith(HIDDEN)


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


def in_words(primitive: str, place: Place) -> str:
    """An operation as its user knows it, "sum of the softmax", "mean", "matrix product"."""
    noun = NOUNS.get(primitive, primitive)
    same = {noun, primitive, "matmul", "sum", "where", "einsum", "dot", "power", "concatenate", "stack", "multiply"}
    if not place.call or place.call in same | {"square", "transpose", "reshape", "clip", "take", "roll", "maximum"}:
        return noun
    if place.call == "mean" and primitive in ("reduce_sum", "div"):
        return "mean"
    return f"{noun} of the {place.call.removeprefix('_')}"
