"""Sweeps in lanes that LLVM compiles: one worker to a core, whose runs are trained in vector registers.

A block of runs is started and lies in rows. The compiled function takes rows into its lanes, trains them, returns a run
that has stopped to its row, and takes the next one (`bpjax.sweeps.lanes.llvm`).
"""

import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from bpjax.sweeps.computation import Computation
from bpjax.sweeps.lanes.llvm.compiled import Compiled, Lanes, aligned, lanes_of, rows_of_lanes, write
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported
from bpjax.sweeps.lanes.llvm.machine import width_of
from bpjax.sweeps.lanes.llvm.rows import keys_of
from bpjax.sweeps.lanes.llvm.start import write_start
from bpjax.sweeps.llvm_starts import Starts, is_key, starts_by_llvm, starts_by_xla
from bpjax.sweeps.plan import Plan
from bpjax.types import Key

log = logging.getLogger("bpjax.sweeps.lanes")

CALL_SECONDS = 0.1
"""Approximate length of a compiled call: how often progress is reported, and how soon an interrupt is noticed."""
COLLECT_SECONDS = 0.05
"""How often runs that have stopped are collected."""
FIRST_EPOCHS = 256
"""Epochs of the first call; later calls are as many as take `CALL_SECONDS`."""
MOST_EPOCHS = 2**20
"""Epochs of a call, at most."""


class Functions(NamedTuple):
    """The compiled functions of a trial."""

    starts: Starts
    compiled: Compiled


class Block(NamedTuple):
    """Runs that were started together."""

    numbers: np.ndarray  # (n,) in the sweep
    rows: np.ndarray  # (n, bytes)
    is_reported: np.ndarray  # (n,)
    others: list  # keys that rows do not hold, (n, ...) each


def width(computation: Computation) -> int:
    """W, runs side by side in this processor's vectors; no number depends on it."""
    return width_of([leaf.dtype for leaf in jax.tree.leaves(computation.run_shape) if not is_key(leaf)])


@functools.lru_cache(maxsize=32)
def functions_of(
    computation: Computation, curve_epochs: tuple[int, ...], feed: int, device, settings, repeats: bool = False
) -> Functions:
    """The compiled functions, cached by the structure of the computation.

    Args:
        computation: the traced trial; an equal one does not compile.
        curve_epochs: at which the error and the watched values are stored.
        feed: runs started at a time, at most.
        device: where XLA starts runs.
        settings: JAX's, which the programs depend on.
        repeats: for `replay`.
    """
    del settings
    wide = width(computation)
    text = write(computation, curve_epochs, wide, repeats)
    with ThreadPoolExecutor(1) as threads:  # it compiles on another core while the starts are written
        compiled = threads.submit(Compiled, text)
        try:
            starts = starts_by_llvm(write_start(computation, curve_epochs, wide))
        except Unsupported as missing:
            log.info("LLVM does not compile the starts of these runs, XLA does: %s has no rule", missing)
            starts = starts_by_xla(computation, text.layouts.run, feed, device)
        return Functions(starts, compiled.result())


class Source:
    """Blocks of runs before their first epoch."""

    def __init__(self, functions: Functions, constants: tuple, points: Plan, key: Key):
        """Runs of a sweep.

        Args:
            functions: of the trial.
            constants: the arrays that the trial closes over.
            points: the runs.
            key: root of all random numbers.
        """
        self.layouts, self.points = functions.compiled.layouts, points
        self.make = functions.starts(constants, key)

    def block(self, numbers: np.ndarray) -> Block:
        """Runs by their numbers, at most `feed`."""
        rows, others = self.make(*self.points.arguments(numbers))
        for field in self.layouts.curves.values():
            self.layouts.run.view(rows, field)[...] = np.nan if field.dtype.kind == "f" else 0
        return Block(numbers, rows, np.zeros(len(numbers), bool), others)


def results_of(computation: Computation, compiled: Compiled, constants, numbers, rows) -> dict[str, np.ndarray]:
    """What is stored of runs.

    Args:
        computation: the traced trial.
        compiled: its functions.
        constants: the memory of the arrays that the trial closes over.
        numbers: of the runs.
        rows: of the runs.
    """
    layouts = compiled.layouts
    outcome = jax.tree.structure(computation.shapes["outcome"]).unflatten(compiled.outcomes(rows, constants))
    curves = {name: layouts.run.view(rows, field).astype(field.dtype) for name, field in layouts.curves.items()}
    return {"number": numbers, "reason": layouts.run.view(rows, layouts.reason).copy(), **outcome, **curves}


