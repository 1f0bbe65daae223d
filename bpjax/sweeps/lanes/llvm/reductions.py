"""Reductions of W runs: terms combined in a fixed order, several results at once.

The order is that of the axes as they are reduced, the last one fastest. Several neighbouring results are combined at
once, so that the processor does not wait for one of them. Where there are fewer than `FEW`, each is combined in P
parts, term k in part k mod P, and the parts are combined in order. P depends on the shapes alone.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import Array, allocate, put
from bpjax.sweeps.lanes.llvm.dtypes import Value
from bpjax.sweeps.lanes.llvm.emitter import Emitter

TILE = 8
"""Results that are summed at once."""
FEW = 4
"""Fewer results than this at once are summed in several parts."""


class Operation(NamedTuple):
    """How terms are combined."""

    start: Value  # without any term
    step: Callable  # (indices of the result, indices of the term, value so far) -> the value with this term
    merge: Callable  # (value of some terms, value of others) -> of all


class Reduction(NamedTuple):
    """All terms combined, for every entry of a shape."""

    shape: tuple[int, ...]
    terms: tuple[int, ...]  # the lengths of the axes that are reduced
    dtype: Any
    operation: Operation
    parts: tuple[int, ...]  # for each axis of the terms: term k belongs to part k mod P


def parts_of(shape, terms) -> tuple[int, ...]:
    """The parts in which the terms are combined."""
    return (1,) * len(terms) if largest_tile(shape) >= FEW else tiles_of(terms, TILE, most_axes=1)


def reduction_of(shape, terms, dtype, operation: Operation) -> Reduction:
    """A reduction in the parts that fit its shape."""
    return Reduction(tuple(shape), tuple(terms), dtype, operation, parts_of(shape, terms))


def reduced(emitter: Emitter, reduction: Reduction) -> Array:
    """The result of a reduction."""
    result = allocate(emitter, reduction.shape, reduction.dtype)

    def finish(place, parts: list[Value]) -> None:
        put(emitter, result, place, functools.reduce(reduction.operation.merge, parts))

    combine(emitter, reduction, lambda place, part: reduction.operation.start, finish)
    return result


def resumed(emitter: Emitter, reduction: Reduction, parts: list[Array]) -> None:
    """More terms are combined with those whose parts lie in memory, one array for each part."""

    def finish(place, values: list[Value]) -> None:
        for array, value in zip(parts, values, strict=True):
            put(emitter, array, place, value)

    combine(emitter, reduction, lambda place, part: parts[part].get(place), finish)


def combine(emitter: Emitter, reduction: Reduction, start: Callable, finish: Callable) -> None:
    """The loops of a reduction.

    Args:
        emitter: writes the code.
        reduction: what is combined.
        start: (place, number of the part) -> the value before the first term.
        finish: (place, values of all parts) writes the result.
    """
    shape, terms, _, operation, parts = reduction
    tiles = tiles_of(shape, emitter.accumulators)
    together, count = math.prod(tiles), math.prod(parts)

    def cells(indices):
        places = spread(emitter, indices, tiles)

        def combined(term, values):
            found = []
            for part, whole in enumerate(spread(emitter, term, parts)):
                before = values[part * together : (part + 1) * together]
                found += [operation.step(place, whole, v) for place, v in zip(places, before, strict=True)]
            return found

        values = [start(place, part) for part in range(count) for place in places]
        if math.prod(terms):
            values = over_terms(emitter, divided(terms, parts), values, combined)
        for k, place in enumerate(places):
            finish(place, values[k::together])

    emitter.nest(divided(shape, tiles), cells)


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


def reduced_or_read(emitter: Emitter, reduction: Reduction) -> Array:
    """The result of a reduction; that of a single term is computed where it is read."""
    shape, terms, dtype, operation, _ = reduction
    if math.prod(terms) != 1:
        return reduced(emitter, reduction)
    return Array(shape, dtype, lambda place: operation.step(place, (0,) * len(terms), operation.start))
