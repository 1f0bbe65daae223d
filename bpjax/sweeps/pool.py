"""The pool: a fixed number of runs side by side, in which a run that is over makes room for the next that waits.

Time then follows the sum of the epochs that are needed, not the slowest run times their number. Everything happens in
one compiled program; runs never look at each other, so that none depends on its neighbours or on its place.

    feed      runs are prepared and wait in line
    go        `chunk` epochs of all runs held; those that are over go to the log, waiting ones take their places; again
    log       results in the order in which runs ended, with their numbers
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.lanes.layout import Layout
from bpjax.training.trial import Trial
from bpjax.types import Array, Key

IDLE = -1


class Held(NamedTuple):
    """A run with what it was made from; many of them with the layout's run axis."""

    run: Any
    key: Key
    hyperparameters: dict[str, Array]
    number: Array  # int32, which run of the sweep; IDLE for none
    curve: Array  # (steps,) error at the chosen epochs so far


class Pool(NamedTuple):
    """Runs held, runs waiting, results."""

    held: Held  # `width` of them
    waiting: Held  # `feed` + `width`: a window of `width` can start at any of the first
    next: Array  # () int32, the first that still waits
    fed: Array  # () int32, how many came with the last feed
    log: dict[str, Array]  # results of the last `go`, `feed` + 2 `width` entries along the run axis
    ended: Array  # () int32, how many of them hold


class Program(NamedTuple):
    """The functions of a pool, compiled for one device."""

    prepare: Callable
    """(key, seeds, hyperparameters, numbers) -> Held, `feed` runs as they begin."""
    begin: Callable
    """(waiting, count) -> Pool, nobody held yet; the first `count` of those who wait are runs."""
    go: Callable
    """(pool, chunks, last) -> Pool, after so many chunks, or when nobody waits; the `last` are run to their end."""


def make_program(
    trial: Callable[..., Trial], layout: Layout, steps: tuple[int, ...], key_kind, names, device
) -> Program:
    """The pool of a trial, traced and compiled here and now; curves hold the error at the epochs `steps`.

    Args:
        trial: (key, **hyperparameters) -> Trial.
        layout: how many runs, and how.
        steps: ascending epochs.
        key_kind: dtype of the keys.
        names: the hyperparameters and their dtypes.
        device: where it will run.
    """
    prepare, pool_of, go = functions(trial, layout, steps)
    on_cpu = device.platform == "cpu"
    where = jax.sharding.SingleDeviceSharding(device)

    def shape(dtype, *sizes):
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=where)

    def placed(tree):
        return jax.tree.map(lambda kind: shape(kind.dtype, *kind.shape), tree)

    def each(dtype):
        return shape(dtype, layout.feed)

    asked = shape(key_kind), each(jnp.uint32), {name: each(dtype) for name, dtype in names}, each(jnp.int32)
    waiting = placed(jax.eval_shape(prepare, *asked))
    pool = placed(jax.eval_shape(pool_of, waiting))
    lowered = (
        (jax.jit(prepare).lower(*asked), ONCE if on_cpu else {}),
        (jax.jit(go, donate_argnums=0).lower(pool, shape(jnp.int32), shape(bool)), OFTEN if on_cpu else {}),
    )
    with ThreadPoolExecutor(len(lowered)) as threads:  # XLA compiles on several cores at once
        prepared, goes = threads.map(lambda one: one[0].compile(compiler_options=one[1]), lowered)

    def begin(waiting: Held, count) -> Pool:
        idle = jax.tree.map(zeros_of, pool._replace(waiting=()))._replace(waiting=waiting, fed=count)
        held = idle.held._replace(
            run=idle.held.run._replace(reason=np.ones(layout.width, np.int32)),
            number=np.full(layout.width, IDLE, np.int32),
        )
        return jax.device_put(idle._replace(held=held), where)

    return Program(prepared, begin, goes)


def zeros_of(kind: jax.ShapeDtypeStruct):
    """Zeros, or keys of zeros, of this shape and dtype; nothing is compiled for numbers."""
    is_key = jnp.issubdtype(kind.dtype, jax.dtypes.prng_key)
    return jnp.zeros(kind.shape, kind.dtype) if is_key else np.zeros(kind.shape, kind.dtype)


OFTEN = {"xla_cpu_prefer_vector_width": 512}
"""For what runs all the time: whole vectors where the processor has them; XLA's own choice is half of that."""

