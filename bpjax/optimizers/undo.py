"""Undo a step that raised the error, inside one compiled loop and under `vmap`.

Some optimizers compare the error before and after a step and undo the step where the error has risen. When they find
that out, the current weights and gradient are those after the bad step. So they keep the last accepted point, an
`AcceptedPoint` with weights, gradient and error, as a field of their state. Each new point is accepted or not, and the
next step starts from the accepted one:

    point = accept(state.accepted, params, g, value, tolerance)
    change = −η point.gradient                 the next step starts from `point.params`
    return change, state._replace(accepted=point)

An undone step costs one evaluation of the error, as in the papers: the next step follows the stored gradient, more
carefully.

A plain optax loop adds the updates to the current weights, so the update contains the way back. That is right to
rounding as long as the current weights are finite and not larger by many orders of magnitude. A loop that calls
`take_step`, like every loop of bpjax, starts from the stored weights themselves: exact, however bad the step was. In a
plain loop such an optimizer must be the last of an `optax.chain`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bpjax.optimizers.weights import complex_again, copies, zeros
from bpjax.types import Array, Params
from bpjax.util.call_text import shown
from bpjax.util.checks import as_array, check_instance, check_like
from bpjax.util.trees import norm, select


class AcceptedPoint(NamedTuple):
    """Where the next step starts from."""

    params: Params
    gradient: Params  # ∂E/∂w there
    value: Array  # () E there; +∞ before the first step
    undone: Array  # () bool: the step before was undone, so that this is the point that it started from too

    def change_from(self, params: Params, change: Params) -> Params:
        """The change from the current weights `params` that ends where `change` from this point ends."""

        def total(accepted, w, c):
            return jnp.where(self.undone, (accepted - w).astype(c.dtype) + c, c)

        return jax.tree.map(total, self.params, params, change)


def before_first_step(params: Params) -> AcceptedPoint:
    """The initial weights, with gradient 0 and an error that any other one is below."""
    infinite = jnp.asarray(jnp.inf, jnp.result_type(float))
    return AcceptedPoint(copies(params), zeros(params), infinite, jnp.asarray(False))


def accept(last: AcceptedPoint, params: Params, g: Params, value: Array, tolerance: Array) -> AcceptedPoint:
    """The current point if E ≤ tolerance · E_last, otherwise the last accepted point, marked `undone`.

    Args:
        last: the last accepted point.
        params: the current weights.
        g: the gradient there.
        value: the error E there. NaN is never accepted.
        tolerance: () by how much the error may rise.
    """
    worse = ~(value <= tolerance * last.value)
    here = AcceptedPoint(params, g, value, jnp.asarray(False))
    return select(worse, last._replace(undone=jnp.asarray(True)), here)


def take_step(
    optimizer: optax.GradientTransformation, grads: Params, state: optax.OptState, params: Params, value: Array
) -> tuple[Params, optax.OptState, Array]:
    """One step of any optimizer: (params, state, whether it was refused).

    The same as `optax.apply_updates(params, optimizer.update(...))`, with two differences:
    - an optimizer that undoes its last step starts from the point before that step, exactly;
    - a gradient that is not finite changes nothing, whatever the optimizer.
    Both count as a refused step.

    Args:
        optimizer: any optax transformation.
        grads: the gradient at `params`.
        state: of the optimizer.
        params: the current weights.
        value: () the error at `params`.

    Raises:
        ValueError: no optimizer, a gradient that does not fit the params, or a value that is no number.
    """
    check_instance("take_step", "optimizer", optimizer, optax.GradientTransformation, "bp.momentum(0.1)")
    check_like("take_step", "grads", grads, "params", params)
    value = as_array("take_step", "value", value)
    if value.shape != () or jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise ValueError(f"`take_step` expected `value` to be one number, the error, got {shown(value)}.")
    update = optax.with_extra_args_support(optimizer).update
    finite = jnp.isfinite(norm(grads))
    judged = jnp.where(finite, value, jnp.nan)  # NaN: an optimizer that can undo its last step does so
    updates, new = update(grads, state, params, value=judged, undo=True)
    if points := accepted_points(new):
        for point in points:
            params = jax.tree.map(
                lambda accepted, w, undone=point.undone: w if is_masked(accepted) else jnp.where(undone, accepted, w),
                complex_again(point.params),
                params,
                is_leaf=is_masked,
            )
        return optax.apply_updates(params, updates), new, undone(new)
    after = optax.apply_updates(params, updates)
    return select(finite, after, params), select(finite, new, state), ~finite


def accepted_points(state: optax.OptState) -> list[AcceptedPoint]:
    """The accepted points in an optimizer's state; empty for one that never undoes a step."""

    def is_point(node):
        return isinstance(node, AcceptedPoint)

    return [node for node in jax.tree.leaves(state, is_leaf=is_point) if is_point(node)]


def undone(state: optax.OptState) -> Array:
    """Whether () the update that made this state has undone the step before it."""
    return jnp.stack([jnp.asarray(False), *(point.undone for point in accepted_points(state))]).any()


def is_masked(node) -> bool:
    """Whether `optax.masked` has left these weights out."""
    return isinstance(node, optax.MaskedNode)
