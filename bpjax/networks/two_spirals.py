"""The network that separated the two spirals."""

from bpjax.layers.activations import sigmoid
from bpjax.layers.combinators.chain import chain, shortcut
from bpjax.layers.dense import dense
from bpjax.layers.initializers import Initializer, lecun_normal, zeros
from bpjax.layers.layer import Layer
from bpjax.util.checks import check_counts


def two_spirals_net(
    hidden: tuple[int, ...] = (5, 5, 5),
    activation: Layer = sigmoid,
    output: Layer | None = sigmoid,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """Lang & Witbrock's network: the input and every layer are connected to all later layers. x (N, 2) to y (N, 1).

    2-5-5-5-1 with shortcuts has (2+1)·5 + (2+5+1)·5 + (2+10+1)·5 + (2+15+1)·1 = 138 weights (Lang & Witbrock 1988,
    "Learning to tell two spirals apart"). The default initial weights differ from theirs.

    Args:
        hidden: The units of each hidden layer.
        activation: Of the hidden layers.
        output: Of the output unit; None for the net input, which losses on logits expect.
        weights: Initializer of the weights, or its name.
        biases: Initializer of the biases, or its name.

    Raises:
        ValueError: a hidden width is not a positive integer.
    """
    hidden = check_counts("two_spirals_net", "hidden", hidden, fewest=0)
    layers = [shortcut(chain(dense(width, weights=weights, biases=biases), activation)) for width in hidden]
    last = dense(1, weights=weights, biases=biases)
    return chain(*layers, last, *([output] if output is not None else []))
