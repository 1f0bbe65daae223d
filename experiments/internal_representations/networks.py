"""Networks with direct links."""

import bpjax as bp


def direct_network(hidden: tuple[int, ...], outputs: int, radius: float = 0.5) -> bp.Layer:
    """Sigmoid units in layers, each of which also sees the inputs and all layers before it.

    `(1, 1)` is a cascade: the first hidden unit feeds the second, and both feed the outputs.

    Args:
        hidden: units of each hidden layer.
        outputs: number of output units.
        radius: weights and biases are drawn uniformly from ±radius.
    """
    init = bp.uniform(radius)
    *inner, last = (bp.dense(units, weights=init, biases=init) for units in (*hidden, outputs))
    shortcuts = (bp.layers.shortcut(bp.chain(layer, bp.sigmoid)) for layer in inner)
    return bp.chain(*shortcuts, last, bp.sigmoid)
