"""A layer, and what it is checked at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bpjax.layers.layer import Layer


def normal(key, examples: int, in_shape):
    """Normal numbers (N, *in_shape)."""
    return jax.random.normal(key, (examples, *in_shape))


class LayerCase(NamedTuple):
    """A layer with inputs it is checked at."""

    layer: Layer
    in_shape: Any
    """What `init` is given."""
    inputs: Callable = normal
    """(key, examples, in_shape) -> x, an array or a pytree of arrays, with the examples along the first axis."""
    per_pattern: bool = True
    """Whether the gradient of a batch is the sum over its examples; batch normalization mixes them."""
    blocked: bool = True
    """Whether no error gets through where every weight handed to `backward` is 0: no way around the weights."""
