"""Many trainings at once: every point of a grid, every seed, as one compiled program on all cores and devices."""

import functools
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.axes import Plan, arguments, plan
from bpjax.sweeps.lanes import largest_array
from bpjax.sweeps.lanes.layout import Layout, choose_layout
from bpjax.sweeps.pool import Program, make_program
from bpjax.sweeps.progress import Progress, shown
from bpjax.sweeps.replay import KNOWN
from bpjax.sweeps.result import Results, dataset
from bpjax.sweeps.store import SweepStore
from bpjax.training.trial import Trial
from bpjax.types import Key
from bpjax.util.checks import check_count
from bpjax.util.jax_settings import jax_settings, under

SECONDS = 0.2
"""Length of a compiled call, about: how often progress is told, and how soon an interrupt is heard."""


def sweep(
    trial: Callable[..., Trial],
    axes: Mapping[str, Any],
    *,
    key: Key,
    curves: Iterable[int] = (),
    layout: str = "auto",
    store: str | Path | None = None,
    config: Any = None,
    receipt: Any = None,
    devices: list | None = None,
    progress: bool | Callable[[Progress], None] = False,
):
    """Train at every point of a grid and for every seed; an `xarray.Dataset` of what became of the runs.

        def xor(key, learning_rate, momentum):
            params, _ = network.init(key, (2,))
            return bp.trial(rule, bp.momentum(learning_rate, momentum), params, batch, key=key, epochs=2000)

        result = bp.sweep(xor, {"learning_rate": [0.1, 1, 10], "momentum": [0, 0.9], "seed": range(200)}, key=key)
        result.solved.mean("seed")

    The trial is traced once, with numbers that are not known then: a whole sweep is one compiled program (one for each
    device), and a second sweep of the same function compiles nothing. A run that is over makes room for the next, a run
    that diverged is recorded with its epoch and seen by no other. The numbers do not depend on how many cores and
    devices there are, nor on interruptions.

    Args:
        trial: (key, **hyperparameters) -> Trial, a pure function; usually a few lines around `bp.trial`.
        axes: values of each hyperparameter: a list or array of numbers, `bp.sweeps.draws(...)` or `bp.log_draws(...)`.
            The axis `seed` needs no argument: its numbers are folded into the key, the same for all other axes.
        key: root of all random numbers.
        curves: epochs, from 1, at which the error is kept.
        layout: "auto" by size, or "lanes", "vmap", "single"; see `bpjax.sweeps.lanes.layout`.
        store: a folder for the result, written as runs end. If it holds this very sweep, it is gone on with.
        config: what else to record of how the result came about: a dataclass or plain data.
        receipt: the gradient receipt to record: a `Report` of `bp.compare`, or text.
        devices: where to run; all local ones by default.
        progress: True for a bar, or a function that is told.

    Returns:
        A dataset with a dimension for each axis. `reason` (int8, `flag_meanings` says what the numbers mean), `solved`,
        `diverged`, `epochs` (passes made), `error` (of the last), `refused` (steps not taken), what else the trial's
        outcome holds, and `curve` with the dimension `epoch`, NaN after a run's end.

    Raises:
        ValueError: axes that do not fit the trial, a trial whose shapes depend on its hyperparameters, an unknown
            layout, a store that holds another sweep.
        ModuleNotFoundError: xarray or zarr is missing; the message names the extra to install.
    """
    check_key(key)
    points = plan(trial, axes, key)
    steps = tuple(sorted({int(step) for step in curves}))
    for step in steps:
        check_count("sweep", "curves", step)
    shapes = shapes_of(trial, points, key)
    lay = choose_layout(layout, shapes.run, shapes.largest, points.runs)
    kinds = kinds_of(shapes.outcome, steps)
    record = {
        "trial": f"{trial.__module__}:{trial.__qualname__}",
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "key_impl": str(jax.random.key_impl(key)),
        "curves": list(steps),
        "layout": lay._asdict(),
    }
    stored = None
    if store is not None:
        stored = SweepStore(store, points, kinds, lay.feed, record, config, receipt)
        KNOWN[str(stored.folder)] = trial
    results = Results(points.runs, lay.feed, kinds, stored)
    devices = jax.local_devices() if devices is None else devices
    with shown(progress, points.runs, results.finished) as tell:
        run_all(trial, lay, steps, points, key, results, devices, tell)
    return dataset(points, results, shapes.reasons, steps, record, config, receipt)


def check_key(key) -> None:
    """Raise a `ValueError` unless `key` is one of JAX's typed keys."""
    if not (isinstance(key, jax.Array) and key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"`sweep` expected `key` to be a single key such as `jax.random.key(0)`, got {key!r}.")


class Shapes(NamedTuple):
    """What tracing a trial tells; arrays as shapes and dtypes."""

    run: Any  # as it begins
    outcome: dict[str, jax.ShapeDtypeStruct]
    reasons: tuple[str, ...]
    largest: int  # numbers in the largest array of an epoch


def shapes_of(trial: Callable, points: Plan, key: Key) -> Shapes:
    """The shapes of a trial; a `ValueError` where it cannot be traced."""
    _, hyperparameters = arguments(points.values(np.zeros(1, int)))
    kinds = tuple((name, value.dtype) for name, value in hyperparameters.items())
    return traced(trial, jax.random.key_impl(key), kinds, jax_settings())


