"""Errors travel back through other weights than the signals came by: the same `backward`, handed another pytree.

With W (D, H), y = φ(x W + b) and δ = ∂E/∂a, backpropagation sends δₗ₊₁ Wₗ₊₁ᵀ back. These rules send δₗ₊₁ Bₗ₊₁ᵀ:

    feedback_alignment     B fixed, random                          Lillicrap, Cownden, Tweed & Akerman 2016
    sign_symmetry          B = sign(W), or |M| ⊙ sign(W)            Liao, Leibo & Poggio 2016
    kolen_pollack          B changes as W does, both decay          Kolen & Pollack 1994   (in its own file)
    weight_mirror          B learns from noise sent through W       Akrout et al. 2019     (in its own file)

All of them change W by the xᵀ δ that comes of it. B replaces the weights errors travel back through, arrays of two and
more axes above the first layer; biases and gains are always the network's own. B lives in the rule's state, in the
structure of the params.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal, lecun_uniform
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.feedback_params import check_feedback, check_weights, feedback_params, random_feedback
from bpjax.rules.rule import Rule, check_made_of
from bpjax.types import Array, Key, Params
from bpjax.util.checks import check_number


def feedback_alignment(
    network: Layer, loss: Loss, scale: float | Array = 1.0, weights: str | Initializer = lecun_normal
) -> Rule:
    """Errors travel back through fixed random weights; in learning, the forward weights come to lie along them.

    δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Bₗ₊₁ᵀ)        Lillicrap, Cownden, Tweed & Akerman 2016

    B is `scale` times a draw of `weights`, an initializer or its name: `bp.uniform(0.5)` is the paper's linear task.
    State: B. Any layer whose `backward` reads its weights from the params it is handed takes part, convolutions too.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `scale` is not a number, there is no such
            initializer; in `init`, a network without weights; in `grads`, a B of another network.
    """
    check_made_of("feedback_alignment", network, loss)
    check_number("feedback_alignment", "scale", scale)
    draw = initializer(weights)

    def init(key, params):
        return random_feedback("feedback_alignment", key, network, params, draw, scale)

    def grads(params, feedback, batch):
        value, dparams = gradient_through(network, loss, params, feedback, batch)
        return value, dparams, feedback

    return Rule("feedback alignment", init, grads, network, loss)


class Redrawn(NamedTuple):
    """State of `sign_symmetry` of kind "brSF"."""

    key: Key
    magnitudes: Params  # M for the next batch


def sign_symmetry(
    network: Layer,
    loss: Loss,
    kind: Literal["uSF", "brSF", "frSF"] = "uSF",
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_uniform,
) -> Rule:
    """The feedback weights have the signs of the forward weights, their magnitudes are their own.

    uSF     B = s sign(W)              uniform
    brSF    B = |M| ⊙ sign(W)          M drawn anew for every batch
    frSF    B = |M| ⊙ sign(W)          M drawn once

    Liao, Leibo & Poggio 2016. M is `scale` times a draw of `weights`; brSF needs a new one for every batch, at 6 ns a
    weight on a CPU: as long as a step of 64-100-100-10 by 57 examples, a twentieth of one of 784-500-10 by 128. s is
    `scale`, 1 in the paper, which pairs these rules with batch norm or `batch_manhattan`: as it is, sign(W) multiplies
    errors by about √H a layer. State: nothing for uSF, M for the next batch otherwise.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `kind` is another, `scale` is not above 0, there
            is no such initializer; in `init`, a network without weights; in `grads`, an M of another network.
    """
    check_made_of("sign_symmetry", network, loss)
    check_number("sign_symmetry", "scale", scale, above=0.0)
    draw = initializer(weights)
    if kind not in ("uSF", "brSF", "frSF"):
        raise ValueError(f"`sign_symmetry` expected `kind` to be 'uSF', 'brSF' or 'frSF', got {kind!r}.")

    def magnitudes(key, params):
        return random_feedback("sign_symmetry", key, network, params, draw, scale)

    def through(params, feedback, batch):
        return gradient_through(network, loss, params, feedback, batch)

    def init(key, params):
        if kind == "uSF":
            check_weights("sign_symmetry", params)
            return ()
        own, first = jax.random.split(key)
        return Redrawn(own, magnitudes(first, params)) if kind == "brSF" else magnitudes(first, params)

    def uniform(params, state, batch):
        signs = jax.tree.map(lambda w: jnp.asarray(scale, w.dtype) * jnp.sign(w), params)
        return *through(params, signs, batch), ()

    def fixed(params, state, batch):
        check_feedback(state, params)
        signed = jax.tree.map(lambda m, w: jnp.abs(m) * jnp.sign(w), state, params)
        return *through(params, signed, batch), state

    def redrawn(params, state, batch):
        value, dparams, _ = fixed(params, state.magnitudes, batch)
        key, next_key = jax.random.split(state.key)
        return value, dparams, Redrawn(next_key, magnitudes(key, params))

    grads = {"uSF": uniform, "brSF": redrawn, "frSF": fixed}[kind]
    return Rule(f"sign symmetry, {kind}", init, grads, network, loss)


def batch_manhattan(rule: Rule) -> Rule:
    """Of the direction of change only the sign: ΔW = −η sign(Σₙ gₙ), the sum over the batch.

    "Batch Manhattan", Liao, Leibo & Poggio 2016: every weight steps by the learning rate. A weight whose
    gradient is exactly 0 stays.
    """

    def grads(params, state, batch):
        value, direction, state = rule.grads(params, state, batch)
        return value, jax.tree.map(jnp.sign, direction), state

    return rule._replace(name=f"{rule.name}, Manhattan", grads=grads)


def gradient_through(network: Layer, loss: Loss, params: Params, feedback: Params, batch) -> tuple[Array, Params]:
    """The loss, and the direction of change when errors travel back through `feedback` instead of the weights."""
    x, target = batch
    output, residuals = network.forward(params, x)
    dparams, _ = network.backward(feedback_params(network, feedback, params), residuals, loss.gradient(output, target))
    return loss.value(output, target), dparams
