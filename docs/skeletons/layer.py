"""A skeleton of a layer: copy this file to bpjax/layers/, rename, write your forward pass and its derivative.

`python docs/skeletons/layer.py` checks the derivative. tests/test_skeletons.py puts the layer through all laws.
"""

from typing import NamedTuple

import jax.numpy as jnp

import bpjax as bp
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.gradcheck.per_layer import compare_layer
from bpjax.util.checks import check_features, check_same_dtype


class Gain(NamedTuple):
    """The weights of `gain`."""

    g: bp.types.Array  # (D,)


def gain() -> bp.Layer:
    """A factor for each feature, x (N, D) to y (N, D).

    forward    y = g ⊙ x
    backward   dg = Σₙ x ⊙ dy     dx = g ⊙ dy

    Residuals: x. The sum over the examples of the batch is written out.

    Raises:
        ValueError: in `forward`, the features or the dtype of x are not those of the weights.
    """

    def init(key, in_shape):
        (features,) = in_shape
        return Gain(jnp.ones(features)), (features,)

    def forward(params, x):
        check_features("gain", x, len(params.g))  # what came, what was expected, how to mend it: one sentence
        check_same_dtype("gain", x, params.g)
        return params.g[None, :] * x, x  # (y, residuals); residuals never hold weights

    def backward(params, x, dy):
        # `params` may be other weights than those of the forward pass: that is how learning rules work
        return Gain((x * dy).sum(axis=0)), params.g[None, :] * dy

    return bp.Layer("gain", init, forward, backward)


CASE = LayerCase(gain(), (4,))
"""The row for bpjax/gradcheck/cases/: with it every law of layers and `bpjax compare` test the layer."""

if __name__ == "__main__":
    params = Gain(jnp.linspace(0.5, 2.0, 4))
    print(compare_layer(gain(), params, jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)))
