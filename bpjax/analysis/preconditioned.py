"""The curvature that an adaptive optimizer sees: the Hessian in the coordinates of its preconditioner.

Adam, RMSprop and Adagrad divide each component of the step by an entry of a diagonal matrix P, which they estimate from
the gradients so far:

    w ← w − η P⁻¹ m,      m the gradient, or its moving average with decay β₁

On a quadratic with Hessian H and a constant P that is gradient descent in the coordinates P^½ w, where the Hessian is
P^−½ H P^−½. It is stable up to the largest eigenvalue (2 + 2 β₁) / ((1 − β₁) η): 38/η for β₁ = 0.9, 2/η for β₁ = 0.
Full-batch training of networks rises to this limit and stays there (Cohen et al. 2022, "Adaptive gradient methods at
the edge of stability", section 2).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from bpjax.analysis.curvature import check_place, hessian_vector_product, largest_eigenvalue
from bpjax.rules.rule import Rule
from bpjax.types import Array, Key, Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_number, check_real, is_concrete

_ADAM = (optax.ScaleByAdamState, optax.ScaleByAmsgradState)
_RMSPROP = (optax.ScaleByRmsState,)
_ADAGRAD = (optax.ScaleByRssState,)


def preconditioned_curvature(
    rule: Rule, params: Params, batch, preconditioner: Params, key: Key, steps: int = 24
) -> Array:
    """The largest eigenvalue of P^−½ H P^−½, a scalar; works under jit and vmap.

    H is the Hessian of the error at `params`, P the diagonal matrix with the entries of `preconditioner`. Computed by
    Lanczos iterations as in `largest_curvature`: exact where there are no more parameters than steps, otherwise a lower
    bound. With a preconditioner of ones it is `largest_curvature`.

    Args:
        rule: computes the exact gradient.
        params: where the Hessian is taken.
        batch: (x, target).
        preconditioner: P, positive, of the structure and shapes of `params`; see `preconditioner_of`.
        key: for the random direction.
        steps: Lanczos iterations.

    Raises:
        ValueError: `steps` is not a positive integer, or `preconditioner` differs from `params` in structure or
            shapes, or is not positive and finite; the rule, params and batch do not fit; not one key.
    """
    who = "preconditioned_curvature"
    check_count(who, "steps", steps)
    params, batch = check_place(who, rule, params, batch, key)
    check_real(who, "preconditioner", preconditioner)
    here, there = (jax.tree.structure(params), jax.tree.map(jnp.shape, params)), (
        jax.tree.structure(preconditioner),
        jax.tree.map(jnp.shape, preconditioner),
    )  # fmt: skip
    if here != there:
        raise ValueError(
            f"`{who}` expected `preconditioner` of the structure and shapes of `params`, {here[1]}, got {there[1]}. "
            "Take it from the optimizer's state: `preconditioner_of(state)`."
        )
    flat, unravel = ravel_pytree(params)
    diagonal = ravel_pytree(preconditioner)[0]
    if is_concrete(diagonal) and not bool((jnp.isfinite(diagonal) & (diagonal > 0)).all()):
        raise ValueError(f"`{who}` expected positive, finite entries in `preconditioner`, got others.")
    scale = jax.lax.rsqrt(diagonal.astype(flat.dtype))
    product = hessian_vector_product(rule, params, batch)
    return largest_eigenvalue(lambda v: scale * ravel_pytree(product(unravel(scale * v)))[0], flat, key, steps)


def preconditioner_of(state, b2: Any = None, eps: Any = None) -> Params:
    """P of the next step's preconditioner as estimated so far, from a state of optax.

        Adam, AdamW, NAdam    √(ν / (1 − β₂ᵗ)) + ε
        AMSGrad               √ν̂_max + ε
        RMSprop               √(ν + ε)
        Adagrad               √(Σ g² + ε)

    The correction 1 − β₁ᵗ of Adam's first moment is left out; it is 1 after the first 50 steps. The state may be inside
    `chain`, `inject_hyperparams`, `masked`, `multi_transform` and the like; parameters may be divided among several
    adaptive optimizers.

    Args:
        state: of the optimizer, after at least one step.
        b2: decay of Adam's second moment, by default the state's own under `inject_hyperparams`, else 0.999.
        eps: ε, by default the state's own, else 1e-8, for Adagrad 1e-7.

    Raises:
        ValueError: there is no such state, parameters without one, or no step has been made.
    """
    who = "preconditioner_of"
    for name, value in (("b2", b2), ("eps", eps)):
        if value is not None:
            check_number(who, name, value, least=0.0)
    found = list(_adaptive_states(state, {}))
    if not found:
        raise ValueError(
            f"`{who}` expected the state of Adam, AMSGrad, RMSprop or Adagrad, got {type(state).__name__} without one. "
            "For another optimizer pass its preconditioner to `preconditioned_curvature`."
        )
    own = {name: value for name, value in (("b2", b2), ("eps", eps)) if value is not None}
    parts = [_diagonal(who, one, {**injected, **own}) for one, injected in found]
    is_masked = lambda leaf: isinstance(leaf, optax.MaskedNode)  # noqa: E731  (of another optimizer)

    def merged(*leaves):
        used = [leaf for leaf in leaves if not is_masked(leaf)]
        if len(used) != 1:
            raise ValueError(f"`{who}` expected one adaptive optimizer for each parameter, got {len(used)} for one.")
        return used[0]

    return jax.tree.map(merged, *parts, is_leaf=is_masked)


def adaptive_limit(learning_rate, b1=0.9):
    """The preconditioned curvature above which an adaptive optimizer is unstable, (2 + 2 β₁) / ((1 − β₁) η).

    Cohen et al. 2022; for momentum as a moving average, as in Adam. RMSprop and Adagrad without momentum have β₁ = 0.

    Args:
        learning_rate: η > 0.
        b1: β₁, from 0 to below 1.

    Raises:
        ValueError: an argument out of range.
    """
    check_number("adaptive_limit", "learning_rate", learning_rate, above=0.0)
    check_number("adaptive_limit", "b1", b1, least=0.0)
    if is_concrete(b1) and float(b1) >= 1:
        raise ValueError(f"`adaptive_limit` expected `b1` below 1, got {b1!r}.")
    return (2 + 2 * b1) / ((1 - b1) * learning_rate)


def _adaptive_states(state, injected: dict):
    """(state, hyperparameters of the `inject_hyperparams` around it) of each adaptive optimizer inside `state`."""
    if isinstance(state, _ADAM + _RMSPROP + _ADAGRAD):
        yield state, injected
        return
    if hasattr(state, "hyperparams") and hasattr(state, "inner_state"):
        yield from _adaptive_states(state.inner_state, {**injected, **state.hyperparams})
        return
    inside = state.values() if isinstance(state, dict) else state if isinstance(state, tuple | list) else ()
    for part in inside:
        yield from _adaptive_states(part, injected)


def _check_state(who: str, state) -> None:
    """Raise a `ValueError` unless the state of one adaptive optimizer holds what optax puts there."""
    for name in {"nu", "nu_max", "sum_of_squares"} & set(state._fields):
        for leaf in jax.tree.leaves(getattr(state, name)):
            if not jnp.issubdtype(getattr(leaf, "dtype", None) or bool, jnp.floating):
                raise ValueError(f"`{who}` expected floating-point arrays in `{name}` of the state, got {shown(leaf)}.")
    count = getattr(state, "count", 0)
    if isinstance(count, str) or np.shape(count) != () or count is None:
        raise ValueError(
            f"`{who}` expected `count` of the state to be one integer, got {shown(count)}. "
            "For the states of several runs use `jax.vmap(preconditioner_of)`."
        )


def _diagonal(who: str, state, given: dict):
    """P of one adaptive optimizer; masked parameters stay `MaskedNode`, which has no leaves."""
    _check_state(who, state)
    if isinstance(state, _ADAGRAD):
        eps = given.get("eps", 1e-7)
        return jax.tree.map(lambda total: jnp.sqrt(total + eps), state.sum_of_squares)
    eps = given.get("eps", 1e-8)
    if isinstance(state, _RMSPROP):
        return jax.tree.map(lambda nu: jnp.sqrt(nu + eps), state.nu)
    if is_concrete(state.count) and bool(jnp.all(state.count == 0)):
        raise ValueError(f"`{who}` expected a state after at least one step, got one of Adam at its start.")
    if isinstance(state, optax.ScaleByAmsgradState):
        return jax.tree.map(lambda most: jnp.sqrt(most) + eps, state.nu_max)
    correction = 1 - jnp.asarray(given.get("b2", 0.999)) ** state.count
    return jax.tree.map(lambda nu: jnp.sqrt(nu / correction.astype(nu.dtype)) + eps, state.nu)
