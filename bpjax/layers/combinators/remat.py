"""Rematerialization: a forward pass made again in the backward pass, for memory."""

import jax
import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer


def remat(layer: Layer) -> Layer:
    """A layer that keeps its x alone: in the backward pass it goes forward once more, for what it then needs.

    forward    y = f(x)                                       kept: x
    backward   residuals of f at x again, then (dparams, dx) = the layer's backward

    Less memory for one more forward pass. In `repeat(remat(chain(…)), n)` of n blocks only their inputs are held, and
    what is within a block for one block at a time. In a chain of remats it is left to the compiler when each goes
    forward again; XLA on the CPU gains no memory there, nor does it with `jax.checkpoint`.

    It serves backpropagation only: the forward pass is made again from the weights that `backward` is handed. Where a
    rule hands it others, such as feedback alignment, it is their forward pass, and not the network's, whose slopes the
    error meets.

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
    """`x`, to the compiler another array that is there only when dy is: else it would keep what is to be made again."""
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    leaves, structure = jax.tree.flatten(x)
    held = [leaf for leaf in leaves if floating(leaf)], [leaf for leaf in jax.tree.leaves(dy) if floating(leaf)]
    free = iter(jax.lax.optimization_barrier(held)[0])
    return structure.unflatten([next(free) if floating(leaf) else leaf for leaf in leaves])
