"""Every learning rule, ready to be run: one row adds a new one to all laws, to the ledger and to the experiment."""

from collections.abc import Callable
from typing import NamedTuple

from bpjax.rules.backprop import autodiff, backprop


class RuleCase(NamedTuple):
    """A rule, as a function of the network and the loss it serves."""

    make: Callable
    """(network, loss) -> Rule."""
    exact: bool = False
    """Whether its direction is the gradient, to rounding."""


RULES: dict[str, RuleCase] = {
    "backprop": RuleCase(backprop, exact=True),
    "autodiff": RuleCase(autodiff, exact=True),
}
