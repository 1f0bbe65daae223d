"""Other derivatives than the neurons' own in the backward pass: no synapse need know φ′ exactly.

    backward   da = ψ ⊙ dy       ψ in place of φ′, on every activation of a network

    with_slopes(network, without_derivative)                     ψ = 1, linear feedback
    with_slopes(network, lambda unit: flat_spot(unit, c))        ψ = φ′ + c
    with_slopes(network, lambda unit: borrowed_slope(unit, tanh))       ψ = tanh′ at the same net input
    noisy_slopes(backprop, network, loss, σ)                     ψ = φ′ + σ ξ, ξ drawn anew for every batch

The first three make a network, for any rule; the last makes any rule, for it needs a key. Forward nothing changes.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.backward_transforms import check_activation
from bpjax.layers.layer import Kind, Layer, map_layers
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, check_made_of
from bpjax.types import Array, Key, RuleState
from bpjax.util.checks import check_number


def with_slopes(network: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """The network with `change(activation)` in place of every activation that works number by number.

    `change` is a device such as `without_derivative`. Layers with params, softmax, pooling and all that is not an
    activation stay as they are, as do the parts of a layer that cannot be rebuilt.

    Raises:
        ValueError: `network` is not a Layer, or holds no activation.
    """
    found = []

    def changed(layer: Layer) -> Layer:
        if not is_activation(layer):
            return layer
        found.append(layer)
        return change(layer)

    network = map_layers(changed, network)
    if not found:
        raise ValueError(f"`with_slopes` expected a network with activations, such as `bp.tanh`, got {network.name}.")
    return network


def borrowed_slope(activation: Layer, lender: Layer) -> Layer:
    """An activation with the derivative of another: y = φ(a), da = ψ′(a) ⊙ dy.

    A relu that learns with a softplus's slope never dies; a step that learns with a sigmoid's is a surrogate gradient.
    Kept for the backward pass: what `lender` keeps at the same net input, so both are computed forward.

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
    """An activation whose derivative is off by noise: da = (φ′ + σ ξ) ⊙ dy, ξ normal, one for each number, from `key`.

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
    """A rule on a network whose derivatives are off by noise, drawn anew for every batch: ψ = φ′ + σ ξ.

    `make` makes the rule, from a network and a loss: `noisy_slopes(bp.backprop, network, loss, 0.1)`. ξ is normal with
    standard deviation 1, one for every unit and pattern. State: the key of the noise and the rule's own.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, the network holds no activation, `deviation` is
            negative.
    """
    check_made_of("noisy_slopes", network, loss)
    check_number("noisy_slopes", "deviation", deviation, least=0.0)
    quiet = make(network, loss)
    count = 0

    def counted(layer: Layer) -> Layer:
        nonlocal count
        count += 1
        return layer

    with_slopes(network, counted)

    def init(key, params):
        own, inner = jax.random.split(key)
        return SlopeNoise(own, quiet.init(inner, params))

    def grads(params, state, batch):
        key, *keys = jax.random.split(state.key, count + 1)
        noisy = make(with_noise(network, iter(keys), deviation), loss)
        value, direction, inner = noisy.grads(params, state.rule, batch)
        return value, direction, SlopeNoise(key, inner)

    return quiet._replace(name=f"{quiet.name} with noisy slopes", init=init, grads=grads)


def with_noise(network: Layer, keys: Iterator[Key], deviation: float | Array) -> Layer:
    """The network with noisy slopes, the next of `keys` for each activation in forward order."""
    return with_slopes(network, lambda unit: noisy_slope(unit, next(keys), deviation))


def is_activation(layer: Layer) -> bool:
    """Whether a layer works entry by entry, without params: declared by its kind, or found by a trial of a leaf."""
    if layer.kind is Kind.ACTIVATION:
        return True
    if layer.kind is not Kind.LEAF or layer.parts or layer.takes is not None:
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
