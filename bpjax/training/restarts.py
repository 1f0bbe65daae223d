"""Beginning anew where a training did not get there, as the early papers did with nets stuck in a local minimum."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bpjax.training.run import Run, Training
from bpjax.types import Key
from bpjax.util.trees import select


def restart_unsolved(training: Training, start: Callable, run: Run, key: Key, epochs: int) -> tuple[Run, jax.Array]:
    """A run that has come to its epoch limit, or diverged, begins anew: (run, whether it did).

    Weights, optimizer and watches are fresh, `epochs` more are allowed, and the epochs spent stay counted: `run.epoch`
    goes on, as Fahlman (1988) counts restarts. Other runs stay as they are. Pure: it jits and vmaps over runs and keys.

        run, _ = run_to_end(advance, run)
        run, restarted = jax.vmap(lambda r, k: bp.training.restart_unsolved(training, start, r, k, 40))(run, keys)

    Args:
        training: the training the run belongs to.
        start: key -> fresh weights.
        run: a run that has stopped.
        key: for the weights and the shuffles.
        epochs: how many more it may take.
    """
    failures = jnp.array([reason in ("epoch limit", "diverged") for reason in training.reasons])
    failed = failures[run.reason]
    weights_key, run_key = jax.random.split(key)
    fresh = training.init(run_key, start(weights_key), epochs)
    fresh = fresh._replace(epoch=run.epoch, limit=run.epoch + fresh.limit)
    return select(failed, fresh, run), failed
