"""Arrays of W runs: functions from indices to values, which are computed where they are read, or lie in memory."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.dtypes import Value, element_of, in_memory_dtype, scalar_constant, stored_size
from bpjax.sweeps.lanes.llvm.emitter import Emitter, Memory


class Place(NamedTuple):
    """Contiguous memory of an array, the last axis fastest."""

    memory: Memory
    offset: int  # bytes
    is_shared: bool  # one entry for all runs instead of one for each


class Array:
    """An array of W runs; `get(indices)` writes the code that computes or loads an entry."""

    def __init__(self, shape, dtype, get: Callable, place: Place | None = None, is_cheap: bool = False):
        """An array.

        Args:
            shape: of one run.
            dtype: of the entries.
            get: a tuple of indices, integers or values of LLVM -> the value of W runs.
            place: its memory, if it is contiguous.
            is_cheap: whether reading an entry twice costs no more than two loads.
        """
        self.shape, self.dtype, self.get, self.place = tuple(shape), dtype, get, place
        self.is_cheap = is_cheap or place is not None
        self.factors: tuple[Array, Array] | None = None  # of a product: a sum over it is a sum of multiply-adds

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    def at(self, indices: tuple) -> Value:
        """An entry for indices of a shape that this one is broadcast to: axes of length 1 are repeated, () is too."""
        if not self.shape:
            return self.get(())
        return self.get(tuple(0 if n == 1 else i for n, i in zip(self.shape, indices, strict=True)))


class Opaque:
    """A value that the code only passes on, such as a key."""

    shape: tuple = ()
    is_cheap = True


class Keys(NamedTuple):
    """Keys of random numbers: two words each."""

    first: Array
    second: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the keys."""
        return self.first.shape

    @property
    def is_cheap(self) -> bool:
        """See `Array`."""
        return self.first.is_cheap and self.second.is_cheap


def components(values: list) -> list[Array]:
    """Arrays, with keys as two arrays each."""
    return [part for value in values for part in (value if isinstance(value, Keys) else (value,))]


def linear(emitter: Emitter, shape, indices):
    """The number of an entry, the last axis fastest."""
    number = 0
    for n, i in zip(shape, indices, strict=True):
        number = emitter.add(emitter.times(number, n), i)
    return number


def unravel(emitter: Emitter, shape, number) -> tuple:
    """The indices of an entry from its number."""
    if isinstance(number, int):
        return tuple(map(int, np.unravel_index(number, shape))) if shape else ()
    indices = []
    for n in reversed(shape):
        divisor = ir.Constant(ir.IntType(64), n)
        indices.append(0 if n == 1 else emitter.b.urem(number, divisor))
        number = number if n == 1 else emitter.b.udiv(number, divisor)
    return tuple(reversed(indices))


def in_memory(emitter: Emitter, shape, dtype, memory: Memory, offset: int = 0) -> Array:
    """An array in memory, with a vector of W runs per entry."""
    size = stored_size(dtype) * emitter.width

    def get(indices):
        return emitter.load(
            memory.base, emitter.add(emitter.times(linear(emitter, shape, indices), size), offset), dtype
        )

    return Array(shape, dtype, get, Place(memory, offset, False))


def put(emitter: Emitter, array: Array, indices, value: Value) -> None:
    """Write an entry of an array in memory."""
    assert array.place is not None
    size = stored_size(array.dtype) * emitter.width
    number = emitter.times(linear(emitter, array.shape, indices), size)
    emitter.store(value, array.place.memory.base, emitter.add(number, array.place.offset), array.dtype)


def shared(emitter: Emitter, shape, dtype, memory: Memory, offset: int) -> Array:
    """A constant array in memory that all runs share."""
    size, element = stored_size(dtype), element_of(in_memory_dtype(dtype))

    def get(indices):
        number = emitter.add(emitter.times(linear(emitter, shape, indices), size), offset)
        value = emitter.b.load(emitter.address(memory.base, number), typ=element, align=size)
        return emitter.splat(emitter.narrowed(value, dtype))

    return Array(shape, dtype, get, Place(memory, offset, True))


def literal(emitter: Emitter, value) -> Array:
    """A number or array that is written in the jaxpr."""
    value = np.asarray(value)
    element_of(value.dtype)
    if value.size and (value.ravel().view(f"V{value.itemsize}") == value.ravel().view(f"V{value.itemsize}")[0]).all():
        same = emitter.constant(value.flat[0], value.dtype)
        return Array(value.shape, value.dtype, lambda indices: same, is_cheap=True)
    stored = value.astype(in_memory_dtype(value.dtype))
    kind = ir.ArrayType(element_of(stored.dtype), value.size)
    variable = emitter.table(kind, [scalar_constant(v, kind.element) for v in stored.ravel()])
    return shared(emitter, value.shape, value.dtype, Memory(variable), 0)


def allocate(emitter: Emitter, shape, dtype) -> Array:
    """Memory for an array."""
    element_of(dtype)
    return in_memory(emitter, shape, dtype, emitter.allocate(math.prod(shape), dtype))


def computed(emitter: Emitter, array) -> Any:
    """The array, or keys, in new memory."""
    if isinstance(array, Keys):
        return Keys(*(computed(emitter, part) for part in array))
    result = allocate(emitter, array.shape, array.dtype)
    emitter.nest(array.shape, lambda indices: put(emitter, result, indices, array.get(indices)))
    return result


def cheap(emitter: Emitter, array) -> Any:
    """The array, or keys, stored unless it costs nothing to read it twice."""
    if array.is_cheap:
        return array
    if isinstance(array, Keys):
        return Keys(*(cheap(emitter, part) for part in array))
    result = computed(emitter, array)
    if array.factors is not None:
        a, b = (cheap(emitter, factor) for factor in array.factors)
        result.factors = a, b
    return result


def elementwise(shape, dtype, operation: Callable, *arrays: Array) -> Array:
    """`operation` on the entries of arrays that are broadcast to one shape."""
    return Array(shape, dtype, lambda indices: operation(*(array.at(indices) for array in arrays)))


def view(array: Array, shape, indices_of) -> Array:
    """The entries of an array at other indices."""
    return Array(shape, array.dtype, lambda indices: array.at(indices_of(indices)), is_cheap=array.is_cheap)
