"""Spike-timing-dependent plasticity: a synapse learns only from the spike times of its two neurons."""

from collections.abc import Callable
from typing import get_args

import jax.numpy as jnp

from bpjax.layers.layer import Kind, Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.spike_traces import Pairing, spike_trace, spike_trains
from bpjax.rules.units import check_units, merge_units, propagate, units
from bpjax.types import Array
from bpjax.util.checks import check_choice, check_number


def stdp_change(
    pre: Array,
    post: Array,
    potentiation: float | Array = 0.01,
    depression: float | Array = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    dt: float = 1.0,
    pairing: Pairing = "all_to_all",
) -> Array:
    """The weight change Δw (D, H) that the pairs of spikes of two layers cause, summed over examples.

        Δw = Σ  A₊ e^(−Δt/τ₊)    over pairs with the presynaptic spike (pre) Δt > 0 before the postsynaptic one (post)
           − Σ  A₋ e^(−|Δt|/τ₋)  over pairs with post before pre        simultaneous pairs contribute 0

        all_to_all   every pair of spikes counts (Song, Miller & Abbott 2000)
        nearest      every spike forms a pair with the latest earlier spike of the other neuron only: the symmetric
                     nearest-neighbour scheme of Morrison, Diesmann & Gerstner 2008

    Computed by traces, one per neuron instead of all pairs (`spike_trace`), with p of the presynaptic spikes and q of
    the postsynaptic ones:

        p ← e^(−dt/τ₊) (p + pre)     q ← e^(−dt/τ₋) (q + post)     Δw = Σ_t A₊ p_t postᵗ − A₋ preᵗ q_t

    The change of a pair is complete at its second spike; it does not wait for a third one.

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
        pairing: "all_to_all" or "nearest".

    Raises:
        ValueError: the trains are not finite, or not (N, T, ...) of the same N and T; a time is not above 0 or an
            amplitude negative; `pairing` is none of the two.
    """
    who = "stdp_change"
    check_pair_constants(who, potentiation, depression, tau_plus, tau_minus, dt, pairing)
    pre, post = spike_trains(who, pre, post)
    before, after = spike_trace(pre, tau_plus, dt, pairing), spike_trace(post, tau_minus, dt, pairing)
    potentiated = jnp.einsum("ntd,nth->dh", before, post) * jnp.asarray(potentiation, pre.dtype)
    return potentiated - jnp.einsum("ntd,nth->dh", pre, after) * jnp.asarray(depression, pre.dtype)


def stdp(
    network: Layer,
    loss: Loss,
    potentiation: float | Array = 0.01,
    depression: float | Array = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    dt: float = 1.0,
    pairing: Pairing = "all_to_all",
) -> Rule:
    """Every synapse of a spiking network learns from its pre- and postsynaptic spikes: the direction is −`stdp_change`.

        Δw = Σ A₊ e^(−Δt/τ₊)  pre before post        − Σ A₋ e^(−|Δt|/τ₋)  post before pre

    The rule is unsupervised: no error travels back, and the target is used only for the value, the loss of the output.
    Plain gradient descent with learning rate 1 adds Δw.

    Song, Miller & Abbott 2000. Deviation: weights are not bounded, unlike there; clip them with an optimizer that
    does. Cost: a forward pass, and two traces for each layer.

    Args:
        network: one or more `unroll(leaky_integrate_and_fire(...))` in a chain, for inputs (N, T, D).
        loss: of the output spikes (N, T, H).
        potentiation: A₊.
        depression: A₋.
        tau_plus: τ₊, in the units of `dt`.
        tau_minus: τ₋.
        dt: the length of a time step.
        pairing: "all_to_all" or "nearest", which pairs of spikes count; see `stdp_change`.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, or a layer is not a spiking one; a time is not above
            0 or an amplitude negative; `pairing` is none of the two; in `init`, the params belong to another network.
    """
    who = "stdp"
    check_made_of(who, network, loss)
    check_pair_constants(who, potentiation, depression, tau_plus, tau_minus, dt, pairing)
    constants = (potentiation, depression, tau_plus, tau_minus, dt, pairing)
    change = lambda pre, post: stdp_change(pre, post, *constants)
    options = {} if pairing == "all_to_all" else {"pairing": pairing}
    return spiking_rule("spike-timing-dependent plasticity", who, network, loss, change, **options)


def spiking_rule(
    name: str, who: str, network: Layer, loss: Loss, change: Callable[[Array, Array], Array], **shown
) -> Rule:
    """An unsupervised rule of a chain of spiking layers.

    Args:
        name: of the rule.
        who: the factory, for error messages and for `repr`.
        network: a chain of spiking layers.
        loss: of the output spikes.
        change: (pre (N, T, D), post (N, T, H)) -> Δw (D, H).
        **shown: arguments of the factory, for `repr`.
    """
    check_spiking(who, network)

    def init(key, params):
        check_units(who, network, params)
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        forward = propagate(units(network, params), x)
        dparams = [(-change(at.input, at.output), ()) for at in forward]
        return loss.value(forward[-1].output, target), merge_units(params, dparams), rule_state

    return Rule(name, init, grads, network, loss, call_of(who, network, loss, **shown))


def check_spiking(who: str, network: Layer) -> None:
    """Raise a `ValueError` unless all layers of a chain are spiking ones."""
    for layer in _leaves(network):
        if layer.kind is not Kind.SPIKING:
            raise ValueError(
                f"`{who}` expected a chain of `unroll(leaky_integrate_and_fire(...))`, whose outputs are spikes at "
                f"every time step, got the layer {layer.name}."
            )


def _leaves(network: Layer) -> list[Layer]:
    if network.kind is not Kind.CHAIN:
        return [network]
    return [leaf for layer in network.layers for leaf in _leaves(layer)]


def check_pair_constants(who: str, potentiation, depression, tau_plus, tau_minus, dt, pairing) -> None:
    """Raise a `ValueError` unless the constants of pair-based plasticity are in range."""
    check_number(who, "potentiation", potentiation, least=0.0)
    check_number(who, "depression", depression, least=0.0)
    for name, value in (("tau_plus", tau_plus), ("tau_minus", tau_minus), ("dt", dt)):
        check_number(who, name, value, above=0.0)
    check_choice(who, "pairing", pairing, get_args(Pairing))