def run_lanes(functions: Functions, job, next_block: Callable, results, report, stop) -> None:
    """One worker: train blocks of runs until there are no more.

    Args:
        functions: of the trial.
        job: what to run.
        next_block: () -> the numbers of the next runs, or None.
        results: where finished runs go.
        report: called with the results of runs that have stopped.
        stop: set when another worker has failed.
    """
    compiled, source = functions.compiled, Source(functions, job.constants, job.points, job.key)
    constants = compiled.constants(job.constants)
    lanes, blocks, epochs = Lanes(compiled, constants), [], FIRST_EPOCHS
    collected = time.perf_counter()

    def collect() -> None:
        nonlocal blocks, collected
        new = [(block, stopped(compiled, block)) for block in blocks]
        numbers = np.concatenate([block.numbers[places] for block, places in new])
        if len(numbers):
            rows = np.concatenate([block.rows[places] for block, places in new])
            found = results_of(job.computation, compiled, constants, numbers, rows)
            results.add(found)
            report(found)
        blocks = [block for block in blocks if not block.is_reported.all()]
        collected = time.perf_counter()

    while not stop.is_set():
        numbers = next_block()
        is_last = numbers is None
        if numbers is not None:
            blocks.append(source.block(numbers))
            lanes.give(blocks[-1].rows)
        if not blocks:
            return
        while not stop.is_set():
            began = time.perf_counter()
            lanes.train(epochs, is_last)
            now = time.perf_counter()
            is_over = is_last and not lanes.live and not lanes.waits
            if is_over or now - collected > COLLECT_SECONDS:
                collect()
            if is_over:
                return
            if now - began < CALL_SECONDS / 2:
                epochs = min(2 * epochs, MOST_EPOCHS)
            elif now - began > 2 * CALL_SECONDS:
                epochs = max(1, epochs // 2)
            if not lanes.waits and not is_last:
                break
    if blocks:
        collect()


def stopped(compiled: Compiled, block: Block) -> np.ndarray:
    """The places of runs that have stopped since the last call."""
    layouts = compiled.layouts
    has_stopped = layouts.run.view(block.rows, layouts.reason) != 0
    new = np.flatnonzero(has_stopped & ~block.is_reported)
    block.is_reported[new] = True
    return new


def repeat_run(functions: Functions, job, number: int) -> tuple[list, list, dict[str, np.ndarray]]:
    """One run again: its state at the end as leaves, the records of its epochs as leaves, and its outcome.

    Args:
        functions: of the trial, for `replay`.
        job: the sweep.
        number: of the run.
    """
    compiled = functions.compiled
    layouts, record, wide = compiled.layouts, compiled.record, compiled.layouts.width
    assert record is not None and compiled.repeat is not None
    constants = compiled.constants(job.constants)
    source = Source(functions, job.constants, job.points, job.key)
    block = source.block(np.array([number]))
    rows, keys = block.rows, iter(block.others)
    lanes, out = lanes_of(layouts.run, rows, wide), aligned(record.lanes_bytes(wide)).reshape(1, -1)
    scratch, records = aligned(compiled.scratch), []
    while not layouts.run.view(rows, layouts.reason)[0]:
        compiled.repeat(scratch.ctypes.data, lanes.ctypes.data, out.ctypes.data, constants.ctypes.data)
        records.append(record.read(rows_of_lanes(record, out, wide)[:1]))
        rows[:] = rows_of_lanes(layouts.run, lanes, wide)[:1]
    outcome = results_of(job.computation, compiled, constants, np.array([number]), rows)
    end = layouts.run.read(rows)[: layouts.state]
    stored = zip(layouts.run.fields, end, strict=False)
    state = [next(keys)[0] if f is None else (keys_of(leaf) if f.is_key else leaf)[0] for f, leaf in stored]
    history = [np.concatenate(parts) for parts in zip(*records, strict=True)]
    return state, history, {name: value[0] for name, value in outcome.items()}