@functools.lru_cache(maxsize=64)
def traced(trial: Callable, key_impl, kinds: tuple, settings: tuple) -> Shapes:
    """See `shapes_of`; kept, as tracing takes longer than a short sweep."""
    reasons: list[str] = []

    def begin(key, hyperparameters):
        made = trial(key, **hyperparameters)
        if not isinstance(made, Trial):
            raise ValueError(f"`sweep` expected the trial to return `bp.trial(...)`, got {type(made).__name__}.")
        reasons[:] = made.program.reasons
        return made.start, made.program.outcome(made.start), made.program.epoch(made.start)

    one = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in kinds}
    try:
        jaxpr, (run, kept, _) = jax.make_jaxpr(begin, return_shape=True)(jax.random.key(0, impl=key_impl), one)
    except TypeError as error:  # JAX has several for a number that is not known while tracing
        if not any(word in str(error) for word in ("concrete", "Tracer", "traced")):
            raise
        names = ", ".join(one) or "the key"
        raise ValueError(
            f"`sweep` expected a trial of one shape for all runs, got one that looks at a number ({names}) while it is "
            f"traced: {str(error).splitlines()[0]} What changes shapes or the flow of Python makes a sweep of its own."
        ) from None
    reserved = {"number", "reason", "curve"} & set(kept)
    if reserved:
        raise ValueError(
            f"`sweep` expected other names for outcomes than {', '.join(sorted(reserved))}: it sets those."
        )
    return Shapes(run, kept, tuple(reasons), largest_array(jaxpr))


def kinds_of(outcome: dict, steps: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of each thing that is kept of a run."""
    kinds = {"reason": jax.ShapeDtypeStruct((), jnp.int8), **outcome}
    if steps:
        kinds["curve"] = jax.ShapeDtypeStruct((len(steps),), jnp.result_type(float))
    return kinds


@functools.lru_cache(maxsize=16)
def compiled(trial: Callable, layout: Layout, steps: tuple[int, ...], kinds: tuple, device, settings) -> Program:
    """The pool's program, kept so that sweeping again compiles nothing; `kinds` as `make_program` wants them."""
    key_kind, names = kinds
    return make_program(trial, layout, steps, key_kind, names, device)


def run_all(
    trial, layout: Layout, steps, points: Plan, key: Key, results: Results, devices: list, tell: Callable
) -> None:
    """Every run that has no result yet, by workers that each drive a pool of their own."""
    blocks = list(results.missing())
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for numbers in blocks:
        waiting.put(numbers)
    workers = min(len(blocks), len(devices) * workers_per_device(devices))
    places = [*itertools.islice(itertools.cycle(devices), workers)]
    names = tuple((name, value.dtype) for name, value in arguments(points.values(np.zeros(1, int)))[1].items())
    settings, stop = jax_settings(), threading.Event()
    programs = {d: compiled(trial, layout, steps, (key.dtype, names), d, settings) for d in dict.fromkeys(places)}

    def work(device):
        with under(settings), jax.default_device(device):
            run_pool(programs[device], layout, points, key, waiting, results, tell, stop, device)

    if not workers:
        return
    with ThreadPoolExecutor(workers) as threads:
        busy = [threads.submit(work, device) for device in places]
        try:
            wait(busy, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
        for worker in busy:
            worker.result()


def workers_per_device(devices: list) -> int:
    """On a CPU as many as there are cores to each device: XLA runs one small loop on one core. Else one."""
    if devices[0].platform != "cpu":
        return 1
    return max(1, cores() // len(devices))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_pool(program, layout, points, key, waiting, results, tell, stop, device) -> None:
    """One worker: feed the pool, let it go, collect what has ended, until nothing waits and nothing runs."""
    pool, chunks = None, 1
    where = jax.sharding.SingleDeviceSharding(device)
    while not stop.is_set():
        numbers = next_of(waiting)
        last = numbers is None
        if numbers is not None:
            filled = np.resize(numbers, layout.feed).astype(np.int32)
            count = jax.device_put(np.int32(len(numbers)), where)
            held = program.prepare(*jax.device_put((key, *arguments(points.values(filled)), filled), where))
            if pool is None:
                pool = program.begin(held, count)
            else:
                pool = pool._replace(waiting=held, next=jax.device_put(np.int32(0), where), fed=count)
        if pool is None:
            return
        while not stop.is_set():
            began = time.perf_counter()
            pool = program.go(pool, *jax.device_put((np.int32(chunks), np.bool_(last)), where))
            ended = int(pool.ended)
            seconds = time.perf_counter() - began
            log = {name: part(array, ended, layout.axis) for name, array in pool.log.items()}
            results.add(log)
            tell(log)
            nobody_waits = int(pool.next) >= int(pool.fed)
            if nobody_waits and not last:
                break
            if last and nobody_waits and not (np.asarray(pool.held.number) >= 0).any():
                return
            if seconds < SECONDS / 2:
                chunks *= 2
            elif seconds > 2 * SECONDS:
                chunks = max(1, chunks // 2)


def next_of(waiting: queue.SimpleQueue):
    """The next block of run numbers, or None."""
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def part(array, ended: int, axis: int) -> np.ndarray:
    """The results that hold, with the run axis first."""
    array = np.asarray(array)
    return np.moveaxis(array[..., :ended], -1, 0) if axis == -1 else array[:ended]
