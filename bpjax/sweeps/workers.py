"""The host side of a sweep: threads that each feed a pool, advance it and collect the runs that have stopped."""

import functools
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import NamedTuple, Protocol

import jax
import numpy as np

from bpjax.sweeps.computation import Computation
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.plan import Plan
from bpjax.sweeps.pool import IDLE, PoolFunctions, make_pool
from bpjax.sweeps.progress import Report
from bpjax.sweeps.result import Results
from bpjax.types import Key
from bpjax.util.jax_settings import jax_settings, under

CALL_SECONDS = 0.2
"""Approximate length of a compiled call: how often progress is reported, and how soon an interrupt is noticed."""


class Job(NamedTuple):
    """What all workers of a sweep share."""

    computation: Computation
    constants: tuple  # the arrays that the trial closes over
    layout: Layout  # of each pool
    curve_epochs: tuple[int, ...]  # at which the error is stored
    points: Plan  # the runs
    key: Key  # root of all random numbers


class Waiting(Protocol):
    """Blocks of run numbers that wait for a worker."""

    def get_nowait(self) -> np.ndarray:
        """The next block; raises `queue.Empty` after the last."""
        ...


class Collects(Protocol):
    """Takes the results of runs that have stopped."""

    def add(self, new: dict[str, np.ndarray], /) -> None:
        """Results by variable, and the runs' numbers under "number"."""
        ...


@functools.lru_cache(maxsize=16)
def compiled_pool(
    computation: Computation, layout: Layout, curve_epochs: tuple[int, ...], inputs: tuple, device, settings
) -> PoolFunctions:
    """`make_pool`, cached by the structure of the computation.

    Args:
        computation: the traced trial; an equal one does not compile.
        layout: of the pool.
        curve_epochs: at which the error is stored.
        inputs: (shape, dtype) of each constant, the key's dtype, and (name, dtype) of each hyperparameter.
        device: where it runs.
        settings: JAX's, which the program depends on.
    """
    constants, key_dtype, hyperparameters = inputs
    shapes = (
        tuple(jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in constants),
        jax.ShapeDtypeStruct((), key_dtype),
        {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in hyperparameters},
    )
    return make_pool(computation, layout, curve_epochs, shapes, device)


def compiled_lanes(computation: Computation, layout: Layout, curve_epochs, inputs, device, settings):
    """As `compiled_pool`, compiled by LLVM."""
    from bpjax.sweeps.llvm_pool import functions_of

    return functions_of(computation, curve_epochs, layout.feed, device, settings)


def run_in_registers(functions, job: Job, waiting: Waiting, results: Collects, report: Report, stop, device) -> None:
    """As `run_pool`, for runs in vector registers."""
    from bpjax.sweeps.llvm_pool import run_lanes

    run_lanes(functions, job, lambda: next_block(waiting), results, report, stop)


def run_all(job: Job, results: Results, devices: list, report: Report) -> None:
    """Train every run that has no result yet, by workers that each drive a separate pool.

    Args:
        job: what to run.
        results: where finished runs go.
        devices: where to run.
        report: called with the results of runs that have stopped.
    """
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    blocks = blocks_of(results.missing(), job.layout, workers_of(devices))
    for numbers in blocks:
        waiting.put(numbers)
    if blocks:
        run_waiting(job, waiting, len(blocks), results, devices, report)


