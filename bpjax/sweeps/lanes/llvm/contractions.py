"""Rules of sums, products and other reductions.

    Σₖ aₖ bₖ    one multiply-add per term, rounded once, in the order of k
    Σₖ aₖ       one addition per term, in the order of k

`reductions` says what the order is. A sum over a product of two arrays is the first kind, however the product was
written.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import Array, allocate, cheap, put
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, Value, name_of
from bpjax.sweeps.lanes.llvm.elementwise import ARITHMETIC, compare, extreme, kind_of
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.reductions import Operation, Reduction, reduced_or_read, reduction_of


def merged(rank: int, axes, kept: tuple, reduced_: tuple) -> tuple:
    """Indices of an array from those of the axes that are kept and those that are reduced."""
    kept_, terms = iter(kept), dict(zip(axes, reduced_, strict=True))
    return tuple(terms[k] if k in terms else next(kept_) for k in range(rank))


def summed(emitter: Emitter, equation, arrays: list[Array]) -> Reduction:
    """Σ over `axes`."""
    array, axes, out = arrays[0], tuple(sorted(equation.params["axes"])), equation.outvars[0].aval
    terms, rank, start = tuple(array.shape[k] for k in axes), len(array.shape), start_of(emitter, equation)
    if array.factors is not None and kind_of(out.dtype) == "f":
        a, b = array.factors

        def multiply_add(place, term, value):
            indices = merged(rank, axes, place, term)
            return emitter.vector_call("fma", a.at(indices), b.at(indices), value)

        return reduction_of(out.shape, terms, out.dtype, Operation(start, multiply_add, emitter.b.fadd))
    add = getattr(emitter.b, ARITHMETIC["add"][kind_of(out.dtype) != "f"])

    def step(place, term, value):
        return add(value, array.get(merged(rank, axes, place, term)))

    return reduction_of(out.shape, terms, out.dtype, Operation(start, step, add))


def product(emitter: Emitter, equation, arrays: list[Array]) -> Reduction:
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

    def multiply_add(place, term, value):
        return emitter.vector_call("fma", *factors(place, term), value)

    operation = Operation(start_of(emitter, equation), multiply_add, emitter.b.fadd)
    return reduction_of(out.shape, terms, out.dtype, operation)


def by(name: str) -> Callable:
    """A reduction by another operation: "max", "min", "and", "or" or "prod"."""

    def describe(emitter: Emitter, equation, arrays: list[Array]) -> Reduction:
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

        operation = Operation(start_of(emitter, equation), step, combined)
        return reduction_of(out.shape, terms, out.dtype, operation)

    return describe


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


def start_of(emitter: Emitter, equation) -> Value:
    """The value of a reduction before its first term."""
    name, dtype = equation.primitive.name, equation.outvars[0].aval.dtype
    if name == "reduce_sum":
        return emitter.constant(0, dtype)
    if name == "dot_general":  # -0 changes no first term, not even -0
        (contracted, _), _ = equation.params["dimension_numbers"]
        return emitter.constant(0.0 if 0 in (equation.invars[0].aval.shape[k] for k in contracted) else -0.0, dtype)
    return emitter.constant(neutral(name.removeprefix("reduce_"), np.dtype(dtype)), dtype)


REDUCTIONS: Mapping[str, Callable] = {
    "reduce_sum": summed,
    "dot_general": product,
    **{f"reduce_{name}": by(name) for name in ("max", "min", "and", "or", "prod")},
}
"""(emitter, equation, arrays) -> `Reduction`."""


def rule(name: str) -> Callable:
    """The rule of a reduction."""

    def apply(emitter: Emitter, equation, arrays: list[Array]) -> list[Array]:
        return [reduced_or_read(emitter, REDUCTIONS[name](emitter, equation, arrays))]

    return apply


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
