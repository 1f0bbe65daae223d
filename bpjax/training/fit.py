"""Again and again, until the error is small: training as one compiled program per chunk of epochs."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.losses import rows_of
from bpjax.optimizers.hyperparameters import hyperparameter
from bpjax.optimizers.undo import take_step, undone
from bpjax.rules.rule import Rule, check_batch
from bpjax.training.stops import Epoch, Stop, check_validation, start_watches, watching_divergence
from bpjax.types import Array, Batch, Key, Params
from bpjax.util.checks import check_count
from bpjax.util.trees import norm, select, take


class TrainState(NamedTuple):
    """All that changes from step to step: three pytrees that never touch each other."""

    params: Params
    optimizer: optax.OptState
    rule: object


class Metrics(NamedTuple):
    """What a step tells of the weights it began with."""

    value: Array  # () error of the batch
    gradient_norm: Array  # () Euclidean norm over all parameters
    refused: Array  # () steps not taken, the gradient not being finite, or taken back by their rule


def make_train_step(rule: Rule, optimizer: optax.GradientTransformation) -> Callable:
    """(state, batch) -> (state, metrics), pure: it scans, jits and vmaps. Binds the static parts.

    The optimizer is handed the error as `value=`, and may take its last step back; see `bpjax.optimizers.undo`.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        value, grads, rule_state = rule.grads(state.params, state.rule, batch)
        params, opt_state, refused = take_step(optimizer, grads, state.optimizer, state.params, value)
        return TrainState(params, opt_state, rule_state), Metrics(value, norm(grads), refused.astype(jnp.int32))

    return train_step


def make_presentation(
    rule: Rule, optimizer: optax.GradientTransformation, batch_size: int | None, shuffle: bool
) -> Callable:
    """(state, key, data) -> (state, metrics) of one epoch: every example is presented once.

    All at once (`batch_size=None`), in minibatches, or one at a time (1, on-line); in the order `key` gives, if
    `shuffle`. Where `batch_size` does not divide the number of examples the last batch is smaller.
    """
    train_step = make_train_step(rule, optimizer)
    is_mean = rule.loss is not None and rule.loss.reduction == "mean"

    def present(state: TrainState, key: Key, data: Batch):
        examples = data[1].shape[0]
        size = min(batch_size or examples, examples)
        if size == examples:
            return train_step(state, data)
        order = jax.random.permutation(key, examples) if shuffle else jnp.arange(examples)
        count, rest = divmod(examples, size)
        whole = order[: count * size].reshape(count, size)
        state, metrics = jax.lax.scan(lambda s, rows: train_step(s, take(data, rows)), state, whole)
        sizes = np.array([size] * count + [rest] * bool(rest))
        if rest:
            state, last = train_step(state, take(data, order[count * size :]))
            metrics = jax.tree.map(jnp.append, metrics, last)
        shares = sizes / examples if is_mean else np.ones(len(sizes))
        error = jnp.sum(metrics.value * jnp.asarray(shares, metrics.value.dtype))
        return state, Metrics(error, jnp.mean(metrics.gradient_norm), jnp.sum(metrics.refused))

    return present


class Run(NamedTuple):
    """A training under way: a pytree of arrays, so that many of them are one with a leading axis."""

    state: TrainState
    key: Key  # () root of the shuffles: epoch e uses fold_in(key, e)
    epoch: Array  # () int32, passes made
    limit: Array  # () int32, passes at most
    reason: Array  # () int32, index into `Training.reasons`; 0 while it goes on
    error: Array  # () of the last epoch; NaN before the first
    refused: Array  # () int32, steps refused so far
    watches: tuple  # state of each stop


class History(NamedTuple):
    """Curves, one entry for each epoch; NaN after the run has stopped. NumPy arrays where a host loop gathered them."""

    error: Array | np.ndarray
    gradient_norm: Array | np.ndarray
    validation_error: Array | np.ndarray  # NaN without validation data
    refused: Array | np.ndarray  # steps not taken (the gradient was not finite), or taken back by their rule
    learning_rate: Array | np.ndarray | None  # of the epoch's last step, a mean where every weight has its own
    momentum: Array | np.ndarray | None  # None, as the rate, where the optimizer's state does not hold it


