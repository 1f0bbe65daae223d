"""The maximum and the average over a whole image."""

import math

import jax.numpy as jnp
import numpy as np

from bpjax.layers.convolution.pooling import smallest_type
from bpjax.layers.convolution.windows import check_image, check_image_shape
from bpjax.layers.layer import Layer, as_shape
from bpjax.util.precision import widen


def _global_init(who: str):
    def init(key, in_shape):
        rank = len(as_shape(in_shape)) - 1
        _, channels = check_image_shape(who, in_shape, max(rank, 1))
        return (), (channels,)

    return init


def _global_max_pool() -> Layer:
    """The maximum over the image, x (N, *spatial, C) to y (N, C); ties and NaN as `max_pool`. Residuals: the argmax."""

    def forward(params, x):
        x = check_image("global_max_pool", x, rank=None)
        flat = x.reshape(len(x), -1, x.shape[-1])
        found = jnp.argmax(flat, axis=1).astype(smallest_type(flat.shape[1]))
        y = jnp.take_along_axis(flat, found.astype(jnp.int32)[:, None, :], axis=1)[:, 0, :]
        return y, (found, x[:0])

    def backward(params, residuals, dy):
        found, empty = residuals
        spatial = empty.shape[1:-1]
        t = np.arange(math.prod(spatial), dtype=found.dtype).reshape(1, -1, 1)
        dx = jnp.where(found[:, None, :] == t, dy[:, None, :], jnp.array(0, dy.dtype))
        return (), dx.reshape(len(dy), *spatial, dy.shape[-1])

    return Layer("global max pool", _global_init("global_max_pool"), forward, backward)


def _global_average_pool() -> Layer:
    """The average over the image, x (N, *spatial, C) to y (N, C): dx = dy / positions. Residuals: the shape of x."""

    def forward(params, x):
        x = check_image("global_average_pool", x, rank=None)
        return widen(x).mean(axis=tuple(range(1, x.ndim - 1))).astype(x.dtype), x[:0]

    def backward(params, empty, dy):
        spatial = empty.shape[1:-1]
        share = (widen(dy) / math.prod(spatial)).astype(dy.dtype)
        apart = share.reshape(len(dy), *(1,) * len(spatial), dy.shape[-1])
        return (), jnp.broadcast_to(apart, (len(dy), *spatial, dy.shape[-1]))

    return Layer("global average pool", _global_init("global_average_pool"), forward, backward)


global_max_pool = _global_max_pool()
"""The maximum over the whole image, x (N, *spatial, C) to y (N, C)."""

global_average_pool = _global_average_pool()
"""The average over the whole image, x (N, *spatial, C) to y (N, C)."""
