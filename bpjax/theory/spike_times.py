"""Spike times of leaky integrate-and-fire neurons in continuous time, and their exact derivatives.

    τ_m v̇ = −v + I        τ_s İ = −I        I jumps by w_ij when input i spikes        v := 0 when v reaches θ

Between two events v and I have closed forms, so that a spike time t is the root of v(t) = θ. Its derivative follows
from the implicit function theorem, δt = −δv(t) / v̇(t): it exists as long as no spike appears or disappears, where
v̇ = 0. This is what surrogate derivatives stand for, and the gradient of EventProp (Wunderlich & Pehle 2021). Computed
in NumPy, neuron by neuron, event by event: an oracle for small layers.
"""

import math
from typing import NamedTuple

import numpy as np

from bpjax.theory.numbers import as_numbers
from bpjax.util.checks import check_number


class Membrane(NamedTuple):
    """The constants of a layer."""

    membrane: float = 10.0
    """τ_m."""
    synapse: float = 5.0
    """τ_s."""
    threshold: float = 1.0
    """θ."""


DEFAULT = Membrane()


class Event(NamedTuple):
    """An input spike or a spike of the neuron, with the state after it."""

    time: float
    source: int
    """The number of the input spike, −1 for a spike of the neuron."""
    current: float
    potential: float


class SpikeTimes(NamedTuple):
    """The spikes of a layer, and the events they came from."""

    times: list[np.ndarray]
    """For each neuron its spike times in order."""
    events: list[list[Event]]
    """For each neuron all events in order."""


def spike_times(weights, inputs, sources, duration: float, membrane: Membrane = DEFAULT) -> SpikeTimes:
    """The spike times of each neuron up to `duration`.

    Args:
        weights: W (D, H).
        inputs: Times (S,) of the input spikes, ≥ 0, in any order.
        sources: (S,) the index from 0 to D − 1 of the input that sends each.
        duration: Of the simulation.
        membrane: τ_m, τ_s and θ, for all neurons.

    Raises:
        ValueError: a shape is another, a source is not an input, or a constant is not above 0.
    """
    w, inputs, sources = _checked(weights, inputs, sources, duration, membrane)
    order = [int(k) for k in np.argsort(inputs, kind="stable") if inputs[k] <= duration]
    events = [_simulate(w[:, h], inputs, sources, order, duration, membrane) for h in range(w.shape[1])]
    times = [np.array([event.time for event in one if event.source < 0]) for one in events]
    return SpikeTimes(times, events)


def spike_time_gradient(weights, inputs, sources, spikes: SpikeTimes, dtimes, membrane: Membrane = DEFAULT):
    """(dW (D, H), dinputs (S,)): the exact gradient of a function of the spike times.

        δt = δt₀ − (a δv₀ + b δI₀) / v̇        t₀, v₀, I₀ after the event before,  s = t − t₀
        v(t) = a v₀ + b I₀    I(t) = e I₀      e = e^(−s/τ_s), a = e^(−s/τ_m), b = τ_s/(τ_m − τ_s) (a − e)

    The events are gone through backwards, with the cotangents of v, I and of the times.

    Args:
        weights: W (D, H).
        inputs: Times (S,) of the input spikes.
        sources: (S,) their inputs.
        spikes: The result of `spike_times` for the same arguments.
        dtimes: For each neuron the cotangents of its spike times, in the shape of `spikes.times`.
        membrane: As in `spike_times`.

    Raises:
        ValueError: as `spike_times`, or `dtimes` does not fit the spikes.
    """
    w, inputs, sources = _checked(weights, inputs, sources, 1.0, membrane)
    if not isinstance(spikes, SpikeTimes):
        raise ValueError("`spike_time_gradient` expected `spikes` to be the result of `spike_times`.")
    if [len(np.atleast_1d(d)) for d in dtimes] != [len(t) for t in spikes.times]:
        raise ValueError(
            f"`spike_time_gradient` expected one cotangent for each spike, {[len(t) for t in spikes.times]} for the "
            f"neurons, got {[len(np.atleast_1d(d)) for d in dtimes]}."
        )
    dw, dinputs = np.zeros_like(w), np.zeros_like(inputs)
    for h, events in enumerate(spikes.events):
        for source, dweight, dtime in _backwards(events, list(np.atleast_1d(dtimes[h])), membrane):
            dw[sources[source], h] += dweight
            dinputs[source] += dtime
    return dw, dinputs


