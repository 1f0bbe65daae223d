"""Restart a training that failed, as the early papers did with networks stuck in a local minimum."""

from typing import Protocol

import jax
import jax.numpy as jnp

from bpjax.training.inputs import as_epochs
from bpjax.training.run import Run, Training
from bpjax.types import Key, Params
from bpjax.util.checks import check_function, check_instance, check_key
from bpjax.util.trees import select


class Start(Protocol):
    """Draws initial weights."""

    def __call__(self, key: Key, /) -> Params:
        """The weights, in the structure of the network's params."""
        ...


def restart_unsolved(training: Training, start: Start, run: Run, key: Key, epochs: int) -> tuple[Run, jax.Array]:
    """Restart a run that has reached its epoch limit or diverged: (run, whether it was restarted).

    Weights, optimizer state and watches are new. `run.epoch` continues to count, as Fahlman (1988) counts epochs over
    restarts. A run that stopped for another reason is returned unchanged. The function is pure: jit it, and vmap it
    over runs and keys.

        run, _ = run_to_end(advance, run)
        run, restarted = jax.vmap(lambda r, k: bp.training.restart_unsolved(training, start, r, k, 40))(run, keys)

    Args:
        training: the training that the run belongs to.
        start: draws new initial weights from a key.
        run: a run that has stopped.
        key: for the weights and the shuffles.
        epochs: how many more epochs the restarted run may take.

    Raises:
        ValueError: an argument of another kind.
    """
    check_instance("restart_unsolved", "training", training, Training, "bp.training.make_training(rule, optimizer)")
    check_function("restart_unsolved", "start", start)
    check_instance("restart_unsolved", "run", run, Run, "training.init(key, params, epochs)")
    check_key("restart_unsolved", "key", key)
    epochs = as_epochs("restart_unsolved", epochs)
    failures = jnp.array([reason in ("epoch limit", "diverged") for reason in training.reasons])
    failed = failures[run.reason]
    weights_key, run_key = jax.random.split(key)
    fresh = training.init(run_key, start(weights_key), epochs)
    fresh = fresh._replace(epoch=run.epoch, limit=run.epoch + fresh.limit)
    return select(failed, fresh, run), failed
