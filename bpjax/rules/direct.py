"""Each hidden layer of units receives the output error, or the target, through separate fixed random weights.

No error travels from layer to layer: the error signal of a hidden layer does not depend on the weights of later layers.

    direct_feedback                       δₗ = φ′(aₗ) ⊙ (e Bₗᵀ)      Nøkland 2016
    direct_random_target_projection       δₗ = φ′(aₗ) ⊙ (t Bₗᵀ)      Frenkel, Lefebvre & Bol 2021
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, check_any_shape, check_layer
from bpjax.layers.product import matmul
from bpjax.losses import Loss
from bpjax.losses.loss import share
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import UnitForward, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Params, Shape
from bpjax.util.checks import check_number
from bpjax.util.targets import rows_of


def direct_feedback(
    network: Layer,
    loss: Loss,
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_normal,
    in_shape: Shape | None = None,
) -> Rule:
    """The output error is projected directly onto every hidden layer of units by fixed random weights.

    output units    e = φ′(a) ⊙ ∂E/∂o
    hidden units    δₗ = φ′(aₗ) ⊙ (e Bₗᵀ)              Nøkland 2016, "direct feedback alignment"
    weight change   ΔW = −η xᵀ δ

    With one hidden layer this is feedback alignment. A hidden layer of units is a layer with weights and the layers up
    to the next one with weights; inside it (pooling, a norm, a residual block) errors travel as in backpropagation.
    Bₗ (H, K) is `scale` times a draw of `weights` for H inputs and K outputs. State: the tuple of all Bₗ.

    Args:
        network: a chain of at least two layers with weights.
        loss: the loss of the network's output.
        scale: factor of the feedback weights; may be traced.
        weights: the initializer of the feedback weights, or its name.
        in_shape: of the network, without the batch axis; required if the first layer is not `dense`.

    Raises:
        ValueError: `network` is not a chain or `loss` not a Loss, `scale` is not a number, there is no such
            initializer; in `init`, the network has no hidden layer of units, or `in_shape` is missing; in `grads`, the
            state belongs to another network.
    """
    if in_shape is not None:
        in_shape = check_any_shape("direct_feedback", in_shape)
    check_made_of("direct_feedback", network, loss)

    def error(output, delta, target):
        return delta

    return _direct("direct feedback", "direct_feedback", network, loss, scale, weights, in_shape, error)


def direct_random_target_projection(
    network: Layer,
    loss: Loss,
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_normal,
    in_shape: Shape | None = None,
) -> Rule:
    """The target, not the error, is projected onto every hidden layer of units: no layer waits for the output.

    output units    δ = φ′(a) ⊙ ∂E/∂o
    hidden units    δₗ = φ′(aₗ) ⊙ (t Bₗᵀ)              Frenkel, Lefebvre & Bol 2021
    weight change   ΔW = −η xᵀ δ

    t is one-hot (labels are converted); it replaces the error, with which it shares the sign. If the loss is a mean
    over the batch, t Bₗᵀ is divided by N too. State and layers of units as in `direct_feedback`.

    Args:
        network: a chain of at least two layers with weights.
        loss: the loss of the network's output.
        scale: factor of the feedback weights; may be traced.
        weights: the initializer of the feedback weights, or its name.
        in_shape: of the network, without the batch axis; required if the first layer is not `dense`.

    Raises:
        ValueError: as `direct_feedback`.
    """
    if in_shape is not None:
        in_shape = check_any_shape("direct_random_target_projection", in_shape)
    check_made_of("direct_random_target_projection", network, loss)

    def projected(output, delta, target):
        return share(loss, len(output)) * rows_of(target, output).astype(output.dtype)

    who = "direct_random_target_projection"
    return _direct("direct random target projection", who, network, loss, scale, weights, in_shape, projected)


class Signal(Protocol):
    """What is projected onto the hidden layers."""

    def __call__(self, output: Array, delta: Array, target: Any, /) -> Array:
        """(N, K) from the output, the error signal of the output units and the target."""
        ...


def _direct(name, who, network: Layer, loss: Loss, scale, weights, in_shape, signal_of: Signal) -> Rule:
    """A rule that projects `signal_of(output, δ of the output units, target)` onto the hidden layers."""
    check_number(who, "scale", scale)
    check_chain(who, network)
    draw = initializer(weights)

    def init(key, params):
        *hidden, last = unit_shapes(who, network, params, in_shape)
        signal = jax.eval_shape(signal_of, last.output, last.net_input, last.output)
        widths = [math.prod(like.shape[1:]) for like in (*(at.output for at in hidden), signal)]

        def drawn(key, width):
            return jnp.asarray(scale, signal.dtype) * draw(key, (width, widths[-1]), signal.dtype)

        return tuple(map(drawn, jax.random.split(key, len(hidden)), widths[:-1]))

    def grads(params, feedback, batch):
        x, target = batch
        layers = units(network, params)
        forward = propagate(layers, x)
        output = forward[-1].output
        last = unit_backward(layers[-1], forward[-1], loss.gradient(output, target))
        signal = signal_of(output, last.error_signal, target).reshape(len(output), -1)
        check_direct(who, feedback, [at.output for at in forward[:-1]], signal)
        dparams = [
            unit_backward(unit, at, matmul(signal, b.T).reshape(at.output.shape)).params
            for unit, at, b in zip(layers[:-1], forward[:-1], feedback, strict=True)
        ]
        return loss.value(output, target), merge_units(params, [*dparams, last.params]), feedback

    return Rule(name, init, grads, network, loss)


def check_chain(who: str, network: Layer) -> None:
    """Raise a `ValueError` unless the network is a chain of at least two layers."""
    check_layer(who, network)
    if network.kind is not Kind.CHAIN or len(network.layers) < 2:
        raise ValueError(
            f"`{who}` expected a chain of at least two layers, got the layer {network.name}. "
            "Make one: `bp.chain(bp.dense(20), bp.tanh, bp.dense(10))`."
        )


def unit_shapes(who: str, network: Layer, params: Params, in_shape: Shape | None = None) -> list[UnitForward]:
    """Shapes and dtypes of the forward pass of one example, for each layer of units.

    Args:
        who: the caller's name, for error messages.
        network: the network.
        params: of the network.
        in_shape: of the network, without the batch axis; read from the weights of a first `dense` layer if None.

    Raises:
        ValueError: there is no hidden layer of units; `in_shape` is None and the first layer is not `dense`.
    """
    layers = units(network, params)
    if len(layers) < 2:
        raise ValueError(
            f"`{who}` expected a network with a hidden layer, got one with {len(layers)} layer(s) with weights. "
            "Put a `bp.dense(...)` and an activation before the last layer."
        )
    if in_shape is None:
        first, first_params = layers[0].net.layers[0], layers[0].params[0][0]
        if not isinstance(first_params, Affine) or first_params.w.ndim != 2 or first.kind is not Kind.AFFINE:
            raise ValueError(
                f"`{who}` expected `in_shape`, the shape of an example, for a network that begins with {first.name}. "
                "Pass `in_shape=x.shape[1:]`."
            )
        in_shape = (len(first_params.w),)
    x = jax.ShapeDtypeStruct((1, *in_shape), jax.tree.leaves(params)[0].dtype)
    return jax.eval_shape(lambda p, x: propagate(units(network, p), x), params, x)


def check_direct(who: str, feedback: Sequence[Array], hidden: Sequence[Array], signal: Array) -> None:
    """Raise a `ValueError` unless `feedback` has a matrix (H, K) for each hidden layer of units."""
    wanted = [(math.prod(y.shape[1:]), signal.shape[1]) for y in hidden]
    got = [jnp.shape(b) for b in jax.tree.leaves(feedback)]
    if wanted != got:
        raise ValueError(
            f"`{who}` expected feedback weights of shapes {wanted}, one for each hidden layer, got {got}. "
            "Make the rule's state with `rule.init(key, params)`."
        )
