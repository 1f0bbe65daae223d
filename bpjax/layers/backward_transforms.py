"""Backward transforms from the literature: functions from a layer to a layer with another `backward`.

They do not change the forward pass. Their backward pass is no longer the gradient, on purpose: `compare` reports it as
wrong.
"""

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer, check_layer
from bpjax.types import Array
from bpjax.util.checks import check_number


def flat_spot(activation: Layer, offset: float | Array = 0.1) -> Layer:
    """An activation whose derivative never vanishes: φ′ + c, so that saturated units keep learning.

    backward   da = (φ′ + c) ⊙ dy        Fahlman 1988, c = 0.1; SNNS's flat-spot elimination, c ≤ 0.25

    Raises:
        ValueError: `activation` is not an activation, `offset` is negative.
    """
    check_activation("flat_spot", activation)
    check_number("flat_spot", "offset", offset, least=0.0)

    def backward(params, residuals, dy):
        _, da = activation.backward(params, residuals, dy)
        return (), da + jnp.asarray(offset, dy.dtype) * dy

    return activation._replace(name=f"{activation.name} without flat spots", backward=backward)


def without_derivative(activation: Layer) -> Layer:
    """An activation whose derivative is left out: da = dy.

    At the output units this is the method of Chen & Mars (1990): δ = o − t instead of φ′ (o − t). They combine it with
    a learning rate of the hidden units that is 0.1 times that of the output units, which is `scaled_error`:

        chain(dense(5), sigmoid, scaled_error(dense(10), 0.1), without_derivative(sigmoid))

    Raises:
        ValueError: `activation` is not an activation.
    """
    check_activation("without_derivative", activation)

    def backward(params, residuals, dy):
        return (), dy

    return activation._replace(name=f"{activation.name} without derivative", backward=backward)


def scaled_error(layer: Layer, factor: float | Array) -> Layer:
    """A layer with a scaled input gradient, dx ← factor · dx, and unchanged dparams.

    All earlier layers then learn with `factor` times the learning rate.

    Raises:
        ValueError: `layer` is not a Layer, `factor` not above 0.
    """
    check_layer("scaled_error", layer)
    check_number("scaled_error", "factor", factor, above=0.0)

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return dparams, jnp.asarray(factor, dx.dtype) * dx

    return layer._replace(name=f"{layer.name} with scaled error", backward=backward, parts=None)


def check_activation(who: str, activation) -> None:
    """Raise a `ValueError` unless `activation` is a layer without params and parts."""
    check_layer(who, activation)
    if activation.layers or jax.tree.leaves(jax.eval_shape(lambda: activation.init(jax.random.key(0), (2,)))[0]):
        raise ValueError(
            f"`{who}` expected an activation, such as `bp.sigmoid`, got the layer {activation.name}. "
            "Transform the activations first, then make the network of them."
        )
