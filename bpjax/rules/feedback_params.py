"""Params for the backward pass: feedback weights where errors travel back, the network's own params elsewhere."""

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer
from bpjax.layers.layer import Kind, Layer, placed_layers
from bpjax.types import Array, Key, Params
from bpjax.util.trees import described


def feedback_mask(network: Layer, params: Params) -> Params:
    """Whether errors travel back through a leaf, in the structure of params: true for arrays of two or more axes.

    Errors that travel through the first layer with params reach only the data. If the gradient of that layer does not
    depend on its params (`Kind.AFFINE`), its leaves are False; often they are most of a network's weights. Gains and
    biases are False too: every rule uses the network's own.
    """
    chained = placed_layers(network, params)
    first = next((l for l, part in enumerate(chained) if jax.tree.leaves(part.params)), 0)
    flags = [
        w.ndim >= 2 and not (l == first and part.layer.kind is Kind.AFFINE)
        for l, part in enumerate(chained)
        for w in jax.tree.leaves(part.params)
    ]
    return jax.tree.structure(params).unflatten(flags)


def feedback_params(network: Layer, feedback: Params, params: Params) -> Params:
    """The params for `backward`: `feedback` where errors travel back, `params` elsewhere.

    Args:
        network: the network.
        feedback: B, in the structure of the params.
        params: of the network.

    Raises:
        ValueError: `feedback` and `params` belong to different networks; the message names the differing leaves.
    """
    check_feedback(feedback, params)
    return jax.tree.map(lambda c, b, w: b if c else w, feedback_mask(network, params), feedback, params)


def random_feedback(
    who: str, key: Key, network: Layer, params: Params, draw: Initializer, scale: float | Array = 1.0
) -> Params:
    """Weights of the shapes and dtypes of `params`: `scale` times a draw where errors travel back, zeros elsewhere.

    Args:
        who: the caller's name, for error messages.
        key: of the draw.
        network: the network.
        params: of the network.
        draw: the initializer.
        scale: factor of the draw.

    Raises:
        ValueError: no leaf of `params` has two axes.
    """
    check_weights(who, params)
    keys = jax.tree.structure(params).unflatten(jax.random.split(key, len(jax.tree.leaves(params))))

    def drawn(carries, key, w):
        return jnp.asarray(scale, w.dtype) * draw(key, w.shape, w.dtype) if carries else jnp.zeros_like(w)

    return jax.tree.map(drawn, feedback_mask(network, params), keys, params)


def check_weights(who: str, params: Params) -> None:
    """Raise a `ValueError` unless some leaf of `params` is a weight, an array of two or more axes."""
    if not any(jnp.ndim(w) >= 2 for w in jax.tree.leaves(params)):
        got = jax.tree.map(jnp.shape, params)
        raise ValueError(
            f"`{who}` expected a network with weights, arrays of two or more axes, got params {got}. "
            "Add a layer such as `bp.dense(...)`."
        )


def check_feedback(feedback: Params, params: Params) -> None:
    """Raise a `ValueError` that names the leaves whose shape or dtype differs between `feedback` and `params`."""
    shapes, wanted = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(described(tree))}
        for tree in (feedback, params)
    )
    if shapes == wanted and jax.tree.structure(feedback) == jax.tree.structure(params):
        return
    names = [name for name in {**wanted, **shapes} if shapes.get(name) != wanted.get(name)]
    differing = "; ".join(f"{name}: {shapes.get(name, 'none')} for {wanted.get(name, 'none')}" for name in names)
    raise ValueError(
        f"Feedback weights of the shapes of `params` were expected, got others at {differing or 'containers'}. "
        "Make the rule's state with `rule.init(key, params)`."
    )
