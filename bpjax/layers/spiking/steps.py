"""One time step of a spiking neuron in each of the three orders, and its backward pass.

spike       y = s(u − θ − κ a) where the neuron is not refractory, else 0        emit
potential   u′ by the reset of the convention, a′ = ρ a + y                       membrane.py
current     I′ = α I + x W + y V
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.layers.product import matmul
from bpjax.layers.spiking.constants import Constants
from bpjax.layers.spiking.convention import Convention
from bpjax.layers.spiking.membrane import Before, integrate, integrate_back, remaining


class SpikingState(NamedTuple):
    """The state of H neurons, each array (N, H); None for what a layer does not have."""

    current: Any  # I
    potential: Any  # u
    adaptation: Any = None  # a
    refractory: Any = None  # steps left
    spikes: Any = None  # y of the previous step, in the order "current-potential-spike"


class Adaptation(NamedTuple):
    """A threshold that rises with each spike: θ + κ a, a′ = ρ a + y, ρ = e^(−dt/τ_a) (Bellec et al. 2020).

    Bellec et al. 2018 have a′ = ρ a + (1 − ρ) y: their strength is κ / (1 − ρ).
    """

    strength: Any
    """κ, a number or (H,)."""
    time_constant: Any
    """τ_a, a number or (H,), in the unit of dt."""


class Neuron(NamedTuple):
    """What is static in a step."""

    convention: Convention
    fire: Layer
    """s, with the surrogate as its derivative."""
    learnt: frozenset[str] = frozenset()
    """Which constants have a gradient."""
    strength: Any = None
    """κ."""
    rho: Any = None
    """ρ, the fraction of the adaptation that remains after a step."""
    refractory_steps: int = 0


class StepResiduals(NamedTuple):
    """What the backward pass of a step reads, each (N, H); None for what it does not read."""

    current: Any  # I before the step; for a learnt τ_s
    before: Before  # what the potential was computed from, without `level`, which may hold a parameter
    adaptation: Any  # a before the step; for a reset by θ + κ a
    fire: Any  # of s
    silenced: Any  # the refractory steps left when s was computed


class StepErrors(NamedTuple):
    """Error signals of one step, (N, H); None for a constant that is not learnt."""

    delta: Any  # ∂E/∂(x W)
    alpha: Any
    beta: Any
    theta: Any


def step(neuron: Neuron, constants: Constants, recurrent, state: SpikingState, driven):
    """(state, y, residuals) of one time step, `driven` being x W (N, H) and `recurrent` V (H, H) or None."""
    order = neuron.convention.order
    late = order == "current-potential-spike"
    if late:
        y, fire, silenced = state.spikes, None, None
    else:
        y, fire, silenced = emit(neuron, constants, state)
    fed = driven if recurrent is None else driven + matmul(y, recurrent)
    current = constants.alpha * state.current + fed
    old = state.current if order == "spike-potential-current" else current
    before = Before(state.potential, old, y, _level(neuron, constants, state.adaptation), state.refractory)
    after = SpikingState(
        current,
        integrate(neuron.convention, constants.beta, before),
        None if neuron.rho is None else neuron.rho * state.adaptation + y,
        remaining(neuron.convention, neuron.refractory_steps, before),
    )
    if late:
        y, fire, silenced = emit(neuron, constants, after)
        after = after._replace(spikes=y)
    return after, y, _residuals(neuron, StepResiduals(state.current, before, state.adaptation, fire, silenced))


def _residuals(neuron: Neuron, all_of_them: StepResiduals) -> StepResiduals:
    """Without what the backward pass does not read: every array is stored for all times."""
    convention, before = neuron.convention, all_of_them.before
    reset = convention.reset if convention.differentiate_reset else "not differentiated"
    reads_potential = "membrane" in neuron.learnt or reset in ("zero_after_leak", "zero_before_leak")
    return StepResiduals(
        all_of_them.current if "synapse" in neuron.learnt else None,
        Before(
            before.potential if reads_potential else None,
            before.current if reset == "zero_after_leak" else None,
            before.spikes,
            None,
            before.refractory,
        ),
        all_of_them.adaptation if convention.reset_by_adapted else None,
        all_of_them.fire,
        all_of_them.silenced,
    )


def _stored(neuron: Neuron, constants: Constants, residuals: StepResiduals) -> Before:
    """What the potential was computed from; 0 for what is not read."""
    before = residuals.before
    or_zero = lambda array: 0 if array is None else array
    level = _level(neuron, constants, residuals.adaptation)
    return before._replace(potential=or_zero(before.potential), current=or_zero(before.current), level=level)


def step_back(neuron: Neuron, constants: Constants, recurrent_transposed, residuals: StepResiduals, dstate, dy):
    """(dstate, errors) of one time step.

    dI = α dI′ plus the error from the potential; dy of a spike collects the errors of the output, the recurrent
    weights, the reset and the adaptation before it passes through s′.
    """
    order = neuron.convention.order
    late = order == "current-potential-spike"
    du, da, dtheta = dstate.potential, dstate.adaptation, 0
    if late:
        du, da, dtheta = _emit_back(neuron, residuals, dy + dstate.spikes, du, da)
    errors = integrate_back(neuron.convention, constants.beta, _stored(neuron, constants, residuals), du)
    dspikes = errors.spikes
    if da is not None:
        dspikes, da = dspikes + da, neuron.rho * da
        if neuron.convention.reset_by_adapted:
            da = da + neuron.strength * errors.level
    early = order == "spike-potential-current"
    delta = dstate.current if early else dstate.current + errors.current
    dcurrent = constants.alpha * delta + (errors.current if early else 0)
    if recurrent_transposed is not None:
        dspikes = dspikes + matmul(delta, recurrent_transposed)
    dtheta, du = dtheta + errors.level, errors.potential
    if not late:
        du, da, more = _emit_back(neuron, residuals, dy + dspikes, du, da)
        dtheta = dtheta + more
    refractory = None if dstate.refractory is None else jnp.zeros_like(dstate.refractory)
    dbefore = SpikingState(dcurrent, du, da, refractory, dspikes if late else None)
    dalpha = None if residuals.current is None else residuals.current * delta
    learnt = neuron.learnt
    dbeta, dtheta = errors.beta if "membrane" in learnt else None, dtheta if "threshold" in learnt else None
    return dbefore, StepErrors(delta, dalpha, dbeta, dtheta)


def emit(neuron: Neuron, constants: Constants, state: SpikingState):
    """(y, residuals of s, refractory steps): the spikes of a state."""
    above = state.potential - constants.theta
    if state.adaptation is not None:
        above = above - neuron.strength * state.adaptation
    y, residuals = neuron.fire.forward((), above)
    if state.refractory is not None:
        y = jnp.where(state.refractory > 0.5, 0, y)
    return y, residuals, state.refractory


def _emit_back(neuron: Neuron, residuals: StepResiduals, dy, du, da):
    """(du, da, dθ) after the errors of the spikes are added: dz = s′ dy, du += dz, da −= κ dz, dθ = −dz."""
    if residuals.silenced is not None:
        dy = jnp.where(residuals.silenced > 0.5, 0, dy)
    _, dz = neuron.fire.backward((), residuals.fire, dy)
    return du + dz, (None if da is None else da - neuron.strength * dz), -dz


def _level(neuron: Neuron, constants: Constants, adaptation):
    """What a reset by subtraction subtracts."""
    if adaptation is None or not neuron.convention.reset_by_adapted:
        return constants.theta
    return constants.theta + neuron.strength * adaptation
