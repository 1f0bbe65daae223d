"""Which optimizer the page continues with: η, α and the form of momentum, verified on all recorded steps."""

from typing import NamedTuple

import numpy as np
import optax

from bpjax.losses import Loss, binary_cross_entropy, mean_squared_error, softmax_cross_entropy, squared_error
from bpjax.optimizers.hyperparameters import hyperparameter
from bpjax.teaching.lesson.record import Frame, close, finite_steps
from bpjax.teaching.lesson.units import DrawnLayer

LOSSES: dict[str, Loss] = {
    "squared_error": squared_error,
    "mean_squared_error": mean_squared_error,
    "softmax_cross_entropy": softmax_cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}
"""The losses that the page can compute, by their name in `arithmetic.js`."""

FORMS = ("heavy_ball", "convex", "nesterov")
"""Of `bp.momentum`. While η is constant, as here, the form "velocity" takes the same steps as "heavy_ball"."""


class Descent(NamedTuple):
    """Gradient descent with momentum; `form` is one of FORMS."""

    learning_rate: float
    momentum: float
    form: str


def loss_kind(loss: Loss) -> str | None:
    """The loss's name in `arithmetic.js`; None where the page cannot compute it."""
    return next((name for name, known in LOSSES.items() if known is loss), None)


def why_not_live(layers: list[DrawnLayer], loss: Loss, is_backprop: bool, descent: Descent | None) -> str | None:
    """The word for the reason why the page cannot continue a run; None where it can."""
    if not is_backprop:
        return "live_not_rule"
    if any(layer.kind is None for layer in layers):
        return "live_not_activation"
    if loss_kind(loss) is None:
        return "live_not_loss"
    return "live_not_optimizer" if descent is None else None


def descent_of(state: optax.OptState, frames: Frame) -> Descent | None:
    """η, α and the form that make every recorded change of the weights, or None.

    η and α are read from the optimizer's state. Where it does not hold them, as in `optax.sgd`, they are computed from
    the first two steps. Nothing is assumed of the optimizer: the changes are computed again and compared.
    """
    rows = finite_steps(frames)
    gradients, changes = flat(frames.gradient)[:rows], flat(frames.change)[:rows]
    if not rows or not np.abs(gradients[0]).max() > 0:
        return None
    rate, momentum = hyperparameter(state, "learning_rate"), hyperparameter(state, "momentum")
    if rate is None:
        rate, momentum = _from_two_steps(gradients, changes)
    rate, momentum = float(rate), 0.0 if momentum is None else float(momentum)
    if not 0 < rate < np.inf or not 0 <= momentum <= 1:
        return None
    for form in FORMS:
        descent = Descent(rate, momentum, form)
        if close(changes_by(descent, gradients), changes):
            return descent
    return None


def _from_two_steps(gradients: np.ndarray, changes: np.ndarray) -> tuple[float, float]:
    """η from Δ₀ = −η g₀, then α from Δ₁ = α Δ₀ − η g₁."""
    rate = -float(changes[0] @ gradients[0]) / float(gradients[0] @ gradients[0])
    if len(gradients) < 2 or not changes[0].any():
        return rate, 0.0
    momentum = float((changes[1] + rate * gradients[1]) @ changes[0]) / float(changes[0] @ changes[0])
    return rate, 0.0 if abs(momentum) < 1e-9 else momentum


def changes_by(descent: Descent, gradients: np.ndarray) -> np.ndarray:
    """Δw (steps, weights) of gradient descent with momentum; see the table of `bpjax.optimizers.momentum`."""
    rate, alpha, form = descent
    velocity, changes = np.zeros_like(gradients[0]), []
    for g in gradients:
        velocity = alpha * velocity - ((1 - alpha) * rate if form == "convex" else rate) * g
        changes.append(alpha * velocity - rate * g if form == "nesterov" else velocity)
    return np.array(changes)


def flat(arrays: list) -> np.ndarray:
    """(steps, weights) of the arrays of all layers."""
    return np.concatenate([np.asarray(a).reshape(len(a), -1) for a in arrays], axis=1)
