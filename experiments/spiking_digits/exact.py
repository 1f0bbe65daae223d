"""How far is the direction of a surrogate gradient from the exact derivative of the spike times?

A network of two layers in continuous time; E = Σ (T − t) / T over the output spikes, or E = Σ (−t) / T: the exact
gradient reads only dE/dt and is the same. The surrogate gradient of the time-stepped network reads E itself, the weight
that each spike has.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.layers import Affine, Convention, leaky_integrate_and_fire, unroll
from bpjax.theory import Membrane, spike_time_gradient, spike_times
from experiments.spiking_digits.networks import ORDER, SURROGATES

MEMBRANE = Membrane(10.0, 5.0, 0.5)
INPUTS, HIDDEN, OUTPUTS, SPIKES, TIME, DT = 12, 8, 4, 30, 60.0, 0.2


class Angle(NamedTuple):
    """The cosine between a surrogate gradient and the exact one, for each network."""

    surrogate: str
    one_layer: np.ndarray  # of the weights of the output layer
    two_layers: np.ndarray  # of the weights of the hidden layer
    late: np.ndarray  # of the output layer, with E = Σ (−t) / T


class Problem(NamedTuple):
    """A random network with its input spikes and the exact gradients."""

    w1: np.ndarray
    w2: np.ndarray
    x: np.ndarray  # (steps, D)
    exact: tuple[np.ndarray, np.ndarray]
    difference: float  # relative, of the exact gradients from central differences


def problem(seed: int) -> Problem:
    """Draw a network in which most units fire."""
    rng = np.random.default_rng(seed)
    times = np.round(rng.uniform(0, 35, SPIKES) / DT) * DT
    sources = rng.integers(0, INPUTS, SPIKES)
    w1, w2 = rng.normal(0.35, 0.5, (INPUTS, HIDDEN)), rng.normal(0.25, 0.5, (HIDDEN, OUTPUTS))

    def layers(w1, w2):
        hidden = spike_times(w1, times, sources, TIME, MEMBRANE)
        counts = [len(t) for t in hidden.times]
        between = np.concatenate(hidden.times), np.repeat(np.arange(HIDDEN), counts)
        return hidden, between, spike_times(w2, *between, TIME, MEMBRANE)

    hidden, between, out = layers(w1, w2)
    dtimes = [np.full(len(t), -1 / TIME) for t in out.times]
    dw2, dbetween = spike_time_gradient(w2, *between, out, dtimes, MEMBRANE)
    parts = np.split(dbetween, np.cumsum([len(t) for t in hidden.times])[:-1])
    dw1, _ = spike_time_gradient(w1, times, sources, hidden, parts, MEMBRANE)
    value = lambda w1, w2: sum(-t.sum() / TIME for t in layers(w1, w2)[2].times)
    direction = rng.normal(size=w1.shape), rng.normal(size=w2.shape)
    ends = [value(w1 + s * direction[0], w2 + s * direction[1]) for s in (1e-7, -1e-7)]
    along = float((dw1 * direction[0]).sum() + (dw2 * direction[1]).sum())
    x = np.zeros((round(TIME / DT), INPUTS))
    np.add.at(x, (np.round(times / DT).astype(int), sources), 1)
    return Problem(w1, w2, x, (dw1, dw2), abs((ends[0] - ends[1]) / 2e-7 - along) / abs(along))


def angles(problems: list[Problem]) -> list[Angle]:
    """Of every surrogate, in the time-stepped network with the same weights."""
    gain = 1 - math.exp(-DT / MEMBRANE.membrane)
    w1, w2, x = (jnp.asarray(np.stack([getattr(p, name) for p in problems])) for name in ("w1", "w2", "x"))
    t = jnp.arange(x.shape[1]) * DT
    found = []
    for name, fire in SURROGATES.items():
        # u and θ are divided by the gain 1 − β; the surrogate sees the potential in units of the threshold
        scaled = fire._replace(
            forward=lambda p, u, f=fire: f.forward(p, u * gain / MEMBRANE.threshold),
            backward=lambda p, r, dy, f=fire: ((), f.backward(p, r, dy)[1] * gain / MEMBRANE.threshold),
        )
        make = lambda n, fire=scaled: unroll(
            leaky_integrate_and_fire(
                n, MEMBRANE.membrane, MEMBRANE.synapse, DT, MEMBRANE.threshold / gain, fire,
                convention=Convention("zero_before_leak", ORDER),
            )
        )  # fmt: skip
        net = bp.chain(make(HIDDEN), make(OUTPUTS))

        def gradients(w1, w2, x, net=net):
            y, residuals = net.forward((Affine(w1), Affine(w2)), x[None])
            back = lambda dy: net.backward(
                (Affine(w1), Affine(w2)), residuals, jnp.broadcast_to(dy[None, :, None], y.shape).astype(y.dtype)
            )[0]
            early, late = back((TIME - t) / TIME), back(-t / TIME)
            return early[0].w, early[1].w, late[1].w

        dw1, dw2, late = (np.asarray(g) for g in jax.jit(jax.vmap(gradients))(w1, w2, x))
        cosines = lambda a, which: np.array([cosine(g, p.exact[which]) for g, p in zip(a, problems, strict=True)])
        found.append(Angle(name, cosines(dw2, 1), cosines(dw1, 0), cosines(late, 1)))
    return found


def cosine(a, b) -> float:
    """⟨a, b⟩ / (‖a‖ ‖b‖), 0 where one is 0."""
    sizes = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / sizes) if sizes else 0.0
