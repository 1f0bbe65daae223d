"""The network that told two spirals apart."""

from bpjax.layers.activations import sigmoid
from bpjax.layers.combinators.chain import chain, shortcut
from bpjax.layers.dense import dense
from bpjax.layers.initializers import Initializer, lecun_normal, zeros
from bpjax.layers.layer import Layer
from bpjax.util.checks import check_count


def two_spirals_net(
    hidden: tuple[int, ...] = (5, 5, 5),
    activation: Layer = sigmoid,
    output: Layer | None = sigmoid,
    weights: Initializer = lecun_normal,
    biases: Initializer = zeros,
) -> Layer:
    """Lang & Witbrock's network: every layer, the input too, is linked to all later ones. x (N, 2) to y (N, 1).

    2-5-5-5-1 with shortcuts has (2+1)·5 + (2+5+1)·5 + (2+10+1)·5 + (2+15+1)·1 = 138 weights (Lang & Witbrock 1988,
    "Learning to tell two spirals apart"). `output=None` gives the net input, as losses on logits want it. The initial
    weights are not theirs, but as everywhere here.

    Raises:
        ValueError: a hidden width that is not a positive integer.
    """
    for width in hidden:
        check_count("two_spirals_net", "hidden", width)
    layers = [shortcut(chain(dense(width, weights=weights, biases=biases), activation)) for width in hidden]
    last = dense(1, weights=weights, biases=biases)
    return chain(*layers, last, *([output] if output is not None else []))
