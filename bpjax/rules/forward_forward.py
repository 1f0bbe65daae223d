"""Rules without a backward pass: a forward pass over true and one over false data, or one with a goodness per class.

forward_forward    goodness Gₗ = Σ hₗ², high for examples with their label, low with another        Hinton 2022
mono_forward       goodness of each class Gₗ = hₗ Mₗᵀ, cross entropy                Gong, Li & Abdulla 2025
"""

import math

import jax
import jax.numpy as jnp

from bpjax.layers.activations import identity
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, check_any_shape, check_layer
from bpjax.layers.normalization.unit_length import unit_length
from bpjax.losses import Loss, batch_mean, softmax_cross_entropy
from bpjax.losses.loss import is_mean, share
from bpjax.rules.direct import unit_shapes
from bpjax.rules.local import local_heads
from bpjax.rules.models import predict
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import Unit, check_units, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Params, Shape
from bpjax.util.call_text import shown
from bpjax.util.checks import as_floating, check_count, check_finite, check_number
from bpjax.util.precision import widen
from bpjax.util.targets import labels_of


def forward_forward(network: Layer, loss: Loss, threshold: float | Array = 2.0, in_shape: Shape | None = None) -> Rule:
    """Every hidden layer learns by its own activity to separate examples with their label from those with another.

        inputs      x⁺: the label, one-hot, in place of the first K inputs;    x⁻: one of the K − 1 other labels
        goodness    Gₗ = Σ hₗ²                                   p(true) = σ(Gₗ − θ)
        loss        Eₗ = Σₙ −ln σ(Gₗ⁺ − θ) − ln σ(θ − Gₗ⁻)
        gradient    ∂Eₗ/∂hₗ = 2 hₗ⁺ (−σ(θ − Gₗ⁺)),   2 hₗ⁻ σ(Gₗ⁻ − θ);     through φ′ to Wₗ only

    Hinton 2022. A hidden layer of units ends with `unit_length`, so that the next layer cannot read the goodness from
    the length of its input; h is the output before that:

        chain(dense(100), relu, unit_length, dense(100), relu, unit_length, dense(10))

    The last layer of units is the paper's softmax for prediction in one pass: it learns from `loss`, with the hidden
    layers' outputs for the unmodified x as its input. So the network's `forward`, the loss and the rule's value have
    their usual meaning; set the first K entries of x to a neutral value (0, or 1/K). `ff_predict` is the other way to
    predict: the label with the largest goodness. If `loss` is a mean over the batch, so are the losses of the hidden
    layers.

    Deviation: the false label is drawn uniformly, not from the softmax. State: the key of these draws.

    Args:
        network: a chain with as many outputs as classes, K.
        loss: of the output layer; targets are one-hot, or labels if it accepts them.
        threshold: θ.
        in_shape: of the network, without the batch axis; required if the first layer is not `dense`.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `threshold` is not above 0; in `init`, the network
            has no hidden layer of units or one that does not end with `unit_length`, outputs are not (N, K) with
            K ≥ 2, there are fewer inputs than classes, or `in_shape` is missing.
    """
    if in_shape is not None:
        in_shape = check_any_shape("forward_forward", in_shape)
    who = "forward_forward"
    check_made_of(who, network, loss)
    check_number(who, "threshold", threshold, above=0.0)

    def init(key, params):
        shapes = unit_shapes(who, network, params, in_shape)
        check_room(who, shapes[0].input, shapes[-1].output)
        for unit in units(network, params)[:-1]:
            before_length(who, unit)
        return jnp.copy(key)

    def grads(params, key, batch):
        x, target = batch
        key, next_key = jax.random.split(key)
        layers = units(network, params)
        forward = propagate(layers, x)
        output = forward[-1].output
        classes = output.shape[-1]
        true = labels_of(target).astype(jnp.int32)
        false = (true + jax.random.randint(key, true.shape, 1, classes, true.dtype)) % classes
        h = jnp.concatenate([with_label(x, true, classes), with_label(x, false, classes)])
        sign = jnp.repeat(jnp.array([1, -1], output.dtype), len(output))
        counts = share(loss, len(output))
        dparams = []
        for unit in layers[:-1]:
            hidden = before_length(who, unit)
            (at,) = propagate([hidden], h)
            dparams.append(unit_backward(hidden, at, goodness_gradient(at.output, sign, counts)).params)
            h, _ = unit_length.forward((), at.output)
        dparams.append(unit_backward(layers[-1], forward[-1], loss.gradient(output, target)).params)
        return loss.value(output, target), merge_units(params, dparams), next_key

    def goodness_gradient(h, sign, counts):
        """∂Eₗ/∂hₗ for E = Σ softplus(s (θ − G)), s = +1 for true and −1 for false examples."""
        s = sign.astype(widen(h).dtype)
        slope = -counts * s * jax.nn.sigmoid(s * (jnp.asarray(threshold, s.dtype) - goodness(h)))
        return (2 * widen(h) * slope.reshape(-1, *(1,) * (h.ndim - 1))).astype(h.dtype)

    return Rule("forward-forward", init, grads, network, loss)


