"""A training that has not begun: what `fit` would do, as pure functions that a sweep can run by the thousand."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from bpjax.rules.rule import Rule, check_batch
from bpjax.training.run import Run, make_training
from bpjax.training.stops import Stop, check_validation
from bpjax.types import Array, Batch, Key, Params
from bpjax.util.checks import check_count


class Trial(NamedTuple):
    """One run of a sweep. `bp.trial` makes it of a training; make your own for any process that goes step by step."""

    run: Any
    """Where it begins: a pytree of arrays with scalar fields `epoch`, passes made, and `reason`, 0 while it goes on."""
    epoch: Callable
    """run -> (run, record) after one epoch, `record.error` () for the curves; a run with a reason stays as it is."""
    reasons: tuple[str, ...]
    """What `run.reason` means: "running" first; "diverged" and "epoch limit" are no success, every other one is."""
    outcome: Callable
    """run -> {name: array}, what is kept of a run that is over."""


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
    outcome: Callable[[Run], dict[str, Array]] | None = None,
) -> Trial:
    """The training that `bp.fit` would make of these arguments, to be handed to `bp.sweep`.

        def xor(key, learning_rate, momentum):
            params, _ = network.init(key, (2,))
            return bp.trial(rule, bp.momentum(learning_rate, momentum), params, batch, key=key, epochs=2000)

    Args:
        rule: as in `fit`, and so are the others that are not named here.
        optimizer: may close over traced hyperparameters.
        params: where to begin.
        data: examples (N, ...) and targets.
        key: for the shuffles, and for rules that draw numbers.
        epochs: the limit; may be traced.
        batch_size: examples between two changes of the weights; None for all.
        shuffle: a new order each epoch, where there are batches.
        stops: reasons to stop early; `bp.training.diverged` is always among them.
        validation: examples and targets that are measured and not learnt from.
        outcome: `Run` -> {name: array}, more to be kept of a run that is over, such as its weights.

    Raises:
        ValueError: data, params, counts or stops that do not fit.
    """
    stops = (stops,) if isinstance(stops, Stop) else tuple(stops)
    if isinstance(epochs, int):
        check_count("trial", "epochs", epochs)
    if batch_size is not None:
        check_count("trial", "batch_size", batch_size)
    check_validation("trial", stops, validation)
    data = check_batch("trial", rule, params, data)
    validation = None if validation is None else check_batch("trial", rule, params, validation)
    training = make_training(rule, optimizer, stops, batch_size, shuffle)

    def kept(run: Run) -> dict[str, Array]:
        more = {} if outcome is None else outcome(run)
        return {"epochs": run.epoch, "error": run.error, "refused": run.refused, **more}

    start = training.init(key, params, jnp.asarray(epochs, jnp.int32))
    return Trial(start, lambda run: training.epoch(run, data, validation), training.reasons, kept)
