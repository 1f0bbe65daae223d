"""Train one network until a stop fires or the epochs are over."""

import functools
import math
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from bpjax.optimizers.transformation import static_part
from bpjax.rules.rule import Rule
from bpjax.training.conditions import TimeLimit, as_stops
from bpjax.training.inputs import as_count, check_inputs
from bpjax.training.run import History, HostAdvance, OnChunk, Run, make_training, run_to_end
from bpjax.training.step import TrainState
from bpjax.training.stops import Stop
from bpjax.training.watch import NOTHING, Collector, WatchFunction, as_watch, with_watch
from bpjax.types import Batch, Key, Params
from bpjax.util.checks import check_flag, check_function
from bpjax.util.shared_jit import SharedJit


class Fit(NamedTuple):
    """The result of a training."""

    params: Params
    reason: str  # "every output right", "diverged", "epoch limit", ...
    epochs: int  # epochs run, including the one on which it stopped
    history: History  # each curve a NumPy array (epochs,)
    state: TrainState  # with the optimizer's and the rule's state

    def __repr__(self) -> str:
        return f"Fit({self.reason!r}, epochs={self.epochs}, error={self.history.error[-1]:.4g})"


def fit(
    rule: Rule,
    optimizer: optax.GradientTransformation,
    params: Params,
    data: Batch,
    *,
    key: Key,
    epochs: int = 1000,
    batch_size: int | None = None,
    shuffle: bool = True,
    stops: tuple[Stop | TimeLimit, ...] | Stop | TimeLimit = (),
    validation: Batch | None = None,
    watch: Mapping[str, WatchFunction] = NOTHING,
    watch_at: Iterable[int] | None = None,
    chunk: int = 100,
    on_chunk: OnChunk | None = None,
) -> Fit:
    """Train until a stop fires or the epochs are over.

    One compiled program runs `chunk` epochs. Between two calls of it the host checks whether the run has stopped and
    calls `on_chunk`, for example for a progress bar (`run.epoch` of `run.limit` are done). The same rule, optimizer,
    stops and shapes compile once; other hyperparameters of bpjax's optimizers do not recompile.

    Args:
        rule: any rule: `bp.backprop(network, loss)`, `bp.autodiff(...)`, your own.
        optimizer: any optax transformation.
        params: the initial weights, from `network.init`.
        data: examples (N, ...) and targets.
        key: for the shuffles, and for rules that draw random numbers.
        epochs: the most epochs.
        batch_size: examples per change of the weights; None for all, 1 for on-line learning.
        shuffle: a new order of the examples each epoch, where there are batches.
        stops: reasons to stop early: `bp.error_below`, `bp.outputs_within`, `bp.training.gradient_below`,
            `bp.training.no_improvement` (with `validation`), `bp.training.diverged`, `bp.training.time_limit`, or a
            condition of your own, `bp.stop_when`.
        validation: examples and targets that are measured after each epoch and not learnt from.
        watch: {name: function}, quantities to follow: a pure function of the `Run` that returns an array, or a pytree
            of arrays, such as `lambda run: bp.accuracy(network, run.params, test)`. `run.params` are the weights after
            the epoch, those of `fit(..., epochs=run.epoch).params`. The values are `history.watched[name]`, their
            epochs `history.watched_at`.
        watch_at: the epochs, from 1, after which `watch` is computed; every epoch by default. Elsewhere it costs
            nothing.
        chunk: epochs per call of the compiled program.
        on_chunk: called with the `Run` after each chunk.

    Raises:
        ValueError: arguments that do not fit, or an exception in a function of yours, which is the cause; raised
            before anything is compiled.
    """
    started = time.monotonic()
    epochs, chunk = as_count("fit", "epochs", epochs), as_count("fit", "chunk", chunk)
    batch_size = None if batch_size is None else as_count("fit", "batch_size", batch_size)
    shuffle = check_flag("fit", "shuffle", shuffle)
    if on_chunk is not None:
        check_function("fit", "on_chunk", on_chunk)
    stops, seconds = _without_time_limits(stops)
    params, data, validation = check_inputs("fit", rule, optimizer, params, data, validation, key)
    chunk = math.ceil(epochs / math.ceil(epochs / chunk))
    following = as_watch("fit", watch, watch_at, epochs)
    collector = None if following is None else Collector(following, chunk)

    run = make_training(rule, optimizer, stops).init(key, params, epochs)
    kinds = tuple(stop._replace(watch=()) for stop in stops)
    watching = () if collector is None else (collector.watch.functions, collector.most)
    advance, reasons = _compiled(rule, static_part(optimizer), kinds, batch_size, shuffle, chunk, *watching)

    def advance_data(run: Run, *rows):
        return advance(run, *rows, data, validation)

    step = advance_data if collector is None else collector.advancing(advance_data)
    step = _within(step, started + seconds, len(reasons))
    run, history = run_to_end(step, run, on_chunk)
    watched, at = ({}, np.zeros(0, int)) if collector is None else collector.curves(int(run.epoch))
    history = history._replace(watched=watched, watched_at=at)
    return Fit(run.params, (*reasons, "time limit")[int(run.reason)], int(run.epoch), history, run.state)


def _without_time_limits(stops) -> tuple[tuple[Stop, ...], float]:
    """The stops that are compiled, and the seconds that the training may take."""
    if isinstance(stops, TimeLimit):
        return as_stops("fit", ()), stops.seconds
    if not isinstance(stops, tuple | list) or isinstance(stops, Stop):
        return as_stops("fit", stops), math.inf
    limits = [stop.seconds for stop in stops if isinstance(stop, TimeLimit)]
    return as_stops("fit", tuple(s for s in stops if not isinstance(s, TimeLimit))), min(limits, default=math.inf)


def _within(advance: HostAdvance, deadline: float, reason: int) -> HostAdvance:
    """`advance`, after which a run that still goes on past the deadline is stopped for `reason`."""
    if deadline == math.inf:
        return advance

    def advance_in_time(run: Run):
        run, history = advance(run)
        if int(run.reason) == 0 and time.monotonic() >= deadline:  # int() waits until the chunk is computed
            run = run._replace(reason=jnp.int32(reason))
        return run, history

    return advance_in_time


@functools.lru_cache(maxsize=32)
def _compiled(rule, update, stops, batch_size, shuffle, chunk, functions=(), most=0):
    """The compiled chunk of a training, cached: other thresholds and hyperparameters do not recompile."""
    training = make_training(rule, update, stops, batch_size, shuffle, chunk)
    if functions:
        return SharedJit(with_watch(training.epoch, functions, chunk, most)), training.reasons
    return SharedJit(training.advance), training.reasons
