"""The pool: a fixed number of runs side by side, in which a run that is over makes room for the next that waits.

Time then follows the sum of the epochs that are needed, not the slowest run times their number. Everything happens in
one compiled program; runs never look at each other, so that none depends on its neighbours or on its place.

    feed      runs are prepared and wait in line
    go        `chunk` epochs of all runs held; those that are over go to the log, waiting ones take their places; again
    log       results in the order in which runs ended, with their numbers
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.sweeps.lanes import lanes
from bpjax.trial import Trial
from bpjax.types import Array, Key

IDLE = -1


class Layout(NamedTuple):
    """How the runs of a pool lie side by side."""

    name: Literal["lanes", "vmap", "single"]
    width: int  # runs held at a time
    chunk: int  # epochs between two looks at who is over
    feed: int  # runs prepared at a time

    @property
    def axis(self) -> int:
        """The run axis of every array."""
        return -1 if self.name == "lanes" else 0

    def map(self, f: Callable) -> Callable:
        """`f` of one run as a function of all runs held."""
        if self.name == "lanes":
            return lanes(f, in_axes=-1, out_axes=-1)
        if self.name == "vmap":
            return jax.vmap(f)
        return lambda *args: jax.tree.map(lambda a: a[None], f(*jax.tree.map(lambda a: a[0], args)))


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
    count: Array  # () int32, how many were fed
    log: dict[str, Array]  # results of the last `go`, `feed` + 2 `width` entries along the run axis
    ended: Array  # () int32, how many of them hold


class Program(NamedTuple):
    """The compiled functions of a pool."""

    begin: Callable
    """(keys, hyperparameters, numbers, count) -> Pool; arrays of `feed` entries, the first `count` of them runs."""
    feed: Callable
    """(pool, keys, hyperparameters, numbers, count) -> Pool, once all that waited have begun."""
    go: Callable
    """(pool, chunks, last) -> Pool, after so many chunks, or when nobody waits; the `last` are run to their end."""


def make_program(trial: Callable[..., Trial], layout: Layout, steps: tuple[int, ...]) -> Program:
    """The pool's functions for a trial; curves hold the error at the epochs `steps`."""
    axis, width = layout.axis, layout.width
    at = jnp.asarray(steps, jnp.int32)

    def prepare(key, hyperparameters, number) -> Held:
        run = trial(key, **hyperparameters).run
        return Held(run, key, hyperparameters, number, jnp.full(len(steps), jnp.nan, jnp.result_type(float)))

    def epoch(held: Held):
        run, record = trial(held.key, **held.hyperparameters).epoch(held.run)
        return held._replace(run=run), record.error

    def outcome(held: Held) -> dict[str, Array]:
        kept = trial(held.key, **held.hyperparameters).outcome(held.run)
        curve = {"curve": held.curve} if steps else {}
        return {"number": held.number, "reason": held.run.reason, **kept, **curve}

    def prepared(keys, hyperparameters, numbers) -> Held:
        waiting = jax.vmap(prepare, out_axes=axis)(keys, hyperparameters, numbers)
        return jax.tree.map(lambda a: jnp.concatenate([a, take(a, jnp.zeros(width, int))], axis), waiting)

    def begin(keys, hyperparameters, numbers, count) -> Pool:
        waiting = prepared(keys, hyperparameters, numbers)
        held = jax.tree.map(lambda a: window(a, 0), waiting)
        held = held._replace(run=held.run._replace(reason=jnp.ones(width, jnp.int32)), number=jnp.full(width, IDLE))
        kinds = jax.eval_shape(layout.map(outcome), held)
        log = jax.tree.map(lambda k: jnp.zeros(resized(k.shape, layout.feed + 2 * width), k.dtype), kinds)
        zero = jnp.zeros((), jnp.int32)
        return refill(Pool(held, waiting, zero, count, log, zero))

    def feed(pool: Pool, keys, hyperparameters, numbers, count) -> Pool:
        waiting = prepared(keys, hyperparameters, numbers)
        return refill(pool._replace(waiting=waiting, next=jnp.zeros((), jnp.int32), count=count))

    def go(pool: Pool, chunks, last) -> Pool:
        def goes_on(state):
            done, pool = state
            return (done < chunks) & (pool.held.number != IDLE).any() & (last | (pool.next < pool.count))

        def one_more(state):
            done, pool = state
            return done + 1, refill(harvest(pool._replace(held=chunk(pool.held))))

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
        results = jax.tree.map(lambda a: take(a, first), layout.map(outcome)(pool.held))
        log = jax.tree.map(lambda log, new: put(log, new, pool.ended), pool.log, results)
        held = pool.held._replace(number=jnp.where(ended, IDLE, pool.held.number))
        return pool._replace(held=held, log=log, ended=pool.ended + ended.sum(dtype=jnp.int32))

    def refill(pool: Pool) -> Pool:
        free = pool.held.number == IDLE
        rank = jnp.cumsum(free, dtype=jnp.int32) - 1
        in_line = jax.tree.map(lambda a: take(window(a, pool.next), rank), pool.waiting)
        begins = free & (pool.next + rank < pool.count)
        held = jax.tree.map(lambda new, old: jnp.where(along(begins, new), new, old), in_line, pool.held)
        return pool._replace(held=held, next=pool.next + begins.sum(dtype=jnp.int32))

    def take(array, places):
        return array[..., places] if axis == -1 else array[places]

    def window(array, start):
        return jax.lax.dynamic_slice_in_dim(array, start, width, axis % array.ndim)

    def put(array, new, start):
        return jax.lax.dynamic_update_slice_in_dim(array, new, start, axis % array.ndim)

    def resized(shape, length):
        return (*shape[:-1], length) if axis == -1 else (length, *shape[1:])

    def along(condition, array):
        return condition if axis == -1 else condition.reshape(width, *(1,) * (array.ndim - 1))

    donating = functools.partial(jax.jit, donate_argnums=0)
    return Program(jax.jit(begin), donating(feed), donating(go))
