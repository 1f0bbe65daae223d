"""A training run as pure functions: start it, advance it by an epoch or a chunk of epochs, stop it.

`bp.fit` compiles these functions for one run, `bp.sweep` for many runs side by side.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.optimizers.hyperparameters import hyperparameter
from bpjax.optimizers.transformation import static_part
from bpjax.optimizers.undo import undone
from bpjax.rules.rule import Rule
from bpjax.training.conditions import as_stops
from bpjax.training.epoch import Epoch, error_of
from bpjax.training.inputs import as_count, check_optimizer, check_rule
from bpjax.training.step import TrainState, make_presentation
from bpjax.training.stops import Stop, start_watches
from bpjax.types import Array, Batch, Key, Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_flag, check_function, check_instance, is_concrete
from bpjax.util.trees import select


class Run(NamedTuple):
    """A training in progress: a pytree of arrays, so that many runs are one `Run` with a leading axis."""

    state: TrainState
    key: Key  # () root of the shuffles: epoch e uses fold_in(key, e)
    epoch: Array  # () int32, epochs done
    limit: Array  # () int32, the most epochs allowed
    reason: Array  # () int32, index into `Training.reasons`; 0 while the run continues
    error: Array  # () of the last epoch; NaN before the first
    refused: Array  # () int32, steps refused so far
    watches: tuple  # the state of each stop

    @property
    def params(self) -> Params:
        """The weights."""
        return self.state.params

    def __repr__(self) -> str:
        """One line; a run that is traced, or one of many, has no values to show."""
        if not is_concrete(self.epoch) or np.ndim(self.epoch):
            return f"Run(epoch={shown(self.epoch)})"
        return f"Run(epoch {self.epoch} of {self.limit}, reason {self.reason}, error={float(self.error):.4g})"


class History(NamedTuple):
    """Curves with one entry per epoch, NaN after the run has stopped. NumPy arrays where a host loop collected them."""

    error: Array | np.ndarray
    gradient_norm: Array | np.ndarray
    validation_error: Array | np.ndarray  # NaN without validation data
    refused: Array | np.ndarray  # steps not taken (gradient not finite) or taken back by the optimizer
    learning_rate: Array | np.ndarray | None  # of the epoch's last step; the mean if every weight has its own rate
    momentum: Array | np.ndarray | None  # None, like learning_rate, where the optimizer's state does not hold it
    watched: dict[str, Any] | None = None
    """What `fit` was to watch: {name: array (K, ...)}, the value after each of the epochs `watched_at`."""
    watched_at: np.ndarray | None = None  # (K,) epochs, from 1

    def __repr__(self) -> str:
        curves = [name for name in self._fields[:6] if getattr(self, name) is not None]
        watched = [f"watched[{name!r}]" for name in self.watched or ()]
        return f"History({', '.join([*curves, *watched])}; {np.shape(self.error)[-1:][0]} epochs)"


class StartRun(Protocol):
    """Starts a run."""

    def __call__(self, key: Key, params: Params, epochs: int | Array) -> Run:
        """The run at epoch 0, which may take `epochs`."""
        ...


class AdvanceRun(Protocol):
    """Advances a run by some epochs."""

    def __call__(self, run: Run, data: Batch, validation: Batch | None = None) -> tuple[Run, History]:
        """The run some epochs later, with the curves of these epochs; a stopped run is returned unchanged."""
        ...


class HostAdvance(Protocol):
    """`AdvanceRun` with the data bound, usually compiled."""

    def __call__(self, run: Run, /) -> tuple[Run, History]:
        """The run some epochs later, with the curves of these epochs."""
        ...


class OnChunk(Protocol):
    """Called by the host loop after each chunk of epochs."""

    def __call__(self, run: Run, /) -> None:
        """Report progress, for example: `run.epoch` of `run.limit` epochs are done."""
        ...


class Training(NamedTuple):
    """A training as pure functions: `fit` jits them, a sweep runs many of them side by side."""

    reasons: tuple[str, ...]  # what `Run.reason` means; the first is "running", the last "epoch limit"
    init: StartRun
    epoch: AdvanceRun  # by one epoch: the curves are scalars
    advance: AdvanceRun  # by a chunk of epochs: the curves have a leading axis (chunk,)

    def __repr__(self) -> str:
        return f"Training(reasons={self.reasons})"


def make_training(
    rule: Rule,
    optimizer: optax.GradientTransformation,
    stops: tuple[Stop, ...] = (),
    batch_size: int | None = None,
    shuffle: bool = True,
    chunk: int = 100,
) -> Training:
    """Bind what is static in a training. `optimizer` may close over traced hyperparameters.

    In full batch the error of an epoch is that of the weights before its step, and a run that stops keeps those
    weights. With smaller batches the error is the sum over the batches, measured while the weights change, and a run
    that stops keeps the weights after the epoch. A diverged run keeps the weights from before the epoch. The first of
    `stops` that fires is the reason. A step that the optimizer has just taken back stops nothing.

    Args:
        rule: gives the gradient.
        optimizer: turns it into new weights.
        stops: reasons to stop early; `bp.training.diverged` is added if it is missing.
        batch_size: examples per step; None for all, 1 for on-line learning.
        shuffle: a new order of the examples each epoch, where there are batches.
        chunk: epochs that `Training.advance` runs.

    Raises:
        ValueError: an argument of another kind, or a `time_limit`, which `fit` alone can measure.
    """
    check_rule("make_training", rule)
    check_optimizer("make_training", optimizer)
    stops = as_stops("make_training", stops)
    batch_size = None if batch_size is None else as_count("make_training", "batch_size", batch_size)
    shuffle, chunk = check_flag("make_training", "shuffle", shuffle), as_count("make_training", "chunk", chunk)
    reasons = ("running", *(stop.reason for stop in stops), "epoch limit")
    present = make_presentation(rule, static_part(optimizer), batch_size, shuffle)

    def init(key, params, epochs) -> Run:
        shuffle_key, rule_key = jax.random.split(key)
        state = TrainState(params, optimizer.init(params), rule.init(rule_key, params))
        zero = jnp.zeros((), jnp.int32)
        limit = jnp.asarray(epochs, jnp.int32)
        error = jnp.full((), jnp.nan, jnp.result_type(float))
        return Run(state, shuffle_key, zero, limit, zero, error, zero, start_watches(stops))

    def epoch(run, data, validation=None):
        new, metrics = present(run.state, jax.random.fold_in(run.key, run.epoch), data)
        full_batch = batch_size is None or batch_size >= data[1].shape[0]
        measured = run.state if full_batch else new
        params, value = measured.params, metrics.value
        validation_error = None if validation is None else error_of(rule, params, validation)
        facts = Epoch(run.epoch + 1, value, metrics.gradient_norm, params, data, rule, validation, validation_error)
        watches, reason, keeps_old = _check_stops(stops, run, facts, ~undone(new.optimizer), full_batch)
        after = run._replace(
            state=select(keeps_old, run.state, new),
            epoch=facts.epoch,
            reason=reason,
            error=facts.error.astype(run.error.dtype),
            refused=run.refused + metrics.refused.astype(jnp.int32),
            watches=watches,
        )
        history = History(
            facts.error,
            facts.gradient_norm,
            unknown(value) if validation_error is None else validation_error,
            metrics.refused.astype(facts.error.dtype),
            hyperparameter(new.optimizer, "learning_rate"),
            hyperparameter(new.optimizer, "momentum"),
        )
        running = run.reason == 0
        return select(running, after, run), jax.tree.map(lambda a: jnp.where(running, a, jnp.nan), history)

    def advance(run, data, validation=None):
        return jax.lax.scan(lambda r, _: epoch(r, data, validation), run, None, length=chunk)

    return Training(reasons, init, epoch, advance)


def _check_stops(stops, run: Run, facts: Epoch, accepted: Array, full_batch: bool) -> tuple[tuple, Array, Array]:
    """(watches, reason, whether the weights from before the epoch are kept) after an epoch."""
    checks = [stop.check(watch, facts) for stop, watch in zip(stops, run.watches, strict=True)]
    reason = jnp.where(facts.epoch >= run.limit, len(stops) + 1, 0).astype(jnp.int32)
    keeps_old = jnp.zeros((), bool)
    for index, (stop, (_, fires)) in reversed([*enumerate(zip(stops, checks, strict=True), start=1)]):
        fires = fires & accepted
        reason = jnp.where(fires, jnp.int32(index), reason)  # backwards, so that the first that fires wins
        keeps_old = jnp.where(fires, stop.keeps_old or full_batch, keeps_old)
    return tuple(watch for watch, _ in checks), reason, keeps_old


def unknown(like: Array) -> Array:
    """NaN () in the dtype of `like`."""
    return jnp.full((), jnp.nan, like.dtype)


def run_to_end(advance: HostAdvance, run: Run, on_chunk: OnChunk | None = None) -> tuple[Run, History]:
    """The host loop: call `advance` until every run has stopped.

    Args:
        advance: run -> (run, history), usually compiled.
        run: one run, or many with a leading axis, as `jax.vmap` makes them.
        on_chunk: called with the run after each call of `advance`.

    Returns:
        The run, and its curves as NumPy arrays whose last axis is the epochs, cut where the last run stopped.

    Raises:
        ValueError: `advance` is no function, or no run goes on.
    """
    check_function("run_to_end", "advance", advance)
    if on_chunk is not None:
        check_function("run_to_end", "on_chunk", on_chunk)
    check_instance("run_to_end", "run", run, Run, "training.init(key, params, epochs)")
    if np.asarray(run.reason).all():
        raise ValueError("`run_to_end` expected a run that goes on, got one that has stopped. Start another.")
    curves = []
    while not np.asarray(run.reason).all():
        run, history = advance(run)
        curves.append(jax.device_get(history))
        if on_chunk is not None:
            on_chunk(run)
    last = int(np.max(run.epoch))
    return run, jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1)[..., :last], *curves)
