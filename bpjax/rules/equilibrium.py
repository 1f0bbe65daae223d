"""Equilibrium propagation: the network relaxes to a fixed point and learns from its response to a nudged output."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer, with_context
from bpjax.losses import Loss
from bpjax.rules.predictive import descend
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.units import Unit, check_units, merge_units, units
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_choice, check_count, check_number

Nudging = Literal["one_sided", "symmetric"]


class EnergyGradients(NamedTuple):
    """The derivatives of the energy F, and the output at which they were taken."""

    params: list  # ∂F/∂θ_l of each layer of units, a pair: net and activation
    states: list  # ∂F/∂u_l
    x: Array  # ∂F/∂x
    output: Array  # ρ_L


def energy_gradients(layers: list[Unit], x, states: list[Array], force=None) -> EnergyGradients:
    """The derivatives of the layered Hopfield energy, computed with the layers' forward and backward passes.

        F(x, u) = ½ Σ_l ‖u_l‖² − Σ_l ⟨a_l(ρ_{l-1}), ρ_l⟩ + ⟨force, ρ_L⟩
        ∂F/∂ρ_l = −a_l(ρ_{l-1}) − (∂a_{l+1}/∂ρ_l)ᵀ ρ_{l+1}        net input from the previous and the next layer
        ∂F/∂u_l = u_l + ρ′(u_l) ⊙ ∂F/∂ρ_l
        ∂F/∂W_l = −(∂a_l/∂W_l)ᵀ ρ_l,      of a dense layer −ρ_{l-1} ρ_lᵀ

    a_l = ρ_{l-1} W_l + b_l, ρ_l = ρ(u_l) for the activation ρ of layer l, ρ_0 = x.

    Args:
        layers: the layers of units.
        x: inputs (N, ...).
        states: u_l of each layer of units.
        force: ∂/∂ρ_L of the nudging term, of the output's shape; None in the free phase.
    """
    output, passed = x, []
    for unit, u in zip(layers, states, strict=True):
        a, net_residuals = unit.net.forward(unit.params[0], output)
        output, phi_residuals = unit.activation.forward(unit.params[1], u)
        passed.append((unit, u, a, output, net_residuals, phi_residuals))
    above = jnp.zeros_like(output) if force is None else force
    dparams, dstates = [], []
    for unit, u, a, rho, net_residuals, phi_residuals in reversed(passed):
        dphi, du = unit.activation.backward(unit.params[1], phi_residuals, above - a)
        dnet, above = unit.net.backward(unit.params[0], net_residuals, -rho)
        dparams.append((dnet, dphi))
        dstates.append(u + du)
    return EnergyGradients(dparams[::-1], dstates[::-1], above, output)


def hopfield(network: Layer, steps: int = 50, rate: float | Array = 0.5) -> Layer:
    """A chain of dense layers and activations as a Hopfield network: it relaxes to a fixed point of its energy.

    forward    u ← u − ε ∂E/∂u  from u = 0, for `steps`;   y = ρ(u_L)          E: `energy_gradients` without a force
    backward   H λ = −∂⟨dy, ρ_L⟩/∂u,   dθ = (∂²E/∂θ∂u) λ + ∂⟨dy, ρ_L⟩/∂θ       H = ∂²E/∂u²

    Every weight is used in both directions. The derivative is that of the fixed point, by the implicit function theorem
    (recurrent backpropagation, Almeida 1987, Pineda 1987): λ, the response of the states to an infinitesimal nudge, is
    computed by the same relaxation. It is exact once the states have converged. Params are those of the chain.
    Residuals: x and the states.

    E has a minimum if the activations are bounded; with other activations the weights must be small enough. ε must be
    below 2 / (largest curvature of E), which grows with the weights.

    Args:
        network: a chain of dense layers, each followed by its activation.
        steps: relaxation steps of the forward pass, and of the backward pass.
        rate: step size ε of the relaxation.

    Raises:
        ValueError: `network` is not a Layer, `steps` is not an integer above 0, `rate` is not above 0; in `init`, the
            network has no layers with weights.
    """
    check_layer("hopfield", network)
    check_count("hopfield", "steps", steps)
    check_number("hopfield", "rate", rate, above=0.0)

    def init(key, in_shape):
        params, out_shape = network.init(key, in_shape)
        check_units("hopfield", network, params)
        return params, out_shape

    def forward(params, x, context=EMPTY):
        layers = units_in(context, params)
        states = settle(layers, x, at_rest(layers, x), steps, rate)
        return energy_gradients(layers, x, states).output, (x, states, context)

    def backward(params, residuals, dy):
        x, states, context = residuals
        layers = units_in(context, params)

        def response(velocity):
            """d/dβ of the energy's gradients under the force β dy, while the states move with `velocity`."""
            zero, one = jnp.zeros((), dy.dtype), jnp.ones((), dy.dtype)
            at = lambda u, beta: energy_gradients(layers, x, u, beta * dy)
            return jax.jvp(at, (states, zero), (velocity, one))[1]

        still = [jnp.zeros_like(u) for u in states]
        velocity = jax.lax.fori_loop(0, steps, lambda _, v: descend(v, response(v).states, rate), still)
        gradients = response(velocity)
        return merge_units(params, gradients.params), gradients.x

    def units_in(context, params) -> list[Unit]:
        """The layers of units, in the same context at every step."""
        return [
            unit._replace(
                net=with_context(unit.net, context.for_part(2 * index)),
                activation=with_context(unit.activation, context.for_part(2 * index + 1)),
            )
            for index, unit in enumerate(units(network, params))
        ]

    parts = Parts((network,), lambda inner: hopfield(inner, steps, rate))
    arguments = "{parts}, " + call_text(steps, rate)
    return Layer("hopfield", init, forward, backward, Kind.HOPFIELD, parts, arguments, network.uses)


