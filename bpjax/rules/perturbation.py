"""Perturbation rules: no backward pass; add noise and use the change of the error as the signal for everything.

    weight_perturbation     noise on every weight            g = (E(w + σξ) − E(w)) / σ · ξ
    node_perturbation       noise on every net input         δ = (E(a + σξ) − E(a)) / σ · ξ        for each example
    forward_gradient        the limit σ → 0, by forward-mode differentiation        g = (∇E · ξ) ξ

For independent ξ with mean 0 and variance 1 all are unbiased estimates of the gradient: E[ξ ξᵀ] = 1. Their variance
grows with the number d of perturbed values: for the forward gradient with normal ξ, E‖g‖² = (d + 2) ‖∇E‖². For weight
perturbation d is the number of weights, for node perturbation that of units, so node perturbation learns faster by the
ratio of the two (Werfel, Xie & Seung 2005).
"""

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.losses.reductions import example_contributions
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.units import check_units, merge_units, units
from bpjax.types import Array, Params
from bpjax.util.checks import check_flag, check_function, check_number
from bpjax.util.precision import widen
from bpjax.util.trees import noise_like


def weight_perturbation(
    network: Layer,
    loss: Loss,
    deviation: float | Array = 0.01,
    symmetric: bool = False,
    noise: Initializer = jax.random.normal,
) -> Rule:
    """Perturb all weights together and move along the perturbation by as much as it lowered the error.

        one-sided    g = (E(w + σξ) − E(w)) / σ · ξ               Jabri & Flower 1992; Cauwenberghs 1993
        symmetric    g = (E(w + σξ) − E(w − σξ)) / 2σ · ξ

    For normal ξ its mean is the gradient of the error averaged over w + σξ, which for a quadratic error is the gradient
    itself. It needs only forward passes: two, or three if symmetric. Jabri & Flower perturb one weight at a time,
    Cauwenberghs all of them by ±σ: `noise=jax.random.rademacher`.

    State: the key of the next noise. A float32 error has seven digits; a small σ leaves few of them in the difference.

    Args:
        network: any network.
        loss: the loss of its output; the rule's value is the loss at the unperturbed weights.
        deviation: standard deviation σ of the perturbation; may be traced.
        symmetric: whether to use the difference of both signs.
        noise: (key, shape, dtype) -> array of mean 0 and standard deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `deviation` is not above 0.
    """
    check_flag("weight_perturbation", "symmetric", symmetric)
    check_function("weight_perturbation", "noise", noise)
    check_made_of("weight_perturbation", network, loss)
    check_number("weight_perturbation", "deviation", deviation, above=0.0)

    def init(key, params):
        return jnp.copy(key)

    def grads(params, key, batch):
        x, target = batch
        key, next_key = jax.random.split(key)
        xi = noise_like(key, params, noise)

        def error(sign):
            perturbed = jax.tree.map(lambda w, n: w + jnp.asarray(sign * deviation, w.dtype) * n, params, xi)
            return loss.value(network.forward(perturbed, x)[0], target)

        value = loss.value(network.forward(params, x)[0], target)
        rise = (error(1) - error(-1)) / 2 if symmetric else error(1) - value
        return value, scaled(rise / jnp.asarray(deviation, rise.dtype), xi), next_key

    if not symmetric:
        return Rule("weight perturbation", init, grads, network, loss)
    call = call_of("weight_perturbation", network, loss, symmetric=True)
    return Rule("symmetric weight perturbation", init, grads, network, loss, call)


def forward_gradient(network: Layer, loss: Loss, noise: Initializer = jax.random.normal) -> Rule:
    """The directional derivative of the error along a random direction, times that direction.

        g = (∇E · ξ) ξ          E[g] = ∇E,   E‖g‖² = (d + 2) ‖∇E‖² for d weights and normal ξ

    Baydin, Pearlmutter, Syme, Wood & Torr 2022. The directional derivative ∂E/∂o · (∂o/∂w ξ) is exact and takes one
    pass of forward-mode differentiation (`jax.jvp`); no layer's `backward` is called. The rule is the limit of
    `weight_perturbation` for σ → 0. State: the key of the next direction.

    Args:
        network: any network that `jax.jvp` can differentiate.
        loss: the loss of its output.
        noise: (key, shape, dtype) -> array of mean 0 and standard deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss.
    """
    check_function("forward_gradient", "noise", noise)
    check_made_of("forward_gradient", network, loss)

    def init(key, params):
        return jnp.copy(key)

    def grads(params, key, batch):
        x, target = batch
        key, next_key = jax.random.split(key)
        xi = noise_like(key, params, noise)
        output, change = jax.jvp(lambda p: network.forward(p, x)[0], (params,), (xi,))
        slope = jnp.sum(widen(loss.gradient(output, target)) * widen(change))
        return loss.value(output, target), scaled(slope, xi), next_key

    return Rule("forward gradient", init, grads, network, loss)


