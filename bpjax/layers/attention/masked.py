"""A network whose input comes with a mask: which positions of a sequence are real."""

from typing import Literal

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer, no_gradient
from bpjax.util.checks import check_choice


def masked(network: Layer, takes: Literal["mask", "memory_mask"] = "mask") -> Layer:
    """A network that is given (x, mask), and hands the mask to every attention in it.

    forward    y = f(x; mask)
    backward   dx = (∂f/∂x)ᵀ dy           a mask has no gradient

    The mask (N, T) is true where a position of x is real: the others, the padding of shorter sequences, are not seen.
    What goes out at the padding is of no meaning; leave it out of the loss. Within chains, residual and repeated
    blocks every layer that takes a "mask" gets the same. `takes="memory_mask"` hands it to every `cross_attention`
    instead. `init` is the network's own, given the shape of x alone. Kept: what the network keeps, and the mask.

    Raises:
        ValueError: `network` is not a Layer or nothing in it takes such a mask; in `forward`, what comes in is not a
            pair, or the mask is not of booleans (N, T).
    """
    check_layer("masked", network)
    check_choice("masked", "takes", takes, ("mask", "memory_mask"))
    if takes not in network.uses:
        raise ValueError(
            f"`masked` expected a network with a layer that takes a {takes!r}, got {network.name} without one. "
            "Use the network itself."
        )

    def forward(params, x_and_mask, context=EMPTY):
        x, mask = _check_pair(x_and_mask)
        y, residuals = network.forward_in(context._replace(**{takes: mask}), params, x)
        return y, (mask, residuals)

    def backward(params, residuals, dy):
        mask, network_residuals = residuals
        dparams, dx = network.backward(params, network_residuals, dy)
        return dparams, (dx, no_gradient(mask))

    parts = Parts((network,), lambda layer: masked(layer, takes))
    arguments = "{parts}" if takes == "mask" else f"{{parts}}, {takes!r}"
    return Layer("masked", network.init, forward, backward, Kind.COMBINATOR, parts, arguments, network.uses - {takes})


def _check_pair(pair):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"`masked` expected a pair (x, mask), got a {type(pair).__name__}.")
    return pair
