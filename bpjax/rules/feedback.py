"""Feedback weights: errors travel back through B instead of W, by passing another pytree to the same `backward`.

With W (D, H), y = φ(x W + b) and δ = ∂E/∂a, backpropagation propagates δₗ₊₁ Wₗ₊₁ᵀ. These rules propagate δₗ₊₁ Bₗ₊₁ᵀ:

    feedback_alignment     B fixed, random                          Lillicrap, Cownden, Tweed & Akerman 2016
    sign_symmetry          B = sign(W), or |M| ⊙ sign(W)            Liao, Leibo & Poggio 2016
    kolen_pollack          B gets the updates of W, both decay      Kolen & Pollack 1994   (in its own file)
    weight_mirror          B learns from noise passed through W     Akrout et al. 2019     (in its own file)

Each rule then changes W by xᵀ δ. B replaces the weights that errors travel through: arrays with two or more axes, after
the first layer. Biases and gains stay the network's own. B is part of the rule's state, in the structure of the params.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal, lecun_uniform
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.feedback_params import check_feedback, check_weights, feedback_params, random_feedback
from bpjax.rules.rule import Rule, call_of, check_made_of, check_rule
from bpjax.types import Array, Key, Params
from bpjax.util.checks import check_choice, check_number


def feedback_alignment(
    network: Layer, loss: Loss, scale: float | Array = 1.0, weights: str | Initializer = lecun_normal
) -> Rule:
    """Errors travel back through fixed random weights B; during training the forward weights align with B.

    δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Bₗ₊₁ᵀ)        Lillicrap, Cownden, Tweed & Akerman 2016

    `uniform(0.5)` is the initializer of the paper's linear task. State: B. It works for every layer whose `backward`
    reads the weights from the params it receives, convolutions included.

    Args:
        network: the network.
        loss: the loss of its output.
        scale: factor of B; may be traced.
        weights: the initializer of B, or its name.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `scale` is not a number, there is no such
            initializer; in `init`, the network has no weights; in `grads`, B belongs to another network.
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
    magnitudes: Params  # M of the next batch


def sign_symmetry(
    network: Layer,
    loss: Loss,
    kind: Literal["uSF", "brSF", "frSF"] = "uSF",
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_uniform,
) -> Rule:
    """Feedback weights with the signs of the forward weights and independent magnitudes.

    uSF     B = s sign(W)              uniform magnitude s
    brSF    B = |M| ⊙ sign(W)          M drawn for every batch
    frSF    B = |M| ⊙ sign(W)          M drawn once

    Liao, Leibo & Poggio 2016. The paper uses s = 1 together with batch norm or `batch_manhattan`, because sign(W) alone
    multiplies errors by about √H per layer. Drawing M for brSF costs 6 ns per weight on a CPU: as much as the step of a
    64-100-100-10 network with 57 examples, 5 % of the step of a 784-500-10 network with 128. State: `()` for uSF, the
    key and M of the next batch for brSF, M for frSF.

    Args:
        network: the network.
        loss: the loss of its output.
        kind: "uSF", "brSF" or "frSF".
        scale: s of uSF, the factor of M otherwise; may be traced.
        weights: the initializer of M, or its name.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `kind` is none of the three, `scale` is not above 0,
            there is no such initializer; in `init`, the network has no weights; in `grads`, M belongs to another
            network.
    """
    check_made_of("sign_symmetry", network, loss)
    check_number("sign_symmetry", "scale", scale, above=0.0)
    draw = initializer(weights)
    check_choice("sign_symmetry", "kind", kind, ("uSF", "brSF", "frSF"))

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
    return Rule(f"sign symmetry, {kind}", init, grads, network, loss, call_of("sign_symmetry", network, loss, kind))


def batch_manhattan(rule: Rule) -> Rule:
    """Only the sign of the rule's direction: ΔW = −η sign(Σₙ gₙ), the sum over the batch.

    "Batch Manhattan", Liao, Leibo & Poggio 2016: every weight changes by the learning rate. A weight whose gradient is
    exactly 0 does not change.
    """
    check_rule("batch_manhattan", rule)

    def grads(params, state, batch):
        value, direction, state = rule.grads(params, state, batch)
        return value, jax.tree.map(jnp.sign, direction), state

    return rule._replace(name=f"{rule.name}, Manhattan", grads=grads, call=call_of("batch_manhattan", rule))


def gradient_through(network: Layer, loss: Loss, params: Params, feedback: Params, batch) -> tuple[Array, Params]:
    """The loss, and the direction obtained when errors travel back through `feedback` instead of the weights.

    Args:
        network: the network.
        loss: the loss of its output.
        params: of the network.
        feedback: B, in the structure of the params.
        batch: (x, target).
    """
    x, target = batch
    output, residuals = network.forward(params, x)
    dparams, _ = network.backward(feedback_params(network, feedback, params), residuals, loss.gradient(output, target))
    return loss.value(output, target), dparams
