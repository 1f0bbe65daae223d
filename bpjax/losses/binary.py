"""Losses of classes that are independent of each other, a logit for each: binary cross-entropy.

o is the output (N, ..., K) or (N, 1), t the target from 0 to 1 in the same shape.

    name                              E                                           ∂E/∂o
    binary_cross_entropy              −Σ t ln σ(o) + (1 − t) ln σ(−o)             σ(o) − t
    weighted_binary_cross_entropy(…)  −Σ w [r t ln σ(o) + (1 − t) ln σ(−o)]       w [(r t + 1 − t) σ(o) − r t]
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bpjax.losses.loss import Loss, call_of, make_loss
from bpjax.losses.weights import check_weights, weights_like
from bpjax.types import Array
from bpjax.util.checks import check_number
from bpjax.util.targets import check_probabilities, logits_and_probabilities


def _binary_value(o, t):
    loss_at_0 = jnp.where(t == 0, 0.0, t * jax.nn.relu(-o))  # 0 · ∞ counts 0: the limit for o → ±∞
    loss_at_1 = jnp.where(t == 1, 0.0, (1 - t) * jax.nn.relu(o))
    return jnp.sum(jnp.log1p(jnp.exp(-jnp.abs(o))) + loss_at_0 + loss_at_1)


binary_cross_entropy = make_loss(
    "binary cross entropy",
    _binary_value,
    lambda o, t: jax.nn.sigmoid(o) - t,
    logits_and_probabilities,
    check=check_probabilities,
)
"""−Σ t ln σ(o) + (1 − t) ln(1 − σ(o)) on logits.

Targets lie between 0 and 1, in the shape of the output, or (N,) for outputs (N, 1); labels 0 and 1 may be integers or
booleans. Targets outside 0 … 1 raise where their values are known; inside `jit` they give NaN. A logit ±∞ is the limit:
the error is 0 where the target agrees with it, else +∞."""


def weighted_binary_cross_entropy(
    positive_weights: ArrayLike = 1.0, output_weights: ArrayLike = 1.0, label_smoothing: float | Array = 0.0
) -> Loss:
    """`binary_cross_entropy` with weights of the positive class, weights of the outputs, and smoothed targets.

    E = −Σ w [r s ln σ(o) + (1 − s) ln σ(−o)]     ∂E/∂o = w [(r s + 1 − s) σ(o) − r s]     s = (1 − ε) t + ε / 2

    With r = (negative examples) / (positive examples) both classes weigh the same.

    Args:
        positive_weights: r, a number or an array (K,) with one for each output, finite and at least 0.
        output_weights: w, likewise.
        label_smoothing: ε, from 0 to 1.

    Raises:
        ValueError: an argument is out of range; weights (K,) are not as many as the outputs.
    """
    who = "weighted_binary_cross_entropy"
    r = check_weights(who, "positive_weights", positive_weights)
    w = check_weights(who, "output_weights", output_weights)
    check_number(who, "label_smoothing", label_smoothing, least=0.0, most=1.0)

    def prepare(name, output, target):
        """The logits, and the factors of −ln σ(o) and of −ln σ(−o)."""
        o, t = logits_and_probabilities(name, output, target)
        s = ((1 - label_smoothing) * t + label_smoothing / 2).astype(o.dtype)
        of_output = weights_like(who, w, o)
        return o, of_output * weights_like(who, r, o) * s, of_output * (1 - s)

    def value(o, at_1, at_0):
        rest = jnp.log1p(jnp.exp(-jnp.abs(o)))  # of both −ln σ(±o) = relu(∓o) + rest
        errors = (jnp.where(f == 0, 0.0, f * (rest + jax.nn.relu(a))) for f, a in ((at_1, -o), (at_0, o)))
        return jnp.sum(sum(errors))

    def gradient(o, at_1, at_0):
        return (at_1 + at_0) * jax.nn.sigmoid(o) - at_1

    options = {"positive_weights": (r, 1.0), "output_weights": (w, 1.0), "label_smoothing": (label_smoothing, 0.0)}
    loss = make_loss("weighted binary cross entropy", value, gradient, prepare)
    return loss._replace(check=check_probabilities, call=call_of(who, **options))
