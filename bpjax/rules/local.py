"""Local losses: every hidden layer of units learns from the loss of its own linear classifier, the head.

    hidden units   pₗ = hₗ Aₗ + cₗ,   Eₗ = E(pₗ, t),   δₗ = φ′(aₗ) ⊙ (∂Eₗ/∂pₗ Aₗᵀ)
    output units   δ = φ′(a) ⊙ ∂E/∂o

No error travels from layer to layer, so no layer waits for a later one.
"""

import math

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Layer, check_any_shape
from bpjax.layers.product import matmul
from bpjax.losses import Loss
from bpjax.losses.loss import is_mean
from bpjax.rules.direct import unit_shapes
from bpjax.rules.models import predict, sgd_step
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
    """Every hidden layer of units learns features from which its own linear classifier predicts the target.

        prediction   pₗ = hₗ Aₗ + cₗ                            Eₗ = E(pₗ, t)
        update       ΔWₗ = −η ∂Eₗ/∂Wₗ,   hₗ₋₁ fixed              the output layer: its gradient ∂E/∂W
        heads        A ← A − ρ hᵀ e / N,   c ← c − ρ Σₙ e / N    e = ∂Eₗ/∂pₗ, summed over the examples

    Nøkland & Eidnes 2019, the prediction loss "pred" (their similarity loss is not here); Belilovsky, Eickenberg &
    Oyallon 2019. With `rate` ρ = 0 the heads keep their initial weights: Mostafa, Ramesh & Cauwenberghs 2018. A step
    computes the directions of the layers with the heads before their update.

    State: the list of all heads, `Affine(A, c)`; A starts as a draw of `weights`, c at 0.

    Args:
        network: a chain of at least two layers of units.
        loss: of the network's output and of the net inputs of every head.
        rate: learning rate ρ of the heads, which learn by plain gradient descent on the mean over the batch.
        weights: the initializer of A, or its name.
        in_shape: of the network, without the batch axis; required if the first layer is not `dense`.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `rate` is negative, there is no such initializer; in
            `init`, the network has no hidden layer of units or `in_shape` is missing.
    """
    if in_shape is not None:
        in_shape = check_any_shape("local_losses", in_shape)
    check_made_of("local_losses", network, loss)
    return local_heads("local losses", "local_losses", network, loss, loss, rate, weights, True, in_shape)


def local_heads(
    name, who, network: Layer, loss: Loss, local_loss: Loss, rate, weights, use_bias: bool, in_shape
) -> Rule:
    """A rule whose hidden layers learn from the `local_loss` of their heads and whose output layer learns from `loss`.

    Args:
        name: of the rule.
        who: the caller's name, for error messages.
        network: a chain of at least two layers of units.
        loss: of the network's output.
        local_loss: of each head's output.
        rate: learning rate of the heads.
        weights: the initializer of the heads, or its name.
        use_bias: whether the heads have a bias.
        in_shape: of the network, without the batch axis.
    """
    check_number(who, "rate", rate, least=0.0)
    draw = initializer(weights)
    on_mean = lambda examples: 1.0 if is_mean(local_loss) else 1 / examples

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
        forward = propagate(layers, x)
        output = forward[-1].output
        dparams, next_heads = [], []
        for unit, at, head in zip(layers[:-1], forward[:-1], heads, strict=True):
            p = predict(head, at.output, output.shape[1:])
            e = local_loss.gradient(p, target)
            dh = matmul(e.reshape(len(p), -1), head.w.T).reshape(at.output.shape)
            dparams.append(unit_backward(unit, at, dh).params)
            next_heads.append(sgd_step(head, at.output, e, rate * on_mean(len(p))))
        dparams.append(unit_backward(layers[-1], forward[-1], loss.gradient(output, target)).params)
        return loss.value(output, target), merge_units(params, dparams), next_heads

    return Rule(name, init, grads, network, loss)
