"""The multilayer perceptron."""

from bpjax.layers.activations import tanh
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import dense
from bpjax.layers.initializers import Initializer, lecun_normal, zeros
from bpjax.layers.layer import Layer, check_in_shape, check_layer
from bpjax.util.call_text import shown
from bpjax.util.checks import check_counts


def mlp(
    sizes: tuple[int, ...],
    activation: Layer = tanh,
    output: Layer | None = None,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """The multilayer perceptron: dense layers with an activation between them.

    `mlp((64, 128, 10))` is `chain(dense(128), tanh, dense(10))`, for x (N, 64).

    Args:
        sizes: The number of inputs, of the units of each hidden layer, and of outputs.
        activation: Between dense layers.
        output: An activation after the last dense layer, such as `sigmoid`. Without one the output is the net input,
            which losses on logits expect.
        weights: Initializer of the weights, or its name.
        biases: Initializer of the biases, or its name.

    Raises:
        ValueError: there are fewer than two sizes, or one is not a positive integer; in `init`, `in_shape` is not
            `(sizes[0],)`.
    """
    sizes = check_counts("mlp", "sizes", sizes)
    if len(sizes) < 2:
        raise ValueError(f"`mlp` expected at least two sizes, inputs and outputs, got {shown(sizes)}.")
    check_layer("mlp", activation)
    layers = [dense(sizes[1], weights=weights, biases=biases)]
    for size in sizes[2:]:
        layers += [activation, dense(size, weights=weights, biases=biases)]
    network = chain(*layers, *([output] if output is not None else []))

    def init(key, in_shape):
        if check_in_shape("mlp", in_shape, rank=1) != (sizes[0],):
            raise ValueError(f"`mlp({sizes})` expected `in_shape` ({sizes[0]},), got {shown(in_shape)}.")
        return network.init(key, in_shape)

    return network._replace(init=init)
