"""A layer with the inputs it is checked at."""

from typing import Any, NamedTuple, Protocol

import jax

from bpjax.layers.layer import Layer


def normal(key, examples: int, in_shape):
    """Normally distributed entries, shape (N, *in_shape)."""
    return jax.random.normal(key, (examples, *in_shape))


class Inputs(Protocol):
    """Draw the inputs of a layer."""

    def __call__(self, key, examples: int, in_shape, /) -> Any:
        """X, an array or a pytree of arrays with the examples along the first axis."""
        ...


class LayerCase(NamedTuple):
    """A layer with the inputs it is checked at."""

    layer: Layer
    in_shape: Any
    """Of the layer's `init`."""
    inputs: Inputs = normal
    per_example: bool = True
    """Whether the gradient of a batch is the sum over its examples; batch normalization mixes them."""
    blocked: bool = True
    """Whether dx is 0 where `backward` receives weights that are all 0: no path around the weights."""
    frozen: bool = False
    """Whether some params are not trained: their gradient is 0 by definition, not the difference quotient."""
