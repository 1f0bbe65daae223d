"""A small residual network for images."""

from bpjax.layers.activations import relu
from bpjax.layers.combinators.chain import chain, parallel, residual
from bpjax.layers.convolution.conv import conv
from bpjax.layers.convolution.pooling import global_average_pool
from bpjax.layers.dense import dense
from bpjax.layers.initializers import Initializer, he_normal, initializer
from bpjax.layers.layer import Layer, check_layer
from bpjax.layers.normalization.layer import group_norm
from bpjax.layers.shapes import reshape
from bpjax.types import Shape
from bpjax.util.checks import check_count


def resnet(
    classes: int = 10,
    channels: tuple[int, ...] = (16, 32),
    blocks: int = 1,
    image: Shape | None = (8, 8, 1),
    norm: Layer | None = None,
    weights: str | Initializer = he_normal,
) -> Layer:
    """Convolutions around which their input goes too, He, Zhang, Ren & Sun 2016: x to `classes` net inputs.

        conv 3 × 3 → norm → relu → stages of `blocks` blocks → mean over all places → dense
        block   y = relu(x + norm(conv(relu(norm(conv(x))))))

    `channels` has an entry for each stage. The first block of each but the first halves the image, with stride 2, and
    changes the number of channels; there x goes through a 1 × 1 convolution of stride 2 and a norm of its own.
    `resnet(10, (16, 32, 64), blocks=n, image=(32, 32, 3))` is the 6n + 2 layers the paper has for CIFAR, but for the
    projection where the paper pads with zeros.

    `norm` is `group_norm(4)`, for which every example is alone; `batch_norm()` is the paper's, and see there for
    predictions. Convolutions have no bias, since a norm with one follows. `image` is (H, W, C), how the numbers of
    x (N, H · W · C) are laid out, or None where x comes as images (N, H, W, C) of any size.

    Raises:
        ValueError: a size is not a positive integer, `channels` is empty, `image` is not (H, W, C), `norm` not a
            layer; in `init`, an `in_shape` that is not the image's, or channels the norm's groups do not divide.
    """
    norm, weights = group_norm(4) if norm is None else check_layer("resnet", norm), initializer(weights)
    check_count("resnet", "classes", classes)
    check_count("resnet", "blocks", blocks)
    if not isinstance(channels, tuple | list) or not channels:
        raise ValueError(f"`resnet` expected `channels` to be a tuple with an entry for each stage, got {channels!r}.")
    for count in channels:
        check_count("resnet", "channels", count)
    if image is not None and (not isinstance(image, tuple | list) or len(image) != 3):
        raise ValueError(f"`resnet` expected `image` to be (H, W, C), or None where x comes as images, got {image!r}.")

    def convolution(features, size, stride=1):
        return chain(conv(features, (size, size), stride, use_bias=False, weights=weights), norm)

    def block(features, stride):
        body = chain(convolution(features, 3, stride), relu, convolution(features, 3))
        around = residual(body) if stride == 1 else parallel(body, convolution(features, 1, stride))
        return chain(around, relu)

    layers = [] if image is None else [reshape(tuple(image))]
    layers += [convolution(channels[0], 3), relu]
    for stage, features in enumerate(channels):
        layers += [block(features, 2 if stage and not index else 1) for index in range(blocks)]
    return chain(*layers, global_average_pool, dense(classes, weights=weights))
