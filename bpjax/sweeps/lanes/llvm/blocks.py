"""The code of a group of steps: a loop over blocks of examples, and the examples that are left.

Sums over the examples are continued from block to block in memory. Terms are added in the same order as without blocks,
so that no number depends on whether a step belongs to a group.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from bpjax.sweeps.lanes.llvm.arrays import Array, allocate, cheap, in_memory, put, shared
from bpjax.sweeps.lanes.llvm.batches import Group, Move
from bpjax.sweeps.lanes.llvm.contractions import REDUCTIONS, start_of
from bpjax.sweeps.lanes.llvm.dtypes import Value, stored_size
from bpjax.sweeps.lanes.llvm.emitter import Emitter, Memory
from bpjax.sweeps.lanes.llvm.flatten import Step
from bpjax.sweeps.lanes.llvm.reductions import parts_of, reduced_or_read, resumed


class Variable(NamedTuple):
    """A variable of an equation."""

    aval: Any


class Shape(NamedTuple):
    """What rules read of an abstract value."""

    shape: tuple[int, ...]
    dtype: Any


class Equation(NamedTuple):
    """An equation for some of the examples."""

    primitive: Any
    params: dict
    invars: list[Variable]
    outvars: list[Variable]


class SomeRows(Memory):
    """Memory within other memory, which it keeps from being given to others."""

    def __init__(self, base, whole: Memory):
        """Memory at an address within `whole`."""
        super().__init__(base)
        self.whole = whole


def for_some(step: Step, move: Move, size: int) -> Equation:
    """The equation of a step for so many examples."""
    equation = step.equation

    def shortened(variable, axis: int | None) -> Variable:
        aval = variable.aval
        if axis is None:
            return Variable(aval)
        return Variable(Shape((*aval.shape[:axis], size, *aval.shape[axis + 1 :]), aval.dtype))

    results = [shortened(variable, move.result) for variable in equation.outvars]
    params = dict(equation.params)
    if equation.primitive.name == "broadcast_in_dim":
        params["shape"] = results[0].aval.shape
    inputs = [shortened(v, axis) for v, axis in zip(equation.invars, move.inputs, strict=True)]
    return Equation(equation.primitive, params, inputs, results)


def some_of(emitter: Emitter, array: Array, axis: int | None, start, size: int) -> Array:
    """The examples from `start` on of an array that has them along `axis`."""
    if axis is None:
        return array
    shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
    place = array.place
    if place is not None and math.prod(array.shape[:axis]) == 1:
        entry = stored_size(array.dtype) * (1 if place.is_shared else emitter.width)
        offset = emitter.times(start, math.prod(array.shape[axis + 1 :]) * entry)
        memory = SomeRows(emitter.address(place.memory.base, offset), place.memory)
        return (shared if place.is_shared else in_memory)(emitter, shape, array.dtype, memory, place.offset)

    def get(indices):
        return array.get((*indices[:axis], emitter.add(indices[axis], start), *indices[axis + 1 :]))

    result = Array(shape, array.dtype, get, is_cheap=array.is_cheap)
    if array.factors is not None:
        result.factors = tuple(  # type: ignore[assignment]
            some_of(emitter, factor, axis if factor.shape and factor.shape[axis] != 1 else None, start, size)
            for factor in array.factors
        )
    return result


class Sum:
    """A sum over all examples, in memory."""

    def __init__(self, emitter: Emitter, step: Step):
        """Memory for each part, with the value before the first term."""
        self.emitter, aval = emitter, step.equation.outvars[0].aval
        self.parts = parts_in(step)
        start = start_of(emitter, step.equation)
        self.arrays = [allocate(emitter, aval.shape, aval.dtype) for _ in range(math.prod(self.parts))]
        for array in self.arrays:
            emitter.nest(aval.shape, lambda i, a=array: put(emitter, a, i, start))

    def add(self, equation: Equation, arrays: list[Array]) -> None:
        """Add the terms of some examples."""
        reduction = REDUCTIONS[equation.primitive.name](self.emitter, equation, arrays)
        self.merge = reduction.operation.merge
        resumed(self.emitter, reduction._replace(parts=self.parts), self.arrays)

    def result(self) -> Array:
        """The sum of the parts."""
        first, *others = self.arrays
        if others:
            self.emitter.nest(first.shape, lambda i: put(self.emitter, first, i, self.total(i)))
        return first

    def total(self, indices) -> Value:
        """An entry."""
        return functools.reduce(self.merge, (array.get(indices) for array in self.arrays))


def parts_in(step: Step) -> tuple[int, ...]:
    """The parts in which a reduction of all examples combines its terms."""
    equation, (first, *_) = step.equation, step.equation.invars
    is_product = equation.primitive.name == "dot_general"
    axes = equation.params["dimension_numbers"][0][0] if is_product else sorted(equation.params["axes"])
    return parts_of(equation.outvars[0].aval.shape, tuple(first.aval.shape[k] for k in axes))


def block_by_block(emitter: Emitter, group: Group, value_of: Callable, results_of: Callable) -> dict[int, Array]:
    """Write the code of a group.

    Args:
        emitter: writes the code.
        group: its steps.
        value_of: node -> the array of a node that is not computed in the group.
        results_of: (emitter, equation, arrays) -> the results of a step.

    Returns:
        The arrays of the nodes, by id, that are needed outside.
    """
    inside = {id(node) for step, _ in group.steps for node in step.outputs}
    outside = {
        id(node): value_of(node) if axis is not None else cheap(emitter, value_of(node))
        for step, move in group.steps
        for node, axis in zip(step.inputs, move.inputs, strict=True)
        if id(node) not in inside
    }
    sums, whole = {}, {}
    for step, move in group.steps:
        (node,), aval = map(id, step.outputs), step.equation.outvars[0].aval
        if move.result is None:
            sums[node] = Sum(emitter, step)
        elif node in group.stored:
            whole[node] = allocate(emitter, aval.shape, aval.dtype)

    def block(start, size: int) -> None:
        values: dict[int, Array] = {}
        for step, move in group.steps:
            arrays = [
                values[id(node)] if id(node) in values else some_of(emitter, outside[id(node)], axis, start, size)
                for node, axis in zip(step.inputs, move.inputs, strict=True)
            ]
            (node,), equation = map(id, step.outputs), for_some(step, move, size)
            if move.result is None:
                sums[node].add(equation, arrays)
                continue
            (result,) = of_some(emitter, step, equation, arrays, results_of)
            values[node] = cheap(emitter, result) if group.reads[node] > 1 else result
            if node in whole:
                store_some(emitter, whole[node], move.result, start, values[node])

    def loop(k, nothing):
        block(emitter.times(k, group.size), group.size)
        return nothing

    blocks, left = divmod(group.examples, group.size)
    emitter.loop(blocks, loop)
    if left:
        block(group.examples - left, left)
    return whole | {node: sum_.result() for node, sum_ in sums.items()}


def of_some(emitter: Emitter, step: Step, equation: Equation, arrays: list[Array], results_of: Callable) -> list:
    """The results of a batched step for some examples; a reduction combines its terms in the parts of all examples."""
    name = equation.primitive.name
    if name not in REDUCTIONS:
        return results_of(emitter, equation, arrays)
    reduction = REDUCTIONS[name](emitter, equation, arrays)
    return [reduced_or_read(emitter, reduction._replace(parts=parts_in(step)))]


def store_some(emitter: Emitter, whole: Array, axis: int, start, some: Array) -> None:
    """Write some examples into the array of all."""

    def copy(indices):
        there = (*indices[:axis], emitter.add(indices[axis], start), *indices[axis + 1 :])
        put(emitter, whole, there, some.get(indices))

    emitter.nest(some.shape, copy)