def ff_goodness(network: Layer, params: Params, x: Array, classes: int, skip: int = 0) -> Array:
    """The goodness of each example with each label, (N, K): Σ hₗ² over the hidden layers, for `forward_forward`.

    Args:
        network: that `forward_forward` trains.
        params: of the network.
        x: examples (N, ...).
        classes: K.
        skip: the number of first hidden layers to leave out. Hinton 2022 leaves out one of four; on digits, with two
            hidden layers of 100 units, leaving out none predicts best.

    Raises:
        ValueError: `classes` is not an integer ≥ 2, `skip` not one ≥ 0, no hidden layer is left or one does not end
            with `unit_length`.
    """
    check_layer("ff_goodness", network)
    x = check_examples("ff_goodness", x)
    check_finite("ff_goodness", "params", params)
    check_units("ff_goodness", network, params)
    check_count("ff_goodness", "classes", classes, least=2, most=x[0].size)
    check_count("ff_goodness", "skip", skip, least=0)
    hidden = units(network, params)[:-1]
    if skip >= len(hidden):
        raise ValueError(f"`ff_goodness` expected `skip` below the number of hidden layers, {len(hidden)}, got {skip}.")

    def with_one(label):
        h, by_layer = with_label(x, jnp.full(len(x), label), classes), []
        for unit in hidden:
            (at,) = propagate([before_length("ff_goodness", unit)], h)
            by_layer.append(goodness(at.output))
            h, _ = unit_length.forward((), at.output)
        return jnp.sum(jnp.stack(by_layer[skip:]), axis=0)

    return jax.vmap(with_one, out_axes=1)(jnp.arange(classes))


def ff_predict(network: Layer, params: Params, x: Array, classes: int, skip: int = 0) -> Array:
    """The label with the largest goodness for each example, (N,).

    Args:
        network: that `forward_forward` trains.
        params: of the network.
        x: examples (N, ...).
        classes: K.
        skip: the number of first hidden layers to leave out, as in `ff_goodness`.

    Raises:
        ValueError: as `ff_goodness`.
    """
    return jnp.argmax(ff_goodness(network, params, x, classes, skip), axis=1)


def mono_forward(
    network: Layer,
    loss: Loss,
    rate: float | Array = 0.1,
    weights: str | Initializer = lecun_normal,
    in_shape: Shape | None = None,
) -> Rule:
    """Every hidden layer has a goodness per class and learns by cross entropy to make that of the target largest.

        goodness    Gₗ = hₗ Mₗᵀ                                    (N, K)
        loss        Eₗ = −Σ t ln softmax(Gₗ)
        update      ΔWₗ = −η ∂Eₗ/∂Wₗ,   hₗ₋₁ fixed;    Mₗᵀ ← Mₗᵀ − ρ hₗᵀ (softmax(Gₗ) − t) / N

    Gong, Li & Abdulla 2025. One forward pass, no false data: `local_losses` with cross entropy and without biases in
    the heads. The last layer of units learns from `loss`, as in the paper's prediction from the last layer;
    `mono_predict` sums the goodness of all hidden layers. If `loss` is a mean over the batch, so is the cross entropy.

    Deviation: the Mₗ learn by plain gradient descent with a separate learning rate. State: the list of `Affine(Mₗᵀ)`.

    Args:
        network: a chain of at least two layers of units with as many outputs as classes.
        loss: of the output layer; targets are one-hot, or labels if it accepts them.
        rate: learning rate ρ of the heads, for the mean over the batch.
        weights: the initializer of M, or its name.
        in_shape: of the network, without the batch axis; required if the first layer is not `dense`.

    Raises:
        ValueError: as `local_losses`.
    """
    if in_shape is not None:
        in_shape = check_any_shape("mono_forward", in_shape)
    check_made_of("mono_forward", network, loss)
    local = batch_mean(softmax_cross_entropy) if is_mean(loss) else softmax_cross_entropy
    return local_heads("mono-forward", "mono_forward", network, loss, local, rate, weights, False, in_shape)


