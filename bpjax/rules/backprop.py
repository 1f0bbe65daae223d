"""Backpropagation with hand-written derivatives, and the same gradient by automatic differentiation."""

import jax

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, check_made_of


def backprop(network: Layer, loss: Loss) -> Rule:
    """The gradient of the loss by the hand-written backward passes of the layers.

    Present an example, propagate it forward, compare with the target, propagate the error back. For a dense
    layer l with activation φ, the error signal δ = ∂E/∂a and the weight change are those of the encyclopedia article
    on backpropagation:

        output units    δ = φ′(a) ⊙ ∂E/∂o            with E = ½ Σ (t − o)²:  φ′(a) ⊙ (o − t)
        hidden units    δ = φ′(a) ⊙ (δₗ₊₁ Wₗ₊₁ᵀ)
        weight change   ΔW = −η xᵀ δ

    `backward` receives the network's own params: this is the weight transport of backpropagation.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss.
    """
    check_made_of("backprop", network, loss)

    def init(key, params):
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        output, residuals = network.forward(params, x)
        dparams, _ = network.backward(params, residuals, loss.gradient(output, target))
        return loss.value(output, target), dparams, rule_state

    return Rule("backprop", init, grads, network, loss)


def autodiff(network: Layer, loss: Loss) -> Rule:
    """The same gradient by `jax.value_and_grad` of the forward pass and the loss value.

    It uses no hand-written derivative, so tests use it as the reference for those.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss.
    """
    check_made_of("autodiff", network, loss)

    def init(key, params):
        return ()

    def grads(params, rule_state, batch):
        x, target = batch

        def error(params):
            output, _ = network.forward(params, x)
            return loss.value(output, target)

        value, dparams = jax.value_and_grad(error)(params)
        return value, dparams, rule_state

    return Rule("autodiff", init, grads, network, loss)
