"""Rules of primitives that move entries to other places. Most move nothing: the result is read at other indices."""

import math

import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import (
    Array,
    allocate,
    cheap,
    elementwise,
    in_memory,
    linear,
    put,
    shared,
    unravel,
    view,
)
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, Value
from bpjax.sweeps.lanes.llvm.emitter import Emitter


def broadcast_in_dim(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Entries repeated along new axes and along axes of length 1."""
    if len(arrays) > 1:
        raise Unsupported("broadcasts to a shape that is not known while compiling")
    array, shape, axes = arrays[0], equation.params["shape"], equation.params["broadcast_dimensions"]
    if math.prod(shape) > array.size:
        array = cheap(emitter, array)
    return [view(array, shape, lambda indices: tuple(indices[axis] for axis in axes))]


def reshape(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """The same entries in the same order in another shape."""
    if len(arrays) > 1 or equation.params.get("dimensions") is not None:
        raise Unsupported("reshape in another order")
    return [reshaped(emitter, arrays[0], equation.outvars[0].aval.shape)]


def squeeze(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Without axes of length 1."""
    return [reshaped(emitter, arrays[0], equation.outvars[0].aval.shape)]


def reshaped(emitter: Emitter, array: Array, shape) -> Array:
    """An array in another shape: an array in memory is there already, axes of length 1 are left out or added."""
    if array.place is not None:
        make = shared if array.place.is_shared else in_memory
        return make(emitter, shape, array.dtype, array.place.memory, array.place.offset)
    kept = [k for k, n in enumerate(array.shape) if n != 1]
    new = [k for k, n in enumerate(shape) if n != 1]

    def squeezed(indices):
        result: list = [0] * len(array.shape)
        for old, k in zip(kept, new, strict=True):
            result[old] = indices[k]
        return tuple(result)

    if [array.shape[k] for k in kept] == [shape[k] for k in new]:
        return view(array, shape, squeezed)
    return view(array, shape, lambda indices: unravel(emitter, array.shape, linear(emitter, shape, indices)))


def transpose(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Axes in another order."""
    places = np.argsort(equation.params["permutation"]).tolist()
    return [view(arrays[0], equation.outvars[0].aval.shape, lambda indices: tuple(indices[k] for k in places))]


def slice_(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Every `strides`-th entry from `start_indices` on."""
    starts = equation.params["start_indices"]
    strides = equation.params["strides"] or (1,) * len(starts)

    def within(indices):
        return tuple(
            emitter.add(emitter.times(i, stride), start)
            for i, start, stride in zip(indices, starts, strides, strict=True)
        )

    return [sliced(arrays[0], equation.outvars[0].aval.shape, within)]


def sliced(array: Array, shape, indices_of) -> Array:
    """As `view`, for indices that already lie within the array."""
    return Array(shape, array.dtype, lambda indices: array.get(indices_of(indices)), is_cheap=array.is_cheap)


def rev(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """The last entry first along `dimensions`."""
    array, axes = arrays[0], equation.params["dimensions"]

    def mirrored(indices):
        return tuple(
            emitter.add(array.shape[k] - 1, minus(emitter, i)) if k in axes else i for k, i in enumerate(indices)
        )

    return [sliced(array, array.shape, mirrored)]


def minus(emitter: Emitter, index):
    """The negative of an index."""
    return -index if isinstance(index, int) else emitter.b.neg(index)


def pieces(emitter: Emitter, shape, dtype, parts: list[tuple[Array, tuple[int, ...]]]) -> Array:
    """An array in memory that is put together of parts.

    Args:
        emitter: writes the code.
        shape: of the result.
        dtype: of the result.
        parts: arrays and the indices at which their first entries lie.
    """
    result = allocate(emitter, shape, dtype)
    for part, starts in parts:

        def copy(indices, part=part, starts=starts):
            there = tuple(emitter.add(i, start) for i, start in zip(indices, starts, strict=True))
            put(emitter, result, there, part.at(indices))

        emitter.nest(part.shape, copy)
    return result


def concatenate(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Arrays one behind the other along `dimension`."""
    shape, axis, start, parts = equation.outvars[0].aval.shape, equation.params["dimension"], 0, []
    for array in arrays:
        parts.append((array, tuple(start if k == axis else 0 for k in range(len(shape)))))
        start += array.shape[axis]
    return [pieces(emitter, shape, arrays[0].dtype, parts)]


def stack(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Arrays along a new axis."""
    shape, axis = equation.outvars[0].aval.shape, equation.params["axis"]
    wider = [reshaped(emitter, a, (*a.shape[:axis], 1, *a.shape[axis:])) for a in arrays]
    parts = [(a, tuple(k if d == axis else 0 for d in range(len(shape)))) for k, a in enumerate(wider)]
    return [pieces(emitter, shape, arrays[0].dtype, parts)]


def split(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Parts of an array along `axis`."""
    axis, start, results = equation.params["axis"], 0, []
    for variable, length in zip(equation.outvars, equation.params["sizes"], strict=True):

        def within(indices, start=start):
            return tuple(emitter.add(i, start) if k == axis else i for k, i in enumerate(indices))

        results.append(sliced(arrays[0], variable.aval.shape, within))
        start += length
    return results


def unstack(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """The entries along `axis`."""
    axis, array = equation.params["axis"], arrays[0]

    def entry(k: int):
        return lambda indices: (*indices[:axis], k, *indices[axis:])

    return [sliced(array, v.aval.shape, entry(k)) for k, v in enumerate(equation.outvars)]


def pad(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """An array within an edge of another number."""
    array, padding = arrays
    shape, config = equation.outvars[0].aval.shape, equation.params["padding_config"]
    if any(low < 0 or high < 0 or between for low, high, between in config):
        raise Unsupported("pad with a negative or an interior width")
    edge = Array(shape, array.dtype, lambda indices: padding.at(indices))
    return [
        pieces(emitter, shape, array.dtype, [(edge, (0,) * len(shape)), (array, tuple(low for low, _, _ in config))])
    ]


def iota(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """The indices along `dimension`."""
    if arrays:
        raise Unsupported("iota of a shape that is not known while compiling")
    axis, dtype = equation.params["dimension"], equation.params["dtype"]
    kind = emitter.vector(dtype)

    def get(indices):
        index = indices[axis]
        if isinstance(index, int):
            return emitter.constant(index, dtype)
        number = emitter.splat(index)
        if np.dtype(dtype).kind == "f":
            return emitter.b.sitofp(number, kind)
        return number if kind.element.width == 64 else emitter.b.trunc(number, kind)

    return [Array(equation.outvars[0].aval.shape, dtype, get, is_cheap=True)]


def select_n(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """`cases[which]` entry by entry."""
    which, *cases = arrays
    out = equation.outvars[0].aval
    if np.dtype(which.dtype).kind == "b":
        return [elementwise(out.shape, cases[0].dtype, lambda c, a, b: emitter.b.select(c, b, a), which, *cases)]

    def chosen(index, *values) -> Value:
        result = values[0]
        for k, value in enumerate(values[1:], start=1):
            is_at_least = emitter.b.icmp_signed(">=", index, emitter.constant(k, which.dtype))
            result = emitter.b.select(is_at_least, value, result)
        return result

    return [elementwise(out.shape, out.dtype, chosen, which, *cases)]
