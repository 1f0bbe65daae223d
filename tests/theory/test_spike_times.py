"""Spike times and their exact derivatives: closed forms, differences, EventProp, and the time-stepped neuron."""

import math

import numpy as np
import pytest
from oracles import central_difference, relative_error

from bpjax.layers import Affine, leaky_integrate_and_fire, unroll
from bpjax.theory import Membrane, spike_time_gradient, spike_times


def layer(seed=0, inputs=4, features=3):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 25, 10))
    return rng.normal(0.8, 0.6, (inputs, features)), times, rng.integers(0, inputs, 10)


@pytest.mark.parametrize("weight", [1.3, 2.0, 6.0])
def test_the_first_spike_in_closed_form(weight):
    """τ_m = 2 τ_s (Göltz et al. 2021): v = w (z − z²) with z = e^(−t/τ_m), so z = ½ + √(¼ − θ/w)."""
    constants, theta = Membrane(10.0, 5.0, 0.3), 0.3
    found = spike_times([[weight]], [2.0], [0], 40.0, constants)
    root = math.sqrt(0.25 - theta / weight)
    exact = -10 * math.log(0.5 + root)
    assert found.times[0][0] == pytest.approx(2 + exact, abs=1e-13)
    dw, dt = spike_time_gradient([[weight]], [2.0], [0], found, [np.eye(len(found.times[0]))[0]], constants)
    # dt/dw = −10 / z · dz/dw, dz/dw = θ / (2 w² √(¼ − θ/w))
    assert dw[0, 0] == pytest.approx(-10 / (0.5 + root) * theta / (2 * weight**2 * root), rel=1e-11)
    assert dt[0] == pytest.approx(1.0, rel=1e-12)  # the whole picture moves


@pytest.mark.parametrize("constants", [Membrane(10.0, 5.0, 0.5), Membrane(4.0, 9.0, 0.4), Membrane(6.0, 6.0, 0.5)])
def test_gradients_are_the_differences_of_the_spike_times(constants):
    w, times, sources = layer()
    found = spike_times(w, times, sources, 50.0, constants)
    assert sum(map(len, found.times)) > 6
    weights = [np.cos(1 + np.arange(len(t)) + h) for h, t in enumerate(found.times)]

    def value(w, times):
        spikes = spike_times(w, times, sources, 50.0, constants).times
        return sum((a * b).sum() for a, b in zip(weights, spikes, strict=True))

    dw, dtimes = spike_time_gradient(w, times, sources, found, weights, constants)
    assert relative_error(dw, central_difference(lambda w: value(w, times), w, 1e-6)) < 1e-6
    assert relative_error(dtimes, central_difference(lambda t: value(w, t), times, 1e-6)) < 1e-6


def test_two_layers():
    """The spikes of the first layer are the inputs of the second; each is differentiated by the rule of one layer."""
    constants = Membrane(10.0, 5.0, 0.4)
    w1, times, sources = layer(2)
    w2 = np.abs(np.random.default_rng(3).normal(1.0, 0.3, (3, 2)))

    def run(w1, w2, times):
        hidden = spike_times(w1, times, sources, 50.0, constants)
        between = np.concatenate(hidden.times), np.repeat(np.arange(3), [len(t) for t in hidden.times])
        return hidden, between, spike_times(w2, *between, 50.0, constants)

    hidden, between, out = run(w1, w2, times)
    first = [np.eye(len(t))[0] for t in out.times]  # the sum of the first spike times
    dw2, dbetween = spike_time_gradient(w2, *between, out, first, constants)
    splits = np.cumsum([len(t) for t in hidden.times])[:-1]
    dw1, dtimes = spike_time_gradient(w1, times, sources, hidden, np.split(dbetween, splits), constants)
    value = lambda *args: sum(t[0] for t in run(*args)[2].times)
    assert relative_error(dw2, central_difference(lambda w: value(w1, w, times), w2, 1e-6)) < 1e-6
    assert relative_error(dw1, central_difference(lambda w: value(w, w2, times), w1, 1e-6)) < 1e-6
    assert relative_error(dtimes, central_difference(lambda t: value(w1, w2, t), times, 1e-6)) < 1e-6


def test_eventprop_of_a_single_neuron():
    """Wunderlich & Pehle 2021: λ_V jumps by (θ λ_V + dt) / (τ_m V̇) at a spike; dw = −τ_s Σ λ_I at the inputs."""
    constants = Membrane(10.0, 5.0, 0.5)
    w, times, sources = layer(5, features=1)
    found = spike_times(w, times, sources, 50.0, constants)
    dtimes = np.sin(1 + np.arange(len(found.times[0])))
    tau_m, tau_s, theta = constants
    lv = li = 0.0
    grad, at, k = np.zeros_like(w), 50.0, len(dtimes) - 1
    for n in reversed(range(len(found.events[0]))):
        event, before = found.events[0][n], found.events[0][n - 1] if n else None
        s = at - event.time
        # λ_V decays with τ_m backwards; τ_s λ_I' = −λ_I + λ_V
        li, lv = (
            li * math.exp(-s / tau_s) + lv * tau_m / (tau_m - tau_s) * (math.exp(-s / tau_m) - math.exp(-s / tau_s)),
            lv * math.exp(-s / tau_m),
        )
        at = event.time
        if event.source >= 0:
            grad[sources[event.source], 0] -= tau_s * li
            continue
        gap = event.time - (before.time if before else 0.0)
        current = before.current * math.exp(-gap / tau_s)
        rise = (current - theta) / tau_m
        lv = lv + (theta * lv + dtimes[k]) / (tau_m * rise)
        k -= 1
    assert relative_error(spike_time_gradient(w, times, sources, found, [dtimes], constants)[0], grad) < 1e-10


def test_time_steps_converge_to_the_spike_times():
    """The convention "spikingjelly" at dt = 0.02: every spike at most two steps from the exact time."""
    constants, dt = Membrane(10.0, 5.0, 0.5), 0.02
    w, times, sources = layer(1)
    exact = spike_times(w, times, sources, 50.0, constants).times
    x = np.zeros((1, 2500, 4))
    np.add.at(x, (0, np.round(times / dt).astype(int), sources), 1)
    gain = 1 - math.exp(-dt / 10)
    cell = leaky_integrate_and_fire(3, 10.0, 5.0, dt, threshold=0.5 / gain, convention="spikingjelly")
    y = np.asarray(unroll(cell).forward(Affine(w), x)[0][0])
    for h in range(3):
        stepped = np.flatnonzero(y[:, h]) * dt
        assert len(stepped) == len(exact[h]) and len(stepped) > 1
        np.testing.assert_allclose(stepped, exact[h], atol=8 * dt)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spike_times([1.0], [0.0], [0], 5.0), r"weights \(D, H\)"),
        (lambda: spike_times([[1.0]], [0.0], [1], 5.0), "`sources` from 0 to 0, got 1 to 1"),
        (lambda: spike_times([[1.0]], [-1.0], [0], 5.0), "`inputs`.*≥ 0"),
        (lambda: spike_times([[1.0]], [0.0], [0], 5.0, Membrane(0.0)), "`membrane`.*> 0"),
        (lambda: spike_times([[1.0]], [0.0], [0], 5.0, (1, 2, 3)), "to be a Membrane"),
        (lambda: spike_time_gradient([[1.0]], [0.0], [0], None, []), "the result of `spike_times`"),
        (
            lambda: spike_time_gradient([[9.0]], [0.0], [0], spike_times([[9.0]], [0.0], [0], 5.0), [[1.0] * 9]),
            "one cotangent for each spike",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
