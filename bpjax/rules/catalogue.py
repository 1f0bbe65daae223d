"""Every learning rule, ready to be run: one row adds a new one to all laws, to the ledger and to the experiment."""

from collections.abc import Callable
from typing import NamedTuple

from bpjax.layers.activations import tanh
from bpjax.layers.combinators import chain
from bpjax.layers.dense import dense
from bpjax.layers.layer import Layer
from bpjax.losses import Loss, squared_error
from bpjax.rules.backprop import autodiff, backprop
from bpjax.types import Shape


class RuleCase(NamedTuple):
    """A rule, as a function of the network and the loss it serves."""

    make: Callable
    """(network, loss) -> Rule, or (network, loss, number) -> Rule where there is a `number`."""
    exact: bool = False
    """Whether its direction is the gradient, to rounding."""
    number: float | None = None
    """A value of the hyperparameter a user would sweep first; `make` takes it as third argument, traced too."""
    network: Layer = chain(dense(4), tanh, dense(2))
    """A small one that suits the rule, for the laws."""
    in_shape: Shape = (3,)
    """Of the network, without the batch axis."""
    loss: Loss = squared_error
    """One that suits the rule; the laws hand it one-hot targets of the output's shape."""


RULES: dict[str, RuleCase] = {
    "backprop": RuleCase(backprop, exact=True),
    "autodiff": RuleCase(autodiff, exact=True),
}
