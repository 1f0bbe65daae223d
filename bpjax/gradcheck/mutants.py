"""Classic mistakes, as functions that take a correct network and return a broken one.

Each was found in published code, most of which learned nevertheless. `MUTANTS` break a layer,
`(network, index) -> network`; `LOSS_MUTANTS` break a loss, `loss -> loss`. A broken network keeps its correct forward
pass: only the backward pass is wrong, and `compare` must report where, and which mistake it is.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from bpjax.layers.activations import identity
from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Kind, Layer
from bpjax.losses import Loss
from bpjax.types import Params


class Fits(Protocol):
    """The `fits` of a mutant."""

    def __call__(self, params: Params, network: Layer, index: int) -> bool:
        """Whether the mistake can be made in layer `index` of a chain."""
        ...


class Apply(Protocol):
    """The `apply` of a mutant."""

    def __call__(self, network: Layer, index: int) -> Layer:
        """The network with the mistake made in layer `index`."""
        ...


class Mutant(NamedTuple):
    """A mistake that can be made in a layer of a chain."""

    mistake: str  # a key of `mistakes.MISTAKES`
    fits: Fits
    apply: Apply


def replace_layer(network: Layer, index: int, **changes) -> Layer:
    """The chain with functions of one of its layers replaced."""
    layers = list(network.layers)
    layers[index] = layers[index]._replace(**changes)
    return chain(*layers)


def scaled(network: Layer, index: int, factor: float) -> Layer:
    """Multiply the layer's gradient by a factor.

    Args:
        network: a chain.
        index: of the layer.
        factor: 0 zeroes the gradient, −1 negates it, 1.01 is off by 1 %.
    """
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return jax.tree.map(lambda g: factor * g, dparams), dx

    return replace_layer(network, index, backward=backward)


def derivative_missing(network: Layer, index: int) -> Layer:
    """The error signal passes the activation without φ′."""
    return replace_layer(network, index, backward=lambda params, residuals, dy: ((), dy))


def derivative_of_the_wrong_quantity(network: Layer, index: int) -> Layer:
    """φ′ is evaluated at the net input where it is a function of the output, or the reverse."""
    layer = network.layers[index]

    def forward(params, a):
        y, residual = layer.forward(params, a)
        return y, (a if residual is y else y)

    return replace_layer(network, index, forward=forward)


def updated_before_propagated(network: Layer, index: int, learning_rate: float = 0.1) -> Layer:
    """The weights are updated first, and the error signal is propagated through the updated ones.

    Args:
        network: a chain.
        index: of the layer.
        learning_rate: of the update.
    """
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, _ = layer.backward(params, residuals, dy)
        updated = jax.tree.map(lambda p, g: p - (learning_rate * g).astype(p.dtype), params, dparams)
        return dparams, layer.backward(updated, residuals, dy)[1]

    return replace_layer(network, index, backward=backward)


def not_transposed(network: Layer, index: int) -> Layer:
    """The error signal is propagated through W instead of Wᵀ; only square layers allow it."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, _ = layer.backward(params, residuals, dy)
        return dparams, layer.backward(params._replace(w=params.w.T), residuals, dy)[1]

    return replace_layer(network, index, backward=backward)


def bias_not_summed(network: Layer, index: int) -> Layer:
    """The bias gradient keeps its batch axis."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return dparams._replace(b=dy), dx

    return replace_layer(network, index, backward=backward)


def mean_instead_of_sum(network: Layer, index: int) -> Layer:
    """The layer's gradient is averaged over the batch, those of the other layers are summed."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return jax.tree.map(lambda g: g / dy.shape[0], dparams), dx

    return replace_layer(network, index, backward=backward)


def sign_flipped(network: Layer, index: int) -> Layer:
    """The layer's gradient has the wrong sign."""
    return scaled(network, index, -1.0)


def layer_skipped(network: Layer, index: int) -> Layer:
    """The error signal passes a square layer unchanged, and the layer's gradient is 0."""
    zero = lambda params, residuals, dy: (jax.tree.map(jnp.zeros_like, params), dy)
    return replace_layer(network, index, backward=zero)


