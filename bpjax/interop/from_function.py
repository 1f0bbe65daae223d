"""A way in: any JAX function as a layer, its backward by automatic differentiation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer, is_shape
from bpjax.types import Params


def from_function(init: Callable, apply: Callable, name: str = "function") -> Layer:
    """A layer of any JAX function, so that hand-written and automatic layers mix in one chain.

    forward    y = apply(params, x)
    backward   dparams, dx = (∂apply/∂(params, x))ᵀ dy,   by `jax.vjp` at the params handed to it

    `apply(params, x) -> y` takes a batch (N, ...). `init(key, in_shape) -> (params, out_shape)` is that of every
    layer, with shapes that leave out the batch axis; `output_shape` finds `out_shape` where it is not known:

        def init(key, in_shape):
            params = {"w": jax.random.normal(key, (*in_shape, 3))}
            return params, output_shape(apply, params, in_shape)

    Kept: x alone, no params, and so `backward` runs `apply` again. Under `jit` with the network's own params XLA
    finds most of that again in the forward pass and computes it once (a three-layer perceptron takes the flops of
    `jax.grad`); what it does not merge, such as a loop, `scan` included, runs twice.

    Handed other weights B, as by feedback alignment, `backward` takes the derivative at what *they* make of x. That is
    feedback alignment where `apply` is linear in x for given params, as x W + b is. It is not where it bends: for
    φ(x W) the slope comes out as φ′(x B), where feedback alignment has φ′(x W). There keep apart what is linear and
    what bends, `chain(from_function(...), tanh)`.

    Raises:
        ValueError: `init` or `apply` is not a function; in `init`, yours does not return (params, out_shape).
    """
    for which, function in (("init", init), ("apply", apply)):
        if not callable(function):
            raise ValueError(f"`from_function` expected `{which}` to be a function, got {function!r}.")

    def checked_init(key, in_shape):
        made = init(key, in_shape)
        if not isinstance(made, tuple) or len(made) != 2 or not is_shapes(made[1]):
            raise ValueError(
                f"`from_function` expected `init` of '{name}' to return (params, out_shape), the shape without the "
                f"batch axis, got {jax.tree.map(jnp.shape, made)}. `output_shape(apply, params, in_shape)` finds it."
            )
        return made

    def forward(params, x):
        return apply(params, x), x

    def backward(params, x, dy):
        _, vjp = jax.vjp(apply, params, x)
        return vjp(dy)

    return Layer(name, checked_init, forward, backward)


def output_shape(apply: Callable, params: Params, in_shape, dtype=None):
    """The shape that `apply(params, x)` gives for x (N, *in_shape), without the batch axis; nothing is computed.

    `in_shape` may be a pytree of shapes. `dtype` of x: that of the params' floating-point leaves unless it is given.
    """
    y = jax.eval_shape(apply, params, batch_of(in_shape, 2, dtype or dtype_of(params)))
    return jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), y)


def batch_of(in_shape, examples, dtype):
    """A pytree of shapes as abstract arrays (examples, *shape)."""
    return jax.tree.map(lambda shape: jax.ShapeDtypeStruct((examples, *shape), dtype), in_shape, is_leaf=is_shape)


def dtype_of(params: Params):
    """The dtype of the floating-point leaves, JAX's default where there are none."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)


def is_shapes(shapes) -> bool:
    """Whether it is a shape or a pytree of shapes."""
    return all(is_shape(leaf) for leaf in jax.tree.leaves(shapes, is_leaf=is_shape))