def equilibrium_propagation(
    network: Layer,
    loss: Loss,
    beta: float | Array = 0.1,
    nudging: Nudging = "symmetric",
    steps: int = 50,
    nudged_steps: int | None = None,
    rate: float | Array = 0.5,
) -> Rule:
    """Relax the network, nudge its output toward the target, relax again; the difference of states is the gradient.

        free phase      u⁰ = argmin E                                  E: the energy of `energy_gradients`
        nudged phase    u^β = argmin F,   F = E + β C,   C = loss(ρ(u_L), t)
        one_sided       dW = (1/β)  [∂F/∂W at u^β − ∂F/∂W at u⁰]       Scellier & Bengio 2017, theorem 1; bias O(β)
        symmetric       dW = (1/2β) [∂F/∂W at u^β − ∂F/∂W at u^−β]     Laborieux et al. 2021; bias O(β²)

    For a dense layer this is −(1/β)(ρ_{l-1} ρ_lᵀ at u^β − ρ_{l-1} ρ_lᵀ at u⁰): contrastive Hebbian learning. No error
    signal travels back; only the states do, through the Wᵀ that the free phase uses too. As β → 0 this is the gradient
    of the loss at the free fixed point, which `backprop(hopfield(network), loss)` computes.

    The rule trains the relaxing network, not the forward pass of the chain: `rule.network`, the value and everything
    that `fit` measures refer to `hopfield(network, steps, rate)`. Evaluate that network.

    Deviations: states start from 0 for every batch (no persistent particles) and are not clipped; the sign of β is
    fixed. The two terms of the difference agree to order β, so its rounding error in float32 is about 1e-7/β.

    Args:
        network: a chain of dense layers, each followed by its activation ρ, or a `hopfield` of such a chain, which then
            defines the free phase. Params are those of the chain.
        loss: C. A loss that sums over the batch nudges every example by β, one that is a mean by β / N.
        beta: strength of the nudge.
        nudging: "one_sided" or "symmetric".
        steps: relaxation steps of the free phase.
        nudged_steps: steps of each nudged phase, which starts from the free states; `steps` unless given.
        rate: step size ε of all phases.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss; `nudging` is neither of the two; `steps` or
            `nudged_steps` is not an integer above 0; `beta` or `rate` is not above 0; in `init`, the network has no
            layers with weights or the params belong to another network.
    """
    who = "equilibrium_propagation"
    check_made_of(who, network, loss)
    check_choice(who, "nudging", nudging, get_args(Nudging))
    nudged_steps = steps if nudged_steps is None else nudged_steps
    check_count(who, "steps", steps)
    check_count(who, "nudged_steps", nudged_steps)
    check_number(who, "beta", beta, above=0.0)
    check_number(who, "rate", rate, above=0.0)

    settling = network if network.kind is Kind.HOPFIELD else hopfield(network, steps, rate)
    (inner,) = settling.layers

    def init(key, params):
        check_units(who, inner, params)
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        layers = units(inner, params)
        _, (_, free, _) = settling.forward(params, x)
        at_free = energy_gradients(layers, x, free)

        def nudged(strength):
            strength = jnp.asarray(strength, at_free.output.dtype)
            force = lambda output: strength * loss.gradient(output, target)
            states = settle(layers, x, free, nudged_steps, rate, force)
            return energy_gradients(layers, x, states, force(output_of(layers, states)))

        if nudging == "one_sided":
            above, below, distance = nudged(beta), at_free, beta
        else:
            above, below, distance = nudged(beta), nudged(-beta), 2 * beta
        dparams = jax.tree.map(lambda a, b: (a - b) / jnp.asarray(distance, a.dtype), above.params, below.params)
        return loss.value(at_free.output, target), merge_units(params, dparams), rule_state

    name = f"equilibrium propagation, {nudging.replace('_', ' ')}"
    call = call_of("equilibrium_propagation", settling, loss, beta, nudging=nudging)
    return Rule(name, init, grads, settling, loss, call)


def at_rest(layers: list[Unit], x) -> list[Array]:
    """States of zeros in the shapes of the net inputs."""
    states = []
    for unit in layers:
        a, _ = unit.net.forward(unit.params[0], x)
        states.append(jnp.zeros_like(a))
        x, _ = unit.activation.forward(unit.params[1], a)
    return states


def output_of(layers: list[Unit], states: list[Array]) -> Array:
    """The output ρ_L."""
    return layers[-1].activation.forward(layers[-1].params[1], states[-1])[0]


def settle(layers: list[Unit], x, states: list[Array], steps: int, rate, force=None) -> list[Array]:
    """The states after `steps` of gradient descent on the energy; `force(output)` is the derivative of the nudge."""

    def step(_, states):
        push = None if force is None else force(output_of(layers, states))
        return descend(states, energy_gradients(layers, x, states, push).states, rate)

    return jax.lax.fori_loop(0, steps, step, states)
