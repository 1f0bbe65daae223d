"""Feedback weights that learn what the forward weights are from the noise that comes through them."""

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
from bpjax.util.checks import check_count, check_number


class Mirror(NamedTuple):
    """State of `weight_mirror`."""

    key: Key  # of the noise to come
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
    """Errors travel back through weights that mirror the forward ones, learnt from what noise does to each layer.

    engaged   δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Bₗ₊₁ᵀ)                              ΔW from δ, as in backpropagation
    mirror    B ← (1 − d) B + η ξᵀ (y − ȳ) / (n − 1)                  y = φ(ξ W + b), ȳ its mean over the n examples

    Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, eq. 7. ξ are n = `examples` examples of noise of standard
    deviation σ = `deviation`, presented to every layer of units on its own, but not to a first one that no error goes
    back through. Where φ is linear E[ΔB] = η σ² W, so that B settles at η σ² W / d; where it bends, that is scaled by
    its mean slope. η is `rate`, d is `decay`, for without one B would grow for ever. Each step first sends its errors
    back, then mirrors.

    The product ξᵀ y is the layer's own backward pass, handed y for an error: convolutions mirror too, where E[ΔB] is
    multiplied by the number of positions. φ is what keeps the shape of the net input: not pooling, which pairs no
    unit with a weight.

    State: the key of the noise, and B, at first `scale` times a draw of `weights`. `noise` is any
    (key, shape, dtype) -> array of mean 0 and deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `rate`, `deviation` or `decay` is negative, `decay`
            above 1, `examples` fewer than 2, there is no such initializer; in `init`, a network without weights; in
            `grads`, a B of another network.
    """
    check_made_of("weight_mirror", network, loss)
    for name, number in (("rate", rate), ("deviation", deviation)):
        check_number("weight_mirror", name, number, least=0.0)
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
        shapes = jax.eval_shape(lambda p, x: [seen.input for seen in propagate(units(network, p), x)], params, x)
        layers, keys = units(network, params), jax.random.split(key, len(shapes))
        carries, reciprocal = split_units(layers, feedback_mask(network, params)), split_units(layers, feedback)
        return merge_units(feedback, list(map(mirror, keys, shapes, layers, carries, reciprocal)))

    def mirror(key, like, unit, carries, feedback):
        if not any(jax.tree.leaves(carries[0])):
            return feedback
        xi = jnp.asarray(deviation, like.dtype) * noise(key, (examples, *like.shape[1:]), like.dtype)

        def change(c, b, covariance):
            kept = (1 - jnp.asarray(decay, b.dtype)) * b
            return kept + jnp.asarray(rate, b.dtype) * covariance if c else b

        return jax.tree.map(change, carries[0], feedback[0], noise_covariance(unit, xi)), feedback[1]

    return Rule("weight mirror", init, grads, network, loss)


def noise_covariance(unit: Unit, xi: Array) -> Params:
    """ξᵀ (y − ȳ) / (n − 1) in the structure of the net's params, for y = φ(net input) as far as φ keeps its shape."""
    y, residuals = unit.net.forward(unit.params[0], xi)
    for layer, params in zip(unit.activation.layers, unit.params[1], strict=True):
        after, _ = layer.forward(params, y)
        if after.shape != y.shape:
            break
        y = after
    centred = (y - jnp.mean(y, axis=0, keepdims=True)) / (len(xi) - 1)
    return unit.net.backward(unit.params[0], residuals, centred)[0]
