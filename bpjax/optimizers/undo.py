"""Taking a step back, inside one compiled loop and under `vmap`.

Some rules look at the error after a step and, where it has risen, want that step undone. At that moment the weights in
hand are those of the bad step, and the gradient too. So the rule keeps in its state where the step left from, a
`Departure`: weights, gradient and error. It judges each new point and goes on from whichever it accepts:

    at = judge(state.departure, Departure(params, g, value), tolerance)
    change = −η at.gradient                    the next step leaves from `at.params`
    return change, state._replace(departure=at)

An undone step costs one evaluation of the error, as in the papers: the kept gradient is followed again, more carefully.

A plain optax loop gets updates that lead from the weights in hand to the new ones, the way back included: right to
rounding, as long as the weights in hand are not many orders too large or infinite. A loop that calls `take_step`, as
all of bpjax does, goes on from the kept weights themselves: exact, however bad the step was. Such a rule must be the
last of an `optax.chain` where the loop is plain.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bpjax.types import Array, Params
from bpjax.util.trees import norm, select


class Departure(NamedTuple):
    """Where the last step left from."""

    params: Params
    gradient: Params  # ∂E/∂w there
    value: Array  # () E there; +∞ before the first step
    undone: Array  # () bool: the step before was taken back, and this one leaves from where that one left

    def seen_from(self, params: Params, change: Params) -> Params:
        """The change from the weights in hand that ends where `change` from here ends."""

        def whole(kept, w, c):
            return jnp.where(self.undone, (kept - w).astype(c.dtype) + c, c)

        return jax.tree.map(whole, self.params, params, change)


def first_departure(params: Params) -> Departure:
    """Before the first step: the weights as they are, no slope, and an error that any other is below."""
    return Departure(
        jax.tree.map(lambda w: jnp.array(w, copy=True), params),
        jax.tree.map(lambda w: jnp.zeros(jnp.shape(w), jnp.promote_types(jnp.result_type(w), jnp.float32)), params),
        jnp.asarray(jnp.inf, jnp.result_type(float)),
        jnp.asarray(False),
    )


def judge(last: Departure, params: Params, g: Params, value: Array, tolerance: Array) -> Departure:
    """Where to go on from: the weights in hand if E ≤ tolerance · E_last, else where the last step left from.

    An error that is not a number is worse than any.
    """
    worse = ~(value <= tolerance * last.value)
    here = Departure(params, g, value, jnp.asarray(False))
    return select(worse, last._replace(undone=jnp.asarray(True)), here)


def take_step(
    optimizer: optax.GradientTransformation, grads: Params, state: optax.OptState, params: Params, value: Array
) -> tuple[Params, optax.OptState, Array]:
    """One step of any optimizer: (params, state, whether it was refused).

    As `optax.apply_updates(params, optimizer.update(...))`, and beyond it:
    - a rule that takes its last step back goes on from where that step left, exactly;
    - a gradient that is not finite changes nothing, whatever the optimizer.
    Either counts as a refused step.
    """
    update = optax.with_extra_args_support(optimizer).update
    finite = jnp.isfinite(norm(grads))
    judged = jnp.where(finite, value, jnp.nan)  # no number: a rule that can will go back
    updates, new = update(grads, state, params, value=judged, undo=True)
    if departures := departures_of(new):
        for departure in departures:
            params = jax.tree.map(
                lambda kept, w, back=departure.undone: w if is_masked(kept) else jnp.where(back, kept, w),
                departure.params,
                params,
                is_leaf=is_masked,
            )
        return optax.apply_updates(params, updates), new, undone(new)
    after = optax.apply_updates(params, updates)
    return select(finite, after, params), select(finite, new, state), ~finite


def departures_of(state: optax.OptState) -> list[Departure]:
    """The departures in an optimizer's state: none, for one that takes no step back."""

    def is_departure(node):
        return isinstance(node, Departure)

    return [node for node in jax.tree.leaves(state, is_leaf=is_departure) if is_departure(node)]


def undone(state: optax.OptState) -> Array:
    """Whether () the last step was taken back, with the weights the state has just seen."""
    return jnp.stack([jnp.asarray(False), *(departure.undone for departure in departures_of(state))]).any()


def is_masked(node) -> bool:
    """Whether `optax.masked` has left these weights out."""
    return isinstance(node, optax.MaskedNode)
