"""Rules of primitives that look up places which differ between runs: `gather`, `dynamic_slice`, and so on."""

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.arrays import Array, allocate, cheap, computed, linear, put
from bpjax.sweeps.lanes.llvm.dtypes import I32, Unsupported, Value, element_of, in_memory_dtype, stored_size
from bpjax.sweeps.lanes.llvm.elementwise import kind_of
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.shapes import reshaped


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
    return gathered(emitter, addresses(emitter, array, number), array.dtype)


def gathered(emitter: Emitter, places: list[Value], dtype) -> Value:
    """The entries at an address for each run."""
    b, stored = emitter.b, in_memory_dtype(dtype)
    value = ir.Constant(emitter.vector(stored), ir.Undefined)
    for lane, address in enumerate(places):
        entry = b.load(address, typ=element_of(stored), align=stored_size(dtype))
        value = b.insert_element(value, entry, ir.Constant(I32, lane))
    return emitter.narrowed(value, dtype)


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

    def found(batch: tuple) -> tuple[dict, Value | None]:
        """The index of each run along the axes that are looked up, and whether all of them are inside."""
        axes, is_inside = {}, None
        for k, axis in enumerate(looked_up):
            index = places.get((*batch, k))
            axes[axis] = clamped(emitter, index, places.dtype, array.shape[axis] - 1)
            if fills:
                limit = emitter.constant(array.shape[axis], places.dtype)
                inside = emitter.b.icmp_unsigned("<", index, limit)
                is_inside = inside if is_inside is None else emitter.b.and_(is_inside, inside)
        return axes, is_inside

    def filled(value: Value, is_inside: Value | None) -> Value:
        return value if is_inside is None else emitter.b.select(is_inside, value, emitter.constant(fill, array.dtype))

    def get(indices):
        axes, is_inside = found(tuple(i for k, i in enumerate(indices) if k not in numbers.offset_dims))
        within = dict(zip(whole, (indices[k] for k in numbers.offset_dims), strict=True))
        return filled(look_up(emitter, array, number_of(emitter, array, axes, within)), is_inside)

    before, after = places.shape[:-1], tuple(array.shape[k] for k in whole)
    is_row = (*collapsed, *whole) == tuple(range(len(array.shape))) and out.shape == (*before, *after)
    if not is_row or math.prod(after) < emitter.width or not has_plain_rows(array):
        return [Array(out.shape, array.dtype, get)]
    result = allocate(emitter, out.shape, array.dtype)

    def copy(batch):
        axes, is_inside = found(batch)
        number = number_of(emitter, array, axes, dict.fromkeys(whole, 0))
        copy_row(emitter, array, number, reshaped(emitter, result, (math.prod(before), math.prod(after))),
                 linear(emitter, before, batch), lambda value: filled(value, is_inside))  # fmt: skip

    emitter.nest(before, copy)
    return [result]


def has_plain_rows(array: Array) -> bool:
    """Whether the entries of a row lie side by side in memory, in their dtype."""
    return array.place is not None and array.place.is_shared and in_memory_dtype(array.dtype) == array.dtype


def copy_row(emitter: Emitter, array: Array, number: Value, target: Array, row, filled: Callable) -> None:
    """Copy a row that is another one for each run: vectors of W entries of each run, transposed, then those left.

    Args:
        emitter: writes the code.
        array: with `has_plain_rows`.
        number: of the first entry of the row.
        target: in memory (rows, entries).
        row: of the target.
        filled: value -> the value to write.
    """
    sources, width = addresses(emitter, array, number), emitter.width
    size, kind = stored_size(array.dtype), emitter.vector(array.dtype)
    blocks, left = divmod(target.shape[1], width)

    def copy_block(k, carry):
        first = emitter.times(k, width)
        vectors = [
            emitter.b.load(emitter.address(source, emitter.times(first, size)), typ=kind, align=size)
            for source in sources
        ]
        for entry, value in enumerate(transposed(emitter, vectors)):
            put(emitter, target, (row, emitter.add(first, entry)), filled(value))
        return carry

    emitter.loop(blocks, copy_block)
    for entry in range(blocks * width, blocks * width + left):
        value = gathered(emitter, [emitter.address(source, entry * size) for source in sources], array.dtype)
        put(emitter, target, (row, entry), filled(value))


def transposed(emitter: Emitter, vectors: list[Value]) -> list[Value]:
    """The transpose of W vectors of W entries: blocks of 1, 2, 4, … entries change places."""
    vectors, width = list(vectors), len(vectors)
    step = 1
    while step < width:
        for i in (i for i in range(width) if not i & step):
            a, b = vectors[i], vectors[i + step]
            for place, shift in ((i, 0), (i + step, step)):
                mask = [k - k % (2 * step) + k % step + shift + (width if k & step else 0) for k in range(width)]
                vectors[place] = emitter.b.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, width), mask))
        step *= 2
    return vectors


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
