"""The museum of classic mistakes: functions that take a correct network and return a broken one.

Each was found in published code, and most of it still learnt. `MUTANTS` are made in a layer, by
`(network, index) -> network`; `LOSS_MUTANTS` in a loss, by `loss -> loss`. A broken network has the forward pass of
the correct one: only its backward is wrong, and `compare` must say where, and which mistake it is.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Layer
from bpjax.losses import Loss


class Mutant(NamedTuple):
    """A mistake that can be made in a network."""

    mistake: str
    """Its name, a key of `diagnosis.MISTAKES`."""
    fits: Callable
    """(params of the chain, network, index) -> whether it can be made in that layer."""
    apply: Callable
    """(network, index) -> the broken network."""


def replace_layer(network: Layer, index: int, **changes) -> Layer:
    """The chain with functions of one of its layers replaced."""
    layers = list(network.layers)
    layers[index] = layers[index]._replace(**changes)
    return chain(*layers)


def scaled(network: Layer, index: int, factor: float) -> Layer:
    """The layer's gradient multiplied by a factor: 0 zeroes it, −1 negates it, 1.01 is off by 1 %."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return jax.tree.map(lambda g: factor * g, dparams), dx

    return replace_layer(network, index, backward=backward)


def derivative_missing(network: Layer, index: int) -> Layer:
    """The error signal passes the activation without φ′."""
    return replace_layer(network, index, backward=lambda params, kept, dy: ((), dy))


def derivative_of_the_wrong_quantity(network: Layer, index: int) -> Layer:
    """φ′, a function of the output, is fed the net input; or, a function of the net input, the output."""
    layer = network.layers[index]

    def forward(params, a):
        y, kept = layer.forward(params, a)
        return y, (a if kept is y else y)

    return replace_layer(network, index, forward=forward)


def updated_before_propagated(network: Layer, index: int, learning_rate: float = 0.1) -> Layer:
    """The weights are changed first, and the error signal is propagated through the new ones."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, _ = layer.backward(params, residuals, dy)
        changed = jax.tree.map(lambda p, g: p - (learning_rate * g).astype(p.dtype), params, dparams)
        return dparams, layer.backward(changed, residuals, dy)[1]

    return replace_layer(network, index, backward=backward)


def not_transposed(network: Layer, index: int) -> Layer:
    """The error signal goes back through W instead of Wᵀ; only square layers let it pass."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, _ = layer.backward(params, residuals, dy)
        return dparams, layer.backward(params._replace(w=params.w.T), residuals, dy)[1]

    return replace_layer(network, index, backward=backward)


def bias_not_summed(network: Layer, index: int) -> Layer:
    """The bias gradient is left with its batch axis."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return dparams._replace(b=dy), dx

    return replace_layer(network, index, backward=backward)


def mean_instead_of_sum(network: Layer, index: int) -> Layer:
    """The layer's gradient is averaged over the batch where the others are summed."""
    layer = network.layers[index]

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return jax.tree.map(lambda g: g / dy.shape[0], dparams), dx

    return replace_layer(network, index, backward=backward)


def sign_flipped(network: Layer, index: int) -> Layer:
    """The layer's gradient climbs where it should descend."""
    return scaled(network, index, -1.0)


def layer_skipped(network: Layer, index: int) -> Layer:
    """The error signal passes a square layer as if it were not there, and the layer learns nothing."""
    zero = lambda params, residuals, dy: (jax.tree.map(jnp.zeros_like, params), dy)
    return replace_layer(network, index, backward=zero)


def wrong_error_signal(network: Layer, index: int) -> Layer:
    """Every layer is right, but this one learns from the error signal of the nearest layer above of its shape."""
    layers = network.layers

    def backward(params, residuals, dy):
        dparams, errors = [], {}
        for l in reversed(range(len(layers))):
            errors[l] = dy
            above = [errors[k] for k in range(l + 1, len(layers)) if errors[k].shape == dy.shape]
            layer_dparams, dx = layers[l].backward(params[l], residuals[l], dy)
            if l == index and above:
                layer_dparams, _ = layers[l].backward(params[l], residuals[l], above[0])
            dparams.append(layer_dparams)
            dy = dx
        return tuple(dparams[::-1]), dy

    return network._replace(backward=backward)


def _learns(params, network, index):
    return bool(jax.tree.leaves(params[index]))


def _square(params, network, index):
    return _learns(params, network, index) and params[index].w.shape[0] == params[index].w.shape[1]


def _has_slope(params, network, index):
    """An activation whose φ′ is not 1 everywhere."""
    return not _learns(params, network, index) and network.layers[index].name not in ("identity", "softmax")


def _tells_residuals_apart(params, network, index):
    """An activation whose φ′ differs between input and output; relu's, by sign, is the same."""
    return _has_slope(params, network, index) and network.layers[index].name not in ("relu", "leaky relu")


def _same_shape_above(params, network, index):
    """A layer with parameters, and an output of its shape above it."""
    return (
        _learns(params, network, index) and index + 1 < len(network.layers) and not _learns(params, network, index + 1)
    )


MUTANTS: dict[str, Mutant] = {
    mutant.mistake: mutant
    for mutant in (
        Mutant("derivative missing", _has_slope, derivative_missing),
        Mutant("derivative of the wrong quantity", _tells_residuals_apart, derivative_of_the_wrong_quantity),
        Mutant("updated before propagated", _learns, updated_before_propagated),
        Mutant("not transposed", _square, not_transposed),
        Mutant("bias not summed", _learns, bias_not_summed),
        Mutant("mean instead of sum", _learns, mean_instead_of_sum),
        Mutant("sign flipped", _learns, sign_flipped),
        Mutant("layer skipped", _square, layer_skipped),
        Mutant("wrong error signal", _same_shape_above, wrong_error_signal),
        Mutant("zero", _learns, lambda network, index: scaled(network, index, 0.0)),
        Mutant("doubled", _learns, lambda network, index: scaled(network, index, 2.0)),
        Mutant("scaled", _learns, lambda network, index: scaled(network, index, 1.01)),
    )
}
"""By mistake. The last three are the ones JAX's own `check_grads` lets pass in a first layer at depth 4 and more."""


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
"""Mistakes in the loss's gradient, by mistake: ½ dropped or doubled, t − o for o − t, the mean for the sum."""