def wrong_error_signal(network: Layer, index: int) -> Layer:
    """Every layer is right, but this one uses the error signal of the next later layer with the same output shape."""
    layers = network.layers

    def backward(params, residuals, dy):
        dparams, errors = [], {}
        for l in reversed(range(len(layers))):
            errors[l] = dy
            later = [errors[k] for k in range(l + 1, len(layers)) if errors[k].shape == dy.shape]
            layer_dparams, dx = layers[l].backward(params[l], residuals[l], dy)
            if l == index and later:
                layer_dparams, _ = layers[l].backward(params[l], residuals[l], later[0])
            dparams.append(layer_dparams)
            dy = dx
        return tuple(dparams[::-1]), dy

    return network._replace(backward=backward)


def _has_params(params, network, index):
    return bool(jax.tree.leaves(params[index]))


def _square(params, network, index):
    return _has_params(params, network, index) and params[index].w.shape[0] == params[index].w.shape[1]


def _has_slope(params, network, index):
    """An activation whose φ′ is not 1 everywhere."""
    layer = network.layers[index]
    return layer.kind is Kind.ACTIVATION and layer is not identity


def _residual_matters(params, network, index):
    """An activation whose φ′ differs between input and output; that of relu depends on the sign only."""
    if not _has_slope(params, network, index):
        return False
    a, dy = jnp.array([[-0.5, 0.5]]), jnp.ones((1, 2))
    correct, mistaken = network.layers[index], derivative_of_the_wrong_quantity(network, index).layers[index]
    slopes = [layer.backward((), layer.forward((), a)[1], dy)[1] for layer in (correct, mistaken)]
    return bool(jnp.any(slopes[0] != slopes[1]))


def _followed_by_same_shape(params, network, index):
    """A layer with parameters that is followed by an activation, which keeps the shape."""
    return (
        _has_params(params, network, index)
        and index + 1 < len(network.layers)
        and not _has_params(params, network, index + 1)
    )


MUTANTS: dict[str, Mutant] = {
    mutant.mistake: mutant
    for mutant in (
        Mutant("derivative missing", _has_slope, derivative_missing),
        Mutant("derivative of the wrong quantity", _residual_matters, derivative_of_the_wrong_quantity),
        Mutant("updated before propagated", _has_params, updated_before_propagated),
        Mutant("not transposed", _square, not_transposed),
        Mutant("bias not summed", _has_params, bias_not_summed),
        Mutant("mean instead of sum", _has_params, mean_instead_of_sum),
        Mutant("sign flipped", _has_params, sign_flipped),
        Mutant("layer skipped", _square, layer_skipped),
        Mutant("wrong error signal", _followed_by_same_shape, wrong_error_signal),
        Mutant("zero", _has_params, lambda network, index: scaled(network, index, 0.0)),
        Mutant("doubled", _has_params, lambda network, index: scaled(network, index, 2.0)),
        Mutant("scaled", _has_params, lambda network, index: scaled(network, index, 1.01)),
    )
}
"""By mistake. `jax.test_util.check_grads` does not detect the last three in the first layer of a net of depth ≥ 4."""


def _scaled_gradient(factor) -> Callable[[Loss], Loss]:
    def break_loss(loss: Loss) -> Loss:
        return loss._replace(gradient=lambda o, t: factor(o) * loss.gradient(o, t))

    return break_loss


LOSS_MUTANTS: dict[str, Callable[[Loss], Loss]] = {
    "doubled": _scaled_gradient(lambda o: 2.0),
    "halved": _scaled_gradient(lambda o: 0.5),
    "sign flipped": _scaled_gradient(lambda o: -1.0),
    "mean instead of sum": _scaled_gradient(lambda o: 1 / o.shape[0]),
}
"""By mistake: the factor ½ dropped or doubled, t − o instead of o − t, a mean over the batch instead of a sum."""
