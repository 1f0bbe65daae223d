"""A small convolutional network based on LeNet."""

from bpjax.layers.activations import tanh
from bpjax.layers.combinators.chain import chain
from bpjax.layers.convolution.conv import conv
from bpjax.layers.convolution.pooling import max_pool
from bpjax.layers.dense import dense
from bpjax.layers.initializers import Initializer, lecun_normal, zeros
from bpjax.layers.layer import Layer
from bpjax.layers.shapes import flatten, reshape
from bpjax.types import Shape
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_counts


def lenet(
    classes: int = 10,
    image: Shape | None = (8, 8, 1),
    maps: tuple[int, ...] = (6, 16),
    hidden: tuple[int, ...] = (84,),
    kernel: int = 3,
    activation: Layer = tanh,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """Convolutions and pooling in turn, then dense layers: x to `classes` logits.

    `lenet()` is for the 8 × 8 digits, x (N, 64):

        reshape (8, 8, 1) → conv 6 → max pool → tanh → conv 16 → max pool → tanh → flatten → dense 84 → tanh → dense 10

    Every stage halves the image; an odd last row or column is dropped.

    Differences from LeNet-5 (LeCun et al. 1998): it has 32 × 32 pixels, 5 × 5 kernels without padding, a trained
    average for subsampling, partially connected maps and a third convolution of 120 maps; here kernels keep the size of
    the image, pooling takes the maximum, and maps are fully connected. The activation follows the pooling: for an
    increasing function the order does not matter, and it is computed at a quarter of the positions.

    Args:
        classes: K, the number of outputs.
        image: (H, W, C), into which the values of an example are reshaped (last axis fastest), or None if x consists of
            images (N, H, W, C) of any size.
        maps: The channels of each convolution.
        hidden: The units of each hidden dense layer.
        kernel: The side of the kernels.
        activation: After each pooling and hidden layer.
        weights: Initializer of the weights, or its name.
        biases: Initializer of the biases, or its name.

    Raises:
        ValueError: a size is not a positive integer, `maps` is empty or `image` not (H, W, C); in `init`, `in_shape` is
            not that of the image, or the image is too small to be halved so often.
    """
    if isinstance(maps, tuple | list) and not maps:
        raise ValueError("`lenet` expected at least one entry in `maps`, got none. For dense layers only, use `mlp`.")
    maps, hidden = check_counts("lenet", "maps", maps), check_counts("lenet", "hidden", hidden, fewest=0)
    classes = check_count("lenet", "classes", classes)
    kernel = check_count("lenet", "kernel", kernel)
    if image is not None and (not isinstance(image, tuple | list) or len(image) != 3):
        raise ValueError(f"`lenet` expected `image` to be (H, W, C), or None if x is images, got {shown(image)}.")
    layers = [] if image is None else [reshape(tuple(image))]
    for features in maps:
        layers += [conv(features, (kernel, kernel), weights=weights, biases=biases), max_pool((2, 2)), activation]
    layers.append(flatten)
    for features in hidden:
        layers += [dense(features, weights=weights, biases=biases), activation]
    return chain(*layers, dense(classes, weights=weights, biases=biases))
