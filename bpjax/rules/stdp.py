"""Spike-timing-dependent plasticity: a synapse learns from when its two neurons fired, and from nothing else."""

import math

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Kind, Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import check_units, merge_units, propagate, units
from bpjax.types import Array
from bpjax.util.checks import as_floating, check_number


def stdp_change(
    pre: Array,
    post: Array,
    potentiation: float | Array = 0.01,
    depression: float | Array = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    dt: float = 1.0,
) -> Array:
    """What pairs of spikes change in the weights between two layers, Δw (D, H), summed over examples.

        Δw = Σ  A₊ e^(−Δt/τ₊)    over pairs, the spike before the synapse (pre) Δt > 0 before the one behind it (post)
           − Σ  A₋ e^(−|Δt|/τ₋)  over pairs, post before pre            pairs at the same time count for nothing

    By traces, one exponential sum for each neuron instead of all pairs (Song, Miller & Abbott 2000):

        p ← e^(−dt/τ₊) (p + pre)     q ← e^(−dt/τ₋) (q + post)     Δw = Σ_t A₊ p_t postᵗ − A₋ preᵗ q_t

    Independent Poisson trains of rates r drift by r_pre r_post (A₊ τ₊ − A₋ τ₋) for a unit of time, as dt → 0; at a
    finite dt each τ there stands for dt / (e^(dt/τ) − 1).

    Args:
        pre: spikes (N, T, D), 1 or 0.
        post: spikes (N, T, H).
        potentiation: A₊.
        depression: A₋; 1.05 A₊ in Song, Miller & Abbott, so that chance weakens.
        tau_plus: τ₊, in the units of `dt`.
        tau_minus: τ₋.
        dt: the time of a step.

    Raises:
        ValueError: the trains are not (N, T, ...) of the same N and T; a time is not above 0, an amplitude negative.
    """
    who = "stdp_change"
    _check_numbers(who, potentiation, depression, tau_plus, tau_minus, dt)
    pre, post = as_floating(who, "pre", pre), as_floating(who, "post", post)
    if pre.ndim != 3 or post.ndim != 3 or pre.shape[:2] != post.shape[:2]:
        raise ValueError(
            f"`{who}` expected spikes (N, T, D) and (N, T, H) of the same examples and times, got {pre.shape} and "
            f"{post.shape}."
        )
    before, after = _trace(pre, math.exp(-dt / tau_plus)), _trace(post, math.exp(-dt / tau_minus))
    closer = jnp.einsum("ntd,nth->dh", before, post) * jnp.asarray(potentiation, pre.dtype)
    return closer - jnp.einsum("ntd,nth->dh", pre, after) * jnp.asarray(depression, pre.dtype)


def _trace(spikes: Array, leak: float) -> Array:
    """p_t = leak · (p_{t-1} + spike_{t-1}), p_0 = 0, for every time."""
    sequence = jnp.swapaxes(spikes, 0, 1)
    step = lambda p, spike: (leak * (p + spike), p)
    _, traces = jax.lax.scan(step, jnp.zeros_like(sequence[0]), sequence)
    return jnp.swapaxes(traces, 0, 1)


def stdp(
    network: Layer,
    loss: Loss,
    potentiation: float | Array = 0.01,
    depression: float | Array = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    dt: float = 1.0,
) -> Rule:
    """Every synapse of a spiking network learns from the spikes at its two ends: the direction is −`stdp_change`.

    Without a teacher: no error travels, the target is used for nothing but the value, the loss of the output. Plain
    gradient descent at rate 1 adds Δw. Weights are not held between bounds, as in Song, Miller & Abbott; clip them
    with an optimizer that does.

    Args:
        network: one or more `unroll(leaky_integrate_and_fire(...))` in a chain, for inputs (N, T, D).
        loss: of the output spikes (N, T, H).
        potentiation: A₊, and the others, as in `stdp_change`.
        depression: A₋.
        tau_plus: τ₊.
        tau_minus: τ₋.
        dt: the time of a step.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, or a layer is another one than those; numbers as in
            `stdp_change`; in `init`, the params are another network's.
    """
    check_made_of("stdp", network, loss)
    _check_numbers("stdp", potentiation, depression, tau_plus, tau_minus, dt)
    for layer in _leaves(network):
        if layer.kind is not Kind.SPIKING:
            raise ValueError(
                "`stdp` expected a chain of `unroll(leaky_integrate_and_fire(...))`, whose outputs are spikes at every "
                f"time, got the layer {layer.name}."
            )

    def init(key, params):
        check_units("stdp", network, params)
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        passed = propagate(units(network, params), x)
        numbers = (potentiation, depression, tau_plus, tau_minus, dt)
        changes = [(-stdp_change(at.input, at.output, *numbers), ()) for at in passed]
        return loss.value(passed[-1].output, target), merge_units(params, changes), rule_state

    return Rule("spike-timing-dependent plasticity", init, grads, network, loss)


def _leaves(network: Layer) -> list[Layer]:
    if network.kind is not Kind.CHAIN:
        return [network]
    return [leaf for layer in network.layers for leaf in _leaves(layer)]


def _check_numbers(who: str, potentiation, depression, tau_plus, tau_minus, dt) -> None:
    check_number(who, "potentiation", potentiation, least=0.0)
    check_number(who, "depression", depression, least=0.0)
    for name, value in (("tau_plus", tau_plus), ("tau_minus", tau_minus), ("dt", dt)):
        check_number(who, name, value, above=0.0)
