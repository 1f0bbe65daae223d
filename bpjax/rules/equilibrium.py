"""Equilibrium propagation: a network that settles, and learns from how far a small nudge at its output moves it."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Kind, Layer, Parts, check_layer
from bpjax.losses import Loss
from bpjax.rules.predictive import descend
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import Unit, check_units, merge_units, units
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_choice, check_count, check_number

Nudging = Literal["one_sided", "symmetric"]


class Slopes(NamedTuple):
    """The derivatives of the energy, and the output they were taken at."""

    params: list  # ∂F/∂θ_l of each layer of units, for the net and the activation
    states: list  # ∂F/∂u_l
    x: Array  # ∂F/∂x
    output: Array  # ρ_L


def energy_slopes(layers: list[Unit], x, states: list[Array], force=None) -> Slopes:
    """The derivatives of the layered Hopfield energy, by the layers' own forward and backward passes.

        F(x, u) = ½ Σ_l ‖u_l‖² − Σ_l ⟨a_l(ρ_{l-1}), ρ_l⟩ + ⟨force, ρ_L⟩
        ∂F/∂ρ_l = −a_l(ρ_{l-1}) − (∂a_{l+1}/∂ρ_l)ᵀ ρ_{l+1}        the net input from below and from above
        ∂F/∂u_l = u_l + ρ′(u_l) ⊙ ∂F/∂ρ_l
        ∂F/∂W_l = −(∂a_l/∂W_l)ᵀ ρ_l,      of a dense layer −ρ_{l-1} ρ_lᵀ

    a_l = ρ_{l-1} W_l + b_l, ρ_l = ρ(u_l) for the activation that follows, ρ_0 = x. `force` is ∂/∂ρ_L of what nudges.
    """
    output, passed = x, []
    for unit, u in zip(layers, states, strict=True):
        a, kept_net = unit.net.forward(unit.params[0], output)
        output, kept_phi = unit.activation.forward(unit.params[1], u)
        passed.append((unit, u, a, output, kept_net, kept_phi))
    above = jnp.zeros_like(output) if force is None else force
    params, slopes = [], []
    for unit, u, a, rho, kept_net, kept_phi in reversed(passed):
        dphi, du = unit.activation.backward(unit.params[1], kept_phi, above - a)
        dnet, above = unit.net.backward(unit.params[0], kept_net, -rho)
        params.append((dnet, dphi))
        slopes.append(u + du)
    return Slopes(params[::-1], slopes[::-1], above, output)


def hopfield(network: Layer, steps: int = 50, rate: float | Array = 0.5) -> Layer:
    """A chain of dense layers and activations as a network that settles, with every weight used in both directions.

    forward    u ← u − ε ∂E/∂u  from u = 0, for `steps`;   y = ρ(u_L)          E: `energy_slopes` without a force
    backward   H λ = −∂⟨dy, ρ_L⟩/∂u,   dθ = (∂²E/∂θ∂u) λ + ∂⟨dy, ρ_L⟩/∂θ       H = ∂²E/∂u²

    The derivative is that of the fixed point itself, by the implicit function theorem (recurrent backpropagation,
    Almeida 1987, Pineda 1987): λ, how the states answer to an infinitesimal nudge, is found by the same relaxation.
    Exact where the states have settled. Params are the network's own. Kept: x and the states.

    E has a lowest point if the activations are bounded; with others the weights must be small enough. ε must be below
    2 over the largest curvature of E, which large weights raise.

    Raises:
        ValueError: `network` is not a Layer, `steps` not an integer above 0, `rate` not above 0; in `init`, the
            network has no layers of weights.
    """
    check_layer("hopfield", network)
    check_count("hopfield", "steps", steps)
    check_number("hopfield", "rate", rate, above=0.0)

    def init(key, in_shape):
        params, out_shape = network.init(key, in_shape)
        check_units("hopfield", network, params)
        return params, out_shape

    def forward(params, x):
        layers = units(network, params)
        states = settle(layers, x, at_rest(layers, x), steps, rate)
        return energy_slopes(layers, x, states).output, (x, states)

    def backward(params, residuals, dy):
        x, states = residuals
        layers = units(network, params)

        def answer(towards):
            """d/dβ of all slopes at the force β dy, while the states move with velocity `towards`."""
            zero, one = jnp.zeros((), dy.dtype), jnp.ones((), dy.dtype)
            at = lambda u, beta: energy_slopes(layers, x, u, beta * dy)
            return jax.jvp(at, (states, zero), (towards, one))[1]

        still = [jnp.zeros_like(u) for u in states]
        towards = jax.lax.fori_loop(0, steps, lambda _, v: descend(v, answer(v).states, rate), still)
        found = answer(towards)
        return merge_units(params, found.params), found.x

    parts = Parts((network,), lambda inner: hopfield(inner, steps, rate))
    arguments = "{parts}, " + call_text(steps, rate)
    return Layer("hopfield", init, forward, backward, Kind.HOPFIELD, parts, arguments)


def equilibrium_propagation(
    network: Layer,
    loss: Loss,
    beta: float | Array = 0.1,
    nudging: Nudging = "symmetric",
    steps: int = 50,
    nudged_steps: int | None = None,
    rate: float | Array = 0.5,
) -> Rule:
    """Let the network settle, nudge its output towards the target, let it settle again, and compare.

        free phase      u⁰ = argmin E                                  E: the layered Hopfield energy, `energy_slopes`
        nudged phase    u^β = argmin F,   F = E + β C,   C = loss(ρ(u_L), t)
        one_sided       dW = (1/β)  [∂F/∂W at u^β − ∂F/∂W at u⁰]       Scellier & Bengio 2017, theorem 1; bias O(β)
        symmetric       dW = (1/2β) [∂F/∂W at u^β − ∂F/∂W at u^−β]     Laborieux et al. 2021; bias O(β²)

    For a dense layer that is −(1/β)(ρ_{l-1} ρ_lᵀ at u^β − ρ_{l-1} ρ_lᵀ at u⁰): contrastive Hebbian learning. Nothing is
    sent back but the states themselves, through the weights Wᵀ that the free phase uses too. As β → 0 this is the
    gradient of the loss at the free fixed point, which is what `backprop(hopfield(network), loss)` computes.

    What learns is the settling network, not the forward pass of a chain: the rule's network, its value, and so all that
    `fit` measures, is `hopfield(network, steps, rate)`. Evaluate that one.

    Deviations: states relax in steps, from 0 for every batch, without persistent particles, and are not clipped; β has
    one sign. The difference is of numbers that agree to β, so in float32 its rounding is about 1e-7/β.

    Args:
        network: a chain of dense layers, each with the activation ρ that follows it, or a `hopfield` of such a chain,
            which brings its own free phase. Params are those of the chain.
        loss: C. A batch's loss that sums nudges every example by β, one that is a mean by β / N.
        beta: how strongly the output is nudged.
        nudging: to one side, or to both.
        steps: of the free phase.
        nudged_steps: of each nudged phase, which begins where the free phase ended; as many unless given.
        rate: ε of all phases.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss; `nudging` is another word; `steps` or `nudged_steps`
            is not an integer above 0; `beta` or `rate` is not above 0; in `init`, the network has no layers of
            weights or the params are another one's.
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
        _, (_, free) = settling.forward(params, x)
        at_free = energy_slopes(layers, x, free)

        def nudged(strength):
            strength = jnp.asarray(strength, at_free.output.dtype)
            force = lambda output: strength * loss.gradient(output, target)
            states = settle(layers, x, free, nudged_steps, rate, force)
            return energy_slopes(layers, x, states, force(output_of(layers, states)))

        if nudging == "one_sided":
            above, below, distance = nudged(beta), at_free, beta
        else:
            above, below, distance = nudged(beta), nudged(-beta), 2 * beta
        dparams = jax.tree.map(lambda a, b: (a - b) / jnp.asarray(distance, a.dtype), above.params, below.params)
        return loss.value(at_free.output, target), merge_units(params, dparams), rule_state

    return Rule(f"equilibrium propagation, {nudging.replace('_', ' ')}", init, grads, settling, loss)


def at_rest(layers: list[Unit], x) -> list[Array]:
    """All states 0, in the shapes of the net inputs."""
    states = []
    for unit in layers:
        a, _ = unit.net.forward(unit.params[0], x)
        states.append(jnp.zeros_like(a))
        x, _ = unit.activation.forward(unit.params[1], a)
    return states


def output_of(layers: list[Unit], states: list[Array]) -> Array:
    """ρ_L."""
    return layers[-1].activation.forward(layers[-1].params[1], states[-1])[0]


def settle(layers: list[Unit], x, states: list[Array], steps: int, rate, force=None) -> list[Array]:
    """`steps` down the energy; `force` makes of the output what nudges it."""

    def step(_, states):
        push = None if force is None else force(output_of(layers, states))
        return descend(states, energy_slopes(layers, x, states, push).states, rate)

    return jax.lax.fori_loop(0, steps, step, states)
