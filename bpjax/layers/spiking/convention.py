"""What libraries do differently with the same equation of a spiking neuron: the reset, the order, the derivative.

y is the spike, u the potential, I the synaptic current, θ the threshold, β the leak. In one time step:

    reset                    u′ =                  a neuron that fires at u = 1.0038, β = 0.8, I = 0.21, θ = 1 has u′ =
    "zero_after_leak"        (β u + I) (1 − y)     0          the input of this step is lost
    "zero_before_leak"       β u (1 − y) + I       0.21
    "subtract_after_leak"    β u + I − θ y         0.0130
    "subtract_before_leak"   β (u − θ y) + I       0.2130
    "none"                   β u + I               1.0130

    order                        which spikes an input spike of this step can change
    "spike-potential-current"    those from two steps later on: the spike is computed first, then the potential
                                 from the old current
    "spike-current-potential"    those from the next step on
    "current-potential-spike"    those of this step
"""

from typing import NamedTuple

from bpjax.util.call_text import shown
from bpjax.util.checks import check_choice, check_flag

RESETS = ("zero_after_leak", "zero_before_leak", "subtract_after_leak", "subtract_before_leak", "none")
ORDERS = ("spike-potential-current", "spike-current-potential", "current-potential-spike")


class Convention(NamedTuple):
    """How a neuron is reset, and in which order its variables are updated."""

    reset: str = "zero_after_leak"
    """One of `RESETS`."""
    order: str = "spike-potential-current"
    """One of `ORDERS`."""
    differentiate_reset: bool = False
    """Whether errors travel back through the y of the reset; if not, that y is treated as a constant."""
    reset_by_adapted: bool = False
    """Whether a reset by subtraction subtracts θ + κ a, the adapted threshold, or θ; they differ with adaptation
    only."""


CONVENTIONS = {
    "spytorch": Convention(),
    "snntorch": Convention("subtract_after_leak", "current-potential-spike"),
    "snntorch zero": Convention("zero_before_leak", "current-potential-spike"),
    "spikingjelly": Convention("zero_before_leak", "current-potential-spike", differentiate_reset=True),
    "spikingjelly soft": Convention("subtract_before_leak", "current-potential-spike", differentiate_reset=True),
    "spyx": Convention("subtract_after_leak", "spike-current-potential", True, True),
    "bellec": Convention("subtract_after_leak", "current-potential-spike"),
}
"""What libraries and papers use, by name. "snntorch zero" is the reset "zero" of snnTorch's `Leaky`; its `Synaptic`
with the same word has "zero_after_leak"."""


def as_convention(who: str, convention) -> Convention:
    """A `Convention` from its name or itself, or a `ValueError`."""
    if isinstance(convention, str):
        check_choice(who, "convention", convention, CONVENTIONS)
        return CONVENTIONS[convention]
    if not isinstance(convention, Convention):
        raise ValueError(
            f"`{who}` expected `convention` to be a Convention or one of {', '.join(CONVENTIONS)}, got "
            f"{shown(convention)}. Make one: `bp.layers.Convention(reset='subtract_after_leak')`."
        )
    check_choice(who, "convention.reset", convention.reset, RESETS)
    check_choice(who, "convention.order", convention.order, ORDERS)
    check_flag(who, "convention.differentiate_reset", convention.differentiate_reset)
    check_flag(who, "convention.reset_by_adapted", convention.reset_by_adapted)
    return convention
