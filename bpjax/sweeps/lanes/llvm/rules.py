"""The table of rules, and the evaluation of steps by them."""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from bpjax.sweeps.lanes.llvm import contractions, control_flow, lookups, shapes, sorting, trigonometry
from bpjax.sweeps.lanes.llvm.arrays import Keys, Opaque, cheap, elementwise, literal
from bpjax.sweeps.lanes.llvm.batches import Group, groups_of
from bpjax.sweeps.lanes.llvm.blocks import block_by_block
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, element_of
from bpjax.sweeps.lanes.llvm.elementwise import operation_of
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.flatten import Flat, Node, flatten_jaxpr
from bpjax.sweeps.lanes.llvm.keys import KEY_RULES
from bpjax.util.jaxprs import largest_array, num_entries, subjaxprs


def check_rules(flat: Flat) -> None:
    """Raise `Unsupported` where a step has no rule, without writing code."""
    for step in flat.steps:
        name = step.equation.primitive.name
        if name not in RULES and operation_of(None, step.equation) is None:  # type: ignore[arg-type]
            raise Unsupported(name)
        for inner in subjaxprs(step.equation):
            check_rules(flatten_jaxpr(inner))


def largest_of(flat: Flat) -> int:
    """Entries of the largest result of a step, those of inner functions included."""
    sizes = [1]
    for step in flat.steps:
        sizes += [num_entries(v) for v in step.equation.outvars]
        sizes += [largest_array(inner) for inner in subjaxprs(step.equation)]
    return max(sizes)


def evaluate(emitter: Emitter, flat: Flat, arguments: list) -> list:
    """Write the code of steps; the results as arrays, which are computed where they are read.

    Args:
        emitter: writes the code.
        flat: the steps.
        arguments: an array or `Opaque` for each input.
    """
    values: dict = dict(zip(map(id, flat.inputs), arguments, strict=True))

    def value_of(node: Node):
        if id(node) not in values:
            values[id(node)] = literal(emitter, node.value)
        return values[id(node)]

    left = Counter(flat.reads)
    for item in groups_of(flat):
        if isinstance(item, Group):
            values |= block_by_block(emitter, item, value_of, results_of)
        else:
            for node, result in zip(
                item.outputs, results_of(emitter, item.equation, [*map(value_of, item.inputs)]), strict=True
            ):
                values[id(node)] = cheap(emitter, result) if flat.reads[id(node)] > 1 else result
        for step in item.all_steps if isinstance(item, Group) else [item]:
            left.subtract(map(id, step.inputs))
            for node in step.inputs:
                if not left[id(node)]:  # its memory is free for others, if no array that is still needed reads it
                    values.pop(id(node), None)
    return [value_of(node) for node in flat.outputs]


def results_of(emitter: Emitter, equation, arrays: list) -> list:
    """The results of an equation, or `Unsupported`."""
    name = equation.primitive.name
    if any(isinstance(array, Opaque) for array in arrays):
        raise Unsupported(f"{name} of keys of this generator")
    if name in WITH_KEYS:
        return RULES[name](emitter, equation, arrays)
    if any(isinstance(array, Keys) for array in arrays):
        return moved_keys(emitter, equation, arrays)
    if name in RULES:
        return RULES[name](emitter, equation, arrays)
    for variable in equation.outvars:
        element_of(getattr(variable.aval, "dtype", "?"))
    operation = operation_of(emitter, equation)
    if operation is None:
        raise Unsupported(name)
    out = equation.outvars[0].aval
    arrays = [cheap(emitter, array) if array.size < np.prod(out.shape, dtype=int) else array for array in arrays]
    result = elementwise(out.shape, out.dtype, operation, *arrays)
    if name == "mul" and np.dtype(out.dtype).kind == "f":
        result.factors = arrays[0], arrays[1]
    return [result]


def moved_keys(emitter: Emitter, equation, arrays: list) -> list:
    """The results of a primitive that moves keys: it moves each of their words."""
    name = equation.primitive.name
    if name not in MOVES:
        raise Unsupported(f"{name} of keys")
    words = [
        RULES[name](emitter, equation, [array[k] if isinstance(array, Keys) else array for array in arrays])
        for k in range(2)
    ]
    return [Keys(first, second) for first, second in zip(*words, strict=True)]


MOVES = "broadcast_in_dim reshape squeeze transpose slice rev concatenate stack unstack split select_n".split()
"""Primitives that only move entries."""

RULES: Mapping[str, Callable] = {
    "broadcast_in_dim": shapes.broadcast_in_dim,
    "reshape": shapes.reshape,
    "squeeze": shapes.squeeze,
    "transpose": shapes.transpose,
    "slice": shapes.slice_,
    "rev": shapes.rev,
    "concatenate": shapes.concatenate,
    "stack": shapes.stack,
    "split": shapes.split,
    "unstack": shapes.unstack,
    "pad": shapes.pad,
    "iota": shapes.iota,
    "select_n": shapes.select_n,
    **{name: contractions.rule(name) for name in contractions.REDUCTIONS},
    "argmax": contractions.arg_extreme("argmax"),
    "argmin": contractions.arg_extreme("argmin"),
    "scan": control_flow.scan(evaluate),
    "while": control_flow.while_loop(evaluate),
    "cond": control_flow.cond(evaluate),
    "gather": lookups.gather,
    "dynamic_slice": lookups.dynamic_slice,
    "dynamic_update_slice": lookups.dynamic_update_slice,
    "sort": sorting.sort,
    "sin": trigonometry.sin,
    "cos": trigonometry.cos,
    **KEY_RULES,
}
"""Rules of primitives that are not elementwise: (emitter, equation, arrays) -> arrays."""

WITH_KEYS = ("scan", "while", "cond", *KEY_RULES)
"""Primitives whose rules take keys as they are."""
