"""The dtypes that the compiler knows: their types in LLVM, and how they lie in memory."""

import functools
from typing import Any

import numpy as np
from llvmlite import ir

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
Value = Any
"""A value of LLVM: the types that llvmlite declares for them are incomplete."""
ELEMENTS = {
    "bool": I1, "int8": I8, "uint8": I8, "int32": I32, "uint32": I32, "int64": I64, "uint64": I64,
    "float32": ir.FloatType(), "float64": ir.DoubleType(),
}  # fmt: skip
"""The type of an entry of each dtype."""
WIDENED = ("bool", "int8", "uint8")
"""Dtypes whose entries lie in memory as int32."""


class Unsupported(Exception):  # noqa: N818
    """What this compiler has no rule for; the text says what."""


@functools.lru_cache(maxsize=64)
def name_of(dtype) -> str:
    """The name of a dtype; keys have one that NumPy does not know."""
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def element_of(dtype) -> Any:
    """The type of an entry, or `Unsupported`."""
    name = name_of(dtype)
    if name not in ELEMENTS:
        raise Unsupported(f"values of dtype {name}")
    return ELEMENTS[name]


def stored_size(dtype) -> int:
    """Bytes of an entry in memory."""
    element_of(dtype)
    return np.dtype(in_memory_dtype(dtype)).itemsize


def in_memory_dtype(dtype):
    """The dtype in which an entry lies in memory."""
    return "int32" if name_of(dtype) in WIDENED else dtype


def scalar_constant(value, element: ir.Type):
    """A Python number for a constant of LLVM."""
    if isinstance(element, ir.FloatType):
        return float(np.float32(value))
    return float(value) if isinstance(element, ir.DoubleType) else int(value)
