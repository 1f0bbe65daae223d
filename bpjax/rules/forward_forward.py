"""No backward pass: two forward passes, one over true and one over false data, or one pass with classes to tell apart.

forward_forward    goodness Gₗ = Σ hₗ², high for examples with their label, low with another        Hinton 2022
mono_forward       goodness of each class Gₗ = hₗ Mₗᵀ, cross entropy                Gong, Li & Abdulla 2025
"""

import jax
import jax.numpy as jnp

from bpjax.layers.activations import identity
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer
from bpjax.layers.normalization.unit_length import unit_length
from bpjax.losses import Loss, batch_mean, labels_of, share, softmax_cross_entropy
from bpjax.rules.direct import unit_shapes
from bpjax.rules.local import taught_by_heads
from bpjax.rules.models import predicted
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import Unit, merge_units, propagate, unit_backward, units
from bpjax.types import Array, Params, Shape
from bpjax.util.checks import check_count, check_number
from bpjax.util.precision import widen


def forward_forward(network: Layer, loss: Loss, threshold: float | Array = 2.0, in_shape: Shape | None = None) -> Rule:
    """Every hidden layer learns to tell examples with their label from examples with another by its activity alone.

        inputs      x⁺: the label, one-hot, in place of the first K inputs;    x⁻: one of the K − 1 other labels
        goodness    Gₗ = Σ hₗ²                                   p(true) = σ(Gₗ − θ)
        loss        Eₗ = Σₙ −ln σ(Gₗ⁺ − θ) − ln σ(θ − Gₗ⁻)
        change      ∂Eₗ/∂hₗ = 2 hₗ⁺ (−σ(θ − Gₗ⁺)),   2 hₗ⁻ σ(Gₗ⁻ − θ);     through φ′ to Wₗ, and no further

    Hinton 2022. A hidden layer of units ends with `unit_length`, so that the next one cannot read its goodness off the
    length of what comes in; h is its output before that:

        chain(dense(100), relu, unit_length, dense(100), relu, unit_length, dense(10))

    The last layer of units is the paper's softmax for prediction in one pass: it learns from `loss` alone, on what the
    hidden layers make of x as it is. So the network's `forward`, the loss and the rule's value mean what they always
    do; leave the first K numbers of x neutral (0, or 1/K). `ff_predict` is the other way to predict: the label with the
    largest goodness. The loss of hidden layers is a mean over the batch where `loss` is.

    Deviation: the false label is drawn evenly, not where the softmax is wrong. State: the key of those draws.

    Args:
        network: a chain with as many outputs as classes, K.
        loss: of the output layer; targets are one-hot, or labels where it takes them.
        threshold: θ.
        in_shape: of the network, without the batch axis; needed where the first layer is not `dense`.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, `threshold` is not above 0; in `init`, no hidden
            layer of units, one that does not end with `unit_length`, outputs that are not (N, K) with K ≥ 2, fewer
            inputs than classes, or a first layer whose params do not tell `in_shape`.
    """
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
        passed = propagate(layers, x)
        output = passed[-1].output
        classes = output.shape[-1]
        true = labels_of(target).astype(jnp.int32)
        false = (true + jax.random.randint(key, true.shape, 1, classes, true.dtype)) % classes
        h = jnp.concatenate([with_label(x, true, classes), with_label(x, false, classes)])
        sign = jnp.repeat(jnp.array([1, -1], output.dtype), len(output))
        counts = share(loss, len(output))
        changes = []
        for unit in layers[:-1]:
            below = before_length(who, unit)
            (seen,) = propagate([below], h)
            changes.append(unit_backward(below, seen, toward_truth(seen.output, sign, counts)).params)
            h, _ = unit_length.forward((), seen.output)
        changes.append(unit_backward(layers[-1], passed[-1], loss.gradient(output, target)).params)
        return loss.value(output, target), merge_units(params, changes), next_key

    def toward_truth(h, sign, counts):
        """∂Eₗ/∂hₗ: E = Σ softplus(s (θ − G)), s = +1 for true and −1 for false examples."""
        s = sign.astype(widen(h).dtype)
        slope = -counts * s * jax.nn.sigmoid(s * (jnp.asarray(threshold, s.dtype) - goodness(h)))
        return (2 * widen(h) * slope.reshape(-1, *(1,) * (h.ndim - 1))).astype(h.dtype)

    return Rule("forward-forward", init, grads, network, loss)


