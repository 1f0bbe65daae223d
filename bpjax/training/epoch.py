"""What is known of a run after an epoch: what the reasons to stop read."""

import dataclasses

import jax.numpy as jnp

from bpjax.rules.rule import Rule
from bpjax.types import Array, Batch, Params
from bpjax.util.targets import rows_of


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Epoch:
    """A run after an epoch, as a stop reads it. What no stop reads is not computed.

    With all examples in one batch `params` are the weights before the epoch's step, at which `error` and
    `gradient_norm` were measured; a run that stops keeps them. With smaller batches they are the weights after the
    epoch.
    """

    epoch: Array  # () int32, epochs done, including this one
    error: Array  # () of the epoch: a sum or a mean over examples, as the loss has it
    gradient_norm: Array  # () Euclidean, over all parameters; the mean over the epoch's batches
    params: Params
    data: Batch  # (x, target)
    rule: Rule
    validation: Batch | None = None  # (x, target), if the training has them
    measured: Array | None = None  # () the error on them

    @property
    def worst_output(self) -> Array:
        """Largest |t − o| () over the examples and outputs of `data`; costs a forward pass."""
        return worst_output(self.rule, self.params, self.data)

    @property
    def validation_error(self) -> Array:
        """The error () on the validation data."""
        if self.measured is None:
            raise ValueError(
                "A stop that reads the validation error, such as `no_improvement`, expected validation data, got none: "
                "give `validation=(x, target)`."
            )
        return self.measured

    def __repr__(self) -> str:
        return "Epoch(epoch, error, gradient_norm, params, data, validation, validation_error, worst_output)"


def worst_output(rule: Rule, params: Params, data: Batch) -> Array:
    """Largest |t − o| over examples and outputs; labels are compared as one-hot rows."""
    x, target = data
    output = output_of(rule, params, x)
    return jnp.max(jnp.abs(rows_of(target, output) - output))


def error_of(rule: Rule, params: Params, data: Batch) -> Array:
    """The rule's loss on `data`, without a change of the weights."""
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
