"""Traces of spike trains: what a synapse remembers of the earlier spikes of a neuron."""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from bpjax.types import Array
from bpjax.util.checks import as_floating, check_finite

Pairing = Literal["all_to_all", "nearest"]
"""Which earlier spikes a trace contains: all of them, or the latest one."""


def spike_trace(spikes: Array, tau: float, dt: float, pairing: Pairing = "all_to_all") -> Array:
    """The trace (N, T, ...) of the spikes before each time step; a spike at the time step itself is not in it.

        all_to_all   p_t = e^(−dt/τ) (p_{t−1} + s_{t−1})                     Σ e^(−(t − t′)/τ) over earlier spikes t′
        nearest      p_t = e^(−dt/τ) (s_{t−1} + (1 − s_{t−1}) p_{t−1})       e^(−(t − t′)/τ) of the latest one

    Args:
        spikes: s (N, T, ...), 1 or 0.
        tau: τ, in the units of `dt`.
        dt: the length of a time step.
        pairing: "all_to_all" or "nearest".
    """
    leak = jnp.asarray(math.exp(-dt / tau), spikes.dtype)
    sequence = jnp.swapaxes(spikes, 0, 1)

    def step(p, s):
        remembered = p if pairing == "all_to_all" else (1 - s) * p
        return leak * (remembered + s), p

    _, traces = jax.lax.scan(step, jnp.zeros_like(sequence[0]), sequence)
    return jnp.swapaxes(traces, 0, 1)


def spike_trains(who: str, pre, post) -> tuple[Array, Array]:
    """The spikes of two layers (N, T, D) and (N, T, H) as arrays, or a `ValueError`."""
    pre, post = as_floating(who, "pre", pre), as_floating(who, "post", post)
    if pre.ndim != 3 or post.ndim != 3 or pre.shape[:2] != post.shape[:2]:
        raise ValueError(
            f"`{who}` expected spikes (N, T, D) and (N, T, H) with the same N and T, got {pre.shape} and "
            f"{post.shape}. Record both layers in the same forward pass."
        )
    check_finite(who, "pre", pre)
    check_finite(who, "post", post)
    return pre, post
