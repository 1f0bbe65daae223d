"""Spike-timing-dependent plasticity: a synapse learns only from the spike times of its two neurons."""

import math

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Kind, Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.units import check_units, merge_units, propagate, units
from bpjax.types import Array
from bpjax.util.checks import as_floating, check_finite, check_number


def stdp_change(
    pre: Array,
    post: Array,
    potentiation: float | Array = 0.01,
    depression: float | Array = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    dt: float = 1.0,
) -> Array:
    """The weight change Δw (D, H) that all pairs of spikes of two layers cause, summed over examples.

        Δw = Σ  A₊ e^(−Δt/τ₊)    over pairs with the presynaptic spike (pre) Δt > 0 before the postsynaptic one (post)
           − Σ  A₋ e^(−|Δt|/τ₋)  over pairs with post before pre        simultaneous pairs contribute 0

    Computed by traces, one exponential sum per neuron instead of all pairs (Song, Miller & Abbott 2000):

        p ← e^(−dt/τ₊) (p + pre)     q ← e^(−dt/τ₋) (q + post)     Δw = Σ_t A₊ p_t postᵗ − A₋ preᵗ q_t

    For independent Poisson trains with rates r the drift is r_pre r_post (A₊ τ₊ − A₋ τ₋) per unit of time as dt → 0;
    at a finite dt replace each τ by dt / (e^(dt/τ) − 1).

    Args:
        pre: spikes (N, T, D), 1 or 0.
        post: spikes (N, T, H).
        potentiation: A₊.
        depression: A₋; 1.05 A₊ in Song, Miller & Abbott, so that uncorrelated spikes weaken the synapse.
        tau_plus: τ₊, in the units of `dt`.
        tau_minus: τ₋.
        dt: the length of a time step.

    Raises:
        ValueError: the trains are not finite, or not (N, T, ...) of the same N and T; a time is not above 0 or an
            amplitude negative.
    """
    who = "stdp_change"
    _check_constants(who, potentiation, depression, tau_plus, tau_minus, dt)
    pre, post = as_floating(who, "pre", pre), as_floating(who, "post", post)
    if pre.ndim != 3 or post.ndim != 3 or pre.shape[:2] != post.shape[:2]:
        raise ValueError(
            f"`{who}` expected spikes (N, T, D) and (N, T, H) with the same N and T, got {pre.shape} and "
            f"{post.shape}. Record both layers in the same forward pass."
        )
    check_finite(who, "pre", pre)
    check_finite(who, "post", post)
    before, after = _trace(pre, math.exp(-dt / tau_plus)), _trace(post, math.exp(-dt / tau_minus))
    potentiated = jnp.einsum("ntd,nth->dh", before, post) * jnp.asarray(potentiation, pre.dtype)
    return potentiated - jnp.einsum("ntd,nth->dh", pre, after) * jnp.asarray(depression, pre.dtype)


def _trace(spikes: Array, leak: float) -> Array:
    """p_t = leak · (p_{t-1} + spike_{t-1}), p_0 = 0, at every time step."""
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
    """Every synapse of a spiking network learns from its pre- and postsynaptic spikes: the direction is −`stdp_change`.

    The rule is unsupervised: no error travels back, and the target is used only for the value, the loss of the output.
    Plain gradient descent with learning rate 1 adds Δw.

    Deviation: weights are not bounded, unlike in Song, Miller & Abbott; clip them with an optimizer that does.

    Args:
        network: one or more `unroll(leaky_integrate_and_fire(...))` in a chain, for inputs (N, T, D).
        loss: of the output spikes (N, T, H).
        potentiation: A₊.
        depression: A₋.
        tau_plus: τ₊, in the units of `dt`.
        tau_minus: τ₋.
        dt: the length of a time step.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, or a layer is not a spiking one; a time is not above
            0 or an amplitude negative; in `init`, the params belong to another network.
    """
    check_made_of("stdp", network, loss)
    _check_constants("stdp", potentiation, depression, tau_plus, tau_minus, dt)
    for layer in _leaves(network):
        if layer.kind is not Kind.SPIKING:
            raise ValueError(
                "`stdp` expected a chain of `unroll(leaky_integrate_and_fire(...))`, whose outputs are spikes at every "
                f"time step, got the layer {layer.name}."
            )

    def init(key, params):
        check_units("stdp", network, params)
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        forward = propagate(units(network, params), x)
        constants = (potentiation, depression, tau_plus, tau_minus, dt)
        dparams = [(-stdp_change(at.input, at.output, *constants), ()) for at in forward]
        return loss.value(forward[-1].output, target), merge_units(params, dparams), rule_state

    return Rule("spike-timing-dependent plasticity", init, grads, network, loss, call_of("stdp", network, loss))


def _leaves(network: Layer) -> list[Layer]:
    if network.kind is not Kind.CHAIN:
        return [network]
    return [leaf for layer in network.layers for leaf in _leaves(layer)]


def _check_constants(who: str, potentiation, depression, tau_plus, tau_minus, dt) -> None:
    check_number(who, "potentiation", potentiation, least=0.0)
    check_number(who, "depression", depression, least=0.0)
    for name, value in (("tau_plus", tau_plus), ("tau_minus", tau_minus), ("dt", dt)):
        check_number(who, name, value, above=0.0)