def ff_goodness(network: Layer, params: Params, x: Array, classes: int, skip: int = 0) -> Array:
    """How good each example would be with each label, (N, K): Σ hₗ² over the hidden layers, for `forward_forward`.

    `skip` leaves out the first so many layers; Hinton 2022 leaves out one of four. On digits, two hidden layers of 100
    units, both together predict best.

    Raises:
        ValueError: `classes` is not an integer ≥ 2, `skip` not one ≥ 0, no hidden layer is left or one does not end
            with `unit_length`.
    """
    check_count("ff_goodness", "classes", classes, least=2)
    check_count("ff_goodness", "skip", skip, least=0)
    hidden = units(network, params)[:-1]
    if skip >= len(hidden):
        raise ValueError(f"`ff_goodness` expected `skip` below the number of hidden layers, {len(hidden)}, got {skip}.")

    def with_one(label):
        h, found = with_label(x, jnp.full(len(x), label), classes), []
        for unit in hidden:
            (seen,) = propagate([before_length("ff_goodness", unit)], h)
            found.append(goodness(seen.output))
            h, _ = unit_length.forward((), seen.output)
        return jnp.sum(jnp.stack(found[skip:]), axis=0)

    return jax.vmap(with_one, out_axes=1)(jnp.arange(classes))


def ff_predict(network: Layer, params: Params, x: Array, classes: int, skip: int = 0) -> Array:
    """The label with the largest goodness for each example, (N,); see `ff_goodness`."""
    return jnp.argmax(ff_goodness(network, params, x, classes, skip), axis=1)


def mono_forward(
    network: Layer,
    loss: Loss,
    rate: float | Array = 0.1,
    weights: str | Initializer = lecun_normal,
    in_shape: Shape | None = None,
) -> Rule:
    """Every hidden layer has a goodness for each class, and learns by cross entropy to make the right one largest.

        goodness    Gₗ = hₗ Mₗᵀ                                    (N, K)
        loss        Eₗ = −Σ t ln softmax(Gₗ)
        change      ΔWₗ = −η ∂Eₗ/∂Wₗ,   hₗ₋₁ held;    Mₗᵀ ← Mₗᵀ − ρ hₗᵀ (softmax(Gₗ) − t) / N

    Gong, Li & Abdulla 2025. One forward pass, no false data. It is `local_losses` with cross entropy for every head and
    none with a bias. The last layer of units learns from `loss` alone, what the paper's prediction from the last layer
    does; `mono_predict` sums the goodness of all hidden layers. The cross entropy is a mean over the batch where `loss`
    is.

    Deviation: the Mₗ learn by plain gradient descent at a rate of their own. State: the list of `Affine(Mₗᵀ)`.

    Args:
        network: a chain of at least two layers of units with as many outputs as classes.
        loss: of the output layer; targets are one-hot, or labels where it takes them.
        rate: ρ, on the mean over the batch.
        weights: of M at first, an initializer or its name.
        in_shape: of the network, without the batch axis; needed where the first layer is not `dense`.

    Raises:
        ValueError: as `local_losses`.
    """
    check_made_of("mono_forward", network, loss)
    local = batch_mean(softmax_cross_entropy) if loss.reduction == "mean" else softmax_cross_entropy
    return taught_by_heads("mono-forward", "mono_forward", network, loss, local, rate, weights, False, in_shape)


def mono_predict(network: Layer, params: Params, heads: list[Affine], x: Array) -> Array:
    """The label with the largest goodness, summed over the hidden layers, for each example (N,); `heads` the state."""
    passed = propagate(units(network, params), x)
    classes = passed[-1].output.shape[1:]
    found = [predicted(head, seen.output, classes) for head, seen in zip(heads, passed[:-1], strict=True)]
    return jnp.argmax(jnp.sum(jnp.stack(found), axis=0), axis=-1)


def goodness(h: Array) -> Array:
    """Σ h² of every example, (N,)."""
    return jnp.sum(jnp.square(widen(h)).reshape(len(h), -1), axis=1)


def with_label(x: Array, labels: Array, classes: int) -> Array:
    """The examples with their first K numbers, in the order of storage, replaced by the label, one-hot."""
    x = jnp.asarray(x)
    flat = x.reshape(len(x), -1).at[:, :classes].set(jax.nn.one_hot(labels, classes, dtype=x.dtype))
    return flat.reshape(x.shape)


def before_length(who: str, unit: Unit) -> Unit:
    """A hidden layer of units without the `unit_length` that ends it, or a `ValueError`."""
    *rest, last = unit.activation.layers or (unit.activation,)
    if last.kind is not Kind.UNIT_LENGTH:
        raise ValueError(
            f"`{who}` expected every hidden layer to end with `unit_length`, or the next one reads its goodness off "
            f"its length, got {unit.net.layers[-1].name} that ends with {last.name}. "
            "Make it `bp.chain(bp.dense(20), bp.relu, unit_length, ...)`."
        )
    return Unit(unit.net, chain(*rest) if rest else identity, (unit.params[0], tuple(unit.params[1][:-1])))


def check_room(who: str, x: Array, output: Array) -> None:
    """Raise a `ValueError` unless examples of this shape have room for a one-hot label of this output."""
    room = x.size // len(x)
    if output.ndim != 2 or not 2 <= output.shape[1] <= room:
        raise ValueError(
            f"`{who}` expected outputs (N, K), one for each of K ≥ 2 classes, and at least K inputs, the first of "
            f"them the label's place, got outputs of shape (N, {', '.join(map(str, output.shape[1:]))}) for {room} "
            "inputs. Pad the examples in front: `jnp.pad(x, ((0, 0), (K, 0)))`."
        )
