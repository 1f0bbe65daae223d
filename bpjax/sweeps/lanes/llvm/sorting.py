"""Sorting for W runs at once: a network of comparisons that are the same whatever the numbers are.

Merge exchange, Knuth 1998, "The Art of Computer Programming", volume 3, algorithm 5.2.2M (Batcher 1968): entries i and
i + d are put in order for all i < n - d with i & p = r, for ⌈log₂ n⌉ (⌈log₂ n⌉ + 1) / 2 triples (p, r, d). The network
alone would move equal keys past each other; so the place where an entry came from decides between equal keys.
"""

import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.arrays import allocate, put, view
from bpjax.sweeps.lanes.llvm.dtypes import I64, Unsupported, Value
from bpjax.sweeps.lanes.llvm.elementwise import kind_of
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.lookups import in_place, look_up, number_of

WRITTEN_OUT = 8
"""Entries up to which a network is written out."""


def passes(n: int) -> list[tuple[int, int, int, int]]:
    """(p, r, d, how many comparisons) of each pass of the network of n entries, in order."""
    if n < 2:
        return []
    first, found = 1 << (n - 1).bit_length() - 1, []
    p = first
    while p:
        q, r, d = first, 0, p
        while True:
            found.append((p, r, d, sum(i & p == r for i in range(n - d))))
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return [one for one in found if one[3]]


def sort(emitter: Emitter, equation, arrays: list) -> list:
    """Arrays in the order of the first one, equal entries in their order."""
    axis, out = equation.params["dimension"], equation.outvars[0].aval
    if equation.params["num_keys"] != 1 or kind_of(out.dtype) not in "iu":
        raise Unsupported(f"sort of {out.dtype} by {equation.params['num_keys']} keys")
    n, kind, b = out.shape[axis], out.dtype, emitter.b
    around = (*out.shape[:axis], *out.shape[axis + 1 :])
    others = [in_place(emitter, array) for array in arrays[1:]]
    results = [allocate(emitter, out.shape, array.dtype) for array in arrays]
    column, origin = allocate(emitter, (n,), kind), allocate(emitter, (n,), "int32")

    def exchanged(first: tuple[Value, Value], second: tuple[Value, Value]) -> tuple:
        """Two pairs (key, origin) in order."""
        (key, place), (other_key, other_place) = first, second
        compare = b.icmp_signed if kind_of(kind) == "i" else b.icmp_unsigned
        is_later = b.and_(b.icmp_unsigned("==", key, other_key), b.icmp_signed(">", place, other_place))
        swaps = b.or_(compare(">", key, other_key), is_later)
        low = b.select(swaps, other_key, key), b.select(swaps, other_place, place)
        return low, (b.select(swaps, key, other_key), b.select(swaps, place, other_place))

    def read(i) -> tuple[Value, Value]:
        return column.get((i,)), origin.get((i,))

    def write(i, pair: tuple[Value, Value]) -> None:
        for target, value in zip((column, origin), pair, strict=True):
            put(emitter, target, (i,), value)

    def exchange(i, j) -> None:
        for place, pair in zip((i, j), exchanged(read(i), read(j)), strict=True):
            write(place, pair)

    def sort_one(prefix):
        at = lambda i: (*prefix[:axis], i, *prefix[axis:])  # noqa: E731
        keys = view(arrays[0], (n,), lambda indices: at(indices[0]))
        if n <= WRITTEN_OUT:
            pairs = [(keys.get((i,)), emitter.constant(i, "int32")) for i in range(n)]
            for p, r, d, _ in passes(n):
                for i in range(n - d):
                    if i & p == r:
                        pairs[i], pairs[i + d] = exchanged(pairs[i], pairs[i + d])
            for i, pair in enumerate(pairs):
                write(i, pair)
        else:
            emitter.nest((n,), lambda i: write(i[0], (keys.get(i), place_of(emitter, i[0]))))
            run_passes(emitter, n, exchange)

        def move(i):
            put(emitter, results[0], at(i[0]), column.get(i))
            place = b.sext(origin.get(i), emitter.vector("int64"))
            for result, other in zip(results[1:], others, strict=True):
                number = number_of(emitter, other, {axis: place}, {k: v for k, v in enumerate(at(i[0])) if k != axis})
                put(emitter, result, at(i[0]), look_up(emitter, other, number))

        emitter.nest((n,), move)

    emitter.nest(around, sort_one)
    return results


def place_of(emitter: Emitter, i) -> Value:
    """An index as int32 of all runs."""
    if isinstance(i, int):
        return emitter.constant(i, "int32")
    return emitter.b.trunc(emitter.splat(i), emitter.vector("int32"))


def run_passes(emitter: Emitter, n: int, exchange) -> None:
    """The network as two loops: over the passes, which a table holds, and over the comparisons of a pass.

    Comparison j of a pass begins at i, whose bits are those of j with the bit of p, which is r, put in between.
    """
    b, rows = emitter.b, passes(n)
    table = emitter.table(ir.ArrayType(I64, 4 * len(rows)), np.ravel(rows).tolist())

    def one_pass(k, carry):
        p, r, d, count = (
            b.load(b.gep(table, [emitter.add(emitter.times(k, 4), field)], source_etype=I64), typ=I64)
            for field in range(4)
        )
        below = b.sub(p, ir.Constant(I64, 1))
        above = b.xor(below, ir.Constant(I64, -1))

        def compare(j, carry):
            high = b.shl(b.and_(j, above), ir.Constant(I64, 1))
            i = b.or_(b.or_(high, b.and_(j, below)), r)
            exchange(i, b.add(i, d))
            return carry

        emitter.loop(count, compare, is_dynamic=True)
        return carry

    emitter.loop(len(rows), one_pass)
