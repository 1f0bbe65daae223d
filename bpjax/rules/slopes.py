"""Replaced activation derivatives in the backward pass: learning does not need the exact φ′.

    backward   da = ψ ⊙ dy       ψ in place of φ′, on every activation of a network

    with_slopes(network, without_derivative)                     ψ = 1, linear feedback
    with_slopes(network, lambda phi: flat_spot(phi, c))          ψ = φ′ + c
    with_slopes(network, lambda phi: borrowed_slope(phi, tanh))  ψ = tanh′ at the same net input
    noisy_slopes(backprop, network, loss, σ)                     ψ = φ′ + σ ξ, ξ drawn for every batch

The first three return a network, for any rule; the last returns a rule, because it needs a key. The forward pass is
unchanged.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.backward_transforms import check_activation
from bpjax.layers.layer import Kind, Layer, check_layer, map_layers
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.types import Array, Key, RuleState
from bpjax.util.checks import check_function, check_number


def with_slopes(network: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """The network with `change(activation)` in place of every elementwise activation.

    `change` is a backward transform such as `without_derivative`. Other layers (with params, softmax, pooling) stay
    unchanged, as do the parts of a layer that cannot be rebuilt.

    Raises:
        ValueError: `network` is not a Layer, or has no activation.
    """
    check_layer("with_slopes", network)
    check_function("with_slopes", "change", change)
    activations = []

    def changed(layer: Layer) -> Layer:
        if not is_activation(layer):
            return layer
        activations.append(layer)
        return change(layer)

    network = map_layers(changed, network)
    if not activations:
        raise ValueError(f"`with_slopes` expected a network with activations, such as `bp.tanh`, got {network.name}.")
    return network


def borrowed_slope(activation: Layer, lender: Layer) -> Layer:
    """An activation with the derivative of another: y = φ(a), da = ψ′(a) ⊙ dy.

    A relu with the derivative of softplus never dies; a step function with that of a sigmoid is a surrogate gradient.
    Residuals: those of `lender` at the same net input, so the forward pass computes both.

    Raises:
        ValueError: either is not an activation.
    """
    for layer in (activation, lender):
        check_activation("borrowed_slope", layer)

    def forward(params, a):
        return activation.forward((), a)[0], lender.forward((), a)[1]

    name = f"{activation.name} with the slope of {lender.name}"
    return activation._replace(name=name, forward=forward, backward=lender.backward)


def noisy_slope(activation: Layer, key: Key, deviation: float | Array) -> Layer:
    """An activation with a noisy derivative: da = (φ′ + σ ξ) ⊙ dy, ξ standard normal, one per entry.

    Args:
        activation: φ.
        key: of the noise.
        deviation: σ; may be traced.

    Raises:
        ValueError: `activation` is not an activation, `deviation` is negative.
    """
    check_activation("noisy_slope", activation)
    check_number("noisy_slope", "deviation", deviation, least=0.0)

    def backward(params, residuals, dy):
        _, da = activation.backward(params, residuals, dy)
        return (), da + jnp.asarray(deviation, dy.dtype) * jax.random.normal(key, dy.shape, dy.dtype) * dy

    return activation._replace(name=f"{activation.name} with a noisy slope", backward=backward)


class SlopeNoise(NamedTuple):
    """State of a rule with `noisy_slopes`."""

    key: Key
    rule: RuleState


def noisy_slopes(make: Callable[[Layer, Loss], Rule], network: Layer, loss: Loss, deviation: float | Array) -> Rule:
    """A rule on a network whose activation derivatives are noisy: ψ = φ′ + σ ξ, ξ drawn for every batch.

    For example `noisy_slopes(bp.backprop, network, loss, 0.1)`. ξ is standard normal, one per unit and example. State:
    the key of the noise and the state of the rule.

    Args:
        make: (network, loss) -> Rule.
        network: a network with activations.
        loss: the loss of its output.
        deviation: σ; may be traced.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, the network has no activation, `deviation` is
            negative.
    """
    check_function("noisy_slopes", "make", make)
    check_made_of("noisy_slopes", network, loss)
    check_number("noisy_slopes", "deviation", deviation, least=0.0)
    exact = make(network, loss)
    count = 0

    def counted(layer: Layer) -> Layer:
        nonlocal count
        count += 1
        return layer

    with_slopes(network, counted)

    def init(key, params):
        own, inner = jax.random.split(key)
        return SlopeNoise(own, exact.init(inner, params))

    def grads(params, state, batch):
        key, *keys = jax.random.split(state.key, count + 1)
        noisy = make(with_noise(network, iter(keys), deviation), loss)
        value, direction, inner = noisy.grads(params, state.rule, batch)
        return value, direction, SlopeNoise(key, inner)

    call = call_of("noisy_slopes", exact, deviation=deviation)
    return exact._replace(name=f"{exact.name} with noisy slopes", init=init, grads=grads, call=call)


def with_noise(network: Layer, keys: Iterator[Key], deviation: float | Array) -> Layer:
    """The network with noisy slopes; each activation takes the next of `keys`, in forward order."""
    return with_slopes(network, lambda phi: noisy_slope(phi, next(keys), deviation))


def is_activation(layer: Layer) -> bool:
    """Whether a layer works entry by entry, without params: declared by its kind, or found by a trial of a leaf."""
    if layer.kind is Kind.ACTIVATION:
        return True
    if layer.kind is not Kind.LEAF or layer.parts or layer.uses:
        return False
    with jax.ensure_compile_time_eval():  # a rule may be made while another program is traced
        x = jnp.asarray([[[0.3, -0.2], [0.1, 0.4]]])
        try:
            params, out_shape = layer.init(jax.random.key(0), x.shape[1:])
            if jax.tree.leaves(params) or out_shape != x.shape[1:]:
                return False
            _, residuals = layer.forward(params, x)
            _, dx = layer.backward(params, residuals, jnp.zeros_like(x).at[0, 0, 0].set(1.0))
        except ValueError:
            return False
        return not bool(dx.ravel()[1:].any())
