"""The change of the weights in one step, with what the optimizer carries over from earlier steps apart."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bpjax.optimizers.momentum import momentum
from bpjax.types import Array, Params
from bpjax.util.checks import check_instance, check_number


class WeightChange(NamedTuple):
    """Δw of one step, in the structure of the params: total = gradient_term + momentum_term."""

    total: Params
    """Δw, what is added to the weights."""
    gradient_term: Params
    """The part that the gradient of this batch makes; −η ∂E/∂w for gradient descent with momentum."""
    momentum_term: Params
    """The part that earlier steps make, α Δw of the previous step: what the optimizer would do for a zero gradient."""


def as_optimizer(who: str, optimizer) -> optax.GradientTransformation:
    """An optimizer; a number is the learning rate η of gradient descent, Δw = −η ∂E/∂w."""
    if isinstance(optimizer, optax.GradientTransformation):
        return optimizer
    if callable(optimizer) or jnp.ndim(optimizer) != 0:
        check_instance(who, "optimizer", optimizer, optax.GradientTransformation, "bp.momentum(0.1)")
    check_number(who, "optimizer", optimizer, above=0.0)
    rate: Any = optimizer
    return momentum(rate, 0.0)


def weight_change(
    optimizer: optax.GradientTransformation, grads: Params, state: Any, params: Params, value: Array
) -> WeightChange:
    """Δw of a step, split into what the gradient makes and what the optimizer carries over.

        momentum_term = update(0, state)        gradient_term = update(∂E/∂w, state) − update(0, state)

    For every form of `bp.momentum` and for `optax.sgd` these are the two terms of the formula: the heavy ball's
    −η ∂E/∂w and α Δw(t − 1). For an optimizer that is not linear in the gradient, such as Adam, they are what this
    definition says.
    """
    update: Any = optax.with_extra_args_support(optimizer).update
    total = update(grads, state, params, value=value)[0]
    carried = update(jax.tree.map(jnp.zeros_like, grads), state, params, value=value)[0]
    return WeightChange(total, jax.tree.map(jnp.subtract, total, carried), carried)
