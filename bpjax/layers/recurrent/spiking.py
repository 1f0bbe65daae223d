"""Spiking neurons: cells for `unroll` with binary outputs, trained with a surrogate derivative.

Currents and potentials are scaled so that the synaptic filter and the membrane have gain 1: both are leaky sums
(Neftci, Mostafa & Zenke 2019). All times are in the same unit, for instance milliseconds.
"""

import math

import jax.numpy as jnp

from bpjax.layers.activations import elementwise
from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, Parts, check_in_shape, check_layer
from bpjax.layers.params import check_params
from bpjax.layers.product import affine, input_gradient, weight_gradient
from bpjax.layers.recurrent.cell import Cell
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_number, check_same_dtype


def spike(steepness: float | Array = 100.0) -> Layer:
    """A step function with a surrogate derivative: whether a unit fires.

    forward    y = 1 where u > 0, else 0
    backward   du = dy / (k |u| + 1)²          Zenke & Ganguli 2018; k = `steepness`

    Raises:
        ValueError: `steepness` is negative.
    """
    check_number("spike", "steepness", steepness, least=0.0)
    return elementwise(
        "spike",
        _fires,
        lambda u: 1 / (jnp.asarray(steepness, u.dtype) * jnp.abs(u) + 1) ** 2,
        of="input",
        arguments=call_text(steepness),
    )


def _fires(u):
    return (u > 0).astype(u.dtype)


superspike = spike()
"""`spike` with k = 100."""

heaviside = elementwise("heaviside", _fires, jnp.zeros_like, of="input")
"""The same step function with its true derivative, 0: errors do not pass through it."""


def leaky_integrate_and_fire(
    features: int,
    membrane: float = 10.0,
    synapse: float = 5.0,
    dt: float = 1.0,
    threshold: float = 1.0,
    fire: Layer = superspike,
    weights: str | Initializer = lecun_normal,
) -> Cell:
    """Leaky integrate-and-fire units, x (N, D) to the spikes y (N, H) of one time step; for `unroll`.

    forward    y = s(u − θ)
               i′ = α i + x W                        α = e^(−dt/τ_s): the synaptic current
               u′ = (β u + i) (1 − y)                β = e^(−dt/τ_m): the potential; a spike resets it to 0
    backward   di = α di′ + (1 − y) du′              δ = di′, at x W
               du = β (1 − y) du′ + s′ dy            the reset is not differentiated

    The form of Zenke's SpyTorch tutorials. An input spike changes the current one step later and the potential two
    steps later. Without synapses, a constant input (1 − β) I causes the first spike after about τ_m ln(I / (I − θ)).
    Params: the weights W (D, H), without a bias. Residuals per step: y and the residuals of `fire`. In half precision
    the state is rounded at every step.

    Args:
        features: H, the number of units.
        membrane: τ_m, the time constant of the membrane.
        synapse: τ_s, the time constant of the synapses; 0 for i′ = x W.
        dt: The duration of a time step.
        threshold: θ.
        fire: s, an activation whose forward pass is the step function and whose backward pass is its surrogate
            derivative. `heaviside` has the true derivative.
        weights: The initializer of W, or the name of one.

    Raises:
        ValueError: `features` is not a positive integer; `membrane`, `dt` or `threshold` is not above 0, `synapse`
            is negative; `fire` is not a Layer; in `forward`, the features or the dtype of x are not those of the
            weights.
    """
    who = "leaky_integrate_and_fire"
    alpha, beta = _leaks(who, features, membrane, synapse, dt)
    check_number(who, "threshold", threshold, above=0.0)
    check_layer(who, fire)

    def step(params, state, driven):
        current, potential = state
        y, residuals = fire.forward((), potential - threshold)
        return (alpha * current + driven, (beta * potential + current) * (1 - y)), y, (y, residuals)

    def back(params, residuals, dstate, dy):
        (y, fire_residuals), (dcurrent, dpotential) = residuals, dstate
        _, du = fire.backward((), fire_residuals, dy)
        unfired = (1 - y) * dpotential
        return (alpha * dcurrent + unfired, beta * unfired + du), dcurrent

    def rebuild(fire):
        return leaky_integrate_and_fire(features, membrane, synapse, dt, threshold, fire, weights)

    numbers = {"membrane": (membrane, 10.0), "synapse": (synapse, 5.0), "dt": (dt, 1.0), "threshold": (threshold, 1.0)}
    return _cell(who, features, weights, step, back)._replace(
        kind=Kind.SPIKING,
        parts=Parts((fire,), rebuild),
        arguments=call_text(features, **numbers, fire=(fire, superspike)),
    )


