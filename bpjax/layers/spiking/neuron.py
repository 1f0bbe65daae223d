"""Leaky integrate-and-fire neurons: a cell for `unroll` with binary outputs, trained with a surrogate derivative.

Currents and potentials are scaled so that the synaptic filter and the membrane have gain 1: both are leaky sums
(Neftci, Mostafa & Zenke 2019). All times are in the same unit, for instance milliseconds.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, Parts, check_in_shape, check_layer
from bpjax.layers.params import check_params
from bpjax.layers.product import affine, bias_gradient, input_gradient, weight_gradient
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.spiking.constants import (
    Constants,
    Neurons,
    NeuronSettings,
    PerNeuron,
    Spiking,
    leak,
    neurons,
    number_in,
    per_neuron,
)
from bpjax.layers.spiking.convention import Convention, as_convention
from bpjax.layers.spiking.steps import Adaptation, Neuron, SpikingState, step, step_back
from bpjax.layers.spiking.surrogates import superspike
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag, check_instance, check_number, check_same_dtype, is_concrete
from bpjax.util.precision import widen

NeuronIn = Callable[..., Neuron]
"""(dtype) -> the neuron with its numbers in that dtype."""


def leaky_integrate_and_fire(
    features: int,
    membrane: PerNeuron = 10.0,
    synapse: PerNeuron = 5.0,
    dt: float = 1.0,
    threshold: PerNeuron = 1.0,
    fire: Layer = superspike,
    weights: str | Initializer = lecun_normal,
    *,
    convention: str | Convention = "spytorch",
    refractory: float = 0.0,
    adaptation: Adaptation | None = None,
    recurrent: str | Initializer | None = None,
    learnt: tuple[str, ...] = (),
    use_bias: bool = False,
) -> Cell:
    """Leaky integrate-and-fire units, x (N, D) to the spikes y (N, H) of one time step; for `unroll`.

    forward    y = s(u − θ − κ a)                    s: the step function; a: see `adaptation`
               u′ = (β u + I) (1 − y)                β = e^(−dt/τ_m): the potential; a spike resets it
               I′ = α I + x W + y V                  α = e^(−dt/τ_s): the synaptic current
    backward   dI = α dI′ + (1 − y) du′              δ = dI′, at x W
               du = β (1 − y) du′ + s′ dy

    These are the equations of the convention "spytorch", the form of Zenke's SpyTorch tutorials, where an input spike
    changes the current one step later and the potential two steps later. `bpjax.layers.spiking.convention` has the
    other resets and orders, `bpjax.layers.spiking.membrane` their derivatives. A constant input (1 − β) I causes the
    first spike after about τ_m ln(I / (I − θ)).

    Params: `Affine(w, b)`, the weights W (D, H) and the bias; with `recurrent` or `learnt`, `Spiking`. A learnt time
    constant is stored as its logarithm, so that it stays positive: dln τ = β dt/τ Σ dβ. Residuals per step: y, the
    residuals of `fire`, and what the derivatives of the reset and of learnt constants read. In half precision the
    state is rounded at every step.

    Args:
        features: H, the number of units.
        membrane: τ_m, the time constant of the membrane, a number or one per unit (H,).
        synapse: τ_s, the time constant of the synapses; 0 for I′ = x W. A number or (H,).
        dt: The duration of a time step.
        threshold: θ, a number or (H,).
        fire: s, an activation whose forward pass is the step function and whose backward pass is its surrogate
            derivative: `spike`. `heaviside` has the true derivative.
        weights: The initializer of W, or the name of one.
        convention: A `Convention` or the name of one: "spytorch", "snntorch", "snntorch zero", "spikingjelly",
            "spikingjelly soft", "spyx", "bellec".
        refractory: The time after a spike during which a unit does not integrate and does not fire, rounded to steps.
        adaptation: `Adaptation(strength, time_constant)` makes the threshold θ + κ a, a′ = ρ a + y (ALIF).
        recurrent: The initializer of V (H, H), from the spikes of the layer to itself, or the name of one; None
            without such weights.
        learnt: Which constants are parameters, one per unit: "membrane", "synapse", "threshold".
        use_bias: Whether there is a bias b (H,), a constant current: I′ = α I + x W + y V + b.

    Raises:
        ValueError: `features` is not a positive integer; a constant is out of range or has not H entries; `fire` is
            not a Layer, `convention` unknown; in `forward`, the features or the dtype of x are not those of the
            weights.
    """
    who = "leaky_integrate_and_fire"
    features = check_count(who, "features", features)
    constants = neurons(who, features, membrane, synapse, dt, threshold, learnt)
    check_layer(who, fire)
    check_number(who, "refractory", refractory, least=0.0)
    steps = round(float(refractory) / float(dt)) if is_concrete(refractory) and is_concrete(dt) else 0
    made = as_convention(who, convention)
    neuron = _neuron(who, features, constants, made, fire, adaptation, steps)
    draw_recurrent = None if recurrent is None else initializer(recurrent)

    def rebuild(fire):
        return leaky_integrate_and_fire(
            features, membrane, synapse, dt, threshold, fire, weights, convention=convention, refractory=refractory,
            adaptation=adaptation, recurrent=recurrent, learnt=learnt, use_bias=use_bias,
        )  # fmt: skip

    options = {
        "membrane": (membrane, 10.0), "synapse": (synapse, 5.0), "dt": (dt, 1.0), "threshold": (threshold, 1.0),
        "fire": (fire, superspike), "convention": (convention, "spytorch"), "refractory": (refractory, 0.0),
        "adaptation": (adaptation, None), "recurrent": (recurrent, None), "learnt": (tuple(learnt), ()),
        "use_bias": (use_bias, False),
    }  # fmt: skip
    has_bias = check_flag(who, "use_bias", use_bias)
    cell = _cell(who, features, constants, neuron, _Draws(initializer(weights), draw_recurrent, has_bias))
    shapes = constants.shapes(features, recurrent is not None, has_bias)
    settings = NeuronSettings(features, constants, made, True, steps, adaptation is not None, shapes)
    return cell._replace(
        parts=Parts((fire,), rebuild), arguments=call_text(features, **options), settings=settings
    )  # fmt: skip


def _neuron(who, features, constants: Neurons, convention, fire, adaptation, steps: int) -> NeuronIn:
    """(dtype) -> what is static in a step, checked."""
    neuron = Neuron(convention, fire, constants.learnt, refractory_steps=steps)
    if adaptation is None:
        return lambda dtype: neuron
    check_instance(who, "adaptation", adaptation, Adaptation, "bp.layers.Adaptation(1.8, 200.0)")
    strength = per_neuron(who, "adaptation.strength", adaptation.strength, features, least=0.0)
    tau = per_neuron(who, "adaptation.time_constant", adaptation.time_constant, features, above=0.0)
    return lambda dtype: neuron._replace(strength=number_in(strength, dtype), rho=leak(tau, constants.dt, dtype))


class _Draws(NamedTuple):
    """How initial params are made."""

    weights: Initializer
    recurrent: Initializer | None
    bias: bool


def _cell(who, features, constants: Neurons, neuron: NeuronIn, draws: _Draws) -> Cell:
    """The cell of one layer of neurons."""
    draw, draw_recurrent, use_bias = draws
    shapes = constants.shapes(features, draw_recurrent is not None, use_bias)

    def init(key, in_shape):
        (in_features,) = check_in_shape(who, in_shape, rank=1)
        dtype, v = jnp.result_type(float), None
        if draw_recurrent is not None:
            key, key_recurrent = jax.random.split(key)
            v = draw_recurrent(key_recurrent, (features, features), dtype)
        w = draw(key, (in_features, features), dtype)
        return constants.initial(w, v, features, use_bias), (features,)

    def forward(params, state, driven):
        dtype = driven.dtype
        numbers = constants.constants(params, dtype)
        return step(neuron(dtype), numbers, getattr(params, "recurrent", None), state, driven)

    def back_params(params):
        v = getattr(params, "recurrent", None)
        return constants.constants(params, params.w.dtype), None if v is None else v.T

    def back(read, residuals, dstate, dy):
        numbers, transposed = read
        return step_back(neuron(dy.dtype), numbers, transposed, residuals, dstate, dy)

    def gradient(params, x, residuals, errors):
        grads = {"w": weight_gradient(x, errors.delta)}
        if draw_recurrent is not None:
            grads["recurrent"] = weight_gradient(residuals.before.spikes, errors.delta)
        if use_bias:
            grads["b"] = bias_gradient(errors.delta)
        sums = Constants(*(None if e is None else jnp.sum(widen(e), axis=(0, 1)) for e in errors[1:]))
        grads |= constants.gradient(params, sums)
        return params._replace(**grads), input_gradient(errors.delta, params.w)

    inputs, state_shape = inputs_of(who, features, shapes), _state_shape(features, neuron(jnp.float32))
    return Cell(who, state_shape, init, forward, back, inputs, gradient, back_params, Kind.SPIKING)


def inputs_of(who: str, features: int, shapes):
    """The field `inputs` of a cell of neurons: x W for all times as one product, after the checks."""
    kind = Spiking if "recurrent" in shapes else Affine

    def inputs(params, x):
        check_params(f"`{who}({features})`", params, kind, shapes)
        if x.shape[-1] != len(params.w):
            raise ValueError(
                f"`{who}({features})` expected `x` of shape (N, T, {len(params.w)}), got "
                f"{(x.shape[1], x.shape[0], x.shape[2])}. Give `init` the `in_shape` of the data."
            )
        check_same_dtype(who, x, params.w)
        return affine(x, params.w, params.b)

    return inputs


def _state_shape(features: int, neuron: Neuron) -> SpikingState:
    shape = (features,)
    late = neuron.convention.order == "current-potential-spike"
    return SpikingState(
        shape,
        shape,
        None if neuron.rho is None else shape,
        shape if neuron.refractory_steps else None,
        shape if late else None,
    )
