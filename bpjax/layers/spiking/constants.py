"""The time constants and thresholds of spiking neurons: fixed or learnt, one for all neurons or one per neuron."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.layers.dense import Affine
from bpjax.layers.params import Shapes
from bpjax.layers.spiking.convention import Convention
from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import as_real_numbers, check_choice, check_number, is_concrete
from bpjax.util.precision import widen

PerNeuron = float | Array | np.ndarray
"""A number, or one number for each neuron (H,)."""

LEARNT = ("membrane", "synapse", "threshold")


class Spiking(NamedTuple):
    """The parameters of D inputs to H spiking neurons; with W alone they are `Affine(w)`."""

    w: Array  # (D, H) from the inputs
    recurrent: Array | None = None  # (H, H) from the spikes of the layer itself
    log_membrane: Array | None = None  # (H,) ln τ_m
    log_synapse: Array | None = None  # (H,) ln τ_s
    threshold: Array | None = None  # (H,) θ
    b: Array | None = None  # (H,) bias, a constant current


class Constants(NamedTuple):
    """What one step multiplies by, each a number or an array (1, H), in the dtype of the state."""

    alpha: Any
    """e^(−dt/τ_s), the fraction of the current that remains after a step."""
    beta: Any
    """e^(−dt/τ_m), the fraction of the potential that remains."""
    theta: Any
    """θ."""


class Neurons(NamedTuple):
    """The constants of a layer as the user gave them; learnt ones are where learning starts."""

    membrane: Any
    synapse: Any
    threshold: Any
    dt: float
    learnt: frozenset[str] = frozenset()

    def constants(self, params, dtype) -> Constants:
        """α, β and θ from the params where they are learnt, otherwise from the given numbers."""
        taus = {name: getattr(params, f"log_{name}", None) for name in ("synapse", "membrane")}
        alpha, beta = (
            leak(getattr(self, name), self.dt, dtype) if log is None else _learnt_leak(log, self.dt)
            for name, log in taus.items()
        )
        theta = getattr(params, "threshold", None)
        return Constants(alpha, beta, number_in(self.threshold, dtype) if theta is None else theta[None])

    def initial(self, w: Array, recurrent: Array | None, features: int, use_bias: bool = False):
        """Params with these weights."""
        b = jnp.zeros(features, w.dtype) if use_bias else None
        if recurrent is None and not self.learnt:
            return Affine(w, b)
        full = lambda value: jnp.broadcast_to(jnp.asarray(value, w.dtype), (features,))
        logs = {f"log_{n}": jnp.log(full(getattr(self, n))) for n in ("membrane", "synapse") if n in self.learnt}
        threshold = full(self.threshold) if "threshold" in self.learnt else None
        return Spiking(w, recurrent, threshold=threshold, b=b, **logs)

    def gradient(self, params, sums: Constants) -> dict[str, Array]:
        """The gradients of the learnt params from those of α, β and θ, summed over times and examples.

        dln τ = β dt/τ dβ, with β = e^(−dt/τ); likewise for α.
        """
        grads = {}
        for name, derivative in (("membrane", sums.beta), ("synapse", sums.alpha)):
            if name in self.learnt:
                log = widen(getattr(params, f"log_{name}"))
                rate = self.dt * jnp.exp(-log)
                grads[f"log_{name}"] = (jnp.exp(-rate) * rate * derivative).astype(params.w.dtype)
        if "threshold" in self.learnt:
            grads["threshold"] = sums.theta.astype(params.w.dtype)
        return grads

    def shapes(self, features: int, recurrent: bool, use_bias: bool = False) -> dict[str, tuple | None]:
        """Of the params, for `check_params`."""
        bias = {"b": (features,) if use_bias else None}
        if not recurrent and not self.learnt:
            return {"w": ("D", features), **bias}
        names = {"log_membrane": "membrane", "log_synapse": "synapse", "threshold": "threshold"}
        per_neuron = {field: (features,) if name in self.learnt else None for field, name in names.items()}
        return {"w": ("D", features), "recurrent": (features, features) if recurrent else None, **per_neuron, **bias}


def neurons(
    who: str, features: int, membrane, synapse, dt, threshold: PerNeuron = 1.0, learnt: tuple[str, ...] = ()
) -> Neurons:
    """The checked constants of a layer of `features` neurons.

    Raises:
        ValueError: a constant is out of range or has another length than there are neurons, or `learnt` names
            something else than `LEARNT`.
    """
    check_number(who, "dt", dt, above=0.0)
    membrane = per_neuron(who, "membrane", membrane, features, above=0.0)
    synapse = per_neuron(who, "synapse", synapse, features, least=0.0)
    threshold = per_neuron(who, "threshold", threshold, features, above=0.0)
    if not isinstance(learnt, tuple | list | set | frozenset):
        raise ValueError(
            f"`{who}` expected `learnt` to be a tuple of names such as ('membrane',), got {shown(learnt)}."
        )
    for name in learnt:
        check_choice(who, "learnt", name, LEARNT)
    if "synapse" in learnt and is_concrete(synapse) and not np.all(np.asarray(synapse) > 0):
        raise ValueError(f"`{who}` expected `synapse` > 0 where it is learnt, got {shown(synapse)}. Give it a number.")
    return Neurons(membrane, synapse, threshold, dt, frozenset(learnt))


def per_neuron(who: str, name: str, value, features: int, *, above: float = -math.inf, least: float = -math.inf):
    """A number, or an array of one number per neuron, or a `ValueError`; a traced value must have the right shape."""
    shape = np.shape(value) if is_concrete(value) and not isinstance(value, str) else getattr(value, "shape", ())
    if shape == ():
        check_number(who, name, value, above=above, least=least)
        return value
    if shape != (features,):
        raise ValueError(
            f"`{who}` expected `{name}` to be a number or one number for each of the {features} neurons, an array "
            f"({features},), got shape {tuple(shape)}."
        )
    if not is_concrete(value):
        return value
    numbers = as_real_numbers(who, name, value)
    if not (np.isfinite(numbers).all() and (numbers > above).all() and (numbers >= least).all()):
        bound = f" > {above:g}" if above > -math.inf else f" ≥ {least:g}"
        index = int(np.flatnonzero(~((numbers > above) & (numbers >= least) & np.isfinite(numbers)))[0])
        raise ValueError(
            f"`{who}` expected finite numbers{bound} in `{name}`, got {numbers[index]:g} at index {index}."
        )
    return numbers


def leak(tau, dt, dtype):
    """e^(−dt/τ), 0 where τ = 0, in float64 on the host where it can be."""
    if not is_concrete(tau) or not is_concrete(dt):
        return number_in(jnp.where(jnp.asarray(tau) > 0, jnp.exp(-dt / jnp.asarray(tau)), 0), dtype)
    tau = np.asarray(tau, np.float64)
    with np.errstate(divide="ignore"):
        return number_in(np.exp(-float(dt) / tau), dtype)


def _learnt_leak(log: Array, dt) -> Array:
    return jnp.exp(-dt * jnp.exp(-widen(log))).astype(log.dtype)[None]


def number_in(value, dtype):
    """A Python number, which takes the dtype of what it meets, or an array (1, H) in the dtype."""
    if is_concrete(value) and np.shape(value) == ():
        return float(value)
    array = jnp.asarray(value, dtype)
    return array[None] if array.ndim else array


@dataclass(frozen=True, eq=False)
class NeuronSettings:
    """What a layer of neurons was made with, for other programs; compared and hashed by identity."""

    features: int
    neurons: Neurons
    convention: Convention
    spiking: bool = True
    """Whether it has a threshold; a leaky integrator has none."""
    refractory_steps: int = 0
    adaptive: bool = False
    shapes: Shapes | None = None
    """Of the params, for `check_params`."""
