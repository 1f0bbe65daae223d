"""Rules of primitives that look up places which differ between runs: `gather`, `dynamic_slice`, and so on."""

import math

import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.arrays import Array, cheap, computed
from bpjax.sweeps.lanes.llvm.dtypes import I32, Unsupported, Value, element_of, in_memory_dtype, stored_size
from bpjax.sweeps.lanes.llvm.elementwise import kind_of
from bpjax.sweeps.lanes.llvm.emitter import Emitter


def in_place(emitter: Emitter, array: Array) -> Array:
    """The array in contiguous memory."""
    array = cheap(emitter, array)
    return array if array.place is not None else computed(emitter, array)


def strides_of(shape) -> list[int]:
    """Entries from one index of each axis to the next."""
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


def clamped(emitter: Emitter, index: Value, dtype, most: int) -> Value:
    """An index of each run, not below 0 nor above `most`, as 64-bit integers."""
    b, kind = emitter.b, emitter.vector("int64")
    if kind.element.width != element_of(dtype).width:
        index = (b.sext if kind_of(dtype) == "i" else b.zext)(index, kind)
    index = b.select(b.icmp_signed("<", index, emitter.constant(0, "int64")), emitter.constant(0, "int64"), index)
    top = emitter.constant(most, "int64")
    return b.select(b.icmp_signed(">", index, top), top, index)


def number_of(emitter: Emitter, array: Array, axes: dict[int, Value], indices: dict) -> Value:
    """The number of an entry of each run.

    Args:
        emitter: writes the code.
        array: whose entry.
        axes: the index of each run along some axes.
        indices: the index that all runs share along the others.
    """
    b, strides = emitter.b, strides_of(array.shape)
    shared = 0
    for axis, index in indices.items():
        shared = emitter.add(shared, emitter.times(index, strides[axis]))
    number = emitter.splat(emitter.index(shared))
    for axis, index in axes.items():
        number = b.add(number, b.mul(index, emitter.constant(strides[axis], "int64")))
    return number


def addresses(emitter: Emitter, array: Array, number: Value) -> list[Value]:
    """The address of an entry for each run."""
    assert array.place is not None
    b, size, place = emitter.b, stored_size(array.dtype), array.place
    step = size if place.is_shared else size * emitter.width
    found = []
    for lane in range(emitter.width):
        entry = b.extract_element(number, ir.Constant(I32, lane))
        offset = place.offset + (0 if place.is_shared else lane * size)
        found.append(emitter.address(place.memory.base, emitter.add(emitter.times(entry, step), offset)))
    return found


def look_up(emitter: Emitter, array: Array, number: Value) -> Value:
    """The entry with another number for each run."""
    b, dtype = emitter.b, in_memory_dtype(array.dtype)
    value = ir.Constant(emitter.vector(dtype), ir.Undefined)
    for lane, address in enumerate(addresses(emitter, array, number)):
        entry = b.load(address, typ=element_of(dtype), align=stored_size(array.dtype))
        value = b.insert_element(value, entry, ir.Constant(I32, lane))
    return emitter.narrowed(value, array.dtype)


def write_at(emitter: Emitter, array: Array, number: Value, value: Value) -> None:
    """Write the entry with another number for each run."""
    value = emitter.widened(value, array.dtype)
    for lane, address in enumerate(addresses(emitter, array, number)):
        entry = emitter.b.extract_element(value, ir.Constant(I32, lane))
        emitter.b.store(entry, address, align=stored_size(array.dtype))


def gather(emitter: Emitter, equation, arrays: list) -> list:
    """Slices of an array at places that differ between runs."""
    params, out = equation.params, equation.outvars[0].aval
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    array, places = in_place(emitter, arrays[0]), cheap(emitter, arrays[1])
    looked_up, collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
    whole = [k for k in range(len(array.shape)) if k not in collapsed]
    is_plain = sorted(looked_up) == sorted(collapsed) and not numbers.operand_batching_dims
    if not is_plain or any(sizes[k] != array.shape[k] for k in whole) or any(sizes[k] != 1 for k in collapsed):
        raise Unsupported("gather of parts of slices")
    fills = "FILL" in str(params["mode"])
    if fills and kind_of(array.dtype) != "f":
        raise Unsupported("gather that fills integers")
    fill = np.nan if params["fill_value"] is None else params["fill_value"]

    def get(indices):
        batch = tuple(i for k, i in enumerate(indices) if k not in numbers.offset_dims)
        within = dict(zip(whole, (indices[k] for k in numbers.offset_dims), strict=True))
        axes, is_inside = {}, None
        for k, axis in enumerate(looked_up):
            index = places.get((*batch, k))
            axes[axis] = clamped(emitter, index, places.dtype, array.shape[axis] - 1)
            if fills:
                limit = emitter.constant(array.shape[axis], places.dtype)
                inside = emitter.b.icmp_unsigned("<", index, limit)
                is_inside = inside if is_inside is None else emitter.b.and_(is_inside, inside)
        value = look_up(emitter, array, number_of(emitter, array, axes, within))
        if is_inside is None:
            return value
        return emitter.b.select(is_inside, value, emitter.constant(fill, array.dtype))

    return [Array(out.shape, array.dtype, get)]


def starts_of(emitter: Emitter, array: Array, starts: list[Array], sizes) -> list[Value]:
    """The first index of a slice along each axis, moved so that the slice lies within the array."""
    return [
        clamped(emitter, start.get(()), start.dtype, n - size)
        for start, n, size in zip(starts, array.shape, sizes, strict=True)
    ]


def shifted(emitter: Emitter, array: Array, starts: list[Array], sizes, indices) -> Value:
    """The number of an entry of a slice for each run."""
    first = starts_of(emitter, array, starts, sizes)
    return number_of(emitter, array, dict(enumerate(first)), dict(enumerate(indices)))


def dynamic_slice(emitter: Emitter, equation, arrays: list) -> list:
    """A slice that begins at another place for each run."""
    array, starts = in_place(emitter, arrays[0]), [cheap(emitter, start) for start in arrays[1:]]
    sizes = equation.params["slice_sizes"]
    if len(starts) != len(array.shape):
        raise Unsupported("dynamic_slice of a shape that is not known while compiling")

    def get(indices):
        return look_up(emitter, array, shifted(emitter, array, starts, sizes, indices))

    return [Array(sizes, array.dtype, get)]


def dynamic_update_slice(emitter: Emitter, equation, arrays: list) -> list:
    """An array with a slice replaced that begins at another place for each run."""
    array, update, *starts = arrays
    result, starts = computed(emitter, array), [cheap(emitter, start) for start in starts]

    def write(indices):
        number = shifted(emitter, result, starts, update.shape, indices)
        write_at(emitter, result, number, update.get(indices))

    emitter.nest(update.shape, write)
    return [result]
