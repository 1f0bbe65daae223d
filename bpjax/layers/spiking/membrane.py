"""The potential of a neuron over one time step, for every reset and with a refractory time, and its derivative.

With r the potential after a reset before the leak, g the error du′ where the neuron integrates and h where it is
held in its refractory time (u′ = u or r):

    reset                    u′                  du           dI         dy            dβ         dlevel
    "zero_after_leak"        (β u + I) (1 − y)   β (1 − y) g  (1 − y) g  −(β u + I) g  u (1 − y) g
    "zero_before_leak"       β r + I, r = u (1 − y)     (1 − y) dr   g   −u dr         r g
    "subtract_after_leak"    β u + I − level y   β g          g          −level g      u g        −y g
    "subtract_before_leak"   β r + I, r = u − level y   dr           g   −level dr     r g        −y dr
    "none"                   β u + I             β g          g          0             u g

    dr = β g + h;   h is added to du where the neuron is held at u
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from bpjax.layers.spiking.convention import Convention


class Before(NamedTuple):
    """What the step of the potential reads, each (N, H) or a number."""

    potential: Any
    """u."""
    current: Any
    """I."""
    spikes: Any
    """y."""
    level: Any
    """What a reset subtracts, θ or θ + κ a."""
    refractory: Any = None
    """The remaining steps of the refractory time; None without one."""


class Errors(NamedTuple):
    """The cotangents of what the step reads, and of β."""

    potential: Any
    current: Any
    spikes: Any  # 0 where the reset is not differentiated
    level: Any
    beta: Any


def integrate(convention: Convention, beta, before: Before):
    """u′ (N, H)."""
    u, current, y, level, _ = before
    start = _after_early_reset(convention.reset, before)
    after = beta * start + current
    if convention.reset == "zero_after_leak":
        after = after * (1 - y)
    if convention.reset == "subtract_after_leak":
        after = after - level * y
    held = is_held(convention, before)
    return after if held is None else jnp.where(held, start, after)


def integrate_back(convention: Convention, beta, before: Before, du) -> Errors:
    """The cotangents from that of u′; the table is above."""
    u, current, y, level, _ = before
    held, zero = is_held(convention, before), jnp.zeros_like(du)
    g, h = (du, 0) if held is None else (jnp.where(held, zero, du), jnp.where(held, du, zero))
    reset, start = convention.reset, _after_early_reset(convention.reset, before)
    dy = dlevel = zero
    if reset == "zero_after_leak":
        dy, g = -(beta * u + current) * g, (1 - y) * g
    if reset == "subtract_after_leak":
        dy, dlevel = -level * g, -y * g
    dstart = beta * g + h
    errors = Errors(dstart, g, dy, dlevel, start * g)
    if reset == "zero_before_leak":
        errors = errors._replace(potential=(1 - y) * dstart, spikes=-u * dstart)
    if reset == "subtract_before_leak":
        errors = errors._replace(spikes=-level * dstart, level=-y * dstart)
    return errors if convention.differentiate_reset else errors._replace(spikes=zero)


def is_held(convention: Convention, before: Before):
    """Where the neuron does not integrate, booleans (N, H); None without a refractory time."""
    if before.refractory is None:
        return None
    waiting = before.refractory > 0.5
    return waiting | (before.spikes > 0.5) if _resets_early(convention.reset) else waiting


def remaining(convention: Convention, steps: int, before: Before):
    """The refractory steps that remain after this one, (N, H).

    A spike is followed by `steps` steps without integration. A reset before the leak makes the step of the spike the
    first of them; after the leak, the step of the spike is the reset.
    """
    if before.refractory is None:
        return None
    left = steps - 1 if _resets_early(convention.reset) else steps
    return jnp.where(before.spikes > 0.5, left, jnp.maximum(before.refractory - 1, 0)).astype(before.refractory.dtype)


def _resets_early(reset: str) -> bool:
    return reset in ("zero_before_leak", "subtract_before_leak")


def _after_early_reset(reset: str, before: Before):
    """r: the potential that leaks."""
    if reset == "zero_before_leak":
        return before.potential * (1 - before.spikes)
    if reset == "subtract_before_leak":
        return before.potential - before.level * before.spikes
    return before.potential
