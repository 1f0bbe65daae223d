"""Feed-forward networks for `benchmark_layers.py`, each in `bpjax`, in ordinary JAX and in PyTorch.

The ordinary forward passes are written in plain `jax.numpy` and `jax.lax`, with pooling by `reduce_window`. They take
our params, so that their gradients can be compared number by number.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import bpjax as bp

cross_entropy = bp.losses.batch_mean(bp.softmax_cross_entropy)


def plain_cross_entropy(output, labels):
    """The mean over the examples of −ln softmax(o)ₜ, as anybody would write it."""
    picked = jnp.take_along_axis(jax.nn.log_softmax(output), labels[..., None], axis=-1)
    return -jnp.sum(picked) / len(output)


def plain_squared_error(output, target):
    """½ Σ (t − o)²."""
    return 0.5 * jnp.sum((target - output) ** 2)


class Case(NamedTuple):
    """A network, the same in ordinary JAX and in PyTorch, and what it is run on."""

    network: bp.Layer
    loss: bp.losses.Loss
    ordinary: Callable  # (params, x) -> output
    ordinary_loss: Callable  # (output, target) -> scalar
    torch: Callable  # (torch) -> module
    in_shape: tuple
    x: Any
    target: Any
    products: list[tuple[int, bool]]  # multiplications of the forward pass, and whether an error goes back through them
    unstacked: Callable = lambda params: params  # our params as the ordinary forward pass takes them


def bound(products: list[tuple[int, bool]]) -> float:
    """Multiplications (forward + backward) / forward: twice the forward's, without the input gradient of the first."""
    forward = sum(count for count, _ in products)
    return (2 * forward + sum(count for count, goes_back in products if goes_back)) / forward


