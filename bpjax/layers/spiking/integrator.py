"""The leaky integrator: a neuron without a threshold, which reads out spiking layers."""

import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import check_in_shape
from bpjax.layers.product import bias_gradient, input_gradient, weight_gradient
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.spiking.constants import Constants, NeuronSettings, PerNeuron, neurons
from bpjax.layers.spiking.convention import ORDERS, Convention
from bpjax.layers.spiking.neuron import inputs_of
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_choice, check_count, check_flag
from bpjax.util.precision import widen


def leaky_integrator(
    features: int,
    membrane: PerNeuron = 10.0,
    synapse: PerNeuron = 5.0,
    dt: float = 1.0,
    weights: str | Initializer = lecun_normal,
    *,
    order: str = "spike-potential-current",
    learnt: tuple[str, ...] = (),
    use_bias: bool = False,
) -> Cell:
    """The units of `leaky_integrate_and_fire` without a threshold: the output y (N, H) is the potential.

    forward    y = u         I′ = α I + x W         u′ = β u + I
    backward   dI = α dI′ + du′,   δ = dI′          du = β du′ + dy

    The response to an input spike of weight w at t = 0 is the double exponential
    u_t = w (α^(t−1) − β^(t−1)) / (α − β), t ≥ 1. In the order "current-potential-spike" the output is u′ = β u + I′
    of the same step; in "spike-current-potential", u′ = β u + I′ and the output is u. Residuals: x; with `learnt` also
    I and u.

    Args:
        features: H, the number of units.
        membrane: τ_m, the time constant of the membrane, a number or one per unit (H,).
        synapse: τ_s, the time constant of the synapses; 0 for I′ = x W. A number or (H,).
        dt: The duration of a time step.
        weights: The initializer of W, or the name of one.
        order: In which order the output, the potential and the current are computed, as in `Convention`.
        learnt: Which constants are parameters, one per unit: "membrane", "synapse".
        use_bias: Whether there is a bias b (H,), a constant current.

    Raises:
        ValueError: as `leaky_integrate_and_fire`.
    """
    who = "leaky_integrator"
    features, draw = check_count(who, "features", features), initializer(weights)
    check_choice(who, "order", order, ORDERS)
    constants = neurons(who, features, membrane, synapse, dt, learnt=learnt)
    if "threshold" in constants.learnt:
        raise ValueError(f"`{who}` has no threshold to learn. Name 'membrane' or 'synapse' in `learnt`.")
    late, early = order == "current-potential-spike", order == "spike-potential-current"
    learns, use_bias = bool(constants.learnt), check_flag(who, "use_bias", use_bias)

    def init(key, in_shape):
        (in_features,) = check_in_shape(who, in_shape, rank=1)
        w = draw(key, (in_features, features), jnp.result_type(float))
        return constants.initial(w, None, features, use_bias), (features,)

    def step(params, state, driven):
        current, potential = state
        alpha, beta, _ = constants.constants(params, driven.dtype)
        current_after = alpha * current + driven
        after = beta * potential + (current if early else current_after)
        return (current_after, after), (after if late else potential), ((current, potential) if learns else ())

    def back_params(params):
        return constants.constants(params, params.w.dtype)

    def back(numbers, residuals, dstate, dy):
        alpha, beta, _ = numbers
        dcurrent, dpotential = dstate
        du = dpotential + dy if late else dpotential
        delta = dcurrent if early else dcurrent + du
        before = alpha * delta + (du if early else 0), beta * du + (0 if late else dy)
        if not learns:
            return before, (delta, None)
        current, potential = residuals
        return before, (delta, Constants(current * delta, potential * du, None))

    def gradient(params, x, residuals, errors):
        delta, sums = errors
        grads = {"w": weight_gradient(x, delta)}
        if use_bias:
            grads["b"] = bias_gradient(delta)
        if sums is not None:
            alpha, beta = (jnp.sum(widen(e), axis=(0, 1)) for e in sums[:2])
            grads |= constants.gradient(params, Constants(alpha, beta, None))
        return params._replace(**grads), input_gradient(delta, params.w)

    options = {
        "membrane": (membrane, 10.0), "synapse": (synapse, 5.0), "dt": (dt, 1.0), "order": (order, ORDERS[0]),
        "learnt": (tuple(learnt), ()), "use_bias": (use_bias, False),
    }  # fmt: skip
    shapes, shape = constants.shapes(features, False, use_bias), ((features,), (features,))
    inputs = inputs_of(who, features, shapes)
    settings = NeuronSettings(features, constants, Convention("none", order), spiking=False, shapes=shapes)
    return Cell(
        who, shape, init, step, back, inputs, gradient, back_params, arguments=call_text(features, **options),
        settings=settings,
    )  # fmt: skip
