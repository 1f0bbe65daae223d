"""The network of most small problems."""

import bpjax as bp


def sigmoid_network(sizes: tuple[int, ...], radius: float = 1.0, unit: bp.Layer = bp.sigmoid) -> bp.Layer:
    """Dense layers, each followed by `unit`.

    Args:
        sizes: numbers of units, the inputs first.
        radius: weights and biases are drawn uniformly from ±radius.
        unit: the activation.
    """
    return bp.mlp(sizes, unit, unit, weights=bp.uniform(radius), biases=bp.uniform(radius))
