"""Which source files belong to the user, and which to JAX, NumPy and Python's standard library."""

import sysconfig
from pathlib import Path
from types import CodeType

import jax
import jaxlib
import numpy as np

LIBRARIES = tuple(str(Path(str(package.__file__)).parent).replace("\\", "/") + "/" for package in (jax, jaxlib, np))
STANDARD_LIBRARY = sysconfig.get_path("stdlib").replace("\\", "/") + "/"


def is_library(file: str) -> bool:
    """Whether a file belongs to JAX, NumPy or Python's standard library."""
    file = file.replace("\\", "/")
    standard = file.startswith(STANDARD_LIBRARY) and "/site-packages/" not in file
    return standard or file.startswith("<frozen") or file.startswith(LIBRARIES)


def user_code(equation) -> CodeType | None:
    """The innermost function outside JAX, NumPy and the standard library in which an equation was written."""
    traceback = equation.source_info.traceback
    codes = () if traceback is None else traceback.raw_frames()[0]
    return next((code for code in codes if not is_library(code.co_filename)), None)
