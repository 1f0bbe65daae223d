"""Triplet spike-timing-dependent plasticity: the change depends on three spikes, two of them of the same neuron."""

from typing import NamedTuple, get_args

import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.spike_traces import Pairing, spike_trace, spike_trains
from bpjax.rules.stdp import spiking_rule
from bpjax.types import Array
from bpjax.util.checks import check_choice, check_instance, check_number


class TripletConstants(NamedTuple):
    """Constants of the triplet rule; the default is the full all-to-all model of visual cortex, times in ms.

    Pfister & Gerstner 2006, from memory, not read in the paper. Their minimal model of the same data has A₂₊ = 0,
    A₃₊ = 6.5e-3, A₂₋ = 7.1e-3, A₃₋ = 0 and τ_y = 114.
    """

    pair_potentiation: float | Array = 5e-10  # A₂₊
    triplet_potentiation: float | Array = 6.2e-3  # A₃₊: post, pre, post
    pair_depression: float | Array = 7e-3  # A₂₋
    triplet_depression: float | Array = 2.3e-4  # A₃₋: pre, post, pre
    tau_plus: float = 16.8  # τ₊ of r₁
    tau_minus: float = 33.7  # τ₋ of o₁
    tau_x: float = 101.0  # τ_x of r₂
    tau_y: float = 125.0  # τ_y of o₂


VISUAL_CORTEX = TripletConstants()


def triplet_stdp_change(
    pre: Array,
    post: Array,
    constants: TripletConstants = VISUAL_CORTEX,
    dt: float = 1.0,
    pairing: Pairing = "all_to_all",
) -> Array:
    """The weight change Δw (D, H) of the triplet rule, summed over examples.

        at a postsynaptic spike   Δw = + r₁ (A₂₊ + A₃₊ o₂)
        at a presynaptic spike    Δw = − o₁ (A₂₋ + A₃₋ r₂)

    r₁ and r₂ are traces of the presynaptic spikes (time constants τ₊ and τ_x), o₁ and o₂ of the postsynaptic ones
    (τ₋ and τ_y), all just before the spike: the spike itself, and one of the other neuron at the same time, are not in
    them. With A₃₊ = A₃₋ = 0 it is `stdp_change`.

    Pfister & Gerstner 2006, eqs. 3 and 4. For independent Poisson trains with rates r the drift per unit of time is
    r_pre r_post (A₂₊ τ₊ (1 + A₃₊ τ_y r_post / A₂₊) − A₂₋ τ₋ (1 + A₃₋ τ_x r_pre / A₂₋)) as dt → 0, all-to-all.

    Args:
        pre: spikes (N, T, D), 1 or 0.
        post: spikes (N, T, H).
        constants: amplitudes and time constants.
        dt: the length of a time step, in the units of the time constants.
        pairing: "all_to_all": traces sum over all earlier spikes; "nearest": the latest one only.

    Raises:
        ValueError: the trains are not finite, or not (N, T, ...) of the same N and T; a time is not above 0 or an
            amplitude negative; `pairing` is none of the two.
    """
    who = "triplet_stdp_change"
    check_triplet_constants(who, constants, dt, pairing)
    pre, post = spike_trains(who, pre, post)
    number = lambda value: jnp.asarray(value, pre.dtype)
    r1, r2 = (spike_trace(pre, tau, dt, pairing) for tau in (constants.tau_plus, constants.tau_x))
    o1, o2 = (spike_trace(post, tau, dt, pairing) for tau in (constants.tau_minus, constants.tau_y))
    at_post = post * (number(constants.pair_potentiation) + number(constants.triplet_potentiation) * o2)
    at_pre = pre * (number(constants.pair_depression) + number(constants.triplet_depression) * r2)
    return jnp.einsum("ntd,nth->dh", r1, at_post) - jnp.einsum("ntd,nth->dh", at_pre, o1)


def triplet_stdp(
    network: Layer,
    loss: Loss,
    constants: TripletConstants = VISUAL_CORTEX,
    dt: float = 1.0,
    pairing: Pairing = "all_to_all",
) -> Rule:
    """Every synapse of a spiking network learns from triplets of spikes: the direction is −`triplet_stdp_change`.

        at a postsynaptic spike   Δw = + r₁ (A₂₊ + A₃₊ o₂)        at a presynaptic spike   Δw = − o₁ (A₂₋ + A₃₋ r₂)

    Unsupervised, as `stdp`. Unlike pairs, triplets make potentiation grow with the rate of the postsynaptic spikes, as
    measured in visual cortex and in hippocampal cultures.

    Pfister & Gerstner 2006. Deviation: weights are not bounded. Cost: a forward pass, and four traces for each layer.

    Args:
        network: one or more `unroll(leaky_integrate_and_fire(...))` in a chain, for inputs (N, T, D).
        loss: of the output spikes (N, T, H).
        constants: amplitudes and time constants.
        dt: the length of a time step, in the units of the time constants.
        pairing: "all_to_all" or "nearest".

    Raises:
        ValueError: as `stdp` and `triplet_stdp_change`.
    """
    who = "triplet_stdp"
    check_made_of(who, network, loss)
    check_triplet_constants(who, constants, dt, pairing)
    change = lambda pre, post: triplet_stdp_change(pre, post, constants, dt, pairing)
    options = {} if pairing == "all_to_all" else {"pairing": pairing}
    return spiking_rule("triplet spike-timing-dependent plasticity", who, network, loss, change, **options)


def check_triplet_constants(who: str, constants, dt, pairing) -> None:
    """Raise a `ValueError` unless the constants of the triplet rule are in range."""
    check_instance(who, "constants", constants, TripletConstants, "bp.rules.TripletConstants()")
    for name, value in constants._asdict().items():
        if name.startswith("tau"):
            check_number(who, name, value, above=0.0)
        else:
            check_number(who, name, value, least=0.0)
    check_number(who, "dt", dt, above=0.0)
    check_choice(who, "pairing", pairing, get_args(Pairing))
