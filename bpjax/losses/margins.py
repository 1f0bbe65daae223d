"""Hinge losses: no error once the right class leads by a margin.

name                   E                                               ∂E/∂o
hinge(…)               Σ h^p,  h = max(0, m − t o)                     −p h^{p−1} t             t = ±1
multiclass_hinge(…)    Σ_{k≠y} w_y hₖ^p,  hₖ = max(0, m − o_y + oₖ)    w_y p hₖ^{p−1} for k ≠ y, and −Σ of these at y
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bpjax.losses.loss import Loss, call_of, make_loss, rows_of_examples
from bpjax.losses.weights import check_weights, weights_like
from bpjax.types import Array
from bpjax.util.checks import check_choice, check_number, is_concrete
from bpjax.util.on_host import on_host
from bpjax.util.targets import check_classes, is_integral, logits_and_weights, same_shape

POWERS = {"linear": 1, "squared": 2}


def _power(who: str, power: str) -> int:
    check_choice(who, "power", power, POWERS)
    return POWERS[power]


def _slope(h, power: int):
    """d h^p / d h where h > 0, else 0."""
    return jnp.where(h > 0, power * h ** (power - 1), 0)


def hinge(margin: float | Array = 1.0, power: str = "linear") -> Loss:
    """The hinge loss of support vector machines, for outputs whose sign is the answer.

    E = Σ max(0, m − t o)^p     ∂E/∂o = −p max(0, m − t o)^{p−1} t, 0 where t o ≥ m

    Targets are −1 and 1, in the shape of the output, or (N,) for outputs (N, 1). Cortes & Vapnik 1995.

    Args:
        margin: m, at least 0.
        power: "linear", p = 1, or "squared", p = 2.

    Raises:
        ValueError: an argument is out of range; a target, where its values are known, is not −1 or 1.
    """
    check_number("hinge", "margin", margin, least=0.0)
    p = _power("hinge", power)

    def prepare(name, output, target):
        check_signs(name, target, output)
        target = jnp.asarray(target)
        target = target[..., None] if np.shape(output) == (*target.shape, 1) else target
        target = target.astype(jnp.float32) if is_integral(target) else target
        return same_shape(name, output, target)

    def value(o, t):
        return jnp.sum(jnp.maximum(0, margin - t * o) ** p)

    def gradient(o, t):
        return -_slope(margin - t * o, p) * t

    call = call_of("hinge", margin=(margin, 1.0), power=(power, "linear"))
    return make_loss("hinge", value, gradient, prepare, check=check_signs, call=call)


def check_signs(who: str, target, output) -> None:
    """Raise a `ValueError` unless the known values of a target are −1 or 1."""
    if not is_concrete(target):
        return
    values = on_host(target)
    if values.dtype == bool or not np.isin(values, (-1, 1)).all():
        raise ValueError(f"`{who}` expected targets −1 and 1, got others. For targets 0 and 1 give `2 * target - 1`.")


def multiclass_hinge(margin: float | Array = 1.0, power: str = "linear", class_weights: ArrayLike = 1.0) -> Loss:
    """The hinge loss of classes: the output of the label y should exceed every other one by a margin.

    E = Σ_{k≠y} w_y max(0, m − o_y + oₖ)^p, for every label
    ∂E/∂oₖ = w_y p max(0, m − o_y + oₖ)^{p−1} for k ≠ y     ∂E/∂o_y = −Σ_{k≠y} ∂E/∂oₖ

    Weston & Watkins 1999. Targets are labels (N, ...), or one-hot rows in the shape of the output. PyTorch's
    `multi_margin_loss` divides it by K.

    Args:
        margin: m, at least 0.
        power: "linear", p = 1, or "squared", p = 2.
        class_weights: w, an array (K,), finite and at least 0.

    Raises:
        ValueError: an argument is out of range; the class weights are not as many as the outputs; labels out of range.
    """
    who = "multiclass_hinge"
    check_number(who, "margin", margin, least=0.0)
    p, class_weights = _power(who, power), check_weights(who, "class_weights", class_weights)

    def others(o, t):
        """m − o_y + oₖ for the classes but y, −∞ at y."""
        lead = margin - jnp.sum(t * o, axis=-1, keepdims=True) + o
        return jnp.where(t > 0, -jnp.inf, lead)

    def weight(o, t):
        return jnp.sum(weights_like(who, class_weights, o) * t, axis=-1, keepdims=True)

    def value(o, t):
        return jnp.sum(weight(o, t) * jnp.maximum(0, others(o, t)) ** p)

    def gradient(o, t):
        of_others = weight(o, t) * _slope(others(o, t), p)
        return of_others - t * jnp.sum(of_others, axis=-1, keepdims=True)

    options = {"margin": (margin, 1.0), "power": (power, "linear"), "class_weights": (class_weights, 1.0)}
    loss = make_loss("multiclass hinge", value, gradient, logits_and_weights)
    return loss._replace(check=check_classes, terms=rows_of_examples, call=call_of(who, **options))