def node_perturbation(
    network: Layer, loss: Loss, deviation: float | Array = 0.01, noise: Initializer = jax.random.normal
) -> Rule:
    """Perturb the net inputs of all units, per example; each unit learns from the change of the example's error.

        perturbed   ãₗ = h̃ₗ₋₁ Wₗ + bₗ + σ ξₗ,   h̃ₗ = φ(ãₗ)           all layers of units at once
        update      δₗ = (Ẽₙ − Eₙ) / σ · ξₗ,   ΔWₗ = −η h̃ₗ₋₁ᵀ δₗ       for every example n

    Williams 1992, REINFORCE: ξ / σ is the derivative of ln p(ãₗ) by the net input, the error without noise is the
    baseline. The mean is the gradient of ⟨Ẽ⟩. Werfel, Xie & Seung 2005 give it for one linear layer. No layer needs the
    weights of another or the derivative of an activation. If a layer of units consists of several layers (an LSTM, a
    residual block), its output counts as its net input, and its `backward` propagates δ inside.

    The rule needs the error of each example, so layers that mix examples, such as batch norm, are not supported. State:
    the key of the next noise.

    Args:
        network: a network in which only net inputs depend on params.
        loss: the loss of its output.
        deviation: standard deviation σ of the perturbation; may be traced.
        noise: (key, shape, dtype) -> array of mean 0 and standard deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `deviation` is not above 0; in `init`, the network
            has no layers with weights, the params belong to another network, or no net input depends on some of the
            params, such as those of a norm after the last dense layer.
    """
    check_function("node_perturbation", "noise", noise)
    who = "node_perturbation"
    check_made_of(who, network, loss)
    check_number(who, "deviation", deviation, above=0.0)

    def init(key, params):
        check_units(who, network, params)
        for unit in units(network, params):
            if jax.tree.leaves(unit.params[1]):
                raise ValueError(
                    f"`{who}` expected a net input that depends on each of the params, because it perturbs net inputs, "
                    f"got params in {[layer.name for layer in unit.activation.layers]} after "
                    f"{unit.net.layers[-1].name}. Leave out the layers with params between activations."
                )
        return jnp.copy(key)

    def grads(params, key, batch):
        x, target = batch
        layers = units(network, params)
        key, next_key = jax.random.split(key)
        output, _ = network.forward(params, x)
        h, perturbed = x, []
        for unit, unit_key in zip(layers, jax.random.split(key, len(layers)), strict=True):
            a, residuals = unit.net.forward(unit.params[0], h)
            xi = noise(unit_key, a.shape, a.dtype)
            perturbed.append((residuals, xi))
            h, _ = unit.activation.forward(unit.params[1], a + jnp.asarray(deviation, a.dtype) * xi)
        rise = example_contributions(loss, h, target) - example_contributions(loss, output, target)
        rise = rise / jnp.asarray(deviation, rise.dtype)

        def gradient(unit, residuals, xi):
            delta = rise.reshape(-1, *(1,) * (xi.ndim - 1)) * widen(xi)
            return unit.net.backward(unit.params[0], residuals, delta.astype(xi.dtype))[0], ()

        dparams = [gradient(unit, *of_unit) for unit, of_unit in zip(layers, perturbed, strict=True)]
        return loss.value(output, target), merge_units(params, dparams), next_key

    return Rule("node perturbation", init, grads, network, loss)


def scaled(factor: Array, direction: Params) -> Params:
    """`factor` times `direction`, each leaf in its dtype."""
    return jax.tree.map(lambda n: (factor.astype(widen(n).dtype) * widen(n)).astype(n.dtype), direction)
