"""Synthetic gradients: a layer guesses its error signal instead of waiting for it."""

import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.layer import Layer
from bpjax.losses import Loss, rows_of
from bpjax.rules.direct import unit_shapes
from bpjax.rules.models import descended, predicted
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import check_units, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Shape
from bpjax.util.checks import check_number


def synthetic_gradients(
    network: Layer,
    loss: Loss,
    rate: float | Array = 0.1,
    with_target: bool = False,
    in_shape: Shape | None = None,
) -> Rule:
    """Every hidden layer learns at once from a guess of its error signal (Jaderberg et al. 2017).

        guess        δ̂_l = M_l(h_l) = h_l A_l + c_l            for ∂E/∂h_l, hidden layers of units l = 1 … L−1
        change       dW_l = (∂h_l/∂W_l)ᵀ δ̂_l,                   dW_L from the true ∂E/∂o
        truth for M  δ*_l = (∂h_{l+1}/∂h_l)ᵀ δ̂_{l+1},           δ̂_L = ∂E/∂o: what the next layer sends back of its guess
        M learns     by ½ mean_n ‖δ̂_l − δ*_l‖²:   A ← A − η h_lᵀ(δ̂_l − δ*_l)/N,   c ← c − η mean_n(δ̂_l − δ*_l)

    No layer waits for a signal from further than the next one. M begins at 0, so that at the first step no hidden layer
    moves; guesses without an error are backpropagation. The models are the state of the rule: `Affine(A, c)` for each
    hidden layer, A (H, H) for the H numbers of its output. `with_target` gives M the target beside h_l (cDNI): A is
    (H + K, H).

    Deviation: M is one linear map, learns by plain gradient descent, and the forward pass is not decoupled.

    Args:
        network: a chain of layers.
        loss: its value is that of the forward pass.
        rate: η, of the models.
        with_target: whether M sees the target too; labels as one-hot rows.
        in_shape: of the network, where its first layer of units is not dense.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `rate` is not above 0; in `init`, the network has no
            hidden layer of units, the params are another one's, or the shape of what comes in cannot be told from them.
    """
    who = "synthetic_gradients"
    check_made_of(who, network, loss)
    check_number(who, "rate", rate, above=0.0)

    def init(key, params):
        check_units(who, network, params)
        outputs = [at.output for at in unit_shapes(who, network, params, in_shape)]
        known = outputs[-1].size if with_target else 0
        return [Affine(jnp.zeros((h.size + known, h.size), h.dtype), jnp.zeros(h.size, h.dtype)) for h in outputs[:-1]]

    def grads(params, models, batch):
        x, target = batch
        layers = units(network, params)
        passed = propagate(layers, x)
        output = passed[-1].output
        seen = [what_is_seen(at.output, output, target if with_target else None) for at in passed[:-1]]
        guesses = [predicted(model, h, at.output.shape[1:]) for model, h, at in zip(models, seen, passed, strict=False)]
        errors = [*guesses, loss.gradient(output, target)]
        changes = [unit_backward(*layer) for layer in zip(layers, passed, errors, strict=True)]
        models = [
            descended(model, h, guess - change.input, rate / len(output))
            for model, h, guess, change in zip(models, seen, guesses, changes[1:], strict=True)
        ]
        return loss.value(output, target), merge_units(params, [change.params for change in changes]), models

    return Rule("synthetic gradients", init, grads, network, loss)


def what_is_seen(h: Array, output: Array, target) -> Array:
    """The numbers a model sees of each example (N, H): the layer's output, and the target where it is given."""
    h = h.reshape(len(h), -1)
    if target is None:
        return h
    return jnp.concatenate([h, rows_of(target, output).reshape(len(h), -1).astype(h.dtype)], axis=1)
