"""The pool: a fixed number of active runs side by side. A run that stops makes room for the next one that waits.

The time of a sweep then follows the sum of the epochs that its runs need, not the slowest run times their number.
Everything happens in one compiled program. Runs never read each other, so that no result depends on the neighbours of
a run or on its place in the pool.

    prepare   runs are initialized and wait in line
    advance   `chunk` epochs of all active runs; stopped runs go to the results, waiting ones take their places; repeat
    results   in the order in which the runs stopped, with the numbers of the runs
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.computation import Computation
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.run_axis import RunAxis
from bpjax.types import Array, Key

IDLE = -1
"""The number of a place without a run."""


class Slot(NamedTuple):
    """A run and what it was made from. A pool has many of them, stacked along the layout's run axis."""

    run: Any  # the state of the trial
    key: Key
    hyperparameters: dict[str, Array]
    number: Array  # int32, the run's number in the sweep, or IDLE
    curves: dict[str, Array]  # (curve epochs, ...) of `curve`, the error, and of each watched value so far


class Pool(NamedTuple):
    """Active runs, waiting runs, results."""

    active: Slot  # `width` of them
    waiting: Slot  # `feed` + `width`, so that a window of `width` can start at each of the first `feed`
    next: Array  # () int32, the first that still waits
    prepared: Array  # () int32, how many of `waiting` are runs of the sweep
    results: dict[str, Array]  # of the last `advance`, `feed` + 2 `width` entries along the run axis
    stopped: Array  # () int32, how many entries of `results` are valid


class Prepare(Protocol):
    """Initialize runs."""

    def __call__(self, constants, key: Key, seeds: Array, hyperparameters: dict[str, Array], numbers: Array) -> Slot:
        """`feed` runs before their first epoch, and `width` more to fill the last window."""
        ...


class Begin(Protocol):
    """Make a pool."""

    def __call__(self, waiting: Slot, count: Array) -> Pool:
        """A pool without active runs, in which the first `count` of `waiting` wait."""
        ...


class Advance(Protocol):
    """Train the runs of a pool."""

    def __call__(self, constants, pool: Pool, chunks: np.int32, last: np.bool_) -> Pool:
        """The pool after so many chunks, or as soon as no run waits.

        With `last` the active runs are run to their end.
        """
        ...


class PoolFunctions(NamedTuple):
    """The functions of a pool: for a device compiled, see `make_pool`."""

    prepare: Prepare
    begin: Begin
    advance: Advance


FREQUENT = {"xla_cpu_prefer_vector_width": 512}
"""Compiler options of what runs all the time: the full vector width of the processor; XLA's default is half of it."""

ONCE = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""Compiler options of what runs once per run: optimized, random numbers take XLA 10 times as long to compile."""


def make_pool(computation: Computation, layout: Layout, curve_epochs: tuple[int, ...], inputs, device) -> PoolFunctions:
    """The pool of a trial, compiled here and now.

    Args:
        computation: the traced trial.
        layout: how many active runs, and their arrangement.
        curve_epochs: ascending epochs at which the error and the watched values are stored.
        inputs: shapes of the constants, the key and the hyperparameters of a run.
        device: where it will run.
    """
    program = PoolProgram(computation, layout, curve_epochs)
    on_cpu = device.platform == "cpu"
    sharding = jax.sharding.SingleDeviceSharding(device)

    def shape(dtype, *sizes):
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=sharding)

    def placed(tree):
        return jax.tree.map(lambda leaf: shape(leaf.dtype, *leaf.shape), tree)

    def per_run(dtype):
        return shape(dtype, layout.feed)

    constants, key, hyperparameters = inputs
    values = {name: per_run(one.dtype) for name, one in hyperparameters.items()}
    arguments = placed(constants), shape(key.dtype), per_run(jnp.uint32), values, per_run(jnp.int32)
    waiting = placed(jax.eval_shape(program.prepare, *arguments))
    pool = placed(jax.eval_shape(program.pool_of, placed(constants), waiting))
    advance = jax.jit(program.advance, donate_argnums=1)
    lowered = (
        (jax.jit(program.prepare).lower(*arguments), ONCE if on_cpu else {}),
        (advance.lower(placed(constants), pool, shape(jnp.int32), shape(bool)), FREQUENT if on_cpu else {}),
    )
    with ThreadPoolExecutor(len(lowered)) as threads:  # XLA compiles on several cores at once
        prepare, advance = threads.map(lambda one: one[0].compile(compiler_options=one[1]), lowered)

    def begin(waiting: Slot, count) -> Pool:
        empty = jax.tree.map(zeros_of, pool._replace(waiting=()))._replace(waiting=waiting, prepared=count)
        active = empty.active._replace(
            run=empty.active.run._replace(reason=np.ones(layout.width, np.int32)),
            number=np.full(layout.width, IDLE, np.int32),
        )
        return jax.device_put(empty._replace(active=active), sharding)

    return PoolFunctions(prepare, begin, advance)


def zeros_of(kind: jax.ShapeDtypeStruct):
    """Zeros, or keys of zeros, of this shape and dtype; NumPy's for numbers, which compile nothing."""
    is_key = jnp.issubdtype(kind.dtype, jax.dtypes.prng_key)
    return jnp.zeros(kind.shape, kind.dtype) if is_key else np.zeros(kind.shape, kind.dtype)


