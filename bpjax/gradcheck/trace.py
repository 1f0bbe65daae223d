"""Trace a network: the input and the error signal of every layer, and every layer compared by itself."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import Agreement
from bpjax.gradcheck.per_layer import LayerComparison, LossComparison, compare_layer, compare_loss
from bpjax.gradcheck.quantity import Quantity, as_one_array, evaluate_reference
from bpjax.layers.layer import PlacedLayer
from bpjax.losses import Loss
from bpjax.util.float64 import cast_on_host, to_host


class Trace(NamedTuple):
    """A network, layer by layer. Lists are in forward order."""

    chain: list[PlacedLayer]
    inputs: list[np.ndarray]  # of each layer: computed in float64, rounded to the dtype under test
    error_signals: list[Quantity]  # ∂E/∂y of each layer, computed by the chain of hand-written backward passes
    agreements: list[Agreement]  # of the error signals
    per_layer: list[LayerComparison]
    loss: LossComparison


def trace_network(chain: list[PlacedLayer], loss: Loss, batch, dtype, allowed: float) -> Trace:
    """Compare every layer, and the loss, at the activations of the float64 forward pass.

    Args:
        chain: the network's layers with their params.
        loss: the loss under test.
        batch: (x, target), NumPy, in the dtype under test.
        dtype: the dtype under test.
        allowed: the budget of the error signals.
    """
    layers, params = [part.layer for part in chain], [part.params for part in chain]
    computed = to_host(propagate_by_hand(layers, loss, params, batch))[1]
    references = evaluate_reference(functools.partial(propagate_by_vjp, layers, loss), (params, batch), dtype)
    activations, _ = references.truth
    signals = zip(computed, *(signals for _, signals in references), strict=True)
    error_signals = [Quantity(*map(as_one_array, four)) for four in signals]
    *inputs, output = [cast_on_host(activation, dtype) for activation in activations]
    return Trace(
        chain=chain,
        inputs=inputs,
        error_signals=error_signals,
        agreements=[quantity.agreement(dtype, allowed) for quantity in error_signals],
        per_layer=[compare_layer(part.layer, part.params, x) for part, x in zip(chain, inputs, strict=True)],
        loss=compare_loss(loss, output, batch[1]),
    )


def propagate_by_vjp(layers, loss: Loss, params, batch):
    """([input of each layer, output of the last], [∂E/∂y of each layer]), by JAX from the forward passes."""
    activations, vjps = [batch[0]], []
    for layer, p in zip(layers, params, strict=True):
        y, vjp = jax.vjp(lambda x, layer=layer, p=p: layer.forward(p, x)[0], activations[-1])
        activations.append(y)
        vjps.append(vjp)
    errors = [jax.grad(loss.value)(activations[-1], batch[1])]
    for vjp in vjps[:0:-1]:
        errors.append(vjp(errors[-1])[0])
    return activations, errors[::-1]


def propagate_by_hand(layers, loss: Loss, params, batch):
    """The same by the hand-written backward passes."""
    params, batch = jax.tree.map(jnp.asarray, (params, batch))
    activations, residuals = [batch[0]], []
    for layer, p in zip(layers, params, strict=True):
        y, r = layer.forward(p, activations[-1])
        activations.append(y)
        residuals.append(r)
    errors = [loss.gradient(activations[-1], batch[1])]
    for layer, p, r in list(zip(layers, params, residuals, strict=True))[:0:-1]:
        errors.append(layer.backward(p, r, errors[-1])[1])
    return activations, errors[::-1]
