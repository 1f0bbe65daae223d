"""The programs of a trial: training W runs side by side, and what is stored of runs that have stopped.

train    epochs of W runs; a run that stops returns to its row, and the next row takes its place
finish   the outcome of rows
repeat   one epoch of W runs with its record, for `replay`
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import Array, Keys, Opaque, components, computed, in_memory, put, shared
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, stored_size
from bpjax.sweeps.lanes.llvm.emitter import Emitter, Memory
from bpjax.sweeps.lanes.llvm.flatten import Flat, flatten
from bpjax.sweeps.lanes.llvm.rows import Field, Rows, rows_of
from bpjax.sweeps.lanes.llvm.rules import evaluate


class Layouts(NamedTuple):
    """How everything lies in memory."""

    width: int  # W, runs side by side
    run: Rows  # the state of a run, its hyperparameters, its key, and behind them its curves
    state: int  # how many of the fields are the state
    epoch: Field
    reason: Field
    curves: dict[str, Field]  # (curve epochs, ...), behind the entries of a row
    constants: Rows  # one row of the arrays that the trial closes over
    outcome: Rows

    @property
    def lanes_bytes(self) -> int:
        """Bytes of the lanes: the entries, then three vectors of int32: live, due, place."""
        return self.width * (self.run.bytes + 12)


def layouts_of(computation, curve_epochs: tuple[int, ...], width: int) -> Layouts:
    """The layouts of a traced trial."""
    state = jax.tree.leaves(computation.run_shape)
    hyperparameters = jax.tree.leaves(computation.arguments[1])
    everything = [*state, *hyperparameters, computation.arguments[0]]
    plain = rows_of(everything)
    curves, offset = {}, -(-plain.bytes // 8) * 8
    names = ["curve", *computation.shapes["watch"]] if curve_epochs else []
    variables = computation.variables(curve_epochs)
    for name in names:
        field = Field(variables[name].shape, np.dtype(variables[name].dtype), offset)
        curves[name] = field
        offset += -(-field.size * stored_size(field.dtype) // 8) * 8
    run = rows_of(everything, offset - plain.bytes)
    named = dict(zip(paths_of(computation.run_shape), run.fields, strict=False))
    constants = rows_of([jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in computation.constants])
    outcome = rows_of(jax.tree.leaves(computation.shapes["outcome"]))
    epoch, reason = named[".epoch"], named[".reason"]
    if epoch is None or reason is None or {epoch.dtype, reason.dtype} != {np.dtype(np.int32)}:
        raise Unsupported("a run whose `epoch` and `reason` are not int32")
    return Layouts(width, run, len(state), epoch, reason, curves, constants, outcome)


def paths_of(tree) -> list[str]:
    """The path of each leaf."""
    return [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)]


class Parts(NamedTuple):
    """The parts of a trial as steps; the inputs of each are constants, key, hyperparameters and run."""

    epoch: Flat
    replayed: Flat
    outcome: Flat
    watch: Flat | None


def parts_of(computation, curve_epochs: tuple[int, ...]) -> Parts:
    """The parts of a traced trial."""

    def flat(part) -> Flat:
        return flatten(part.equations, (*part.constants, *part.inputs), part.outputs)

    needs_watch = curve_epochs and computation.shapes["watch"]
    return Parts(
        flat(computation.epoch), flat(computation.replayed), flat(computation.outcome),
        flat(computation.watch) if needs_watch else None,
    )  # fmt: skip


class Inputs(NamedTuple):
    """The arrays that the parts of a trial read."""

    constants: list
    key: Keys | Opaque
    hyperparameters: list
    state: list

    @property
    def all(self) -> list:
        """In the order of the inputs of a part."""
        return [*self.constants, self.key, *self.hyperparameters, *self.state]


def inputs_of(emitter: Emitter, layouts: Layouts, lanes: Memory, constants: Memory) -> Inputs:
    """The arrays in the lanes and among the constants."""
    fields = [read(emitter, field, in_memory, lanes, emitter.width) for field in layouts.run.fields]
    known = [read(emitter, field, shared, constants, 1) for field in layouts.constants.fields]
    return Inputs(known, fields[-1], fields[layouts.state : -1], fields[: layouts.state])


def read(emitter: Emitter, field: Field | None, make: Callable, memory: Memory, lanes: int):
    """A field as an array, as keys, or `Opaque`.

    Args:
        emitter: writes the code.
        field: of a row.
        make: `in_memory` or `shared`.
        memory: where the row, or the lanes, begin.
        lanes: how many entries lie side by side.
    """
    if field is None:
        return Opaque()
    if not field.is_key:
        return make(emitter, field.shape, field.dtype, memory, field.offset * lanes)
    shape, size = field.shape[1:], 4 * field.size // 2
    first, second = (make(emitter, shape, field.dtype, memory, (field.offset + k * size) * lanes) for k in range(2))
    return Keys(first, second)


def write_all(emitter: Emitter, results: list, into: list, lanes: Memory) -> None:
    """Compute all results before any of them is written, as they may read what is overwritten.

    Args:
        emitter: writes the code.
        results: arrays, or `Opaque` where a key stays.
        into: arrays in memory of the same shapes.
        lanes: the memory in which those of `into` lie.
    """
    if any(isinstance(result, Opaque) and result is not target for result, target in zip(results, into, strict=True)):
        raise Unsupported("a change of keys of this generator")
    waiting = []
    for result, target in zip(components(results), components(into), strict=True):
        if result is target:
            continue
        if result.place == target.place:
            continue
        is_safe = result.place is not None and result.place.memory is not lanes
        if result.size <= emitter.unroll:
            entries = [(indices, result.get(indices)) for indices in np.ndindex(*result.shape)]
            waiting.append((target, entries))
        else:
            waiting.append((target, result if is_safe else computed(emitter, result)))
    for target, values in waiting:
        if isinstance(values, Array):
            emitter.nest(target.shape, lambda i, t=target, v=values: put(emitter, t, i, v.get(i)))
        else:
            for indices, value in values:
                put(emitter, target, indices, value)


def outcome_function(emitter: Emitter, layouts: Layouts, parts: Parts) -> None:
    """`finish(scratch, lanes, out, constants)`: the outcome of W runs, from the lanes to lanes of outcomes."""
    _, lanes, out, constants = map(Memory, emitter.begin("finish", 4))
    results = evaluate(emitter, parts.outcome, inputs_of(emitter, layouts, lanes, constants).all)
    store_results(emitter, results, layouts.outcome, out)
    emitter.end()


def store_results(emitter: Emitter, results: list, rows: Rows, out: Memory) -> None:
    """Write results into lanes of their own."""
    for result, field in zip(results, rows.fields, strict=True):
        if isinstance(result, Opaque) or field is None:
            raise Unsupported("a result that is a key of this generator")
        targets = components([read(emitter, field, in_memory, out, emitter.width)])
        for target, part in zip(targets, components([result]), strict=True):
            emitter.nest(target.shape, lambda i, t=target, r=part: put(emitter, t, i, r.get(i)))


def repeat_function(emitter: Emitter, layouts: Layouts, parts: Parts, record: Rows) -> None:
    """`repeat(scratch, lanes, out, constants)`: one epoch of W runs, and its record in lanes of records."""
    _, lanes, out, constants = map(Memory, emitter.begin("repeat", 4))
    inputs = inputs_of(emitter, layouts, lanes, constants)
    results = evaluate(emitter, parts.replayed, inputs.all)
    store_results(emitter, results[layouts.state :], record, out)
    write_all(emitter, results[: layouts.state], inputs.state, lanes)
    emitter.end()
