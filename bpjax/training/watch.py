"""Curves of the user's own: quantities of a run that are computed in the compiled program, at chosen epochs."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.training.run import HostAdvance, Run
from bpjax.types import Array
from bpjax.util.call_text import is_function, shown
from bpjax.util.checks import check_count, check_text
from bpjax.util.user_functions import call_user, hashable, place


class WatchFunction(Protocol):
    """A quantity to follow along a run."""

    def __call__(self, run: Any, /) -> Array:
        """The value after an epoch: an array of one shape for all epochs and runs; `fit` takes any pytree of arrays.

        A training's `run` has `params`, the weights after the epoch, `error`, `epoch`, `state`.
        """
        ...


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Watch(NamedTuple):
    """What to follow, and when."""

    functions: tuple[tuple[str, WatchFunction], ...]
    at: np.ndarray  # (K,) the epochs, from 1, in ascending order


def check_watch(who: str, watch) -> dict[str, WatchFunction]:
    """The functions by name, or a `ValueError`."""
    if not isinstance(watch, Mapping):
        raise ValueError(f"`{who}` expected `watch` to be {{name: function}}, got {shown(watch)}.")
    for name, function in watch.items():
        check_text(who, "watch", name)
        if not is_function(function):
            raise ValueError(f"`{who}` expected `watch[{name!r}]` to be a function of the run, got {shown(function)}.")
    return {name: hashable(function) for name, function in watch.items()}


def as_watch(who: str, watch, watch_at, epochs: int) -> Watch | None:
    """The arguments `watch` and `watch_at` of a training of `epochs` epochs; None where there is nothing to watch."""
    functions = check_watch(who, NOTHING if watch is None else watch)
    if not functions:
        if watch_at is not None:
            raise ValueError(f"`{who}` expected `watch={{name: function}}` beside `watch_at`, got none.")
        return None
    if watch_at is None:
        return Watch(tuple(functions.items()), np.arange(1, epochs + 1))
    watch_at = np.asarray(watch_at) if isinstance(watch_at, jax.Array) else watch_at
    if (
        isinstance(watch_at, str | Mapping)
        or not isinstance(watch_at, Iterable)
        or getattr(watch_at, "shape", None) == ()
    ):
        raise ValueError(
            f"`{who}` expected `watch_at` to be a list of epochs such as `range(10, {epochs + 1}, 10)`, "
            f"got {shown(watch_at)}."
        )
    chosen = {check_count(who, "watch_at", epoch) for epoch in watch_at}
    return Watch(tuple(functions.items()), np.array(sorted(e for e in chosen if e <= epochs), int))


def values_of(who: str, functions: Iterable[tuple[str, WatchFunction]], run) -> dict[str, Any]:
    """The value of every function for one run, as pytrees of arrays."""
    return {name: value_of(who, name, function, run) for name, function in functions}


def value_of(who: str, name: str, function: WatchFunction, run):
    """The value of one function, or a `ValueError` that names the function."""
    value = call_user(who, f"watch {name!r}", function, run)
    try:
        value = jax.tree.map(jnp.asarray, value)
    except (TypeError, ValueError):
        value = None
    if not jax.tree.leaves(value):
        raise ValueError(
            f"`{who}` expected an array from the watch {name!r} function {place(function)}, got {shown(value)}."
        )
    return value


def array_of(who: str, name: str, function: WatchFunction, run) -> Array:
    """The value of one function where it is to be an array: a sweep stores no pytrees."""
    value = value_of(who, name, function, run)
    if not isinstance(value, jax.Array):
        raise ValueError(
            f"`{who}` expected an array from the watch {name!r} function {place(function)}, got "
            f"{type(value).__name__}. Give each array a separate name in `watch`."
        )
    return value


def with_watch(advance_by_epoch, functions, chunk: int, most: int):
    """`Training.advance` that also computes the functions at some of its epochs.

    Args:
        advance_by_epoch: (run, data, validation) -> (run, record), `Training.epoch`.
        functions: (name, function) pairs.
        chunk: epochs to advance.
        most: the most epochs of a chunk at which something is watched.

    Returns:
        (run, rows, data, validation) -> (run, history, values); `rows` (chunk,) int32 is the row of `values` to write
        after each epoch, −1 for none; the values have a leading axis (most,).
    """

    def advance(run: Run, rows: Array, data, validation):
        shapes = jax.eval_shape(lambda run: values_of("fit", functions, run), run)
        empty = jax.tree.map(lambda value: jnp.zeros((most, *value.shape), value.dtype), shapes)

        def step(carry, row):
            run, values = carry
            running = run.reason == 0
            run, record = advance_by_epoch(run, data, validation)

            def written():
                new = values_of("fit", functions, run)
                return jax.tree.map(lambda rows, value: rows.at[row].set(value), values, new)

            return (run, jax.lax.cond(running & (row >= 0), written, lambda: values)), record

        (run, values), history = jax.lax.scan(step, (run, empty), rows, length=chunk)
        return run, history, values

    return advance


class Collector:
    """Calls a watching `advance` chunk by chunk and keeps the values on the host."""

    def __init__(self, watch: Watch, chunk: int):
        """Prepare for a training that starts at epoch 0 and proceeds by `chunk` epochs."""
        self.watch, self.chunk = watch, chunk
        counts = np.bincount((watch.at - 1) // chunk, minlength=1)
        self.most = max(1, int(counts.max()))
        self.parts: list = []

    def advancing(self, advance) -> HostAdvance:
        """run -> (run, history), which keeps the values of `advance(run, rows)`."""

        def advance_and_keep(run: Run):
            first = int(run.epoch)
            due = self.watch.at[(self.watch.at > first) & (self.watch.at <= first + self.chunk)]
            rows = np.full(self.chunk, -1, np.int32)
            rows[due - first - 1] = np.arange(len(due))
            run, history, values = advance(run, rows)
            reached = int(np.sum(due <= int(run.epoch)))
            self.parts.append(jax.tree.map(lambda rows: np.asarray(rows)[:reached], jax.device_get(values)))
            return run, history

        return advance_and_keep

    def curves(self, epochs: int) -> tuple[dict[str, Any], np.ndarray]:
        """({name: (K, ...)}, the epochs (K,)) of a training that has taken `epochs` epochs."""
        return jax.tree.map(lambda *parts: np.concatenate(parts), *self.parts), self.watch.at[self.watch.at <= epochs]
