"""Which steps can be computed for a few examples at a time, so that their arrays stay in the cache.

An axis is followed through the steps, from one array on: that of the examples. A step is batched if example n of its
result needs only example n of its inputs, and summing if it reduces that axis, one example after another. Batched and
summing steps that follow each other form a group, which is one loop over blocks of examples. What depends on a sum
over all examples comes after that loop, in the next group.
"""

import math
from collections import Counter
from typing import NamedTuple

from bpjax.sweeps.lanes.llvm.contractions import REDUCTIONS
from bpjax.sweeps.lanes.llvm.elementwise import operation_of
from bpjax.sweeps.lanes.llvm.flatten import Flat, Step
from bpjax.sweeps.lanes.llvm.reductions import divisor

LEAST = 32
"""Examples from which on blocks are worthwhile."""
ENTRIES = 2048
"""Entries of all arrays with the axis, from which on blocks are worthwhile."""
BLOCK = 16
"""Examples of a block, about."""
PARTS = 8
"""The number of examples in a block is a multiple of the parts of a sum, of which there are at most so many."""
SAME_AXES = ("select_n", "sin", "cos")
"""Primitives of the table of rules that are elementwise."""
MOST_SEEDS = 8


class Move(NamedTuple):
    """Where the axis of the examples is in the inputs and the result of a step."""

    inputs: tuple[int | None, ...]
    result: int | None  # None: the step sums over the axis


class Group(NamedTuple):
    """Steps that are computed together, block by block."""

    steps: list[tuple[Step, Move]]
    examples: int
    stored: set[int]  # the nodes, by id, that are needed outside the loop
    size: int  # examples of a block
    reads: Counter  # of each node, by steps and as a result

    @property
    def all_steps(self) -> list[Step]:
        """Without the moves."""
        return [step for step, _ in self.steps]