def run_waiting(job: Job, waiting: Waiting, most: int, results: Collects, devices: list, report: Report) -> None:
    """Train the runs of all blocks that wait.

    Args:
        job: what to run.
        waiting: the blocks, at least one.
        most: how many workers at most.
        results: where finished runs go.
        devices: where to run.
        report: called with the results of runs that have stopped.
    """
    places = [*itertools.islice(itertools.cycle(devices), min(most, workers_of(devices)))]
    settings, stop = jax_settings(), threading.Event()
    inputs = (
        tuple((np.shape(c), c.dtype) for c in map(as_array, job.constants)), job.key.dtype, job.points.dtypes()
    )  # fmt: skip
    compiled: Callable = compiled_lanes if job.layout.name == "llvm" else compiled_pool
    pools = {
        device: compiled(job.computation, job.layout, job.curve_epochs, inputs, device, settings)
        for device in dict.fromkeys(places)
    }
    run: Callable = run_in_registers if job.layout.name == "llvm" else run_pool

    def work(device):
        with under(settings), jax.default_device(device):
            run(pools[device], job, waiting, results, report, stop, device)

    with ThreadPoolExecutor(len(places)) as threads:
        working = [threads.submit(work, device) for device in places]
        try:
            wait(working, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
        for worker in working:
            worker.result()


def blocks_of(numbers: np.ndarray, layout: Layout, workers: int) -> list[np.ndarray]:
    """Run numbers in blocks that are prepared together: at most `feed`, and enough blocks for all workers."""
    size = max(layout.width, min(layout.feed, -(-len(numbers) // (4 * workers))), 1)
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def as_array(constant):
    """A constant with shape and dtype; JAX's arrays and keys have them."""
    return constant if hasattr(constant, "dtype") else np.asarray(constant)


def workers_of(devices: list) -> int:
    """The number of workers on all devices."""
    return len(devices) * workers_per_device(devices)


def workers_per_device(devices: list) -> int:
    """One, or on CPUs the number of cores per device: XLA runs a small loop on one core."""
    if devices[0].platform != "cpu":
        return 1
    return max(1, cores() // len(devices))


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_pool(functions: PoolFunctions, job: Job, waiting, results, report, stop, device) -> None:
    """One worker: feed its pool, advance it, collect what has stopped, until no run waits and none is active.

    Args:
        functions: of the pool, compiled for `device`.
        job: what to run.
        waiting: queue of blocks of run numbers.
        results: where finished runs go.
        report: called with the results of runs that have stopped.
        stop: set when another worker has failed.
        device: where the pool runs.
    """
    pool, chunks, layout = None, 1, job.layout
    sharding = jax.sharding.SingleDeviceSharding(device)
    constants, key = jax.device_put((tuple(map(as_array, job.constants)), job.key), sharding)
    while not stop.is_set():
        numbers = next_block(waiting)
        is_last = numbers is None
        if numbers is not None:
            filled = np.resize(numbers, layout.feed).astype(np.int32)
            count = jax.device_put(np.int32(len(numbers)), sharding)
            slots = functions.prepare(
                constants, key, *jax.device_put((*job.points.arguments(filled), filled), sharding)
            )
            if pool is None:
                pool = functions.begin(slots, count)
            else:
                pool = pool._replace(waiting=slots, next=jax.device_put(np.int32(0), sharding), prepared=count)
        if pool is None:
            return
        while not stop.is_set():
            began = time.perf_counter()
            pool = functions.advance(constants, pool, *jax.device_put((np.int32(chunks), np.bool_(is_last)), sharding))
            stopped = int(pool.stopped)
            seconds = time.perf_counter() - began
            new = {name: first_runs(array, stopped, layout.axis) for name, array in pool.results.items()}
            results.add(new)
            report(new)
            none_waits = int(pool.next) >= int(pool.prepared)
            if none_waits and not is_last:
                break
            if is_last and none_waits and not (np.asarray(pool.active.number) != IDLE).any():
                return
            if seconds < CALL_SECONDS / 2:
                chunks *= 2
            elif seconds > 2 * CALL_SECONDS:
                chunks = max(1, chunks // 2)


def next_block(waiting: Waiting):
    """The next block of run numbers, or None."""
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def first_runs(array, count: int, axis: int) -> np.ndarray:
    """The first `count` runs, with the run axis first."""
    array = np.asarray(array)
    return np.moveaxis(array[..., :count], -1, 0) if axis == -1 else array[:count]
