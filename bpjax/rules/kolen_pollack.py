"""Feedback weights that change as the forward weights do, and so come to equal them."""

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
    """State of `kolen_pollack`: both ways as the last step met them, and what is kept of that until the next."""

    feedback: Params  # B
    forward: Params  # W
    kept: Array  # () λ; 1 before the first step, where nothing has been forgotten yet


def kolen_pollack(
    network: Layer,
    loss: Loss,
    decay: float | Array = 0.999,
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_normal,
) -> Rule:
    """Forward and feedback weights get the same changes and the same decay, and forget in what they differed.

    δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Bₗ₊₁ᵀ)     W ← λ W + ΔW     B ← λ B + ΔW     so that  Wₜ − Bₜ = λᵗ (W₀ − B₀)

    Kolen & Pollack 1994; Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019. λ is `decay`, the share that is kept: 1
    keeps the gap for ever, and 0 is backpropagation from the second step on.

    ΔW is whatever the optimizer makes of the direction, momentum and all: B is brought up to date at the beginning of
    the next step, Bₜ = λ Bₜ₋₁ + (Wₜ − λ Wₜ₋₁), before errors go back through it. The decay of W itself is the
    optimizer's, and belongs to it:

        optax.chain(optimizer, optax.add_decayed_weights(decay - 1))      W ← W + (ΔW − (1 − λ) W)

    Without it the gap closes all the same, but then Wₜ − λ Wₜ₋₁ holds (1 − λ) W: B reads the weights themselves.

    State: B and W of the last step, zeros where no error travels back, and λ; at the start B, `scale` times a draw of
    `weights`, a copy of W, and 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `decay` is not between 0 and 1, `scale` is not a
            number, there is no such initializer; in `init`, a network without weights; in `grads`, a state of another
            network.
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
        return Reciprocal(feedback, forward, as_number(1.0))

    def grads(params, state, batch):
        check_feedback(state.feedback, params)
        check_feedback(state.forward, params)
        carries = feedback_mask(network, params)

        def up_to_date(goes_back, b, w, last):
            kept = state.kept.astype(b.dtype)
            return kept * b + (w - kept * last) if goes_back else b

        feedback = jax.tree.map(up_to_date, carries, state.feedback, params, state.forward)
        value, dparams = gradient_through(network, loss, params, feedback, batch)
        forward = jax.tree.map(lambda c, w, last: jnp.array(w) if c else last, carries, params, state.forward)
        return value, dparams, Reciprocal(feedback, forward, as_number(decay))

    def as_number(share):
        return jnp.asarray(share, jnp.result_type(float))

    return Rule("Kolen-Pollack", init, grads, network, loss)
