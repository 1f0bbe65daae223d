"""Train one network until a stop fires or the epochs are over."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bpjax.optimizers.transformation import static_part
from bpjax.rules.rule import Rule, check_batch
from bpjax.training.run import History, OnChunk, make_training, run_to_end
from bpjax.training.step import TrainState
from bpjax.training.stops import Stop, check_validation, watching_divergence
from bpjax.types import Batch, Key, Params
from bpjax.util.checks import check_count


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
    stops: tuple[Stop, ...] | Stop = (),
    validation: Batch | None = None,
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
            `bp.training.no_improvement` (with `validation`), `bp.training.diverged`.
        validation: examples and targets that are measured after each epoch and not learnt from.
        chunk: epochs per call of the compiled program.
        on_chunk: called with the `Run` after each chunk.

    Raises:
        ValueError: data, params, counts or stops that do not fit; raised before anything is compiled.
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
    advance, reasons = _compiled(rule, static_part(optimizer), kinds, batch_size, shuffle, math.ceil(epochs / chunks))
    run, history = run_to_end(lambda run: advance(run, data, validation), run, on_chunk)
    return Fit(run.state.params, reasons[int(run.reason)], int(run.epoch), history, run.state)


@functools.lru_cache(maxsize=32)
def _compiled(rule, update, stops, batch_size, shuffle, chunk):
    """The compiled chunk of a training, cached: other thresholds and hyperparameters do not recompile."""
    training = make_training(rule, update, stops, batch_size, shuffle, chunk)
    return jax.jit(training.advance), training.reasons