def block_of(examples: int) -> int:
    """How many examples form a block: if possible a divisor, so that none are left."""
    multiple = divisor(examples, PARTS)
    sizes = [b for b in range(multiple, 2 * BLOCK + 1, multiple) if examples % b == 0 and b >= BLOCK // 2]
    return min(sizes, key=lambda b: abs(b - BLOCK)) if sizes else multiple * -(-BLOCK // multiple)


def groups_of(flat: Flat) -> list[Step | Group]:
    """The steps in an order in which they can be computed, those of a group together."""
    found = max((Following(flat, *seed) for seed in seeds_of(flat)), key=lambda f: f.work, default=None)
    if found is None or not found.work[0] or found.entries < ENTRIES:
        return list(flat.steps)
    return found.order()


def seeds_of(flat: Flat) -> list[tuple]:
    """The nodes and axes from which an axis may be followed: of inputs of products and look-ups, the longest ones."""
    made = {id(node) for step in flat.steps for node in step.outputs}
    seeds = {}
    for step in flat.steps:
        for node, variable in zip(step.inputs, step.equation.invars, strict=True):
            shape = getattr(variable.aval, "shape", ())
            if step.equation.primitive.name in ("dot_general", "gather") or id(node) not in made:
                seeds |= {(id(node), axis): (n, math.prod(shape)) for axis, n in enumerate(shape) if n >= LEAST}
    best = sorted(seeds.items(), key=lambda item: item[1], reverse=True)[:MOST_SEEDS]
    return [(node, axis, length) for (node, axis), (length, _) in best]


class Following:
    """An axis followed through all steps."""

    def __init__(self, flat: Flat, seed: int, axis: int, examples: int):
        """Start from an axis of a node, by its id."""
        self.flat, self.examples = flat, examples
        self.axes: dict[int, int] = {seed: axis}
        self.levels: dict[int, int] = {}  # of a node: the number of groups before it
        self.batched: set[int] = set()
        self.moves: list[Move | None] = []
        self.step_levels: list[int] = []
        self.entries, first, total = 0, 0, 0
        for step in flat.steps:
            move = self.follow(step)
            before = [self.levels.get(id(n), 0) + (move is None and id(n) in self.batched) for n in step.inputs]
            level = max(before, default=0)
            self.moves.append(move)
            self.step_levels.append(level)
            for node, variable in zip(step.outputs, step.equation.outvars, strict=True):
                self.levels[id(node)] = level + (move is not None and move.result is None)
                if move is not None and move.result is not None:
                    self.axes[id(node)] = move.result
                    self.batched.add(id(node))
                    self.entries += math.prod(variable.aval.shape)
            work = 0 if move is None else multiplications(step)
            total, first = total + work, first + work * (level == 0)
        self.work = first, total

    def follow(self, step: Step) -> Move | None:
        """Where the axis goes in a step, if it can be followed."""
        axes = [self.axes.get(id(node)) for node in step.inputs]
        if all(axis is None for axis in axes) or len(step.outputs) != 1:
            return None
        return move_of(step.equation, axes, self.examples)

    def order(self) -> list[Step | Group]:
        """See `groups_of`."""
        result: list[Step | Group] = []
        needed = set(map(id, self.flat.outputs))
        for step, move, level in zip(self.flat.steps, self.moves, self.step_levels, strict=True):
            needed |= {id(n) for n in step.inputs if move is None or self.levels.get(id(n), 0) < level}
        every = list(zip(self.flat.steps, self.moves, self.step_levels, strict=True))
        for level in range(max(self.step_levels, default=0) + 1):
            result += [step for step, move, at in every if move is None and at == level]
            together = [(step, move) for step, move, at in every if move is not None and at == level]
            if together:
                result.append(
                    Group(together, self.examples, needed & self.batched, block_of(self.examples), self.flat.reads)
                )
        return result


def multiplications(step: Step) -> int:
    """The multiplications of a product of matrices, 0 for other steps."""
    if step.equation.primitive.name != "dot_general":
        return 0
    (contracted, _), _ = step.equation.params["dimension_numbers"]
    shape = step.equation.invars[0].aval.shape
    return math.prod(step.equation.outvars[0].aval.shape) * math.prod(shape[k] for k in contracted)


def move_of(equation, axes: list[int | None], examples: int) -> Move | None:
    """Where the axis of the examples goes in an equation; None if it cannot be followed.

    Args:
        equation: of a step.
        axes: the axis in each input, None where there is none so far.
        examples: the length of the axis.
    """
    name, params = equation.primitive.name, equation.params
    shapes = [getattr(v.aval, "shape", ()) for v in equation.invars]
    out = equation.outvars[0].aval.shape
    axis = axes[0]
    if name == "dot_general":
        return move_of_product(params["dimension_numbers"], axes, shapes, examples)
    if name == "gather":
        return move_of_look_up(params["dimension_numbers"], axes, len(out))
    if name in REDUCTIONS or name in ("argmax", "argmin"):
        return move_of_sum(name, sorted(params["axes"]), shapes[0], axis)
    if axis is not None and len(axes) == 1:
        if name == "broadcast_in_dim":
            return Move((axis,), params["broadcast_dimensions"][axis])
        if name == "transpose":
            return Move((axis,), list(params["permutation"]).index(axis))
        if name in ("reshape", "squeeze"):
            before = math.prod(shapes[0][:axis])
            places = [k for k, n in enumerate(out) if n == examples and math.prod(out[:k]) == before]
            return Move((axis,), places[0]) if places else None
    if name in SAME_AXES or operation_of(None, equation) is not None:  # type: ignore[arg-type]
        return move_of_entries(axes, shapes, out, examples)
    return None


def move_of_entries(axes, shapes, out, examples: int) -> Move | None:
    """An elementwise step: the axis is the same one everywhere; other inputs have it too, or have length 1 there."""
    if len({axis for axis in axes if axis is not None}) > 1:
        return None
    axis = next(axis for axis in axes if axis is not None)
    if any(shape and len(shape) != len(out) for shape in shapes) or out[axis] != examples:
        return None
    return Move(tuple(axis if shape and shape[axis] == examples else None for shape in shapes), axis)


def move_of_sum(name: str, reduced: list[int], shape, axis: int | None) -> Move | None:
    """A reduction: of this axis, if it is the slowest one of those that are reduced, or of others."""
    if axis is None:
        return None
    if axis not in reduced:
        return Move((axis,), axis - sum(k < axis for k in reduced))
    is_slowest = all(shape[k] == 1 for k in reduced if k < axis)
    return Move((axis,), None) if name in REDUCTIONS and is_slowest else None


def move_of_product(numbers, axes, shapes, examples: int) -> Move | None:
    """A product: the axis is summed over, is one of both inputs side by side, or is a free one of one input."""
    contracted, batch = numbers
    places = list(axes)
    for kind in (contracted, batch):
        for k, pair in enumerate(zip(*kind, strict=True)):
            if any(axis == place for axis, place in zip(axes, pair, strict=True)):
                if any(axis not in (None, place) for axis, place in zip(axes, pair, strict=True)):
                    return None
                is_sum = kind is contracted
                if is_sum and any(shapes[0][j] != 1 for j in contracted[0][:k]):
                    return None
                return Move(tuple(pair), None if is_sum else k)
    if sum(axis is not None for axis in axes) != 1:
        return None
    which = 0 if axes[0] is not None else 1
    free = [[k for k in range(len(s)) if k not in (*contracted[i], *batch[i])] for i, s in enumerate(shapes)]
    start = len(batch[0]) + (len(free[0]) if which else 0)
    return Move(tuple(places), start + free[which].index(places[which]))


def move_of_look_up(numbers, axes, rank: int) -> Move | None:
    """A look-up: an axis of the places becomes one of the result."""
    table, axis = axes[0], axes[1]
    if table is not None or axis is None or numbers.operand_batching_dims:
        return None
    return Move((None, axis), [k for k in range(rank) if k not in numbers.offset_dims][axis])