def leaky_integrator(
    features: int,
    membrane: float = 10.0,
    synapse: float = 5.0,
    dt: float = 1.0,
    weights: str | Initializer = lecun_normal,
) -> Cell:
    """The same units without a threshold: the output y (N, H) is the potential. They read out spiking layers.

    forward    y = u         i′ = α i + x W         u′ = β u + i
    backward   di = α di′ + du′,   δ = di′          du = β du′ + dy

    The response to an input spike of weight w at t = 0 is the double exponential
    u_t = w (α^(t−1) − β^(t−1)) / (α − β), t ≥ 1. Residuals: only x.

    Args:
        features: H, the number of units.
        membrane: τ_m, the time constant of the membrane.
        synapse: τ_s, the time constant of the synapses; 0 for i′ = x W.
        dt: The duration of a time step.
        weights: The initializer of W, or the name of one.

    Raises:
        ValueError: as `leaky_integrate_and_fire`.
    """
    who = "leaky_integrator"
    alpha, beta = _leaks(who, features, membrane, synapse, dt)

    def step(params, state, driven):
        current, potential = state
        return (alpha * current + driven, beta * potential + current), potential, ()

    def back(params, residuals, dstate, dy):
        dcurrent, dpotential = dstate
        return (alpha * dcurrent + dpotential, beta * dpotential + dy), dcurrent

    numbers = {"membrane": (membrane, 10.0), "synapse": (synapse, 5.0), "dt": (dt, 1.0)}
    return _cell(who, features, weights, step, back)._replace(arguments=call_text(features, **numbers))


def _leaks(who: str, features: int, membrane: float, synapse: float, dt: float) -> tuple[float, float]:
    """α and β, the fractions of the synaptic current and of the potential that remain after a step."""
    check_count(who, "features", features)
    check_number(who, "membrane", membrane, above=0.0)
    check_number(who, "synapse", synapse, least=0.0)
    check_number(who, "dt", dt, above=0.0)
    return (math.exp(-dt / synapse) if synapse else 0.0), math.exp(-dt / membrane)


def _cell(who: str, features: int, weights: str | Initializer, step, back) -> Cell:
    """A cell with weights W (D, H) and the state (current, potential), two leaky sums (N, H) each."""
    features, draw = int(features), initializer(weights)

    def init(key, in_shape):
        (in_features,) = check_in_shape(who, in_shape, rank=1)
        return Affine(draw(key, (in_features, features), jnp.result_type(float))), (features,)

    def inputs(params, x):
        check_params(f"`{who}({features})`", params, Affine, {"w": ("D", features), "b": None})
        if x.shape[-1] != len(params.w):
            raise ValueError(
                f"`{who}({features})` expected `x` of shape (N, T, {len(params.w)}), got "
                f"{(x.shape[1], x.shape[0], x.shape[2])}. Give `init` the `in_shape` of the data."
            )
        check_same_dtype(who, x, params.w)
        return affine(x, params.w)

    def gradient(params, x, residuals, delta):
        return Affine(weight_gradient(x, delta)), input_gradient(delta, params.w)

    return Cell(who, ((features,), (features,)), init, step, back, inputs, gradient)
