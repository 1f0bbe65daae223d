"""Synthetic gradients: a layer predicts its error signal instead of waiting for it."""

import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.layer import Layer, check_any_shape
from bpjax.losses import Loss
from bpjax.rules.direct import unit_shapes
from bpjax.rules.models import predict, sgd_step
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import check_units, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Shape
from bpjax.util.checks import check_flag, check_number
from bpjax.util.targets import rows_of


def synthetic_gradients(
    network: Layer,
    loss: Loss,
    rate: float | Array = 0.1,
    with_target: bool = False,
    in_shape: Shape | None = None,
) -> Rule:
    """Every hidden layer learns immediately from a prediction of its error signal (Jaderberg et al. 2017).

        prediction    δ̂_l = M_l(h_l) = h_l A_l + c_l            of ∂E/∂h_l, hidden layers of units l = 1 … L−1
        update        dW_l = (∂h_l/∂W_l)ᵀ δ̂_l,                   dW_L from the true ∂E/∂o
        target of M   δ*_l = (∂h_{l+1}/∂h_l)ᵀ δ̂_{l+1},           δ̂_L = ∂E/∂o: propagated from the next layer
        M learns      by ½ mean_n ‖δ̂_l − δ*_l‖²:   A ← A − η h_lᵀ(δ̂_l − δ*_l)/N,   c ← c − η mean_n(δ̂_l − δ*_l)

    No layer waits for a signal from beyond the next one. M starts at 0, so the first step moves no hidden layer; with
    exact predictions the rule is backpropagation. State: `Affine(A, c)` for each hidden layer, A (H, H) for the H
    entries of its output. `with_target` gives M the target beside h_l (cDNI): A is (H + K, H).

    Deviation: M is one linear map, learns by plain gradient descent, and the forward pass is not decoupled.

    Args:
        network: a chain of layers.
        loss: the loss of its output; the rule's value is that of the forward pass.
        rate: learning rate η of the models.
        with_target: whether M also receives the target; labels are converted to one-hot rows.
        in_shape: of the network, without the batch axis; required if the first layer is not `dense`.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `rate` is not above 0; in `init`, the network has no
            hidden layer of units, the params belong to another network, or `in_shape` is missing.
    """
    check_flag("synthetic_gradients", "with_target", with_target)
    if in_shape is not None:
        in_shape = check_any_shape("synthetic_gradients", in_shape)
    who = "synthetic_gradients"
    check_made_of(who, network, loss)
    check_number(who, "rate", rate, above=0.0)

    def init(key, params):
        check_units(who, network, params)
        outputs = [at.output for at in unit_shapes(who, network, params, in_shape)]
        extra = outputs[-1].size if with_target else 0
        return [Affine(jnp.zeros((h.size + extra, h.size), h.dtype), jnp.zeros(h.size, h.dtype)) for h in outputs[:-1]]

    def grads(params, models, batch):
        x, target = batch
        layers = units(network, params)
        forward = propagate(layers, x)
        output = forward[-1].output
        inputs = [model_input(at.output, output, target if with_target else None) for at in forward[:-1]]
        predictions = [
            predict(model, h, at.output.shape[1:]) for model, h, at in zip(models, inputs, forward[:-1], strict=True)
        ]
        errors = [*predictions, loss.gradient(output, target)]
        backward = [unit_backward(*layer) for layer in zip(layers, forward, errors, strict=True)]
        models = [
            sgd_step(model, h, prediction - after.input, rate / len(output))
            for model, h, prediction, after in zip(models, inputs, predictions, backward[1:], strict=True)
        ]
        return loss.value(output, target), merge_units(params, [at.params for at in backward]), models

    return Rule("synthetic gradients", init, grads, network, loss)


def model_input(h: Array, output: Array, target) -> Array:
    """The input of a model: h flattened to (N, H), with the target appended (N, H + K) unless it is None."""
    h = h.reshape(len(h), -1)
    if target is None:
        return h
    return jnp.concatenate([h, rows_of(target, output).reshape(len(h), -1).astype(h.dtype)], axis=1)
