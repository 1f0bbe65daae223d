"""Rules of sums, products and other reductions.

    Σₖ aₖ bₖ    one multiply-add per term, rounded once, in the order of k
    Σₖ aₖ       one addition per term, in the order of k

The order is that of the axes as they are summed, the last one fastest. Several neighbouring results are summed at once,
so that the processor does not wait for one sum. Where there are fewer than `FEW`, each is summed in P parts, term k in
part k mod P, and the parts are added in order. P depends on the shapes alone. A sum over a product of two arrays is the
first kind, however the product was written.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import Array, allocate, cheap, put
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, Value, name_of
from bpjax.sweeps.lanes.llvm.elementwise import ARITHMETIC, compare, extreme, kind_of
from bpjax.sweeps.lanes.llvm.emitter import Emitter

TILE = 8
"""Results that are summed at once."""
FEW = 4
"""Fewer results than this at once are summed in several parts."""


def reduced(emitter: Emitter, shape, terms, dtype, operation: "Operation") -> Array:
    """All terms of the axes `terms` combined, for every entry of `shape`.

    Args:
        emitter: writes the code.
        shape: of the result.
        terms: the lengths of the axes that are reduced.
        dtype: of the result.
        operation: how terms are combined.
    """
    result = allocate(emitter, shape, dtype)
    tiles = tiles_of(shape, emitter.accumulators)
    together = math.prod(tiles)
    parts = (1,) * len(terms) if largest_tile(shape) >= FEW else tiles_of(terms, TILE, most_axes=1)
    outer, inner = divided(shape, tiles), divided(terms, parts)

    def cells(indices):
        places = spread(emitter, indices, tiles)

        def combined(term, values):
            found = []
            for part, whole in enumerate(spread(emitter, term, parts)):
                before = values[part * together : (part + 1) * together]
                found += [operation.step(place, whole, v) for place, v in zip(places, before, strict=True)]
            return found

        values = [operation.start] * (together * math.prod(parts))
        if math.prod(terms):
            values = over_terms(emitter, inner, values, combined)
        totals = values[:together]
        for part in range(1, math.prod(parts)):
            later = values[part * together : (part + 1) * together]
            totals = [operation.merge(a, b) for a, b in zip(totals, later, strict=True)]
        for place, value in zip(places, totals, strict=True):
            put(emitter, result, place, value)

    emitter.nest(outer, cells)
    return result


class Operation(NamedTuple):
    """How terms are combined."""

    start: Value  # without any term
    step: Callable  # (indices of the result, indices of the term, value so far) -> the value with this term
    merge: Callable  # (value of some terms, value of others) -> of all


def divisor(n: int, most: int) -> int:
    """The largest divisor of n up to `most`."""
    return max(d for d in range(1, max(1, most) + 1) if n % d == 0)


def largest_tile(shape) -> int:
    """How many results along the last axis that is longer than 1 are summed at once."""
    return math.prod(tiles_of(shape, TILE, most_axes=1))


def tiles_of(shape, most: int, most_axes: int = 2) -> tuple[int, ...]:
    """The shape of a tile: of the last axes that are longer than 1, up to `TILE` of the last and `most` in all."""
    tiles, left = [1] * len(shape), most_axes
    for k in reversed(range(len(shape))):
        if shape[k] > 1 and left:
            tiles[k] = divisor(shape[k], min(TILE, most // math.prod(tiles)))
            left -= 1
    return tuple(tiles)


def divided(shape, tiles) -> tuple[int, ...]:
    """How many tiles there are along each axis."""
    return tuple(n // tile for n, tile in zip(shape, tiles, strict=True))


def spread(emitter: Emitter, indices, tiles) -> list[tuple]:
    """The indices of all entries of a tile, the last axis fastest."""
    return [
        tuple(emitter.add(emitter.times(i, n), u) for i, n, u in zip(indices, tiles, within, strict=True))
        for within in np.ndindex(*tiles)
    ]


def over_terms(emitter: Emitter, terms, values: list, combined: Callable, prefix: tuple = ()) -> list:
    """A loop per axis of the terms, the last one fastest."""
    if len(prefix) == len(terms):
        return combined(prefix, values)
    left = math.prod(terms[len(prefix) :]) * len(values)

    def inner(k, carried):
        return over_terms(emitter, terms, list(carried), combined, (*prefix, k))

    return emitter.loop(terms[len(prefix)], inner, values, written_out=left <= emitter.unroll)


def merged(rank: int, axes, kept: tuple, reduced_: tuple) -> tuple:
    """Indices of an array from those of the axes that are kept and those that are reduced."""
    kept_, terms = iter(kept), dict(zip(axes, reduced_, strict=True))
    return tuple(terms[k] if k in terms else next(kept_) for k in range(rank))


def reduce_sum(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Σ over `axes`."""
    array, axes, out = arrays[0], tuple(sorted(equation.params["axes"])), equation.outvars[0].aval
    terms, rank, zero = tuple(array.shape[k] for k in axes), len(array.shape), emitter.constant(0, out.dtype)
    if array.factors is not None and kind_of(out.dtype) == "f":
        a, b = array.factors

        def multiply_add(place, term, value):
            indices = merged(rank, axes, place, term)
            return emitter.vector_call("fma", a.at(indices), b.at(indices), value)

        return [reduced(emitter, out.shape, terms, out.dtype, Operation(zero, multiply_add, emitter.b.fadd))]
    add = getattr(emitter.b, ARITHMETIC["add"][kind_of(out.dtype) != "f"])

    def step(place, term, value):
        return add(value, array.get(merged(rank, axes, place, term)))

    return [reduced(emitter, out.shape, terms, out.dtype, Operation(zero, step, add))]


