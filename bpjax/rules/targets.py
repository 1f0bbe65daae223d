"""Target propagation: targets instead of errors travel back, through learned inverses of the layers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Layer
from bpjax.layers.product import affine
from bpjax.losses import Loss
from bpjax.rules.models import sgd_step
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import Unit, check_units, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Key, Params
from bpjax.util.checks import check_function, check_number


class Inverses(NamedTuple):
    """State of `difference_target_propagation`."""

    key: Key  # of the next noise
    maps: list[Affine]  # V (H, D), c (D,) of g_l for the hidden layers l = 2 … L−1, from output to input


def difference_target_propagation(
    network: Layer,
    loss: Loss,
    step: float | Array = 0.3,
    rate: float | Array = 0.1,
    deviation: float | Array = 0.3,
    weights: str | Initializer = lecun_normal,
    noise: Initializer = jax.random.normal,
) -> Rule:
    """Every hidden layer has a target that lowers the loss, and learns from its distance to that target.

        first target   ĥ_{L−1} = h_{L−1} − η̂ ∂E/∂h_{L−1}                  of the last hidden layer; η̂ is `step`
        targets        ĥ_{l−1} = h_{l−1} − g_l(h_l) + g_l(ĥ_l)            l = L−1 … 2
        update         ΔW_l = −η ∂/∂W_l ‖f_l(h_{l−1}) − ĥ_l‖² / 2η̂,   h_{l−1} fixed;   W_L: its gradient ∂E/∂W
        inverses       g_l(h) = φ_{l−1}(h V_l + c_l) learns ½ ‖g_l(f_l(h̃)) − h̃‖²,   h̃ = h_{l−1} + σ ξ

    Lee, Zhang, Fischer & Bengio 2015, Algorithm 1: a step computes the targets with the current inverses, then updates
    the inverses by plain gradient descent on the mean over the batch. f_l is a layer of units, a dense layer with its
    activation; g_l ends with the activation of layer l−1. Only the target of the last hidden layer needs a transposed
    weight matrix.

    If all layers are linear and g_l = f_l⁻¹, W_l learns from δ W⁻¹ … instead of δ Wᵀ …: a Gauss-Newton step for square
    W, the gradient for orthogonal W. With one hidden layer there is no inverse, and the direction is the gradient.

    Deviation: the distance is divided by η̂, so that every layer's direction is in units of the loss and one learning
    rate serves all layers; the paper uses a learning rate per layer.

    State: `Inverses(key, maps)`; V starts as a draw of `weights`, c at 0.

    Args:
        network: a chain of at least two dense layers, with activations.
        loss: the loss of its output; the rule's value is that of the forward pass.
        step: step size η̂ of the first target.
        rate: learning rate of the inverses.
        deviation: standard deviation σ of the noise on the inputs of the inverses' training.
        weights: the initializer of V, or its name.
        noise: (key, shape, dtype) -> array of mean 0 and standard deviation 1.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `step` is not above 0, `rate` or `deviation` is
            negative, there is no such initializer; in `init`, the params belong to another network, a layer of units is
            not dense, or there is only one.
    """
    check_function("difference_target_propagation", "noise", noise)
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
        forward = propagate(layers, x)
        output = forward[-1].output
        last = unit_backward(layers[-1], forward[-1], loss.gradient(output, target))
        inverses = [
            lambda h, unit=unit, v=v: reconstructed(unit, v, h)[0]
            for unit, v in zip(layers[:-2], state.maps, strict=True)
        ]
        hidden = [at.output for at in forward[:-1]]
        eta = jnp.asarray(step, output.dtype)
        gaps = distances(hidden, eta * last.input, inverses)
        dparams = [
            unit_backward(unit, at, gap / eta).params
            for unit, at, gap in zip(layers[:-1], forward[:-1], gaps, strict=True)
        ]
        key, *keys = jax.random.split(state.key, len(state.maps) + 1)
        maps = [updated(*at) for at in zip(keys, layers[:-2], layers[1:-1], state.maps, hidden[:-1], strict=True)]
        return loss.value(output, target), merge_units(params, [*dparams, last.params]), Inverses(key, maps)

    def updated(key, previous, unit, v, h):
        """The inverse g_l of `unit` after one step of gradient descent at the noisy input of the layer."""
        noisy = h + jnp.asarray(deviation, h.dtype) * noise(key, h.shape, h.dtype)
        y = propagate([unit], noisy)[0].output
        reconstruction, residuals = reconstructed(previous, v, y)
        _, da = previous.activation.backward(previous.params[1], residuals, reconstruction - noisy)
        return sgd_step(v, y, da, rate / len(h))

    return Rule("difference target propagation", init, grads, network, loss)


def reconstructed(previous: Unit, v: Affine, h: Array) -> tuple[Array, tuple]:
    """g(h) = φ(h V + c) with the activation φ of the previous layer, and the residuals of φ."""
    return previous.activation.forward(previous.params[1], affine(h, *v))


def distances(hidden: Sequence[Array], first: Array, inverses: Sequence[Callable]) -> list[Array]:
    """h_l − ĥ_l of every hidden layer, from h_{l−1} − ĥ_{l−1} = g_l(h_l) − g_l(ĥ_l).

    Args:
        hidden: h_l of the hidden layers, in forward order.
        first: h − ĥ of the last hidden layer.
        inverses: g_l of the hidden layers l = 2 … L−1.
    """
    backward = [first]
    for h, inverse in zip(hidden[:0:-1], inverses[::-1], strict=True):
        backward.append(inverse(h) - inverse(h - backward[-1]))
    return backward[::-1]


def check_dense(who: str, network: Layer, params: Params) -> None:
    """Raise a `ValueError` unless the network has two or more layers of units, all dense, with widths that match."""
    check_units(who, network, params)
    layers = units(network, params)
    names = [unit.net.layers[-1].name for unit in layers]
    if len(layers) < 2 or set(names) != {"dense"}:
        raise ValueError(
            f"`{who}` expected two or more layers of units, all dense, because it learns their inverses, got {names}."
        )
    sizes = [unit.params[0][-1].w.shape for unit in layers]
    if any(out != into for (_, out), (into, _) in zip(sizes, sizes[1:], strict=False)):
        raise ValueError(
            f"`{who}` expected layers after a dense layer to keep its width, because it learns its inverse, got "
            f"weights {sizes}. Use elementwise activations."
        )
