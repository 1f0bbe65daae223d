"""The compiled programs of a trial, called from Python on rows of runs."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from bpjax.sweeps.lanes.llvm.emitter import ALIGNED, Emitter
from bpjax.sweeps.lanes.llvm.machine import Machine, processor
from bpjax.sweeps.lanes.llvm.program import (
    Layouts,
    layouts_of,
    outcome_function,
    parts_of,
    repeat_function,
)
from bpjax.sweeps.lanes.llvm.rows import Field, Rows, rows_of, words_of
from bpjax.sweeps.lanes.llvm.rules import check_rules, largest_of
from bpjax.sweeps.lanes.llvm.start import StartText
from bpjax.sweeps.lanes.llvm.training import END, EPOCHS, FIRST, LAST, LIVE, NEXT, train_function
from bpjax.util.garbage import collection_put_off


class Text(NamedTuple):
    """Code before it is compiled."""

    text: str
    layouts: Layouts
    scratch: int  # bytes of memory for intermediate results
    record: Rows | None  # of an epoch, where the code is for `replay`


@functools.lru_cache(maxsize=32)
@collection_put_off()
def write(computation, curve_epochs: tuple[int, ...], width: int, repeats: bool) -> Text:
    """The code of a trial, cached by its structure.

    Args:
        computation: the traced trial.
        curve_epochs: ascending epochs at which the error and the watched values are stored.
        width: W, runs side by side.
        repeats: whether epochs are repeated one by one, with their records, for `replay`.

    Raises:
        Unsupported: it needs something for which there is no rule.
    """
    layouts, parts = layouts_of(computation, curve_epochs, width), parts_of(computation, curve_epochs)
    emitter, record = Emitter(width, processor(), largest_of(parts.epoch)), None
    if repeats:
        record = rows_of(jax.tree.leaves(computation.shapes["replayed"][1]))
        repeat_function(emitter, layouts, parts, record)
    else:
        check_rules(parts.replayed)
        train_function(emitter, layouts, parts, curve_epochs)
    outcome_function(emitter, layouts, parts)
    return Text(str(emitter.module), layouts, emitter.scratch_bytes, record)


class Compiled:
    """The functions of a trial."""

    def __init__(self, code: Text):
        """Compile code."""
        self.layouts, self.scratch, self.record = code.layouts, code.scratch, code.record
        machine = Machine(code.text)
        self.finish = machine.function("finish", 4)
        self.train = machine.function("train", 4) if code.record is None else None
        self.repeat = machine.function("repeat", 4) if code.record is not None else None

    def constants(self, arrays) -> np.ndarray:
        """The memory of the arrays that the trial closes over."""
        return constants_memory(self.layouts.constants, arrays)

    def outcomes(self, rows: np.ndarray, constants: np.ndarray) -> list:
        """The outcome of each row, a list of arrays (rows, ...)."""
        layouts, width = self.layouts, self.layouts.width
        out, scratch = layouts.outcome, aligned(self.scratch)
        inputs = lanes_of(layouts.run, rows, width)
        results = aligned(len(inputs) * out.lanes_bytes(width)).reshape(len(inputs), -1)
        for group in range(len(inputs)):
            self.finish(address(scratch), address(inputs[group]), address(results[group]), address(constants))
        return out.read(rows_of_lanes(out, results, width)[: len(rows)])


class CompiledStart:
    """The function that starts runs."""

    def __init__(self, code: StartText):
        """Compile code, without optimization: it runs once for each run, and is hardly slower."""
        self.code = code
        self.start = Machine(code.text, level=0).function("start", 4)

    def rows(self, constants: np.ndarray, leaves: list) -> np.ndarray:
        """Runs before their first epoch as rows.

        Args:
            constants: the memory of the arrays that the trial closes over.
            leaves: the sweep's key as words (n, 2), the seeds (n,) and the hyperparameters (n,) of the runs.
        """
        code, count = self.code, len(leaves[0])
        given, scratch = code.given.buffer(count), aligned(code.scratch)
        code.given.write(given, leaves)
        width = code.width
        inputs = lanes_of(code.given, given, width)
        lanes = aligned(len(inputs) * code.run.lanes_bytes(width)).reshape(len(inputs), -1)
        for group in range(len(inputs)):
            self.start(address(scratch), address(inputs[group]), address(lanes[group]), address(constants))
        return rows_of_lanes(code.run, lanes, width)[:count]


def constants_memory(rows: Rows, arrays) -> np.ndarray:
    """Arrays that a trial closes over, in memory."""
    memory = aligned(rows.stride).reshape(1, -1)
    rows.write(memory, [None if f is None else stored(a, f) for f, a in zip(rows.fields, arrays, strict=True)])
    return memory


def stored(array, field: Field) -> np.ndarray:
    """An array (1, ...) as it is stored."""
    return np.asarray(words_of(array[None])) if field.is_key else np.asarray(array)[None]


class Lanes:
    """The memory of one worker: the runs that are trained side by side."""

    def __init__(self, compiled: Compiled, constants: np.ndarray):
        """No run yet."""
        layouts = compiled.layouts
        self.compiled, self.constants = compiled, constants
        self.lanes, self.scratch = aligned(layouts.lanes_bytes), aligned(compiled.scratch)
        self.control = np.zeros(FIRST + layouts.width, np.int64)
        width = layouts.width
        start = layouts.reason.offset * width
        self.lanes[start : start + 4 * width].view(np.int32)[...] = 1
        self.kept: list[np.ndarray] = []  # rows that lanes point to

    @property
    def live(self) -> int:
        """How many runs are being trained."""
        return int(self.control[LIVE])

    @property
    def waits(self) -> bool:
        """Whether a row waits."""
        return bool(self.control[NEXT] != self.control[END])

    def give(self, rows: np.ndarray) -> None:
        """The next rows to be trained; the former ones have all begun."""
        first = address(rows)
        self.kept = [old for old in self.kept if points_into(self.control[FIRST:], old)] + [rows]
        self.control[NEXT], self.control[END] = first, first + rows.nbytes

    def train(self, epochs: int, is_last: bool) -> None:
        """So many epochs, or less where a lane has no run and no row waits.

        Args:
            epochs: at most.
            is_last: train the runs to their end, although no row waits.
        """
        self.control[EPOCHS], self.control[LAST] = epochs, is_last
        assert self.compiled.train is not None
        self.compiled.train(
            address(self.scratch), address(self.lanes), address(self.control), address(self.constants)
        )  # fmt: skip


def points_into(addresses: np.ndarray, rows: np.ndarray) -> bool:
    """Whether one of the addresses lies within rows."""
    first = address(rows)
    return bool(((addresses >= first) & (addresses < first + rows.nbytes)).any())


def lanes_of(layout: Rows, rows: np.ndarray, width: int) -> np.ndarray:
    """Rows as lanes (groups, bytes); the last group is filled with the last row."""
    groups = -(-len(rows) // width)
    filled = rows[np.minimum(np.arange(groups * width), len(rows) - 1)]
    result = aligned(groups * layout.lanes_bytes(width)).reshape(groups, -1)
    for kind, start, stop in sections(layout):
        part = np.ascontiguousarray(filled[:, start:stop]).view(kind).reshape(groups, width, -1)
        result[:, start * width : stop * width].view(kind)[...] = part.transpose(0, 2, 1).reshape(groups, -1)
    return result


def rows_of_lanes(layout: Rows, lanes: np.ndarray, width: int) -> np.ndarray:
    """The reverse of `lanes_of`."""
    groups = len(lanes)
    rows = np.zeros((groups * width, layout.stride), np.uint8)
    for kind, start, stop in sections(layout):
        part = lanes[:, start * width : stop * width].view(kind).reshape(groups, -1, width)
        rows[:, start:stop].view(kind)[...] = part.transpose(0, 2, 1).reshape(groups * width, -1)
    return rows


def sections(layout: Rows) -> list[tuple]:
    """(dtype, first byte, last byte) of the 8-byte and of the 4-byte entries, where there are any."""
    middle = 8 * layout.doubles
    return [part for part in ((np.int64, 0, middle), (np.int32, middle, layout.bytes)) if part[1] < part[2]]


def aligned(count: int) -> np.ndarray:
    """Zeros (bytes,) that begin at a multiple of `ALIGNED`."""
    memory = np.zeros(max(count, 1) + ALIGNED, np.uint8)
    start = -memory.ctypes.data % ALIGNED
    return memory[start : start + max(count, 1)]


def address(array: np.ndarray) -> int:
    """Where an array begins."""
    return array.ctypes.data
