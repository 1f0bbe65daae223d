"""Plasticity from spike times: every pair and triplet summed one by one in NumPy, and the receipt of wrong rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from passes import quick_jit

import bpjax as bp
from bpjax.audit import timing_receipt
from bpjax.rules.reward_stdp import PairConstants, reward_modulated_stdp, reward_stdp_change
from bpjax.rules.spike_traces import spike_trace
from bpjax.rules.stdp import spiking_rule, stdp, stdp_change
from bpjax.rules.triplet_stdp import TripletConstants, triplet_stdp_change

KEY = jax.random.key(0)
RNG = np.random.default_rng(4)
PRE, POST = (RNG.random((2, 30, n)) < 0.3 for n in (3, 2))
PRE, POST = PRE.astype(float), POST.astype(float)
PAIR = 0.01 * np.exp(-3 / 20), -0.0105 * np.exp(-3 / 20)  # .00860708 and −.00903743


def times(train):
    return np.flatnonzero(train)


def earlier(spikes, t, tau, pairing):
    """Σ e^(−(t − t′)/τ) over the spikes before t, or the latest of them."""
    before = spikes[spikes < t]
    before = before[-1:] if pairing == "nearest" else before
    return np.exp(-(t - before) / tau).sum()


def pairs_and_triplets(pre, post, c, pairing):
    """Pfister & Gerstner 2006, spike by spike."""
    total = np.zeros((pre.shape[2], post.shape[2]))
    for n in range(len(pre)):
        for d in range(pre.shape[2]):
            for h in range(post.shape[2]):
                i, j = times(pre[n, :, d]), times(post[n, :, h])
                for t in j:
                    o2 = earlier(j, t, c.tau_y, pairing)
                    total[d, h] += earlier(i, t, c.tau_plus, pairing) * (
                        c.pair_potentiation + c.triplet_potentiation * o2
                    )
                for t in i:
                    r2 = earlier(i, t, c.tau_x, pairing)
                    total[d, h] -= earlier(j, t, c.tau_minus, pairing) * (c.pair_depression + c.triplet_depression * r2)
    return total


@pytest.mark.parametrize("pairing", ["all_to_all", "nearest"])
def test_every_pair_and_triplet_counts(pairing):
    constants = TripletConstants(0.004, 0.006, 0.007, 0.002, 16.8, 33.7, 101.0, 125.0)
    truth = pairs_and_triplets(PRE, POST, constants, pairing)
    found = quick_jit(lambda: triplet_stdp_change(PRE, POST, constants, pairing=pairing))()
    np.testing.assert_allclose(found, truth, rtol=1e-12)
    pairs = TripletConstants(0.01, 0.0, 0.0105, 0.0, 20.0, 10.0)
    truth = pairs_and_triplets(PRE, POST, pairs, pairing)
    both = lambda: (
        stdp_change(PRE, POST, tau_minus=10.0, pairing=pairing),
        triplet_stdp_change(PRE, POST, pairs, pairing=pairing),
    )
    for found in quick_jit(both)():
        np.testing.assert_allclose(found, truth, rtol=1e-12, atol=1e-15)


def at(*steps, length=12):
    train = np.zeros((1, length, 1))
    train[0, list(steps)] = 1
    return jnp.asarray(train)


def test_the_values_of_one_pair():
    """Pre at 2 ms, post at 5 ms, then the reverse (nestml#909, nest#1604): .01 e^(−3/20) and −.0105 e^(−3/20)."""
    assert PAIR == pytest.approx((0.00860708, -0.00903743), abs=5e-9)
    for pairing in ("all_to_all", "nearest"):
        change = quick_jit(lambda pre, post, pairing=pairing: stdp_change(pre, post, pairing=pairing)[0, 0])
        long = functools.partial(at, length=901)
        assert float(change(long(2), long(5))) == pytest.approx(PAIR[0], rel=1e-13)
        assert float(change(long(5), long(2))) == pytest.approx(PAIR[1], rel=1e-13)
        assert change(long(4), long(4)) == 0.0
        # a third spike, 900 ms later, changes neither: e^(−45) of the amplitude is below half an ulp
        assert float(change(long(2, 900), long(5))) == pytest.approx(PAIR[0], rel=1e-13)
        assert float(change(long(5), long(2, 900))) == pytest.approx(PAIR[1], rel=1e-13)
        at_once = change(at(2, length=6), at(5, length=6))  # complete at the second spike
        assert float(at_once) == pytest.approx(PAIR[0], rel=1e-13)


def test_three_spikes_tell_the_pairings_apart():
    """Pre at 0 and 2, post at 5: two pairs, or only the latest."""
    both = 0.01 * (np.exp(-5 / 20) + np.exp(-3 / 20))
    pairings = quick_jit(lambda pre, post: [stdp_change(pre, post, pairing=p) for p in ("all_to_all", "nearest")])
    found = [float(change[0, 0]) for change in pairings(at(0, 2), at(5))]
    assert found == [pytest.approx(both, rel=1e-13), pytest.approx(PAIR[0], rel=1e-13)]


@pytest.mark.thorough
def test_the_drift_of_triplets_under_independent_spikes():
    """r_pre r_post (A₂₊ P (1 + A₃₊ Y r_post / A₂₊) − A₂₋ M (1 + A₃₋ X r_pre / A₂₋)), T = 1/(e^(1/τ) − 1) for each τ."""
    c, rates = TripletConstants(0.004, 0.006, 0.007, 0.002, 5.0, 6.0, 8.0, 7.0), (0.2, 0.3)
    plus, minus, x, y = (1 / np.expm1(1 / tau) for tau in (c.tau_plus, c.tau_minus, c.tau_x, c.tau_y))
    gain = plus * (c.pair_potentiation + c.triplet_potentiation * y * rates[1])
    loss = minus * (c.pair_depression + c.triplet_depression * x * rates[0])
    drift = rates[0] * rates[1] * (gain - loss)
    keys, length = jax.random.split(KEY), 4000
    pre, post = (jax.random.bernoulli(k, r, (12, length, 1)) * 1.0 for k, r in zip(keys, rates, strict=True))
    per_run = quick_jit(jax.vmap(lambda a, b: triplet_stdp_change(a[None], b[None], c)[0, 0]))(pre, post) / length
    assert abs(per_run.mean() - drift) < 3 * per_run.std(ddof=1) / np.sqrt(12) + 0.02 * abs(drift)


def test_reward_turns_an_earlier_pair_into_a_change():
    """Izhikevich 2007: step by step, and the geometric series of one pair and one later reward."""
    reward = RNG.normal(size=(2, 30))
    constants, leak_c, leak_d, dt = PairConstants(0.01, 0.0105, 20.0, 10.0), np.exp(-0.5 / 50), np.exp(-0.5 / 9), 0.5
    truth = np.zeros((3, 2))
    for n in range(2):
        c, d, p, q = np.zeros((3, 2)), 0.0, np.zeros(3), np.zeros(2)
        for t in range(30):
            c = leak_c * c + 0.01 * np.outer(p, POST[n, t]) - 0.0105 * np.outer(PRE[n, t], q)
            d = leak_d * d + reward[n, t]
            truth += c * d * dt
            p, q = np.exp(-0.5 / 20) * (p + PRE[n, t]), np.exp(-0.5 / 10) * (q + POST[n, t])
    found = quick_jit(lambda reward: reward_stdp_change(PRE, POST, reward, constants, 50.0, 9.0, dt))(reward)
    np.testing.assert_allclose(found, truth, rtol=1e-11)
    paid = jnp.zeros((1, 600)).at[0, 20].set(2.0)
    change = quick_jit(functools.partial(reward_stdp_change, tau_eligibility=20.0, tau_reward=10.0))
    one = change(at(2, length=600), at(5, length=600), paid)
    series = PAIR[0] * 2.0 * np.exp(-15 / 20) / (1 - np.exp(-1 / 20 - 1 / 10))
    assert float(one[0, 0]) == pytest.approx(series, rel=1e-12)


def test_the_reward_rule_in_numpy():
    """Δw = Σₙ (Rₙ − R̄) c_T,n over three batches, with the moving mean."""
    network = bp.unroll(bp.layers.leaky_integrate_and_fire(2))
    params, x = bp.layers.Affine(jnp.asarray(RNG.normal(size=(3, 2)) * 2)), jnp.asarray(PRE)
    target = jnp.asarray(POST)
    rule = reward_modulated_stdp(network, bp.squared_error, tau_eligibility=50.0, averaging=0.25)
    state, spikes, mean = rule.init(KEY, params), np.asarray(network.forward(params, x)[0]), None
    assert spikes.sum() > 3
    grads = quick_jit(rule.grads)
    for shift in (0.0, 0.3, 0.8):
        rewards = np.array([-0.5 * ((spikes[n] - POST[n] - shift) ** 2).sum() for n in range(2)])
        mean = rewards.mean() if mean is None else mean
        truth = np.zeros((3, 2))
        for n in range(2):
            c, p, q = np.zeros((3, 2)), np.zeros(3), np.zeros(2)
            for t in range(30):
                c = np.exp(-1 / 50) * c + 0.01 * np.outer(p, spikes[n, t]) - 0.0105 * np.outer(PRE[n, t], q)
                p, q = np.exp(-1 / 20) * (p + PRE[n, t]), np.exp(-1 / 20) * (q + spikes[n, t])
            truth += (rewards[n] - mean) * c
        value, direction, state = grads(params, state, (x, target + shift))
        np.testing.assert_allclose(direction.w, -truth, rtol=1e-11)
        assert float(value) == pytest.approx(-rewards.sum(), rel=1e-12)
        mean += 0.25 * (rewards.mean() - mean)
        assert float(state.mean) == pytest.approx(mean, rel=1e-12)


# --- The receipt ------------------------------------------------------------------------------------------------------


def swapped_traces(network, loss):
    """Each trace in place of the other (spikingjelly PR 282): the postsynaptic spike strengthens by its own trace."""

    def change(pre, post):
        before, after = spike_trace(pre, 20.0, 1.0), spike_trace(post, 20.0, 1.0)
        weakened = jnp.einsum("ntd,nth->dh", before, post) * 0.0105
        return jnp.einsum("ntd,nth->dh", pre, after) * 0.01 - weakened

    return spiking_rule("swapped", "swapped", network, loss, change)


def swapped_neurons(network, loss):
    """Pre and post exchanged (brian2 PR 1671)."""
    return spiking_rule("swapped", "swapped", network, loss, lambda pre, post: stdp_change(post, pre).T)


def waits(network, loss):
    """The weight moves at the next presynaptic spike only (nestml#909)."""

    def change(pre, post):
        again = jnp.flip(jnp.cumsum(jnp.flip(pre, 1), axis=1), 1) - pre > 0  # a presynaptic spike is still to come
        return jnp.einsum("ntd,nth->dh", spike_trace(pre, 20.0, 1.0) * again, post) * 0.01

    return spiking_rule("waits", "waits", network, loss, change)


def test_the_receipt_of_right_rules():
    receipt = timing_receipt(stdp, lags=(3, 7), key=KEY, show=False)
    assert receipt.pre_first[0] == pytest.approx(PAIR[0], rel=1e-13)
    assert receipt.post_first[0] == pytest.approx(PAIR[1], rel=1e-13)
    assert receipt.hebbian and receipt.at_once and receipt.pairs_add and not receipt.nearest
    assert receipt.simultaneous == 0.0 and not receipt.target
    assert "pre before post strengthens" in receipt.verdict and "+0.00860708" in str(receipt)


@pytest.mark.thorough
def test_the_receipts_of_the_variants():
    receipt = functools.partial(timing_receipt, lags=(3, 7), key=KEY, show=False)
    nearest = receipt(functools.partial(stdp, pairing="nearest"))
    assert nearest.hebbian and nearest.nearest and not nearest.pairs_add
    triplet = receipt(lambda n, l: bp.rules.triplet_stdp(n, l))
    assert triplet.hebbian and not triplet.nearest and not triplet.pairs_add
    rewarded = receipt(reward_modulated_stdp)
    assert rewarded.hebbian and rewarded.target and rewarded.pairs_add


@pytest.mark.parametrize("mutant", [swapped_traces, swapped_neurons])
def test_the_receipt_catches_exchanged_traces(mutant):
    receipt = timing_receipt(mutant, lags=(3,), key=KEY, show=False)
    assert receipt.anti_hebbian and not receipt.hebbian
    assert "the reverse of spike-timing-dependent plasticity" in receipt.verdict


def test_the_receipt_catches_a_change_that_waits():
    receipt = timing_receipt(waits, lags=(3,), key=KEY, show=False)
    assert not receipt.hebbian and not receipt.at_once


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stdp_change(PRE, POST, pairing="all"), "one of all_to_all, nearest, got"),
        (lambda: triplet_stdp_change(PRE, POST, (1, 2)), "`constants` to be a TripletConstants"),
        (lambda: triplet_stdp_change(PRE, POST, TripletConstants(tau_x=0.0)), "`tau_x`.*> 0"),
        (lambda: triplet_stdp_change(PRE[0], POST), "expected spikes"),
        (lambda: reward_stdp_change(PRE, POST, POST), r"one reward for each time step, \(N, T\) = \(2, 30\)"),
        (lambda: reward_modulated_stdp(bp.mlp((3, 2)), bp.squared_error), "spikes at every time step, got the layer"),
        (lambda: reward_modulated_stdp(bp.dense, bp.squared_error), "expected a Layer"),
        (lambda: timing_receipt(bp.dense, lags=(0,), key=KEY), "`lags`.*≥ 1, got 0"),
        (lambda: timing_receipt(lambda n, l: n, key=KEY), "to return a Rule, got Layer"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