def normal(seed: int, *shape: int):
    """Normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)


def labels(seed: int, classes: int, *shape: int):
    """Labels drawn evenly."""
    return jax.random.randint(jax.random.key(seed), shape, 0, classes)


def wide() -> Case:
    """MLP 784-1024-1024-10, 256 examples."""
    sizes, examples = (784, 1024, 1024, 10), 256

    def ordinary(params, x):
        for p in params[:-1:2]:
            x = jax.nn.relu(x @ p.w + p.b)
        return x @ params[-1].w + params[-1].b

    def torch(torch):
        relu, linear = torch.nn.ReLU, torch.nn.Linear
        return torch.nn.Sequential(linear(784, 1024), relu(), linear(1024, 1024), relu(), linear(1024, 10))

    products = [(examples * a * b, i > 0) for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))]
    data = normal(1, examples, 784), labels(2, 10, examples)
    return Case(bp.mlp(sizes, bp.relu), cross_entropy, ordinary, plain_cross_entropy, torch, (784,), *data, products)


def deep() -> Case:
    """50 layers of 128 tanh units by `repeat`, 128 examples."""
    depth, width, examples = 50, 128, 128

    def ordinary(params, x):
        return jax.lax.scan(lambda x, p: (jnp.tanh(x @ p.w + p.b), None), x, params[0])[0]

    def torch(torch):
        layers = [module for _ in range(depth) for module in (torch.nn.Linear(width, width), torch.nn.Tanh())]
        return torch.nn.Sequential(*layers)

    network = bp.layers.repeat(bp.chain(bp.dense(width), bp.tanh), depth)
    products = [(examples * width * width, i > 0) for i in range(depth)]
    data = normal(1, examples, width), normal(2, examples, width)
    return Case(network, bp.squared_error, ordinary, plain_squared_error, torch, (width,), *data, products)


def images() -> Case:
    """A small CNN: 28 × 28, two 3 × 3 convolutions with pooling, 64 examples."""
    examples = 64

    def ordinary(params, x):
        for p in (params[0], params[3]):
            x = plain_max_pool(jax.nn.relu(plain_conv(x, p.w) + p.b))
        return x.reshape(len(x), -1) @ params[7].w + params[7].b

    def torch(torch):
        nn = torch.nn
        return nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(7 * 7 * 64, 10)),
        )

    network = bp.chain(
        *(
            bp.conv(32, (3, 3)),
            bp.relu,
            bp.layers.max_pool((2, 2)),
            bp.conv(64, (3, 3)),
            bp.relu,
            bp.layers.max_pool((2, 2)),
        ),
        *(bp.flatten, bp.dense(10)),
    )
    counts = [28 * 28 * 9 * 32, 14 * 14 * 9 * 32 * 64, 7 * 7 * 64 * 10]
    products = [(examples * count, i > 0) for i, count in enumerate(counts)]
    data = normal(1, examples, 28, 28, 1), labels(2, 10, examples)
    return Case(network, cross_entropy, ordinary, plain_cross_entropy, torch, (28, 28, 1), *data, products)


def digits() -> Case:
    """LeNet on 8 × 8 digits, 64 examples."""

    def ordinary(params, x):
        x = x.reshape(len(x), 8, 8, 1)
        for p in (params[1], params[4]):
            x = jnp.tanh(plain_max_pool(plain_conv(x, p.w) + p.b))
        return jnp.tanh(x.reshape(len(x), -1) @ params[8].w + params[8].b) @ params[10].w + params[10].b

    def torch(torch):
        nn = torch.nn
        return nn.Sequential(
            *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 6, 3, padding=1), nn.MaxPool2d(2), nn.Tanh()),
            *(nn.Conv2d(6, 16, 3, padding=1), nn.MaxPool2d(2), nn.Tanh(), nn.Flatten()),
            *(nn.Linear(64, 84), nn.Tanh(), nn.Linear(84, 10)),
        )

    examples, counts = 64, [64 * 9 * 6, 16 * 9 * 6 * 16, 64 * 84, 84 * 10]
    products = [(examples * count, i > 0) for i, count in enumerate(counts)]
    data = normal(1, examples, 64), labels(2, 10, examples)
    return Case(bp.networks.lenet(), cross_entropy, ordinary, plain_cross_entropy, torch, (64,), *data, products)


def residual_images() -> Case:
    """ResNet-8 on 32 × 32 × 3 images, 16, 32 and 64 channels, group norm, 32 examples."""
    channels, examples, groups = (16, 32, 64), 32, 4

    def plain_group_norm(p, x):
        grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
        mean, variance = (f(grouped, axis=(1, 3), keepdims=True) for f in (jnp.mean, jnp.var))
        return ((grouped - mean) / jnp.sqrt(variance + 1e-5)).reshape(x.shape) * p.gain + p.bias

    def conv_norm(params, x, stride=1):
        return plain_group_norm(params[1], plain_conv(x, params[0].w, stride))

    def ordinary(params, x):
        x = jax.nn.relu(conv_norm(params[0], x))
        for stage, (connected, _) in enumerate(params[2:5]):
            (first, _, second), projection = connected if stage else (connected, None)
            stride = 2 if stage else 1
            y = conv_norm(second, jax.nn.relu(conv_norm(first, x, stride)))
            x = jax.nn.relu(y + (conv_norm(projection, x, stride) if stage else x))
        return x.mean(axis=(1, 2)) @ params[6].w + params[6].b

    def torch(torch):
        nn = torch.nn

        def conv_norm(before, after, size, stride=1):
            conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
            return nn.Sequential(conv, nn.GroupNorm(groups, after))

        class Block(nn.Module):
            def __init__(self, before, after, stride):
                super().__init__()
                parts = conv_norm(before, after, 3, stride), nn.ReLU(), conv_norm(after, after, 3)
                self.body = nn.Sequential(*parts)
                self.projection = conv_norm(before, after, 1, stride) if stride == 2 else nn.Identity()

            def forward(self, x):
                return torch.relu(self.body(x) + self.projection(x))

        blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
        return nn.Sequential(conv_norm(3, 16, 3), nn.ReLU(), *blocks, *head)

    counts, side, before = [32 * 32 * 9 * 3 * 16], 32, 16
    for stage, after in enumerate(channels):
        side = side // 2 if stage else side
        counts += [side * side * 9 * before * after, side * side * 9 * after * after]
        counts += [side * side * before * after] if stage else []
        before = after
    products = [(examples * count, i > 0) for i, count in enumerate([*counts, 64 * 10])]
    network = bp.networks.resnet(10, channels, image=None)
    data = normal(1, examples, 32, 32, 3), labels(2, 10, examples)
    return Case(network, cross_entropy, ordinary, plain_cross_entropy, torch, (32, 32, 3), *data, products)


def plain_conv(x, w, stride: int = 1):
    """A convolution of x (N, H, W, C) with w (height, width, C, K), padded with zeros."""
    return jax.lax.conv_general_dilated(x, w, (stride,) * 2, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def plain_max_pool(x):
    """The maximum of each 2 × 2 square."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
