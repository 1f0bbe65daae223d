"""Where the code of an equation is: name, file and line, read from the function objects."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import bpjax
from bpjax.layers.layer import Layer
from bpjax.util.source_files import is_library
from bpjax.util.user_functions import code_of, unwrapped

ROOT = Path(str(bpjax.__file__)).parents[1]


class CodePlace(NamedTuple):
    """The function that computes an equation."""

    name: str  # "dense.backward"
    file: str  # "bpjax/layers/dense.py"; a file outside bpjax by its name
    line: int  # the first line of the function

    def __str__(self) -> str:
        return f"{self.name} ({self.file}:{self.line})" if self.file else self.name


def place_of(function: Callable, name: str | None = None) -> CodePlace:
    """Name, file and line of a function; without a file where it is not written in Python."""
    function = unwrapped(function)
    code = code_of(function)
    own = str(getattr(function, "__qualname__", type(function).__name__)).replace("<locals>.", "").lstrip("_")
    name = own if name is None else name
    if code is None:
        return CodePlace(name, "", 0)
    path = Path(code.co_filename)
    file = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    return CodePlace(name, file, code.co_firstlineno)


def formula_place(function: Callable, formula: str, name: str) -> CodePlace:
    """The formula inside a function that a factory made: the variable `formula` of its closure.

    Where there is none, or it is a function of JAX, the place is that of the function around it.
    """
    inner = closure(function).get(formula)
    code = code_of(unwrapped(inner)) if callable(inner) else None
    if inner is None or code is None or is_library(code.co_filename):
        return place_of(function)
    return place_of(inner, name)


def closure(function: Callable) -> dict[str, Any]:
    """The variables of enclosing functions that a function uses, by name."""
    function = unwrapped(function)
    return dict(inspect.getclosurevars(function).nonlocals) if inspect.isfunction(function) else {}


def docstring_equations(layer: Layer) -> list[str]:
    """The lines of the factory's docstring with the equations of the forward and the backward pass, else its first."""
    function = unwrapped(layer.backward)
    module = sys.modules.get(getattr(function, "__module__", ""))
    root = getattr(function, "__qualname__", "").split(".")[0]
    made_by = getattr(module, root.lstrip("_"), None) or getattr(module, root, None)
    text = (inspect.getdoc(made_by) or "") if callable(made_by) else ""
    paragraphs = [paragraph.splitlines() for paragraph in text.split("\n\n")]
    found = [p for p in paragraphs if any(line.startswith(("forward ", "backward ")) for line in p)]
    return [line for paragraph in found for line in paragraph] or text.splitlines()[:1]