class Training(NamedTuple):
    """A training as pure functions: `fit` jits them, a sweep runs many of them side by side."""

    reasons: tuple[str, ...]
    init: Callable
    """(key, params, epochs) -> Run."""
    epoch: Callable
    """(run, data, validation | None) -> (Run, History of one epoch); a run that stopped stays as it is."""
    advance: Callable
    """(run, data, validation | None) -> (Run, History) after a chunk of epochs."""


def make_training(
    rule: Rule,
    optimizer: optax.GradientTransformation,
    stops: tuple[Stop, ...] = (),
    batch_size: int | None = None,
    shuffle: bool = True,
    chunk: int = 100,
) -> Training:
    """Bind the static parts of a training; `optimizer` may close over traced hyperparameters.

    `batch_size` and `shuffle` say how the examples are presented, see `make_presentation`.

    In full batch the error of an epoch is that of the weights it began with, and a run that stops keeps those
    weights. With smaller batches it is put together from the batches as they came, while the weights changed, and
    a run that stops keeps the weights after the epoch. One that diverged keeps those from before it. The first
    of `stops` that holds is the reason; divergence is watched for always. Weights that an optimizer has just taken back
    stop nothing.
    """
    stops = watching_divergence(stops)
    needs = {stop.needs for stop in stops}
    reasons = ("running", *(stop.reason for stop in stops), "epoch limit")
    present = make_presentation(rule, optimizer, batch_size, shuffle)

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
        facts = Epoch(
            run.epoch + 1,
            metrics.value,
            metrics.gradient_norm,
            worst_output(rule, measured.params, data) if "worst_output" in needs else unknown(metrics.value),
            unknown(metrics.value) if validation is None else error_of(rule, measured.params, validation),
        )
        checks = [stop.check(watch, facts) for stop, watch in zip(stops, run.watches, strict=True)]
        kept = ~undone(new.optimizer)
        reason = jnp.where(facts.number >= run.limit, len(reasons) - 1, 0).astype(jnp.int32)
        keeps_old = jnp.zeros((), bool)
        for index, (stop, (_, fires)) in reversed([*enumerate(zip(stops, checks, strict=True), start=1)]):
            fires = fires & kept
            reason = jnp.where(fires, jnp.int32(index), reason)  # the first that fires has the last word
            keeps_old = jnp.where(fires, stop.keeps_old or full_batch, keeps_old)
        after = run._replace(
            state=select(keeps_old, run.state, new),
            epoch=facts.number,
            reason=reason,
            error=facts.error.astype(run.error.dtype),
            refused=run.refused + metrics.refused.astype(jnp.int32),
            watches=tuple(watch for watch, _ in checks),
        )
        history = History(
            facts.error,
            facts.gradient_norm,
            facts.validation_error,
            metrics.refused.astype(facts.error.dtype),
            hyperparameter(new.optimizer, "learning_rate"),
            hyperparameter(new.optimizer, "momentum"),
        )
        running = run.reason == 0
        return select(running, after, run), jax.tree.map(lambda a: jnp.where(running, a, jnp.nan), history)

    def advance(run, data, validation=None):
        return jax.lax.scan(lambda r, _: epoch(r, data, validation), run, None, length=chunk)

    return Training(reasons, init, epoch, advance)


def unknown(like: Array) -> Array:
    """NaN in the dtype of `like`."""
    return jnp.full((), jnp.nan, like.dtype)


def worst_output(rule: Rule, params: Params, data: Batch) -> Array:
    """Largest |t − o| over examples and outputs; labels are compared as one-hot rows."""
    x, target = data
    output = output_of(rule, params, x)
    return jnp.max(jnp.abs(rows_of(target, output) - output))


def error_of(rule: Rule, params: Params, data: Batch) -> Array:
    """The rule's loss on `data`, without learning from it."""
    if rule.loss is None:
        raise ValueError(
            f"A rule that knows its loss was expected, `{rule.name}` does not: give `Rule(..., loss=...)`."
        )
    return rule.loss.value(output_of(rule, params, data[0]), data[1])