class PoolProgram(NamedTuple):
    """The functions of a pool before compilation; `make_pool` compiles `prepare` and `advance`."""

    computation: Computation
    layout: Layout
    curve_epochs: tuple[int, ...]

    @property
    def along(self) -> RunAxis:
        """Operations along the run axis."""
        return RunAxis(self.layout.axis, self.layout.width)

    def prepare(self, constants, key: Key, seeds: Array, hyperparameters: dict[str, Array], numbers: Array) -> Slot:
        """See `Prepare`."""

        def one(seed, hyperparameters, number):
            run_key = jax.random.fold_in(key, seed)
            run = self.computation.start(constants, run_key, hyperparameters)
            return Slot(run, run_key, hyperparameters, number, self.empty_curves())

        waiting = jax.vmap(one, out_axes=self.layout.axis)(seeds, hyperparameters, numbers)
        first = jnp.zeros(self.layout.width, int)
        return jax.tree.map(lambda a: jnp.concatenate([a, self.along.take(a, first)], self.layout.axis), waiting)

    def empty_curves(self) -> dict[str, Array]:
        """The curves of a run before its first epoch: NaN, or 0 for values that are not floating-point numbers."""
        shapes = self.computation.variables(self.curve_epochs)
        names = ["curve", *self.computation.shapes["watch"]] if self.curve_epochs else []
        return {
            name: jnp.full(shapes[name].shape, jnp.nan if jnp.issubdtype(shapes[name].dtype, jnp.inexact) else 0,
                           shapes[name].dtype)
            for name in names
        }  # fmt: skip

    def epoch(self, constants, slot: Slot) -> tuple[Slot, Array]:
        """A run after one epoch, and the error of the epoch."""
        run, error = self.computation.epoch(constants, slot.key, slot.hyperparameters, slot.run)
        return slot._replace(run=run), error

    def outcome(self, constants, slot: Slot) -> dict[str, Array]:
        """What is stored of a run."""
        values = self.computation.outcome(constants, slot.key, slot.hyperparameters, slot.run)
        return {"number": slot.number, "reason": slot.run.reason, **values, **slot.curves}

    def watched(self, constants, slot: Slot) -> Slot:
        """A run with its watched values entered in the curves, if its epoch is one of theirs."""
        values = self.computation.watch(constants, slot.key, slot.hyperparameters, slot.run)
        is_here = jnp.asarray(self.curve_epochs, jnp.int32) == slot.run.epoch
        curves = {
            name: jnp.where(is_here.reshape(-1, *(1,) * jnp.ndim(value)), value[None], slot.curves[name])
            for name, value in values.items()
        }
        return slot._replace(curves=slot.curves | curves)

    def pool_of(self, constants, waiting: Slot) -> Pool:
        """A pool with the shapes of `waiting`."""
        active = jax.tree.map(lambda a: self.along.window(a, 0), waiting)
        shapes = jax.eval_shape(self.layout.map(lambda slot: self.outcome(constants, slot)), active)
        size = self.layout.feed + 2 * self.layout.width
        results = jax.tree.map(lambda s: jnp.zeros(self.along.resized(s.shape, size), s.dtype), shapes)
        zero = jnp.zeros((), jnp.int32)
        return Pool(active, waiting, zero, zero, results, zero)

    def advance(self, constants, pool: Pool, chunks, last) -> Pool:
        """See `Advance`."""

        def goes_on(state):
            done, pool = state
            waits = pool.next < pool.prepared
            return (done < chunks) & (waits | (last & (pool.active.number != IDLE).any()))

        def one_more(state):
            done, pool = state
            pool = self.refill(pool)
            pool = pool._replace(active=self.chunk(constants, pool.active))
            return done + 1, self.harvest(constants, pool)

        start = pool._replace(stopped=jnp.zeros((), jnp.int32))
        return jax.lax.while_loop(goes_on, one_more, (jnp.zeros((), jnp.int32), start))[1]

    def chunk(self, constants, active: Slot) -> Slot:
        """`chunk` epochs of all active runs."""
        length, axis, before = self.layout.chunk, self.layout.axis, active.run.epoch
        step = self.step(constants)
        if not self.curve_epochs:
            return jax.lax.scan(lambda s, _: (step(s)[0], None), active, None, length=length)[0]
        active, errors = jax.lax.scan(lambda s, _: step(s), active, None, length=length)
        at = jnp.asarray(self.curve_epochs, jnp.int32)
        place = at[:, None] - 1 - before[None, :]  # (curve epochs, width)
        is_here = (place >= 0) & (place < length) & (at[:, None] <= active.run.epoch[None, :])
        seen = jnp.take_along_axis(errors, jnp.clip(place, 0, length - 1), axis=0)
        curve = jnp.where(is_here, seen, jnp.moveaxis(active.curves["curve"], axis, -1))
        return active._replace(curves=active.curves | {"curve": jnp.moveaxis(curve, -1, axis)})

    def step(self, constants):
        """Active runs -> (active runs, errors) after one epoch; watched values are computed where a curve asks."""
        one = self.layout.map(lambda slot: self.epoch(constants, slot))
        if not (self.curve_epochs and self.computation.shapes["watch"]):
            return one
        look = self.layout.map(lambda slot: self.watched(constants, slot))
        at = jnp.asarray(self.curve_epochs, jnp.int32)

        def step(active: Slot) -> tuple[Slot, Array]:
            running = active.run.reason == 0
            active, errors = one(active)
            is_asked = running & (active.run.epoch[:, None] == at[None, :]).any(axis=1)
            return jax.lax.cond(is_asked.any(), look, lambda slot: slot, active), errors

        return step

    def harvest(self, constants, pool: Pool) -> Pool:
        """Move the outcomes of stopped runs to the results."""
        stopped = (pool.active.run.reason != 0) & (pool.active.number != IDLE)
        first = jnp.argsort(~stopped, stable=True)  # those that stopped come first
        outcomes = self.layout.map(lambda slot: self.outcome(constants, slot))(pool.active)
        new = jax.tree.map(lambda a: self.along.reordered(a, first), outcomes)
        results = jax.tree.map(lambda old, new: self.along.put(old, new, pool.stopped), pool.results, new)
        active = pool.active._replace(number=jnp.where(stopped, IDLE, pool.active.number))
        return pool._replace(active=active, results=results, stopped=pool.stopped + stopped.sum(dtype=jnp.int32))

    def refill(self, pool: Pool) -> Pool:
        """Give the places of stopped runs to waiting ones."""
        along, free = self.along, pool.active.number == IDLE
        rank = jnp.cumsum(free, dtype=jnp.int32) - 1
        in_line = jax.tree.map(lambda a: along.reordered(along.window(a, pool.next), rank), pool.waiting)
        starts = free & (pool.next + rank < pool.prepared)
        active = jax.tree.map(lambda new, old: jnp.where(along.expand(starts, new), new, old), in_line, pool.active)
        return pool._replace(active=active, next=pool.next + starts.sum(dtype=jnp.int32))