def dot_general(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
    """Σₖ a b over the contracted axes."""
    a, b = (cheap(emitter, array) for array in arrays)
    (a_sum, b_sum), (a_batch, b_batch) = equation.params["dimension_numbers"]
    out = equation.outvars[0].aval
    if kind_of(out.dtype) != "f" or {name_of(a.dtype), name_of(b.dtype)} != {name_of(out.dtype)}:
        raise Unsupported(f"dot_general of {a.dtype} and {b.dtype}")
    a_free = [k for k in range(len(a.shape)) if k not in (*a_sum, *a_batch)]
    b_free = [k for k in range(len(b.shape)) if k not in (*b_sum, *b_batch)]
    terms = tuple(a.shape[k] for k in a_sum)
    batch, first = len(a_batch), len(a_batch) + len(a_free)

    def factors(place, term):
        of_a = dict(zip((*a_batch, *a_free, *a_sum), (*place[:first], *term), strict=True))
        of_b = dict(zip((*b_batch, *b_free, *b_sum), (*place[:batch], *place[first:], *term), strict=True))
        return a.get(tuple(of_a[k] for k in range(len(a.shape)))), b.get(tuple(of_b[k] for k in range(len(b.shape))))

    if math.prod(terms) == 1:  # an outer product is computed where it is read
        return [Array(out.shape, out.dtype, lambda place: emitter.b.fmul(*factors(place, (0,) * len(terms))))]

    def multiply_add(place, term, value):
        return emitter.vector_call("fma", *factors(place, term), value)

    start = emitter.constant(-0.0 if 0 not in terms else 0.0, out.dtype)  # -0 changes no first term, not even -0
    return [reduced(emitter, out.shape, terms, out.dtype, Operation(start, multiply_add, emitter.b.fadd))]


def reduction(name: str) -> Callable:
    """The rule of a reduction by another operation: "max", "min", "and", "or" or "prod"."""

    def rule(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
        array, axes, out = arrays[0], tuple(sorted(equation.params["axes"])), equation.outvars[0].aval
        terms, rank, dtype = tuple(array.shape[k] for k in axes), len(array.shape), np.dtype(out.dtype)

        def combined(value, new):
            if name in ("max", "min"):
                return extreme(emitter, dtype, name, value, new)
            if name == "prod":
                return (emitter.b.fmul if dtype.kind == "f" else emitter.b.mul)(value, new)
            return (emitter.b.and_ if name == "and" else emitter.b.or_)(value, new)

        def step(place, term, value):
            return combined(value, array.get(merged(rank, axes, place, term)))

        start = emitter.constant(neutral(name, dtype), dtype)
        return [reduced(emitter, out.shape, terms, out.dtype, Operation(start, step, combined))]

    return rule


def neutral(name: str, dtype: np.dtype):
    """The number that changes nothing."""
    if name == "prod":
        return 1
    if dtype.kind == "b":
        return name in ("and", "min")
    if dtype.kind == "f":
        return -math.inf if name == "max" else math.inf
    if name in ("and", "or"):
        return (-1 if dtype.kind == "i" else np.iinfo(dtype).max) if name == "and" else 0
    return np.iinfo(dtype).min if name == "max" else np.iinfo(dtype).max


def arg_extreme(name: str) -> Callable:
    """The rule of "argmax" or "argmin": the first place of the extreme entry; a NaN is one."""

    def rule(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
        (axis,), out = equation.params["axes"], equation.outvars[0].aval
        array = cheap(emitter, arrays[0])
        rank, length, dtype, result = (
            len(array.shape),
            array.shape[axis],
            array.dtype,
            allocate(emitter, out.shape, out.dtype),
        )
        kind = emitter.vector(out.dtype)

        def cell(place):
            def step(k, carried):
                best, where = carried
                new = array.get(merged(rank, (axis,), place, (k,)))
                is_better = compare(emitter, dtype, ">" if name == "argmax" else "<", new, best)
                if kind_of(dtype) == "f":
                    is_nan = emitter.b.fcmp_unordered("uno", new, new)
                    was_nan = emitter.b.fcmp_unordered("uno", best, best)
                    is_better = emitter.b.or_(is_better, emitter.b.and_(is_nan, emitter.b.not_(was_nan)))
                index = emitter.splat(emitter.index(k))
                index = index if kind.element.width == 64 else emitter.b.trunc(index, kind)
                return [emitter.b.select(is_better, new, best), emitter.b.select(is_better, index, where)]

            first = [array.get(merged(rank, (axis,), place, (0,))), emitter.constant(0, out.dtype)]
            _, where = emitter.loop(length, step, first, written_out=length <= emitter.unroll)
            put(emitter, result, place, where)

        emitter.nest(out.shape, cell)
        return [result]

    return rule
