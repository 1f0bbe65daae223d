"""A network whose input comes with a mask: which positions of a sequence are real."""

import itertools

from bpjax.layers.layer import Kind, Layer, check_layer, handed, takers


def masked(network: Layer, takes: str = "mask") -> Layer:
    """A network that is given (x, mask), and hands the mask to every attention in it.

    forward    y = f(x; mask)
    backward   dx = (∂f/∂x)ᵀ dy           a mask has no gradient

    The mask (N, T) is true where a position of x is real: the others, the padding of shorter sequences, are not seen.
    What goes out at the padding is of no meaning; leave it out of the loss. Within chains, residual and repeated
    blocks every layer that takes a "mask" gets the same. `takes="memory mask"` hands it to every `cross_attention`
    instead. `init` is the network's own, given the shape of x alone. Kept: what the network keeps, and the mask.

    Raises:
        ValueError: `network` is not a Layer or nothing in it takes such a mask; in `forward`, what comes in is not a
            pair, or the mask is not of booleans (N, T).
    """
    check_layer("masked", network)
    if not takers(network, takes):
        raise ValueError(
            f"`masked` expected a layer that takes a {takes!r} in the network, got none in {network.name}."
        )

    def check(pair):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"`masked` expected a pair (x, mask), got a {type(pair).__name__}.")
        return pair

    rebuild = lambda layer: masked(layer, takes)
    return handed("masked", network, takes, itertools.repeat, check, Kind.COMBINATOR, rebuild)
