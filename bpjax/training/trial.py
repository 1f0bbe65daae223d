"""A training run before it starts: the run that `fit` would train, as data and pure functions, for `bp.sweep`."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.rules.rule import Rule
from bpjax.training.conditions import as_stops
from bpjax.training.inputs import as_count, as_epochs, check_inputs
from bpjax.training.outcomes import check_names, outcome_of
from bpjax.training.run import Run, make_training
from bpjax.training.stops import Stop
from bpjax.training.watch import NOTHING, WatchFunction, array_of, check_watch
from bpjax.types import Array, Batch, Key, Params
from bpjax.util.checks import check_flag, check_function


class EpochFunction(Protocol):
    """One epoch of a run."""

    def __call__(self, run: Any, /) -> tuple[Any, Any]:
        """(run, record) after the epoch; `record.error` () is a point of the error curve.

        A run whose `reason` is not 0 is returned unchanged.
        """
        ...


class OutcomeFunction(Protocol):
    """What to store of a run that has stopped."""

    def __call__(self, run: Any, /) -> dict[str, Array]:
        """{name: array}, with the same names and shapes for all runs. A training's `run` has `params`, `error`, ..."""
        ...


FAILURES = ("diverged", "epoch limit")
"""Reasons that are no success in any training."""


class Program(NamedTuple):
    """How a run proceeds: pure functions, which may close over the key and the hyperparameters of the run."""

    epoch: EpochFunction
    outcome: OutcomeFunction
    reasons: tuple[str, ...]  # of `run.reason`: "running" first
    watch: Mapping[str, WatchFunction] = NOTHING  # what to follow along a run beside the error, at chosen epochs
    failures: tuple[str, ...] = FAILURES  # the reasons that are no success

    def __repr__(self) -> str:
        return f"Program(stops: {', '.join(self.reasons[1:])}; watch: {', '.join(self.watch) or 'nothing'})"


class Trial(NamedTuple):
    """One run of a sweep: its data (`start`) and its program.

    `bp.trial` makes one of a training. Make your own for any process that proceeds in steps:

        bp.training.Trial(start, bp.training.Program(epoch, outcome, ("running", "diverged", "done")))
    """

    start: Any
    """Pytree of arrays with the scalar int32 fields `epoch`, epochs done, and `reason`, 0 while the run continues."""
    program: Program

    def __repr__(self) -> str:
        entries = sum(np.size(leaf) for leaf in jax.tree.leaves(self.start))
        reasons = ", ".join(self.program.reasons[1:])
        return f"Trial({type(self.start).__name__} of {entries} entries, stops: {reasons})"


def trial(
    rule: Rule,
    optimizer: optax.GradientTransformation,
    params: Params,
    data: Batch,
    *,
    key: Key,
    epochs: int | Array = 1000,
    batch_size: int | None = None,
    shuffle: bool = True,
    stops: tuple[Stop, ...] | Stop = (),
    validation: Batch | None = None,
    outcome: OutcomeFunction | None = None,
    watch: Mapping[str, WatchFunction] = NOTHING,
) -> Trial:
    """The training run that `bp.fit` would make of these arguments, for `bp.sweep`.

        def xor(key, learning_rate, momentum):
            params, _ = network.init(key, (2,))
            return bp.trial(rule, bp.momentum(learning_rate, momentum), params, batch, key=key, epochs=2000)

    Args:
        rule: gives the gradient, as in `fit`.
        optimizer: turns it into new weights; may close over traced hyperparameters.
        params: initial weights.
        data: examples (N, ...) and targets.
        key: for the order of the examples, and for rules that draw random numbers.
        epochs: the limit; may be traced.
        batch_size: examples per step; None for all.
        shuffle: a new order of the examples each epoch, where there are batches.
        stops: reasons to stop early; `bp.training.diverged` is added if it is missing.
        validation: examples and targets that are measured but not learned from.
        outcome: `Run` -> {name: array}, what else to store of a run that has stopped, such as its weights.
        watch: {name: `Run` -> array}, what to store at the epochs of the sweep's `curves`, such as the accuracy on
            validation data. The run holds the weights after the epoch, `run.params`.

    Raises:
        ValueError: arguments that do not fit; while the trial is traced, an exception in a function of yours, which
            is the cause, or a result that cannot be stored or has the name of a variable of the sweep.
    """
    epochs = as_epochs("trial", epochs)
    batch_size = None if batch_size is None else as_count("trial", "batch_size", batch_size)
    stops = as_stops("trial", stops)
    params, data, validation = check_inputs("trial", rule, optimizer, params, data, validation, key)
    if outcome is not None:
        check_function("trial", "outcome", outcome)
    training = make_training(rule, optimizer, stops, batch_size, check_flag("trial", "shuffle", shuffle))
    functions = check_watch("trial", NOTHING if watch is None else watch)
    check_names("trial", "watch", functions)

    def epoch(run: Run):
        return training.epoch(run, data, validation)

    def stored(run: Run) -> dict[str, Array]:
        more = {} if outcome is None else outcome_of("trial", outcome, run)
        twice = functions.keys() & more
        if twice:
            raise ValueError(
                f"`trial` expected other names for `outcome` than for `watch`, got {sorted(twice)} in both."
            )
        return {"epochs": run.epoch, "error": run.error, "refused": run.refused, **more}

    start = training.init(key, params, jnp.asarray(epochs, jnp.int32))
    followed = {name: functools.partial(array_of, "trial", name, function) for name, function in functions.items()}
    failures = (*FAILURES, *(stop.reason for stop in stops if not stop.is_success))
    return Trial(start, Program(epoch, stored, training.reasons, followed, failures))
