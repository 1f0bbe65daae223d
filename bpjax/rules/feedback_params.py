"""Which weights errors travel back through, and other weights in their place."""

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer
from bpjax.layers.layer import Kind, Layer, placed_layers
from bpjax.types import Array, Key, Params
from bpjax.util.trees import described


def feedback_mask(network: Layer, params: Params) -> Params:
    """In the structure of params, whether errors travel back through a leaf: through arrays of two and more axes.

    No error needs to pass the first layer that learns, since nothing before it does: where that layer is affine in its
    params (`Kind.AFFINE`), which are often most of a network's, its own gradient does not read them either. Gains and
    biases weigh signals one by one: they stay the network's own in every rule.
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
    """What `backward` is handed: `feedback` where errors travel back, `params` elsewhere.

    Raises:
        ValueError: the two are of different networks; the differing leaves are named.
    """
    check_feedback(feedback, params)
    return jax.tree.map(lambda c, b, w: b if c else w, feedback_mask(network, params), feedback, params)


def random_feedback(
    who: str, key: Key, network: Layer, params: Params, draw: Initializer, scale: float | Array = 1.0
) -> Params:
    """Weights of the shapes and dtypes of `params`, `scale` times a draw; zeros where no error travels back.

    Raises:
        ValueError: no leaf of `params` has two axes.
    """
    check_weights(who, params)
    keys = jax.tree.structure(params).unflatten(jax.random.split(key, len(jax.tree.leaves(params))))

    def drawn(carries, key, w):
        return jnp.asarray(scale, w.dtype) * draw(key, w.shape, w.dtype) if carries else jnp.zeros_like(w)

    return jax.tree.map(drawn, feedback_mask(network, params), keys, params)


def check_weights(who: str, params: Params) -> None:
    """Raise a `ValueError` unless some leaf of `params` carries signals."""
    if not any(jnp.ndim(w) >= 2 for w in jax.tree.leaves(params)):
        got = jax.tree.map(jnp.shape, params)
        raise ValueError(f"`{who}` expected a network with weights, arrays of two or more axes, got params {got}.")


def check_feedback(feedback: Params, params: Params) -> None:
    """Raise a `ValueError` that names the leaves in which feedback weights differ in shape or dtype from `params`."""
    shapes, wanted = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(described(tree))}
        for tree in (feedback, params)
    )
    if shapes == wanted and jax.tree.structure(feedback) == jax.tree.structure(params):
        return
    names = [name for name in {**wanted, **shapes} if shapes.get(name) != wanted.get(name)]
    differing = "; ".join(f"{name}: {shapes.get(name, 'none')} for {wanted.get(name, 'none')}" for name in names)
    raise ValueError(
        f"Feedback weights of this network's shapes were expected, got others at {differing or 'containers'}. "
        "Make the rule's state with its own `init(key, params)`."
    )
