"""Digits as spikes, and the spiking networks that read them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

import bpjax as bp
from bpjax.layers import Convention, Layer, spike

SURROGATES = {
    "fast sigmoid, k = 25": spike(25.0),
    "superspike, k = 100": spike(100.0, "superspike"),
    "sigmoid, k = 25": spike(25.0, "sigmoid"),
    "arctan, k = 2": spike(2.0, "arctan"),
    "triangular, k = 1": spike(1.0, "triangular", 0.3),
    "straight-through": spike(1.0, "straight-through"),
}
"""At the steepness that the libraries have as their default: snnTorch, SpyTorch, snnTorch, SpikingJelly, Bellec."""
ORDER = "current-potential-spike"
RESETS = {
    "subtract after the leak": Convention("subtract_after_leak", ORDER),
    "subtract before the leak": Convention("subtract_before_leak", ORDER),
    "zero after the leak": Convention("zero_after_leak", ORDER),
    "zero before the leak": Convention("zero_before_leak", ORDER),
    "zero, differentiated": Convention("zero_before_leak", ORDER, True),
    "no reset": Convention("none", ORDER),
}


class Variant(NamedTuple):
    """One kind of network."""

    group: str  # the heading of its row
    name: str
    fire: Layer = SURROGATES["fast sigmoid, k = 25"]
    convention: Convention = RESETS["subtract after the leak"]
    coding: str = "latency"


VARIANTS = (
    *(Variant("surrogate", name, fire) for name, fire in SURROGATES.items()),
    *(Variant("reset", name, convention=c) for name, c in RESETS.items() if name != "subtract after the leak"),
    Variant("code", "rates, not latencies", coding="rate"),
)


def scaled(gain: float):
    """An initializer of standard deviation `gain` / √D."""

    def draw(key, shape, dtype):
        return gain / math.sqrt(shape[0]) * jax.random.normal(key, shape, dtype)

    return draw


def network(variant: Variant, hidden: tuple[int, ...], gain: float = 3.0) -> Layer:
    """Layers of leaky integrate-and-fire units and a leaky integrator for each class; its mean over time is the output.

    Args:
        variant: surrogate and convention.
        hidden: units in each spiking layer.
        gain: of the initial weights.
    """
    layers = [
        bp.unroll(
            bp.layers.leaky_integrate_and_fire(
                features, 10.0, 0.0, fire=variant.fire, convention=variant.convention, weights=scaled(gain)
            )
        )
        for features in hidden
    ]
    readout = bp.layers.leaky_integrator(10, 10.0, 0.0, order=ORDER, weights=scaled(0.3))
    return bp.chain(*layers, bp.unroll(readout, last=True))


def spikes_of(pixels, coding: str, steps: int, key):
    """Pixels (N, 64) from 0 to 1 as spikes (N, T, 64).

    "latency": one spike a pixel, at T (1 − pixel), none below 0.1; "rate": at each step with the chance pixel / 4.
    """
    if coding == "rate":
        shape = (len(pixels), steps, pixels.shape[1])
        return jax.random.bernoulli(key, pixels[:, None] / 4, shape).astype(pixels.dtype)
    at = jnp.where(pixels > 0.1, jnp.floor((1 - pixels) * (steps - 1)), -1)
    return (at[:, None] == jnp.arange(steps)[None, :, None]).astype(pixels.dtype)


def firing(net: Layer, params, x) -> list:
    """The mean number of spikes a step and unit of each spiking layer, and the share of its units that never fire."""
    found = []
    for layer, p in zip(net.layers[:-1], params[:-1], strict=True):
        x = layer.forward(p, x)[0]
        found.append((x.mean(), (x.max(axis=(0, 1)) == 0).mean()))
    return found
