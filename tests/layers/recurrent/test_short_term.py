"""Tsodyks-Markram synapses: the published recursion spike by spike, the steady state, and the three orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from passes import quick_jit

import bpjax as bp
from bpjax.layers import ShortTerm, tsodyks_markram

USE, RECOVERY, FACILITATION, DT = 0.3, 40.0, 70.0, 0.5
TIMES = np.array([3, 4, 10, 11, 30, 80])  # time steps of the spikes
TRAIN = np.zeros((1, 100, 1))
TRAIN[0, TIMES] = 1.0


def released(order, train=TRAIN, use=USE, recovery=RECOVERY, facilitation=FACILITATION, dt=DT):
    """y (T,) of one synapse."""
    layer = bp.unroll(tsodyks_markram(1, use, recovery, facilitation, dt, order))
    params, _ = layer.init(jax.random.key(0), train.shape[1:])
    return np.asarray(quick_jit(layer.forward)(params, jnp.asarray(train))[0][0, :, 0])


def recursion(intervals, order):
    """u x at every spike from the interval to the one before: closed form between spikes."""
    u, x, found = USE, 1.0, []
    if order == "before, from rest":
        u = USE + USE * (1 - USE)
    for interval in [None, *intervals]:
        if interval is not None:
            a, b = np.exp(-interval / FACILITATION), np.exp(-interval / RECOVERY)
            x = 1 - (1 - x + u * x) * b
            if order == "before, from rest":
                u = USE + (u - USE) * a
                u = u + USE * (1 - u)
            else:
                u = USE + u * (1 - USE) * a  # Tsodyks, Pawelzik & Markram 1998
        found.append(u * x)
    return found


@pytest.mark.parametrize("order", ["before", "after", "before, from rest"])
def test_every_spike_releases_what_the_recursion_says(order):
    y = released(order)
    np.testing.assert_allclose(y[TIMES], recursion(np.diff(TIMES) * DT, order), rtol=1e-13)
    assert np.all(np.delete(y, TIMES) == 0.0)


def test_worked_by_hand():
    """U = ½, both time constants 1/ln 2 steps, so that each decay is ½ a step; spikes at 0, 1 and 3.

    0: u = ½, y = ½ · 1 = ½.   1: u = ½ + ½·½·½ = ⅝, x = 1 − ½·½ = ¾, y = 15/32.
    3: u = ½ + ⅝·½·¼ = 37/64, x = 1 − (¼ + 15/32)·¼ = 105/128, y = 3885/8192.
    """
    train = np.zeros((1, 4, 1))
    train[0, [0, 1, 3]] = 1.0
    for order in ("before", "after"):
        y = released(order, train, 0.5, 1 / np.log(2), 1 / np.log(2), 1.0)
        np.testing.assert_allclose(y, [1 / 2, 15 / 32, 0, 3885 / 8192], rtol=1e-14)


def test_the_steady_state_of_a_regular_train():
    train = np.zeros((1, 2000, 1))
    train[0, ::8] = 1.0
    a, b = np.exp(-8 * DT / FACILITATION), np.exp(-8 * DT / RECOVERY)
    u = USE / (1 - (1 - USE) * a)
    x = (1 - b) / (1 - (1 - u) * b)
    assert released("before", train)[1992] == pytest.approx(u * x, rel=1e-12)
    assert released("after", train)[1992] == pytest.approx(u * x, rel=1e-12)
    above = (USE + (1 - USE) * USE * (1 - a)) / (1 - (1 - USE) * a)
    x = (1 - b) / (1 - (1 - above) * b)
    assert released("before, from rest", train)[1992] == pytest.approx(above * x, rel=1e-12)


def test_depression_and_facilitation():
    """Depressing: little facilitation, slow recovery. Facilitating: small U, slow facilitation."""
    train = np.zeros((1, 50, 1))
    train[0, ::10] = 1.0
    depressing = released("before", train, 0.5, 800.0, 1.0, 1.0)[::10]
    facilitating = released("before", train, 0.05, 50.0, 1000.0, 1.0)[::10]
    assert np.all(np.diff(depressing) < 0) and np.all(np.diff(facilitating) > 0)


def test_the_gradient_reaches_all_parameters_through_later_spikes():
    """By hand for two spikes one step apart, "before": y₂ = u₂ x₂, u₂ = U + U (1 − U) a, x₂ = 1 − U b."""
    layer = bp.unroll(tsodyks_markram(1, USE, RECOVERY, FACILITATION, DT))
    params, _ = layer.init(jax.random.key(0), (2, 1))
    _, residuals = layer.forward(params, jnp.ones((1, 2, 1)))
    dparams, _ = layer.backward(params, residuals, jnp.asarray([[[0.0], [1.0]]]))
    a, b = np.exp(-DT / FACILITATION), np.exp(-DT / RECOVERY)
    u, x = USE + USE * (1 - USE) * a, 1 - USE * b
    truth = (
        (1 + (1 - 2 * USE) * a) * x - u * b,
        -u * USE * b * DT / RECOVERY,  # dx₂/dln τ_d = −U b dt/τ_d
        x * USE * (1 - USE) * a * DT / FACILITATION,
    )
    for own, exact in zip(dparams, truth, strict=True):
        assert float(own[0]) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tsodyks_markram(0), "`features`.*≥ 1"),
        (lambda: tsodyks_markram(2, 1.5), "`use`.*≤ 1"),
        (lambda: tsodyks_markram(2, recovery=0.0), "`recovery`.*> 0"),
        (lambda: tsodyks_markram(2, order="both"), "one of before, after, before, from rest"),
        (lambda: bp.unroll(tsodyks_markram(2)).init(jax.random.key(0), (5, 3)), r"`in_shape` of \(2,\), got \(3,\)"),
        (
            lambda: bp.unroll(tsodyks_markram(2)).forward(ShortTerm(*jnp.ones((3, 2))), jnp.ones((1, 4, 3))),
            r"shape \(N, T, 2\), got \(1, 4, 3\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