def output_of(rule: Rule, params: Params, x) -> Array:
    """The output of the rule's network."""
    if rule.network is None:
        raise ValueError(
            f"A rule that knows its network was expected, `{rule.name}` does not: give `Rule(..., network=...)`."
        )
    return rule.network.forward(params, x)[0]


class Fit(NamedTuple):
    """How a training ended."""

    params: Params
    reason: str  # "every output right", "diverged", "epoch limit", ...
    epochs: int  # passes made, the one on which it stopped included
    history: History  # each curve a NumPy array (epochs,)
    state: TrainState  # with the optimizer's and the rule's state


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
    stops: tuple[Stop, ...] | Stop = (),
    validation: Batch | None = None,
    chunk: int = 100,
    on_chunk: Callable[[Run], None] | None = None,
) -> Fit:
    """Train until a stop holds or the epochs are over.

    One compiled program runs `chunk` epochs; between two of them the host looks whether the run has stopped and
    calls `on_chunk`, for progress bars and the like (`run.epoch` of `run.limit` are done). The same rule, optimizer,
    stops and shapes compile once; bpjax's own optimizers, with other numbers too.

    Args:
        rule: any rule: `bp.backprop(network, loss)`, `bp.autodiff(...)`, your own.
        optimizer: any optax transformation; `optax.inject_hyperparams` makes its rates data, which change freely.
        params: where to begin, from `network.init`.
        data: examples (N, ...) and targets.
        key: for the shuffles, and for rules that draw numbers.
        epochs: the limit.
        batch_size: examples between two changes of the weights; None for all, 1 for on-line learning.
        shuffle: a new order each epoch, where there are batches.
        stops: reasons to stop early: `bp.error_below`, `bp.outputs_within`, `bp.training.gradient_below`,
            `bp.training.no_improvement` (with `validation`), `bp.training.diverged`.
        validation: examples and targets that are measured after each epoch and not learnt from.
        chunk: epochs to a compiled program.
        on_chunk: called with the `Run` after each.

    Raises:
        ValueError: data, params, counts or stops that do not fit; said before anything is compiled.
    """
    for name, count in (("epochs", epochs), ("chunk", chunk), ("batch_size", 1 if batch_size is None else batch_size)):
        check_count("fit", name, count)
    stops = watching_divergence((stops,) if isinstance(stops, Stop) else tuple(stops))
    check_validation("fit", stops, validation)
    data = check_batch("fit", rule, params, data)
    validation = None if validation is None else check_batch("fit", rule, params, validation)

    chunks = math.ceil(epochs / chunk)
    kinds = tuple(stop._replace(watch=()) for stop in stops)
    start = make_training(rule, optimizer, stops).init
    run = start(key, jax.tree.map(jnp.asarray, params), epochs)
    update = optimizer._replace(init=None)  # type: ignore[arg-type]
    advance, reasons = _compiled(rule, update, kinds, batch_size, shuffle, math.ceil(epochs / chunks))
    run, history = run_to_end(lambda run: advance(run, data, validation), run, on_chunk)
    return Fit(run.state.params, reasons[int(run.reason)], int(run.epoch), history, run.state)


def run_to_end(advance: Callable, run: Run, on_chunk: Callable[[Run], None] | None = None) -> tuple[Run, History]:
    """The host loop: `advance`, run -> (run, history), again and again until every run has stopped.

    `run` is one training or many with a leading axis, as `jax.vmap` makes them. The curves come back as NumPy
    arrays whose last axis is the epochs, cut where the last run stopped.
    """
    curves = []
    while not np.asarray(run.reason).all():
        run, history = advance(run)
        curves.append(jax.device_get(history))
        if on_chunk is not None:
            on_chunk(run)
    last = int(np.max(run.epoch))
    return run, jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1)[..., :last], *curves)


@functools.lru_cache(maxsize=32)
def _compiled(rule, update, stops, batch_size, shuffle, chunk):
    """A training's loop, kept so that fitting again, with other thresholds and other rates too, compiles nothing."""
    training = make_training(rule, update, stops, batch_size, shuffle, chunk)
    return jax.jit(training.advance), training.reasons
