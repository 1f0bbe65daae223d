"""Feedback weights that receive the updates of the forward weights, and so converge to them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.feedback import gradient_through
from bpjax.rules.feedback_params import check_feedback, feedback_mask, random_feedback
from bpjax.rules.rule import Rule, check_made_of
from bpjax.types import Array, Params
from bpjax.util.checks import check_number


class Reciprocal(NamedTuple):
    """State of `kolen_pollack`: the forward and feedback weights of the last step."""

    feedback: Params  # B
    forward: Params  # W
    decay: Array  # () λ; 1 before the first step, when nothing has decayed yet


def kolen_pollack(
    network: Layer,
    loss: Loss,
    decay: float | Array = 0.999,
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_normal,
) -> Rule:
    """Forward and feedback weights get the same updates and the same decay, so their initial difference decays.

    δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Bₗ₊₁ᵀ)     W ← λ W + ΔW     B ← λ B + ΔW     so that  Wₜ − Bₜ = λᵗ (W₀ − B₀)

    Kolen & Pollack 1994; Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019. λ is `decay`, the factor per step: with 1
    the difference never decays, with 0 the rule is backpropagation from the second step on.

    ΔW is the update that the optimizer makes of the direction, momentum included. The rule updates B at the beginning
    of the next step, Bₜ = λ Bₜ₋₁ + (Wₜ − λ Wₜ₋₁), before errors travel through it. The optimizer must decay W:

        optax.chain(optimizer, optax.add_decayed_weights(decay - 1))      W ← W + (ΔW − (1 − λ) W)

    Without this the difference decays too, but then Wₜ − λ Wₜ₋₁ contains (1 − λ) W: B reads the weights themselves.

    State: B and W of the last step (zeros where no error travels back) and λ. Initially B is `scale` times a draw of
    `weights`, W a copy of the params, and λ 1.

    Args:
        network: the network.
        loss: the loss of its output.
        decay: λ, between 0 and 1; may be traced.
        scale: factor of the initial B; may be traced.
        weights: the initializer of B, or its name.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `decay` is not between 0 and 1, `scale` is not a
            number, there is no such initializer; in `init`, the network has no weights; in `grads`, the state belongs
            to another network.
    """
    check_made_of("kolen_pollack", network, loss)
    check_number("kolen_pollack", "decay", decay, least=0.0, most=1.0)
    check_number("kolen_pollack", "scale", scale)
    draw = initializer(weights)

    def init(key, params):
        forward = jax.tree.map(
            lambda c, w: jnp.array(w) if c else jnp.zeros_like(w), feedback_mask(network, params), params
        )
        feedback = random_feedback("kolen_pollack", key, network, params, draw, scale)
        return Reciprocal(feedback, forward, as_scalar(1.0))

    def grads(params, state, batch):
        check_feedback(state.feedback, params)
        check_feedback(state.forward, params)
        mask = feedback_mask(network, params)

        def updated(is_feedback, b, w, last):
            decay = state.decay.astype(b.dtype)
            return decay * b + (w - decay * last) if is_feedback else b

        feedback = jax.tree.map(updated, mask, state.feedback, params, state.forward)
        value, dparams = gradient_through(network, loss, params, feedback, batch)
        forward = jax.tree.map(lambda c, w, last: jnp.array(w) if c else last, mask, params, state.forward)
        return value, dparams, Reciprocal(feedback, forward, as_scalar(decay))

    def as_scalar(factor):
        return jnp.asarray(factor, jnp.result_type(float))

    return Rule("Kolen-Pollack", init, grads, network, loss)
