"""Reward-modulated plasticity: spike pairs mark a synapse, and a later reward turns the mark into a change."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.spike_traces import spike_trace, spike_trains
from bpjax.rules.stdp import check_pair_constants, check_spiking
from bpjax.rules.units import check_units, merge_units, propagate, units
from bpjax.types import Array
from bpjax.util.checks import as_floating, check_finite, check_instance, check_number


class PairConstants(NamedTuple):
    """Constants of pair-based plasticity, all-to-all; see `stdp_change`."""

    potentiation: float | Array = 0.01  # A₊
    depression: float | Array = 0.0105  # A₋
    tau_plus: float = 20.0  # τ₊
    tau_minus: float = 20.0  # τ₋


SONG_MILLER_ABBOTT = PairConstants()


def reward_stdp_change(
    pre: Array,
    post: Array,
    reward: Array,
    constants: PairConstants = SONG_MILLER_ABBOTT,
    tau_eligibility: float = 1000.0,
    tau_reward: float = 200.0,
    dt: float = 1.0,
) -> Array:
    """The weight change Δw (D, H) of spike pairs under a reward signal, summed over examples.

        eligibility   c_t = e^(−dt/τ_c) c_{t−1} + A₊ p_t postᵗ − A₋ preᵗ q_t      for each synapse, as in `stdp_change`
        reward        d_t = e^(−dt/τ_d) d_{t−1} + r_t                             one number for all synapses: dopamine
        change        Δw = Σ_t c_t d_t dt

    Izhikevich 2007, eqs. 1 and 2, with his τ_c of 1 s and τ_d of 0.2 s. A pair of value s at time t₁ and a reward r at
    t₂ > t₁ give Δw = s r dt e^(−(t₂−t₁)/τ_c) / (1 − e^(−dt (1/τ_c + 1/τ_d))) when the time after them is long.

    Args:
        pre: spikes (N, T, D), 1 or 0.
        post: spikes (N, T, H).
        reward: r (N, T), of either sign.
        constants: of the pairs.
        tau_eligibility: τ_c, in the units of `dt`.
        tau_reward: τ_d.
        dt: the length of a time step.

    Raises:
        ValueError: the trains or the reward are not finite, or not (N, T, ...) of the same N and T; a time is not
            above 0 or an amplitude negative.
    """
    who = "reward_stdp_change"
    _check_constants(who, constants, tau_eligibility, dt)
    check_number(who, "tau_reward", tau_reward, above=0.0)
    pre, post = spike_trains(who, pre, post)
    reward = as_floating(who, "reward", reward)
    check_finite(who, "reward", reward)
    if reward.shape != pre.shape[:2]:
        raise ValueError(
            f"`{who}` expected one reward for each time step, (N, T) = {pre.shape[:2]}, got {reward.shape}."
        )
    leak = jnp.asarray(math.exp(-dt / tau_reward), pre.dtype)
    dopamine = _leaky_sum(reward.astype(pre.dtype).T, leak)
    # Σ_t d_t Σ_{s≤t} λ^(t−s) pairs_s = Σ_s pairs_s D_s,  D_s = d_s + λ D_{s+1}: no array of the size of all synapses
    later = _leaky_sum(dopamine, jnp.asarray(math.exp(-dt / tau_eligibility), pre.dtype), reverse=True)
    return _change(pre, post, later.T * jnp.asarray(dt, pre.dtype), constants, dt)


def _leaky_sum(x: Array, leak: Array, reverse: bool = False) -> Array:
    """y_t = leak · y_{t−1} + x_t along the first axis, or from the last entry to the first."""

    def step(y, x):
        y = leak * y + x
        return y, y

    return jax.lax.scan(step, jnp.zeros_like(x[0]), x, reverse=reverse)[1]


def _change(pre: Array, post: Array, worth: Array, constants: PairConstants, dt: float) -> Array:
    """Σ_n Σ_t worth_t · pairs_t, with the worth (N, T) of a pair that is complete at t."""
    worth = worth[:, :, None]
    before, after = spike_trace(pre, constants.tau_plus, dt), spike_trace(post, constants.tau_minus, dt)
    potentiated = jnp.einsum("ntd,nth->dh", before, post * worth) * jnp.asarray(constants.potentiation, pre.dtype)
    return potentiated - jnp.einsum("ntd,nth->dh", pre * worth, after) * jnp.asarray(constants.depression, pre.dtype)


class MeanReward(NamedTuple):
    """State of `reward_modulated_stdp`."""

    mean: Array  # () R̄ of the batches so far
    steps: Array  # () how many batches there have been


def reward_modulated_stdp(
    network: Layer,
    loss: Loss,
    constants: PairConstants = SONG_MILLER_ABBOTT,
    tau_eligibility: float = 1000.0,
    averaging: float | Array = 0.1,
    dt: float = 1.0,
) -> Rule:
    """Spike pairs mark every synapse, and one number at the end of each example decides what becomes of the marks.

        eligibility   c_t = e^(−dt/τ_c) c_{t−1} + A₊ p_t postᵗ − A₋ preᵗ q_t      the pairs of `stdp_change`
        change        Δw = Σ_n (Rₙ − R̄) c_T,n                                     Rₙ = −Eₙ, the loss of example n
        mean reward   R̄ ← R̄ + a (mean Rₙ − R̄)                                    a = 1 for the first batch

    Frémaux, Sprekeler & Gerstner 2010 (R-STDP with the success signal S = R − R̄); Izhikevich 2007 for the trace.
    Without subtracting R̄ the rule would mostly be unsupervised plasticity. The direction is −Δw: no error travels
    back, every synapse uses the spikes of its two neurons and one number that is the same for all.

    Deviations: R̄ is one for all examples, not one for each stimulus; it is that of earlier batches, and of the first
    batch itself at the first step; weights are not bounded. Cost: a forward pass, and two traces for each layer.

    Args:
        network: one or more `unroll(leaky_integrate_and_fire(...))` in a chain, for inputs (N, T, D).
        loss: of the output spikes (N, T, H).
        constants: of the pairs.
        tau_eligibility: τ_c, in the units of `dt`.
        averaging: a, above 0 and at most 1; may be traced.
        dt: the length of a time step.

    Raises:
        ValueError: as `stdp`; `averaging` is not between 0 and 1.
    """
    who = "reward_modulated_stdp"
    check_made_of(who, network, loss)
    _check_constants(who, constants, tau_eligibility, dt)
    check_number(who, "averaging", averaging, above=0.0, most=1.0)
    check_spiking(who, network)

    def init(key, params):
        check_units(who, network, params)
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return MeanReward(jnp.zeros((), dtype), jnp.zeros((), jnp.int32))

    def grads(params, state, batch):
        x, target = batch
        forward = propagate(units(network, params), x)
        output = forward[-1].output
        rewards = -jax.vmap(lambda o, t: loss.value(o[None], t[None]))(output, target).astype(state.mean.dtype)
        mean = jnp.where(state.steps == 0, jnp.mean(rewards), state.mean)
        left = jnp.exp(-jnp.arange(output.shape[1])[::-1].astype(output.dtype) * (dt / tau_eligibility))  # of each mark
        worth = (rewards - mean).astype(output.dtype)[:, None] * left[None]
        dparams = [(-_change(at.input, at.output, worth, constants, dt), ()) for at in forward]
        next_mean = mean + jnp.asarray(averaging, mean.dtype) * (jnp.mean(rewards) - mean)
        return loss.value(output, target), merge_units(params, dparams), MeanReward(next_mean, state.steps + 1)

    return Rule("reward-modulated plasticity", init, grads, network, loss, call_of(who, network, loss))


def _check_constants(who: str, constants, tau_eligibility, dt) -> None:
    check_instance(who, "constants", constants, PairConstants, "bp.rules.PairConstants()")
    potentiation, depression, tau_plus, tau_minus = constants
    check_pair_constants(who, potentiation, depression, tau_plus, tau_minus, dt, "all_to_all")
    check_number(who, "tau_eligibility", tau_eligibility, above=0.0)
