"""Sweeps in lanes that LLVM compiles: one worker to a core, whose runs are trained in vector registers.

A block of runs is initialized by XLA and lies in rows. The compiled function takes rows into its lanes, trains them,
returns a run that has stopped to its row, and takes the next one (`bpjax.sweeps.lanes.llvm`).
"""

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.computation import Computation
from bpjax.sweeps.lanes.llvm.compiled import Compiled, Lanes, aligned, lanes_of, rows_of_lanes, write
from bpjax.sweeps.lanes.llvm.dtypes import in_memory_dtype, stored_size
from bpjax.sweeps.lanes.llvm.machine import width_of
from bpjax.sweeps.lanes.llvm.rows import keys_of, stored_form, words_of
from bpjax.sweeps.plan import Plan
from bpjax.sweeps.pool import ONCE
from bpjax.types import Key

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

    prepare: Callable  # (constants, key, seeds, hyperparameters) -> runs before their first epoch, `packed`
    compiled: Compiled
    feed: int  # runs prepared at a time


class Block(NamedTuple):
    """Runs that were prepared together."""

    numbers: np.ndarray  # (n,) in the sweep
    rows: np.ndarray  # (n, bytes)
    is_reported: np.ndarray  # (n,)


def width(computation: Computation) -> int:
    """W, runs side by side in this processor's vectors; no number depends on it."""
    return width_of([leaf.dtype for leaf in jax.tree.leaves(computation.run_shape) if not is_key(leaf)])


def is_key(leaf) -> bool:
    """Whether it is an array of keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@functools.lru_cache(maxsize=32)
def functions_of(
    computation: Computation, curve_epochs: tuple[int, ...], feed: int, device, settings, repeats: bool = False
) -> Functions:
    """The compiled functions, cached by the structure of the computation.

    Args:
        computation: the traced trial; an equal one does not compile.
        curve_epochs: at which the error and the watched values are stored.
        feed: runs prepared at a time.
        device: where runs are prepared.
        settings: JAX's, which the programs depend on.
        repeats: for `replay`.
    """
    del settings

    def prepare(constants, key: Key, seeds, hyperparameters):
        def one(seed, hyperparameters):
            run_key = jax.random.fold_in(key, seed)
            return computation.start(constants, run_key, hyperparameters), hyperparameters, run_key

        return packed(jax.tree.leaves(jax.vmap(one)(seeds, hyperparameters)))

    shapes = (
        tuple(jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in computation.constants),
        computation.arguments[0],
        jax.ShapeDtypeStruct((feed,), jnp.uint32),
        {name: jax.ShapeDtypeStruct((feed,), one.dtype) for name, one in computation.arguments[1].items()},
    )
    with jax.default_device(device):
        lowered = jax.jit(prepare).lower(*shapes)
    options: Any = ONCE
    with ThreadPoolExecutor(1) as threads:  # XLA compiles on another core meanwhile
        prepared = threads.submit(lowered.compile, compiler_options=options)
        compiled = Compiled(write(computation, curve_epochs, width(computation), repeats))
        return Functions(prepared.result(), compiled, feed)


def packed(leaves: list) -> tuple[list, list]:
    """Arrays of runs (n, ...) as integers (n, entries), of 8 and of 4 bytes, in the order of `Rows`; and other keys.

    Keys of JAX's default generator are two words each; those of others are not stored.
    """
    others = [leaf for leaf in leaves if stored_form(leaf) is None]
    stored = [words_of(leaf) if is_key(leaf) else leaf for leaf in leaves if stored_form(leaf) is not None]
    words = []
    for size, kind in ((8, jnp.uint64), (4, jnp.uint32)):
        same = [leaf.astype(in_memory_dtype(leaf.dtype)) for leaf in stored if stored_size(leaf.dtype) == size]
        flat = [jax.lax.bitcast_convert_type(leaf, kind).reshape(len(leaf), -1) for leaf in same]
        if flat:
            words.append(jnp.concatenate(flat, axis=1))
    return words, others


class Source:
    """Runs before their first epoch, as rows."""

    def __init__(self, functions: Functions, constants: tuple, points: Plan, key: Key):
        """Runs of a sweep.

        Args:
            functions: of the trial.
            constants: the arrays that the trial closes over.
            points: the runs.
            key: root of all random numbers.
        """
        self.functions, self.points = functions, points
        self.constants, self.key = tuple(map(jnp.asarray, constants)), key

    def prepared(self, numbers: np.ndarray) -> tuple[list, list]:
        """Runs (feed, ...) by their numbers, `packed`."""
        seeds, hyperparameters = self.points.arguments(np.resize(numbers, self.functions.feed))
        return self.functions.prepare(self.constants, self.key, seeds, hyperparameters)

    def block(self, numbers: np.ndarray) -> Block:
        """Runs as rows by their numbers, at most `feed`."""
        count, layouts = len(numbers), self.functions.compiled.layouts
        rows, start = layouts.run.buffer(count), 0
        for words in map(np.asarray, self.prepared(numbers)[0]):
            end = start + words.shape[1] * words.itemsize
            rows[:, start:end].view(words.dtype)[...] = words[:count]
            start = end
        for field in layouts.curves.values():
            layouts.run.view(rows, field)[...] = np.nan if field.dtype.kind == "f" else 0
        return Block(numbers, rows, np.zeros(count, bool))


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
    rows, keys = source.block(np.array([number])).rows, iter(source.prepared(np.array([number]))[1])
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
