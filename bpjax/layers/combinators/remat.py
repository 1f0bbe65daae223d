"""Rematerialization: recompute the forward pass in the backward pass to save memory."""

import jax
import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer


def remat(layer: Layer) -> Layer:
    """A layer whose only residuals are its input: the backward pass recomputes the others (`jax.checkpoint`).

    forward    y = f(x)                                       residuals: x and the context
    backward   the residuals of f at x, recomputed; then (dparams, dx) by the backward of the layer

    This trades a second forward pass for memory. `repeat(remat(chain(…)), n)` stores the inputs of its n blocks and
    the residuals of one block at a time. In a chain of remats the compiler decides when each is recomputed; XLA on
    CPU saves no memory there, nor does it with `jax.checkpoint`.

    Use it with backpropagation only: the forward pass is recomputed from the weights that `backward` receives. With
    other weights (feedback alignment), the error would meet the slopes at the activations those weights produce.

    Raises:
        ValueError: `layer` is not a Layer.
    """
    check_layer("remat", layer)

    def forward(params, x, context=EMPTY):
        y, _ = layer.forward_in(context, params, x)
        return y, (x, context)

    def backward(params, residuals, dy):
        x, context = residuals
        _, layer_residuals = layer.forward_in(context, params, _not_before(dy, x))
        return layer.backward(params, layer_residuals, dy)

    return Layer("remat", layer.init, forward, backward, Kind.COMBINATOR, Parts((layer,), remat), uses=layer.uses)


def _not_before(dy, x):
    """`x` behind a barrier that waits for dy, so that the compiler cannot reuse the residuals of the forward pass."""
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    leaves, structure = jax.tree.flatten(x)
    waiting = [leaf for leaf in leaves if floating(leaf)], [leaf for leaf in jax.tree.leaves(dy) if floating(leaf)]
    released = iter(jax.lax.optimization_barrier(waiting)[0])
    return structure.unflatten([next(released) if floating(leaf) else leaf for leaf in leaves])
