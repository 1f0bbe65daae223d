"""A teacher for each layer: every hidden layer of units is judged by a small classifier of its own, by no other layer.

    hidden units   pₗ = hₗ Aₗ + cₗ,   Eₗ = E(pₗ, t),   δₗ = φ′(aₗ) ⊙ (∂Eₗ/∂pₗ Aₗᵀ)
    output units   δ = φ′(a) ⊙ ∂E/∂o

No error goes from layer to layer, so no layer need wait for what comes above it.
"""

import math

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Layer
from bpjax.layers.product import matmul
from bpjax.losses import Loss
from bpjax.rules.direct import unit_shapes
from bpjax.rules.models import descended, predicted
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import merge_units, propagate, unit_backward, units
from bpjax.types import Array, Shape
from bpjax.util.checks import check_number


def local_losses(
    network: Layer,
    loss: Loss,
    rate: float | Array = 0.1,
    weights: str | Initializer = lecun_normal,
    in_shape: Shape | None = None,
) -> Rule:
    """Every hidden layer of units learns to make the targets easy for a linear classifier of its own.

        prediction   pₗ = hₗ Aₗ + cₗ                            Eₗ = E(pₗ, t)
        change       ΔWₗ = −η ∂Eₗ/∂Wₗ,   hₗ₋₁ held               the output layer: its own part of ∂E/∂W
        heads        A ← A − ρ hᵀ e / N,   c ← c − ρ Σₙ e / N    e = ∂Eₗ/∂pₗ, summed over the examples

    Nøkland & Eidnes 2019, the prediction loss "pred" (their similarity loss is not here); Belilovsky, Eickenberg &
    Oyallon 2019. With `rate` ρ = 0 the heads stay as drawn: Mostafa, Ramesh & Cauwenberghs 2018. A step
    teaches the layers through the heads as they were before it.

    State: the list of all heads, `Affine(A, c)`; A begins as a draw of `weights`, c at 0.

    Args:
        network: a chain of at least two layers of units.
        loss: of the network and of every head, on whose net inputs it must make sense.
        rate: ρ, of the heads, which learn by plain gradient descent on the mean over the batch.
        weights: an initializer or its name.
        in_shape: of the network, without the batch axis; needed where the first layer is not `dense`.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `rate` is negative, there is no such initializer; in
            `init`, no hidden layer of units, or a first layer whose params do not tell `in_shape`.
    """
    check_made_of("local_losses", network, loss)
    return taught_by_heads("local losses", "local_losses", network, loss, loss, rate, weights, True, in_shape)


def taught_by_heads(
    name, who, network: Layer, loss: Loss, local_loss: Loss, rate, weights, use_bias: bool, in_shape
) -> Rule:
    """A rule whose hidden layers learn from `local_loss` of their heads, its output layer from `loss`."""
    check_number(who, "rate", rate, least=0.0)
    draw = initializer(weights)
    on_mean = lambda examples: 1.0 if local_loss.reduction == "mean" else 1 / examples

    def init(key, params):
        *hidden, last = (at.output for at in unit_shapes(who, network, params, in_shape))
        outputs = math.prod(last.shape[1:])
        keys = jax.random.split(key, len(hidden))
        return [first_head(k, math.prod(h.shape[1:]), outputs, h.dtype) for k, h in zip(keys, hidden, strict=True)]

    def first_head(key, width, outputs, dtype):
        return Affine(draw(key, (width, outputs), dtype), jnp.zeros(outputs, dtype) if use_bias else None)

    def grads(params, heads, batch):
        x, target = batch
        layers = units(network, params)
        passed = propagate(layers, x)
        output = passed[-1].output
        changes, learnt = [], []
        for unit, seen, head in zip(layers[:-1], passed[:-1], heads, strict=True):
            p = predicted(head, seen.output, output.shape[1:])
            e = local_loss.gradient(p, target)
            dh = matmul(e.reshape(len(p), -1), head.w.T).reshape(seen.output.shape)
            changes.append(unit_backward(unit, seen, dh).params)
            learnt.append(descended(head, seen.output, e, rate * on_mean(len(p))))
        changes.append(unit_backward(layers[-1], passed[-1], loss.gradient(output, target)).params)
        return loss.value(output, target), merge_units(params, changes), learnt

    return Rule(name, init, grads, network, loss)
