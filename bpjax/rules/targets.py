"""Targets instead of errors travel back, through inverses that every layer learns of the one above it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Layer
from bpjax.layers.product import affine
from bpjax.losses import Loss
from bpjax.rules.models import descended
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import Unit, check_units, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Key, Params
from bpjax.util.checks import check_number


class Inverses(NamedTuple):
    """State of `difference_target_propagation`."""

    key: Key  # of the noise to come
    maps: list[Affine]  # V (H, D), c (D,) of g_l for the hidden layers l = 2 … L−1, from their output to their input


def difference_target_propagation(
    network: Layer,
    loss: Loss,
    step: float | Array = 0.3,
    rate: float | Array = 0.1,
    deviation: float | Array = 0.3,
    weights: str | Initializer = lecun_normal,
    noise: Initializer = jax.random.normal,
) -> Rule:
    """Every hidden layer has a target, a little better than its output, and learns by its distance from that.

        first target   ĥ_{L−1} = h_{L−1} − η̂ ∂E/∂h_{L−1}                  of the last hidden layer; η̂ is `step`
        targets        ĥ_{l−1} = h_{l−1} − g_l(h_l) + g_l(ĥ_l)            l = L−1 … 2
        change         ΔW_l = −η ∂/∂W_l ‖f_l(h_{l−1}) − ĥ_l‖² / 2η̂,   h_{l−1} held;   W_L: its own part of ∂E/∂W
        inverses       g_l(h) = φ_{l−1}(h V_l + c_l) learns ½ ‖g_l(f_l(h̃)) − h̃‖²,   h̃ = h_{l−1} + σ ξ

    Lee, Zhang, Fischer & Bengio 2015, Algorithm 1: targets are made with the inverses as they are, which then learn, by
    plain gradient descent at `rate` on the mean over the batch. f_l is a layer of units, a dense layer with what
    follows it; g_l ends as the layer below it does. Only the last hidden layer's target comes through a transposed
    weight matrix.

    Where all is linear and g_l = f_l⁻¹, W_l learns from δ W⁻¹ … in place of δ Wᵀ …: a Gauss-Newton step where W is
    square, the gradient where it is orthogonal. With one hidden layer there is no inverse, and the direction is the
    gradient.

    Deviation: the distance is divided by η̂, so that every layer's direction is in units of the loss at one learning
    rate; the paper gives its layers rates of their own.

    State: `Inverses(key, maps)`; V begins as a draw of `weights`, c at 0.

    Args:
        network: a chain of at least two dense layers, with activations.
        loss: its value is that of the forward pass.
        step: η̂, how far the first target is from the output.
        rate: of the inverses.
        deviation: σ, of the noise at which they learn.
        weights: an initializer or its name.
        noise: (key, shape, dtype) -> array of mean 0 and deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `step` is not above 0, `rate` or `deviation` is
            negative, there is no such initializer; in `init`, the params are another network's, or a layer of units is
            not dense, the only one.
    """
    who = "difference_target_propagation"
    check_made_of(who, network, loss)
    check_number(who, "step", step, above=0.0)
    check_number(who, "rate", rate, least=0.0)
    check_number(who, "deviation", deviation, least=0.0)
    draw = initializer(weights)

    def init(key, params):
        check_dense(who, network, params)
        inverted = [unit.params[0][-1].w for unit in units(network, params)[1:-1]]
        own, *keys = jax.random.split(key, len(inverted) + 1)
        return Inverses(own, [first_map(k, w) for k, w in zip(keys, inverted, strict=True)])

    def first_map(key, w):
        return Affine(draw(key, w.shape[::-1], w.dtype), jnp.zeros(len(w), w.dtype))

    def grads(params, state, batch):
        x, target = batch
        layers = units(network, params)
        passed = propagate(layers, x)
        output = passed[-1].output
        last = unit_backward(layers[-1], passed[-1], loss.gradient(output, target))
        inverses = [
            lambda h, unit=unit, v=v: reconstructed(unit, v, h)[0]
            for unit, v in zip(layers[:-2], state.maps, strict=True)
        ]
        hidden = [seen.output for seen in passed[:-1]]
        eta = jnp.asarray(step, output.dtype)
        gaps = distances(hidden, eta * last.input, inverses)
        changes = [
            unit_backward(unit, seen, gap / eta).params
            for unit, seen, gap in zip(layers[:-1], passed[:-1], gaps, strict=True)
        ]
        key, *keys = jax.random.split(state.key, len(state.maps) + 1)
        maps = [learnt(*at) for at in zip(keys, layers[:-2], layers[1:-1], state.maps, hidden[:-1], strict=True)]
        return loss.value(output, target), merge_units(params, [*changes, last.params]), Inverses(key, maps)

    def learnt(key, below, unit, v, h):
        """One step of g_l at the shaken input of its layer."""
        shaken = h + jnp.asarray(deviation, h.dtype) * noise(key, h.shape, h.dtype)
        y = propagate([unit], shaken)[0].output
        back, residuals = reconstructed(below, v, y)
        _, da = below.activation.backward(below.params[1], residuals, back - shaken)
        return descended(v, y, da, rate / len(h))

    return Rule("difference target propagation", init, grads, network, loss)


def reconstructed(below: Unit, v: Affine, h: Array) -> tuple[Array, tuple]:
    """g(h) = φ(h V + c), φ that of the layer below, and what its derivative needs."""
    return below.activation.forward(below.params[1], affine(h, *v))


def distances(hidden: Sequence[Array], first: Array, inverses: Sequence[Callable]) -> list[Array]:
    """h_l − ĥ_l of every hidden layer, `first` that of the last: h_{l−1} − ĥ_{l−1} = g_l(h_l) − g_l(ĥ_l)."""
    found = [first]
    for h, inverse in zip(hidden[:0:-1], inverses[::-1], strict=True):
        found.append(inverse(h) - inverse(h - found[-1]))
    return found[::-1]


def check_dense(who: str, network: Layer, params: Params) -> None:
    """Raise a `ValueError` unless the network is of two or more dense layers, each of the width the next one takes."""
    check_units(who, network, params)
    layers = units(network, params)
    names = [unit.net.layers[-1].name for unit in layers]
    if len(layers) < 2 or set(names) != {"dense"}:
        raise ValueError(
            f"`{who}` expected two or more layers of units, all dense, for it learns their inverses, got {names}."
        )
    sizes = [unit.params[0][-1].w.shape for unit in layers]
    if any(out != into for (_, out), (into, _) in zip(sizes, sizes[1:], strict=False)):
        raise ValueError(
            f"`{who}` expected what follows a dense layer to keep its width, for it learns its inverse, got weights "
            f"{sizes}."
        )