ONCE = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""For what runs once for each run: random numbers take XLA 10 times as long to compile well as to compile."""


def functions(trial: Callable[..., Trial], layout: Layout, steps: tuple[int, ...]) -> tuple[Callable, ...]:
    """`prepare` and `go` of a `Program`, not compiled, and between them the shape of a pool with those who wait."""
    axis, width = layout.axis, layout.width
    at = jnp.asarray(steps, jnp.int32)

    def prepare(key, seeds, hyperparameters, numbers) -> Held:
        def one(seed, hyperparameters, number):
            own = jax.random.fold_in(key, seed)
            curve = jnp.full(len(steps), jnp.nan, jnp.result_type(float))
            return Held(trial(own, **hyperparameters).start, own, hyperparameters, number, curve)

        waiting = jax.vmap(one, out_axes=axis)(seeds, hyperparameters, numbers)
        return jax.tree.map(lambda a: jnp.concatenate([a, take(a, jnp.zeros(width, int))], axis), waiting)

    def epoch(held: Held):
        run, record = trial(held.key, **held.hyperparameters).program.epoch(held.run)
        return held._replace(run=run), record.error

    def outcome(held: Held) -> dict[str, Array]:
        kept = trial(held.key, **held.hyperparameters).program.outcome(held.run)
        curve = {"curve": held.curve} if steps else {}
        return {"number": held.number, "reason": held.run.reason, **kept, **curve}

    def pool_of(waiting: Held) -> Pool:
        held = jax.tree.map(lambda a: window(a, 0), waiting)
        kinds = jax.eval_shape(layout.map(outcome), held)
        log = jax.tree.map(lambda k: jnp.zeros(resized(k.shape, layout.feed + 2 * width), k.dtype), kinds)
        zero = jnp.zeros((), jnp.int32)
        return Pool(held, waiting, zero, zero, log, zero)

    def go(pool: Pool, chunks, last) -> Pool:
        def goes_on(state):
            done, pool = state
            waits = pool.next < pool.fed
            return (done < chunks) & (waits | (last & (pool.held.number != IDLE).any()))

        def one_more(state):
            done, pool = state
            pool = refill(pool)
            return done + 1, harvest(pool._replace(held=chunk(pool.held)))

        start = pool._replace(ended=jnp.zeros((), jnp.int32))
        return jax.lax.while_loop(goes_on, one_more, (jnp.zeros((), jnp.int32), start))[1]

    def chunk(held: Held) -> Held:
        step, before = layout.map(epoch), held.run.epoch
        if not steps:
            return jax.lax.scan(lambda h, _: (step(h)[0], None), held, None, length=layout.chunk)[0]
        held, errors = jax.lax.scan(lambda h, _: step(h), held, None, length=layout.chunk)
        place = at[:, None] - 1 - before[None, :]  # (steps, width)
        there = (place >= 0) & (place < layout.chunk) & (at[:, None] <= held.run.epoch[None, :])
        seen = jnp.take_along_axis(errors, jnp.clip(place, 0, layout.chunk - 1), axis=0)
        curve = jnp.where(there, seen, jnp.moveaxis(held.curve, axis, -1))
        return held._replace(curve=jnp.moveaxis(curve, -1, axis))

    def harvest(pool: Pool) -> Pool:
        ended = (pool.held.run.reason != 0) & (pool.held.number != IDLE)
        first = jnp.argsort(~ended, stable=True)  # those that ended come first
        results = jax.tree.map(lambda a: ordered(a, first), layout.map(outcome)(pool.held))
        log = jax.tree.map(lambda log, new: put(log, new, pool.ended), pool.log, results)
        held = pool.held._replace(number=jnp.where(ended, IDLE, pool.held.number))
        return pool._replace(held=held, log=log, ended=pool.ended + ended.sum(dtype=jnp.int32))

    def refill(pool: Pool) -> Pool:
        free = pool.held.number == IDLE
        rank = jnp.cumsum(free, dtype=jnp.int32) - 1
        in_line = jax.tree.map(lambda a: ordered(window(a, pool.next), rank), pool.waiting)
        begins = free & (pool.next + rank < pool.fed)
        held = jax.tree.map(lambda new, old: jnp.where(along(begins, new), new, old), in_line, pool.held)
        return pool._replace(held=held, next=pool.next + begins.sum(dtype=jnp.int32))

    def take(array, places):
        return array[..., places] if axis == -1 else array[places]

    def ordered(array, places):
        """`width` runs in another order: none where there is one."""
        return array if width == 1 else take(array, places)

    def window(array, start):
        return jax.lax.dynamic_slice_in_dim(array, start, width, axis % array.ndim)

    def put(array, new, start):
        return jax.lax.dynamic_update_slice_in_dim(array, new, start, axis % array.ndim)

    def resized(shape, length):
        return (*shape[:-1], length) if axis == -1 else (length, *shape[1:])

    def along(condition, array):
        wide = condition if axis == -1 else condition.reshape(width, *(1,) * (array.ndim - 1))
        return jnp.broadcast_to(wide, array.shape)

    return prepare, pool_of, go
