"""A small residual network for images."""

from bpjax.layers.activations import relu
from bpjax.layers.combinators.chain import chain, parallel, residual
from bpjax.layers.convolution.conv import conv
from bpjax.layers.convolution.global_pool import global_average_pool
from bpjax.layers.dense import dense
from bpjax.layers.initializers import Initializer, he_normal, initializer
from bpjax.layers.layer import Layer, check_layer
from bpjax.layers.normalization.group import group_norm
from bpjax.layers.shapes import reshape
from bpjax.types import Shape
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_counts


def resnet(
    classes: int = 10,
    channels: tuple[int, ...] = (16, 32),
    blocks: int = 1,
    image: Shape | None = (8, 8, 1),
    norm: Layer | None = None,
    weights: str | Initializer = he_normal,
) -> Layer:
    """Convolutions with residual connections (He, Zhang, Ren & Sun 2016): x to `classes` logits.

        conv 3 × 3 → norm → relu → stages of `blocks` blocks → mean over all positions → dense
        block   y = relu(x + norm(conv(relu(norm(conv(x))))))

    The first block of every stage after the first halves the image, with stride 2, and changes the number of channels;
    its residual connection has a 1 × 1 convolution of stride 2 and a norm. `resnet(10, (16, 32, 64), blocks=n,
    image=(32, 32, 3))` has the 6n + 2 layers of the paper for CIFAR, except for that projection, where the paper pads
    with zeros. Convolutions have no bias, since a norm with a bias follows.

    Args:
        classes: K, the number of outputs.
        channels: Of each stage.
        blocks: Per stage.
        image: (H, W, C), into which the values of an example are reshaped, or None if x consists of images
            (N, H, W, C) of any size.
        norm: The normalization layer, by default `group_norm(4)`, which treats examples independently. The paper uses
            `batch_norm()`; see there for predictions.
        weights: Initializer of the weights, or its name.

    Raises:
        ValueError: a size is not a positive integer, `channels` is empty, `image` is not (H, W, C), `norm` is not a
            Layer; in `init`, `in_shape` is not that of the image, or the groups of the norm do not divide the channels.
    """
    norm, weights = group_norm(4) if norm is None else check_layer("resnet", norm), initializer(weights)
    classes = check_count("resnet", "classes", classes)
    blocks = check_count("resnet", "blocks", blocks)
    channels = check_counts("resnet", "channels", channels)
    if image is not None and (not isinstance(image, tuple | list) or len(image) != 3):
        raise ValueError(f"`resnet` expected `image` to be (H, W, C), or None if x is images, got {shown(image)}.")

    def convolution(features, size, stride=1):
        return chain(conv(features, (size, size), stride, use_bias=False, weights=weights), norm)

    def block(features, stride):
        body = chain(convolution(features, 3, stride), relu, convolution(features, 3))
        connected = residual(body) if stride == 1 else parallel(body, convolution(features, 1, stride))
        return chain(connected, relu)

    layers = [] if image is None else [reshape(tuple(image))]
    layers += [convolution(channels[0], 3), relu]
    for stage, features in enumerate(channels):
        layers += [block(features, 2 if stage and not index else 1) for index in range(blocks)]
    return chain(*layers, global_average_pool, dense(classes, weights=weights))
