"""Every layer of units is taught by the output's error, or by the target, through random weights of its own.

No error goes from layer to layer: that of a hidden layer does not depend on the weights between it and the output.

    direct_feedback                       δₗ = φ′(aₗ) ⊙ (e Bₗᵀ)      Nøkland 2016
    direct_random_target_projection       δₗ = φ′(aₗ) ⊙ (t Bₗᵀ)      Frenkel, Lefebvre & Bol 2021
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, check_layer
from bpjax.layers.product import matmul
from bpjax.losses import Loss, rows_of, share
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import UnitForward, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Params, Shape
from bpjax.util.checks import check_number


def direct_feedback(
    network: Layer,
    loss: Loss,
    scale: float | Array = 1.0,
    weights: str | Initializer = lecun_normal,
    in_shape: Shape | None = None,
) -> Rule:
    """The output's error goes straight to every hidden layer of units, through fixed random weights.

    output units    e = φ′(a) ⊙ ∂E/∂o
    hidden units    δₗ = φ′(aₗ) ⊙ (e Bₗᵀ)              Nøkland 2016, "direct feedback alignment"
    change          ΔW = −η xᵀ δ

    With one hidden layer it is feedback alignment. A hidden layer of units is a layer with weights and what follows it:
    pooling, a norm, a residual block's inside are gone through as in backpropagation. Bₗ (H, K) is `scale` times a draw
    of `weights`, as if of links from the H units straight to the K outputs. State: the tuple of all Bₗ.

    Args:
        network: a chain of at least two layers with weights.
        loss: what it is taught by.
        scale: of the feedback weights; may be traced.
        weights: an initializer or its name.
        in_shape: of the network, without the batch axis; needed where the first layer is not `dense`.

    Raises:
        ValueError: `network` is not a chain or `loss` not a Loss, `scale` is not a number, there is no such
            initializer; in `init`, no hidden layer of units, or a first layer whose params do not tell `in_shape`; in
            `grads`, a state of another network.
    """
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
    """The target, not the error, goes straight to every hidden layer of units: it can learn before the output is known.

    output units    δ = φ′(a) ⊙ ∂E/∂o
    hidden units    δₗ = φ′(aₗ) ⊙ (t Bₗᵀ)              Frenkel, Lefebvre & Bol 2021
    change          ΔW = −η xᵀ δ

    t is one-hot, for labels too: it stands for the error, whose sign it tells. Where the loss is a mean over the
    batch, so is t Bₗᵀ. Arguments, state and layers of units as in `direct_feedback`.

    Raises:
        ValueError: as `direct_feedback`.
    """
    check_made_of("direct_random_target_projection", network, loss)

    def projected(output, delta, target):
        return share(loss, len(output)) * rows_of(target, output).astype(output.dtype)

    who = "direct_random_target_projection"
    return _direct("direct random target projection", who, network, loss, scale, weights, in_shape, projected)


def _direct(name, who, network: Layer, loss: Loss, scale, weights, in_shape, teacher: Callable) -> Rule:
    """A rule whose hidden layers are taught by `teacher(output, δ of the output units, target)`."""
    check_number(who, "scale", scale)
    check_chain(who, network)
    draw = initializer(weights)

    def init(key, params):
        *hidden, last = unit_shapes(who, network, params, in_shape)
        taught = jax.eval_shape(teacher, last.output, last.net_input, last.output)
        widths = [math.prod(like.shape[1:]) for like in (*(seen.output for seen in hidden), taught)]

        def drawn(key, width):
            return jnp.asarray(scale, taught.dtype) * draw(key, (width, widths[-1]), taught.dtype)

        return tuple(map(drawn, jax.random.split(key, len(hidden)), widths[:-1]))

    def grads(params, feedback, batch):
        x, target = batch
        layers = units(network, params)
        passed = propagate(layers, x)
        output = passed[-1].output
        last = unit_backward(layers[-1], passed[-1], loss.gradient(output, target))
        taught = teacher(output, last.error_signal, target).reshape(len(output), -1)
        check_direct(who, feedback, [seen.output for seen in passed[:-1]], taught)
        changes = [
            unit_backward(unit, seen, matmul(taught, b.T).reshape(seen.output.shape)).params
            for unit, seen, b in zip(layers[:-1], passed[:-1], feedback, strict=True)
        ]
        return loss.value(output, target), merge_units(params, [*changes, last.params]), feedback

    return Rule(name, init, grads, network, loss)


def check_chain(who: str, network: Layer) -> None:
    """Raise a `ValueError` unless the network is a chain of at least two layers, to be addressed one by one."""
    check_layer(who, network)
    if network.kind is not Kind.CHAIN or len(network.layers) < 2:
        raise ValueError(
            f"`{who}` expected a chain of at least two layers, to address each of them, got the layer {network.name}. "
            "Make one: `bp.chain(bp.dense(20), bp.tanh, bp.dense(10))`."
        )


def unit_shapes(who: str, network: Layer, params: Params, in_shape: Shape | None = None) -> list[UnitForward]:
    """Shapes and dtypes of all that a batch of one example leaves at each layer of units.

    Raises:
        ValueError: there is no hidden layer of units; `in_shape` is None and the params do not tell it.
    """
    layers = units(network, params)
    if len(layers) < 2:
        raise ValueError(
            f"`{who}` expected a hidden layer to address, got a network with {len(layers)} layer(s) with weights."
        )
    if in_shape is None:
        first, first_params = layers[0].net.layers[0], layers[0].params[0][0]
        if not isinstance(first_params, Affine) or first_params.w.ndim != 2 or first.kind is not Kind.AFFINE:
            raise ValueError(
                f"`{who}` expected `in_shape`, the shape of an example, for a network that begins with {first.name}."
            )
        in_shape = (len(first_params.w),)
    x = jax.ShapeDtypeStruct((1, *in_shape), jax.tree.leaves(params)[0].dtype)
    return jax.eval_shape(lambda p, x: propagate(units(network, p), x), params, x)


def check_direct(who: str, feedback: Sequence[Array], hidden: Sequence[Array], taught: Array) -> None:
    """Raise a `ValueError` unless there is a matrix (H, K) for each hidden layer of units."""
    wanted = [(math.prod(y.shape[1:]), taught.shape[1]) for y in hidden]
    got = [jnp.shape(b) for b in jax.tree.leaves(feedback)]
    if wanted != got:
        raise ValueError(
            f"`{who}` expected feedback weights of shapes {wanted}, one for each hidden layer, got {got}. "
            "Make the rule's state with its own `init(key, params)`."
        )
