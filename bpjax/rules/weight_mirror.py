"""Feedback weights that learn to mirror the forward weights from noise passed through each layer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.feedback import gradient_through
from bpjax.rules.feedback_params import feedback_mask, random_feedback
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import Unit, merge_units, propagate, split_units, units
from bpjax.types import Array, Key, Params
from bpjax.util.checks import check_count, check_function, check_number


class Mirror(NamedTuple):
    """State of `weight_mirror`."""

    key: Key  # of the next noise
    feedback: Params  # B


def weight_mirror(
    network: Layer,
    loss: Loss,
    rate: float | Array = 0.05,
    decay: float | Array = 0.01,
    deviation: float | Array = 1.0,
    examples: int = 64,
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_normal,
    noise: Initializer = jax.random.normal,
) -> Rule:
    """Errors travel back through weights B that mirror the forward weights, learned from each layer's output for noise.

    engaged   δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Bₗ₊₁ᵀ)                              ΔW from δ, as in backpropagation
    mirror    B ← (1 − d) B + η ξᵀ (y − ȳ) / (n − 1)                  y = φ(ξ W + b), ȳ its mean over the n examples

    Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, eq. 7. ξ are n = `examples` examples of noise with standard
    deviation σ = `deviation`, presented to each layer of units separately, except a first layer through which no error
    travels back. For linear φ, E[ΔB] = η σ² W, so B converges to η σ² W / d; for other φ this is multiplied by the mean
    derivative of φ. Without the decay d B would grow without bound. A step first propagates the errors, then mirrors.

    The product ξᵀ y is the layer's backward pass with y as the error, so convolutions work too; there E[ΔB] is
    multiplied by the number of positions. φ includes only layers that keep the shape of the net input, so not pooling.

    State: the key of the next noise, and B, initially `scale` times a draw of `weights`.

    Args:
        network: the network.
        loss: the loss of its output.
        rate: learning rate η of B; may be traced.
        decay: d, between 0 and 1; may be traced.
        deviation: standard deviation σ of the noise; may be traced.
        examples: the number n of noise examples per step.
        scale: factor of the initial B; may be traced.
        weights: the initializer of B, or its name.
        noise: (key, shape, dtype) -> array of mean 0 and standard deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `rate`, `deviation` or `decay` is negative, `decay`
            is above 1, `examples` is below 2, there is no such initializer; in `init`, the network has no weights; in
            `grads`, B belongs to another network.
    """
    check_function("weight_mirror", "noise", noise)
    check_made_of("weight_mirror", network, loss)
    for name, value in (("rate", rate), ("deviation", deviation)):
        check_number("weight_mirror", name, value, least=0.0)
    check_number("weight_mirror", "decay", decay, least=0.0, most=1.0)
    check_number("weight_mirror", "scale", scale)
    check_count("weight_mirror", "examples", examples, least=2)
    draw = initializer(weights)

    def init(key, params):
        own, first = jax.random.split(key)
        return Mirror(own, random_feedback("weight_mirror", first, network, params, draw, scale))

    def grads(params, state, batch):
        value, dparams = gradient_through(network, loss, params, state.feedback, batch)
        key, next_key = jax.random.split(state.key)
        return value, dparams, Mirror(next_key, mirrored(key, params, state.feedback, batch[0]))

    def mirrored(key, params, feedback, x):
        shapes = jax.eval_shape(lambda p, x: [at.input for at in propagate(units(network, p), x)], params, x)
        layers, keys = units(network, params), jax.random.split(key, len(shapes))
        masks, by_unit = split_units(layers, feedback_mask(network, params)), split_units(layers, feedback)
        return merge_units(feedback, list(map(mirror, keys, shapes, layers, masks, by_unit)))

    def mirror(key, like, unit, mask, feedback):
        if not any(jax.tree.leaves(mask[0])):
            return feedback
        xi = jnp.asarray(deviation, like.dtype) * noise(key, (examples, *like.shape[1:]), like.dtype)

        def updated(is_feedback, b, covariance):
            decayed = (1 - jnp.asarray(decay, b.dtype)) * b
            return decayed + jnp.asarray(rate, b.dtype) * covariance if is_feedback else b

        return jax.tree.map(updated, mask[0], feedback[0], noise_covariance(unit, xi)), feedback[1]

    return Rule("weight mirror", init, grads, network, loss)


def noise_covariance(unit: Unit, xi: Array) -> Params:
    """ξᵀ (y − ȳ) / (n − 1) in the structure of the net's params; y = φ(a), up to a layer that changes the shape."""
    y, residuals = unit.net.forward(unit.params[0], xi)
    for layer, params in zip(unit.activation.layers, unit.params[1], strict=True):
        after, _ = layer.forward(params, y)
        if after.shape != y.shape:
            break
        y = after
    centred = (y - jnp.mean(y, axis=0, keepdims=True)) / (len(xi) - 1)
    return unit.net.backward(unit.params[0], residuals, centred)[0]
