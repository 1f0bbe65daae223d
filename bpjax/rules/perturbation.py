"""Nothing travels back: something is shaken at random, and one number, by how much the error changes, judges all of it.

    weight_perturbation     every weight is shaken          g = (E(w + σξ) − E(w)) / σ · ξ
    node_perturbation       every net input is shaken       δ = (E(a + σξ) − E(a)) / σ · ξ        for each example
    forward_gradient        the limit σ → 0, by forward differentiation         g = (∇E · ξ) ξ

With ξ of mean 0 and variance 1, independent, all are the gradient in the mean: E[ξ ξᵀ] = 1. Their variance grows with
the number of things shaken: of the forward gradient with normal ξ, E‖g‖² = (d + 2) ‖∇E‖² for d weights, of node
perturbation d is the number of units, so that it learns faster by their ratio (Werfel, Xie & Seung 2005).
"""

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer
from bpjax.layers.layer import Layer
from bpjax.losses import Loss, share
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import check_units, merge_units, units
from bpjax.types import Array, Params
from bpjax.util.checks import check_number
from bpjax.util.precision import widen
from bpjax.util.trees import noise_like


def weight_perturbation(
    network: Layer,
    loss: Loss,
    deviation: float | Array = 0.01,
    symmetric: bool = False,
    noise: Initializer = jax.random.normal,
) -> Rule:
    """All weights are shaken together; they go on in that direction by as much as the error fell.

        one-sided    g = (E(w + σξ) − E(w)) / σ · ξ               Jabri & Flower 1992; Cauwenberghs 1993
        symmetric    g = (E(w + σξ) − E(w − σξ)) / 2σ · ξ

    In the mean the gradient of the error averaged over w + σξ, for normal ξ: on a quadratic error the gradient. Only
    forward passes: two, or three where it is symmetric. Jabri & Flower shake one weight at a time, Cauwenberghs all
    of them, by ±σ: `noise=jax.random.rademacher`.

    State: the key of the noise to come. A float32 error has seven digits, of which σ too small leaves few.

    Args:
        network: any.
        loss: its value is that of the unshaken weights.
        deviation: σ.
        symmetric: whether to shake both ways.
        noise: (key, shape, dtype) -> array of mean 0 and deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `deviation` is not above 0.
    """
    check_made_of("weight_perturbation", network, loss)
    check_number("weight_perturbation", "deviation", deviation, above=0.0)

    def init(key, params):
        return jnp.copy(key)

    def grads(params, key, batch):
        x, target = batch
        key, next_key = jax.random.split(key)
        xi = noise_like(key, params, noise)

        def error(sign):
            shaken = jax.tree.map(lambda w, n: w + jnp.asarray(sign * deviation, w.dtype) * n, params, xi)
            return loss.value(network.forward(shaken, x)[0], target)

        value = loss.value(network.forward(params, x)[0], target)
        rise = (error(1) - error(-1)) / 2 if symmetric else error(1) - value
        return value, scaled(rise / jnp.asarray(deviation, rise.dtype), xi), next_key

    name = "symmetric weight perturbation" if symmetric else "weight perturbation"
    return Rule(name, init, grads, network, loss)


def forward_gradient(network: Layer, loss: Loss, noise: Initializer = jax.random.normal) -> Rule:
    """The slope of the error along a random direction, times that direction.

        g = (∇E · ξ) ξ          E[g] = ∇E,   E‖g‖² = (d + 2) ‖∇E‖² for d weights and normal ξ

    Baydin, Pearlmutter, Syme, Wood & Torr 2022. The slope is ∂E/∂o · (∂o/∂w ξ), exact, of one forward pass that
    carries its derivative along (`jax.jvp`); no layer's `backward` is called. It is what `weight_perturbation` becomes
    for σ → 0. State: the key of the directions to come.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss.
    """
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
    """The net inputs of all units are shaken, for every example anew; each unit learns by as much as the error fell.

        shaken      ãₗ = h̃ₗ₋₁ Wₗ + bₗ + σ ξₗ,   h̃ₗ = φ(ãₗ)           all layers of units at once
        change      δₗ = (Ẽₙ − Eₙ) / σ · ξₗ,   ΔWₗ = −η h̃ₗ₋₁ᵀ δₗ       for every example n

    Williams 1992, REINFORCE: ξ / σ is what ln p(ãₗ) changes by with the net input, E without noise the baseline. In the
    mean the gradient of ⟨Ẽ⟩. Werfel, Xie & Seung 2005 have it for one linear layer. No weight is known to another layer
    and no slope is needed. Where a layer of units is made of several layers, an LSTM or a residual block, its output
    counts as its net input, and δ goes on inside by its own `backward`.

    Needs the error of each example: layers through which examples touch, batch norm, are beyond it. State: the key of
    the noise to come.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `deviation` is not above 0; in `init`, the network
            has no layers of weights, the params are another one's, or there are params that no net input depends on,
            such as those of a norm that follows the last dense layer.
    """
    who = "node_perturbation"
    check_made_of(who, network, loss)
    check_number(who, "deviation", deviation, above=0.0)

    def init(key, params):
        check_units(who, network, params)
        for unit in units(network, params):
            if jax.tree.leaves(unit.params[1]):
                raise ValueError(
                    f"`{who}` expected all params to make net inputs, which is what it shakes, got "
                    f"{[layer.name for layer in unit.activation.layers]} after {unit.net.layers[-1].name}, with params."
                )
        return jnp.copy(key)

    def grads(params, key, batch):
        x, target = batch
        layers = units(network, params)
        key, next_key = jax.random.split(key)
        output, _ = network.forward(params, x)
        h, seen = x, []
        for unit, own in zip(layers, jax.random.split(key, len(layers)), strict=True):
            a, residuals = unit.net.forward(unit.params[0], h)
            xi = noise(own, a.shape, a.dtype)
            seen.append((residuals, xi))
            h, _ = unit.activation.forward(unit.params[1], a + jnp.asarray(deviation, a.dtype) * xi)
        rise = errors_per_example(loss, h, target) - errors_per_example(loss, output, target)
        rise = rise / jnp.asarray(deviation, rise.dtype)

        def change(unit, residuals, xi):
            delta = rise.reshape(-1, *(1,) * (xi.ndim - 1)) * widen(xi)
            return unit.net.backward(unit.params[0], residuals, delta.astype(xi.dtype))[0], ()

        changes = [change(unit, *kept) for unit, kept in zip(layers, seen, strict=True)]
        return loss.value(output, target), merge_units(params, changes), next_key

    return Rule("node perturbation", init, grads, network, loss)


def errors_per_example(loss: Loss, output: Array, target) -> Array:
    """What each example adds to the error of the batch, (N,)."""
    return share(loss, len(output)) * jax.vmap(lambda o, t: loss.value(o[None], t[None]))(output, jnp.asarray(target))


def scaled(number: Array, direction: Params) -> Params:
    """`number` times `direction`, every leaf in its own dtype."""
    return jax.tree.map(lambda n: (number.astype(widen(n).dtype) * widen(n)).astype(n.dtype), direction)