def mono_predict(network: Layer, params: Params, heads: list[Affine], x: Array) -> Array:
    """The label with the largest goodness, summed over the hidden layers, for each example (N,).

    Args:
        network: that `mono_forward` trains.
        params: of the network.
        heads: the state of the rule.
        x: examples (N, ...).
    """
    check_layer("mono_predict", network)
    x = check_examples("mono_predict", x)
    check_finite("mono_predict", "params", params)
    check_finite("mono_predict", "heads", heads)
    check_units("mono_predict", network, params)
    forward = propagate(units(network, params), x)
    classes = forward[-1].output.shape[1:]
    check_heads(heads, [(at.output[0].size, math.prod(classes)) for at in forward[:-1]])
    by_layer = [predict(head, at.output, classes) for head, at in zip(heads, forward[:-1], strict=True)]
    return jnp.argmax(jnp.sum(jnp.stack(by_layer), axis=0), axis=-1)


def check_examples(who: str, x) -> Array:
    """Examples (N, ...), N ≥ 1, as an array of finite numbers, or a `ValueError`."""
    x = as_floating(who, "x", x)
    if x.ndim < 2 or not x.size:
        raise ValueError(f"`{who}` expected examples `x` of shape (N, ...), at least one, got {x.shape}.")
    check_finite(who, "x", x)
    return x


def check_heads(heads, shapes: list[tuple[int, int]]) -> None:
    """Raise a `ValueError` unless these are the heads of hidden layers, with weights of these shapes."""
    are_heads = isinstance(heads, tuple | list) and all(isinstance(head, Affine) for head in heads)
    are_heads = are_heads and all(jnp.issubdtype(jnp.result_type(head.w), jnp.floating) for head in heads)
    if not are_heads or [jnp.shape(head.w) for head in heads] != shapes:
        raise ValueError(
            f"`mono_predict` expected `heads` with floating-point weights of shapes {shapes}, one for each hidden "
            f"layer, got {shown(jax.tree.map(jnp.shape, heads))}. They are the state of the rule: `fit.state.rule`."
        )


def goodness(h: Array) -> Array:
    """Σ h² of each example, (N,)."""
    return jnp.sum(jnp.square(widen(h)).reshape(len(h), -1), axis=1)


def with_label(x: Array, labels: Array, classes: int) -> Array:
    """The examples with their first K entries (row-major order) replaced by the one-hot label."""
    x = jnp.asarray(x)
    flat = x.reshape(len(x), -1).at[:, :classes].set(jax.nn.one_hot(labels, classes, dtype=x.dtype))
    return flat.reshape(x.shape)


def before_length(who: str, unit: Unit) -> Unit:
    """A hidden layer of units without its final `unit_length`, or a `ValueError` if it does not end with one."""
    *rest, last = unit.activation.layers or (unit.activation,)
    if last.kind is not Kind.UNIT_LENGTH:
        raise ValueError(
            f"`{who}` expected every hidden layer to end with `unit_length` (the next layer could read its goodness "
            f"from its length otherwise), got a {unit.net.layers[-1].name} layer that ends with {last.name}. "
            "Make it `bp.chain(bp.dense(20), bp.relu, unit_length, ...)`."
        )
    return Unit(unit.net, chain(*rest) if rest else identity, (unit.params[0], tuple(unit.params[1][:-1])))


def check_room(who: str, x: Array, output: Array) -> None:
    """Raise a `ValueError` unless examples `x` have room for a one-hot label of the output's classes."""
    room = x.size // len(x)
    if output.ndim != 2 or not 2 <= output.shape[1] <= room:
        raise ValueError(
            f"`{who}` expected outputs (N, K), one for each of K ≥ 2 classes, and at least K inputs, the first K of "
            f"which hold the label, got outputs of shape (N, {', '.join(map(str, output.shape[1:]))}) for {room} "
            "inputs. Pad the examples at the front: `jnp.pad(x, ((0, 0), (K, 0)))`."
        )
