"""Networks whose input includes a mask of the positions that are not padding."""

from typing import Literal

import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer, no_gradient
from bpjax.util.checks import check_choice


def masked(network: Layer, takes: Literal["mask", "memory_mask"] = "mask") -> Layer:
    """The network with a mask as part of its input, (x, mask), which every attention in it uses.

    forward    y = f(x; mask)
    backward   dx = (∂f/∂x)ᵀ dy           a mask has no gradient: float0 for booleans, 0 for numbers

    The mask (N, T) is true at real positions of x and false at the padding of shorter sequences, which attention does
    not see; a recurrence takes it for the lengths of the sequences. For attention it may also be (N, T, S) or
    (N, H, T, S), of booleans or of numbers added to the scores. Outputs of attention at padded
    positions are undefined; mask them in the loss. `forward` puts the mask into the `Context`, which all combinators
    pass on. `init` takes the shape of x. Residuals: those of the network, and the mask.

    Args:
        network: A network with attention.
        takes: The field of the context: "mask" for `attention`, "memory_mask" for the memory of `cross_attention`.

    Raises:
        ValueError: `network` is not a Layer, or no layer in it uses such a mask; in `forward`, the input is not a pair,
            or the mask does not consist of booleans (N, T).
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
        is_number = jnp.issubdtype(jnp.result_type(mask), jnp.floating)
        return dparams, (dx, jnp.zeros_like(mask) if is_number else no_gradient(mask))

    parts = Parts((network,), lambda layer: masked(layer, takes))
    arguments = "{parts}" if takes == "mask" else f"{{parts}}, {takes!r}"
    return Layer("masked", network.init, forward, backward, Kind.COMBINATOR, parts, arguments, network.uses - {takes})


def _check_pair(pair):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"`masked` expected a pair (x, mask), got a {type(pair).__name__}.")
    return pair
