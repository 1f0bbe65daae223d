"""One training step, and one epoch of steps: the gradient of a batch becomes new weights."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.losses.loss import is_mean
from bpjax.optimizers.undo import take_step
from bpjax.rules.rule import Rule
from bpjax.training.inputs import check_optimizer, check_rule
from bpjax.types import Array, Batch, Key, Params, RuleState
from bpjax.util.trees import norm, take


class TrainState(NamedTuple):
    """Everything that changes from step to step: three separate pytrees."""

    params: Params
    optimizer: optax.OptState
    rule: RuleState

    def __repr__(self) -> str:
        entries = sum(np.size(leaf) for leaf in jax.tree.leaves(self.params))
        return f"TrainState({entries} params, {type(self.optimizer).__name__})"


class Metrics(NamedTuple):
    """Measurements of a step, taken at the weights before the step."""

    value: Array  # () error of the batch
    gradient_norm: Array  # () Euclidean norm over all parameters
    refused: Array  # () int32: steps not taken (gradient not finite) or taken back by the optimizer


class TrainStep(Protocol):
    """One change of the weights."""

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The state after the change, and the metrics before it."""
        ...


class Presentation(Protocol):
    """One epoch."""

    def __call__(self, state: TrainState, key: Key, data: Batch) -> tuple[TrainState, Metrics]:
        """The state after every example of `data` has been presented once; `key` gives the order."""
        ...


def make_train_step(rule: Rule, optimizer: optax.GradientTransformation) -> TrainStep:
    """(state, batch) -> (state, metrics), a pure function to scan, jit and vmap.

    The optimizer receives the error as `value=`, and may take its last step back; see `bpjax.optimizers.undo`.

    Raises:
        ValueError: `rule` is no `Rule`, or `optimizer` no optax transformation.
    """
    check_rule("make_train_step", rule)
    check_optimizer("make_train_step", optimizer)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        value, grads, rule_state = rule.grads(state.params, state.rule, batch)
        params, opt_state, refused = take_step(optimizer, grads, state.optimizer, state.params, value)
        return TrainState(params, opt_state, rule_state), Metrics(value, norm(grads), refused.astype(jnp.int32))

    return train_step


def make_presentation(
    rule: Rule, optimizer: optax.GradientTransformation, batch_size: int | None, shuffle: bool
) -> Presentation:
    """(state, key, data) -> (state, metrics) of one epoch.

    The metrics of the epoch are: the error summed over the batches (for a mean loss, averaged with each batch weighted
    by its number of examples), the mean gradient norm, the number of refused steps.

    Args:
        rule: gives the gradient.
        optimizer: turns it into new weights.
        batch_size: examples per step; None for all, 1 for on-line learning. Where it does not divide the number of
            examples the last batch is smaller.
        shuffle: whether `key` gives the order of the examples; otherwise they come in the order of `data`.
    """
    train_step = make_train_step(rule, optimizer)
    averaged = rule.loss is not None and is_mean(rule.loss)

    def present(state: TrainState, key: Key, data: Batch) -> tuple[TrainState, Metrics]:
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
        shares = sizes / examples if averaged else np.ones(len(sizes))
        error = jnp.sum(metrics.value * jnp.asarray(shares, metrics.value.dtype))
        return state, Metrics(error, jnp.mean(metrics.gradient_norm), jnp.sum(metrics.refused))

    return present