def _checked(weights, inputs, sources, duration, membrane):
    """The arrays, or a `ValueError`."""
    who = "spike_times"
    w, inputs = as_numbers(who, "weights", weights), as_numbers(who, "inputs", inputs, least=0.0)
    numbers = np.asarray(sources)
    if w.ndim != 2 or inputs.ndim != 1 or numbers.shape != inputs.shape or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"`{who}` expected weights (D, H), inputs (S,) and integers sources (S,), got {w.shape}, {inputs.shape}, "
            f"{numbers.dtype}{list(numbers.shape)}."
        )
    if numbers.size and not (0 <= numbers.min() and numbers.max() < len(w)):
        raise ValueError(f"`{who}` expected `sources` from 0 to {len(w) - 1}, got {numbers.min()} to {numbers.max()}.")
    check_number(who, "duration", duration, above=0.0)
    if not isinstance(membrane, Membrane):
        raise ValueError(f"`{who}` expected `membrane` to be a Membrane, got {type(membrane).__name__}.")
    for name, value in membrane._asdict().items():
        check_number(who, name, value, above=0.0)
    return w, inputs, numbers


def _simulate(w, inputs, sources, order, duration: float, membrane: Membrane) -> list[Event]:
    """The events of one neuron."""
    at, current, potential, events = 0.0, 0.0, 0.0, []
    for k in [*order, None]:
        end = duration if k is None else float(inputs[k])
        while (s := _crossing(current, potential, end - at, membrane)) is not None:
            at, current, potential = at + s, current * math.exp(-s / membrane.synapse), 0.0
            events.append(Event(at, -1, current, potential))
        if k is not None:
            a, b, e = _decays(end - at, membrane)
            at, potential, current = end, a * potential + b * current, e * current + float(w[sources[k]])
            events.append(Event(at, k, current, potential))
    return events


def _decays(s: float, membrane: Membrane) -> tuple[float, float, float]:
    """(a, b, e): v(s) = a v₀ + b I₀ and I(s) = e I₀."""
    tau_m, tau_s, _ = membrane
    a, e = math.exp(-s / tau_m), math.exp(-s / tau_s)
    if abs(tau_m - tau_s) < 1e-9 * tau_m:
        return a, s / tau_m * a, e
    return a, tau_s / (tau_m - tau_s) * (a - e), e


def _crossing(current: float, potential: float, span: float, membrane: Membrane) -> float | None:
    """The first s in (0, span] with v(s) = θ from below, None if there is none; bisection on the rising part."""
    if span <= 0 or current <= 0:
        return None
    theta, top = membrane.threshold, min(_time_of_maximum(current, potential, membrane), span)

    def v(s: float) -> float:
        a, b, _ = _decays(s, membrane)
        return a * potential + b * current

    if top <= 0 or v(top) < theta:
        return None
    low, high = 0.0, top
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if v(middle) < theta else (low, middle)
    return high


def _time_of_maximum(current: float, potential: float, membrane: Membrane) -> float:
    """Where v̇ = 0, so I = v, for I > 0: v rises before and falls after."""
    tau_m, tau_s, _ = membrane
    if potential >= current:
        return 0.0
    if abs(tau_m - tau_s) < 1e-9 * tau_m:
        return tau_m * (1 - potential / current)
    c = tau_s / (tau_m - tau_s)  # v = I: a (v₀ + c I₀) = e (1 + c) I₀
    ratio = (1 + c) * current / (potential + c * current)
    return math.log(ratio) / (1 / tau_s - 1 / tau_m) if ratio > 0 else math.inf


def _backwards(events: list[Event], dtimes: list, membrane: Membrane):
    """(input spike, its dw, its dt) for each input spike of one neuron, last first."""
    dcurrent = dpotential = dtime_after = 0.0
    for k in reversed(range(len(events))):
        event = events[k]
        before = events[k - 1] if k else Event(0.0, -1, 0.0, 0.0)
        a, b, e = _decays(event.time - before.time, membrane)
        current, potential = e * before.current, a * before.potential + b * before.current
        rise = (current - potential) / membrane.membrane  # v̇ before the event
        if event.source >= 0:
            dgap = -current / membrane.synapse * dcurrent + rise * dpotential
            yield event.source, dcurrent, dtime_after + dgap
            dcurrent, dpotential, dtime_after = e * dcurrent + b * dpotential, a * dpotential, -dgap
            continue
        dgap = -current / membrane.synapse * dcurrent  # v is 0 after the spike, whatever it was before
        dtime = dtimes.pop() + dtime_after + dgap
        dcurrent, dpotential = e * dcurrent - b / rise * dtime, -a / rise * dtime
        dtime_after = dtime - dgap
