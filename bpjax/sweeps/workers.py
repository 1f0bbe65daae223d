"""The host side of a sweep: threads that each feed a pool, advance it and collect the runs that have stopped."""

import functools
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import jax
import numpy as np

from bpjax.sweeps.axes import Plan, arguments
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.pool import IDLE, PoolFunctions, make_pool
from bpjax.sweeps.progress import Report
from bpjax.sweeps.result import Results
from bpjax.training.trial import Trial
from bpjax.types import Key
from bpjax.util.jax_settings import jax_settings, under

PARTS = 4
"""Parts of a sweep per worker: the last ones to finish keep the other workers waiting for a short time only."""

CALL_SECONDS = 0.2
"""Approximate length of a compiled call: how often progress is reported, and how soon an interrupt is noticed."""


@functools.lru_cache(maxsize=16)
def compiled_pool(
    trial: Callable[..., Trial], layout: Layout, curve_epochs: tuple[int, ...], dtypes: tuple, device, settings
) -> PoolFunctions:
    """`make_pool`, cached, so that a second sweep of the same trial does not compile.

    Args:
        trial: (key, **hyperparameters) -> Trial.
        layout: of the pool.
        curve_epochs: at which the error is stored.
        dtypes: the key's, and (name, dtype) of each hyperparameter.
        device: where it runs.
        settings: JAX's, which the program depends on.
    """
    key_dtype, hyperparameters = dtypes
    return make_pool(trial, layout, curve_epochs, key_dtype, hyperparameters, device)


def run_all(
    trial: Callable[..., Trial],
    layout: Layout,
    curve_epochs: tuple[int, ...],
    points: Plan,
    key: Key,
    results: Results,
    devices: list,
    report: Report,
) -> None:
    """Train every run that has no result yet, by workers that each drive a separate pool.

    Args:
        trial: (key, **hyperparameters) -> Trial.
        layout: of each pool.
        curve_epochs: at which the error is stored.
        points: the runs.
        key: root of all random numbers.
        results: where finished runs go.
        devices: where to run.
        report: called with the results of runs that have stopped.
    """
    most = len(devices) * workers_per_device(devices)
    blocks = parts([*results.missing()], PARTS * most, layout)
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for numbers in blocks:
        waiting.put(numbers)
    workers = min(len(blocks), most)
    places = [*itertools.islice(itertools.cycle(devices), workers)]
    names = tuple((name, value.dtype) for name, value in arguments(points.values(np.zeros(1, int)))[1].items())
    settings, stop = jax_settings(), threading.Event()
    pools = {
        device: compiled_pool(trial, layout, curve_epochs, (key.dtype, names), device, settings)
        for device in dict.fromkeys(places)
    }

    def work(device):
        with under(settings), jax.default_device(device):
            run_pool(pools[device], layout, points, key, waiting, results, report, stop, device)

    if not workers:
        return
    with ThreadPoolExecutor(workers) as threads:
        working = [threads.submit(work, device) for device in places]
        try:
            wait(working, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
        for worker in working:
            worker.result()


def parts(blocks: list[np.ndarray], count: int, layout: Layout) -> list[np.ndarray]:
    """The numbers of `blocks` again, in `count` parts where these fill a pool and are not more than it prepares."""
    numbers = np.concatenate([*blocks, np.empty(0, int)])
    size = min(layout.feed, max(layout.width, -(-len(numbers) // count)))
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def workers_per_device(devices: list) -> int:
    """One, or on CPUs the number of cores per device: XLA runs a small loop on one core."""
    if devices[0].platform != "cpu":
        return 1
    return max(1, cores() // len(devices))


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_pool(functions: PoolFunctions, layout, points, key, waiting, results, report, stop, device) -> None:
    """One worker: feed its pool, advance it, collect what has stopped, until no run waits and none is active.

    Args:
        functions: of the pool, compiled for `device`.
        layout: of the pool.
        points: the runs.
        key: root of all random numbers.
        waiting: queue of blocks of run numbers.
        results: where finished runs go.
        report: called with the results of runs that have stopped.
        stop: set when another worker has failed.
        device: where the pool runs.
    """
    pool, chunks = None, 1
    sharding = jax.sharding.SingleDeviceSharding(device)
    while not stop.is_set():
        numbers = next_block(waiting)
        is_last = numbers is None
        if numbers is not None:
            filled = np.resize(numbers, layout.feed).astype(np.int32)
            count = jax.device_put(np.int32(len(numbers)), sharding)
            slots = functions.prepare(*jax.device_put((key, *arguments(points.values(filled)), filled), sharding))
            if pool is None:
                pool = functions.begin(slots, count)
            else:
                pool = pool._replace(waiting=slots, next=jax.device_put(np.int32(0), sharding), prepared=count)
        if pool is None:
            return
        while not stop.is_set():
            began = time.perf_counter()
            pool = functions.advance(pool, *jax.device_put((np.int32(chunks), np.bool_(is_last)), sharding))
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


def next_block(waiting: queue.SimpleQueue):
    """The next block of run numbers, or None."""
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def first_runs(array, count: int, axis: int) -> np.ndarray:
    """The first `count` runs, with the run axis first."""
    array = np.asarray(array)
    return np.moveaxis(array[..., :count], -1, 0) if axis == -1 else array[:count]
