"""Make a layer from any JAX function; its backward pass is automatic."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bpjax.interop.example_inputs import as_shapes, batch_of
from bpjax.layers.layer import Layer, is_shape
from bpjax.types import Params
from bpjax.util.checks import check_function, check_text


def from_function(init: Callable, apply: Callable, name: str = "function") -> Layer:
    """A layer from any JAX function, so that hand-written and automatic layers can be combined in one chain.

    forward    y = apply(params, x)
    backward   dparams, dx = (∂apply/∂(params, x))ᵀ dy,   by `jax.vjp` at the params that it receives

    `output_shape` computes `out_shape` for `init` where it is not known:

        def init(key, in_shape):
            params = {"w": jax.random.normal(key, (*in_shape, 3))}
            return params, output_shape(apply, params, in_shape)

    Residuals: x, so `backward` runs `apply` again. Under `jit` with the network's own params XLA merges most of it with
    the forward pass (a three-layer perceptron takes as many operations as with `jax.grad`); loops, such as `scan`, run
    twice.

    With other weights B (feedback alignment), `backward` differentiates at the activations that B produces. This equals
    feedback alignment if `apply` is linear in x for given params, such as x W + b. For φ(x W) it computes φ′(x B) where
    feedback alignment has φ′(x W): use `chain(from_function(...), tanh)`, with the nonlinearity as a separate layer.

    Args:
        init: (key, in_shape) -> (params, out_shape), shapes without the batch axis.
        apply: (params, x) -> y, for a batch x (N, ...).
        name: of the layer, for reports.

    Raises:
        ValueError: `init` or `apply` is not a function; in `init`, the result is not (params, out_shape).
    """
    for which, function in (("init", init), ("apply", apply)):
        check_function("from_function", which, function)
    check_text("from_function", "name", name)

    def checked_init(key, in_shape):
        made = init(key, in_shape)
        if isinstance(made, tuple) and len(made) == 2:
            made = made[0], _without_arrays(made[1])
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
    """The shape of `apply(params, x)` without the batch axis, by `jax.eval_shape`.

    Args:
        apply: (params, x) -> y.
        params: its parameters.
        in_shape: the shape of x without the batch axis, or a pytree of shapes.
        dtype: of x; None for the dtype of the floating-point params.
    """
    shapes = as_shapes("output_shape", in_shape)
    y = jax.eval_shape(apply, params, batch_of(shapes, 2, dtype_of(params) if dtype is None else dtype))
    return without_batch(y)


def without_batch(y):
    """The shapes of a pytree of arrays without their first axis."""
    return jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), y)


def dtype_of(params: Params):
    """The dtype of the floating-point leaves; JAX's default if there are none."""
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(params)]
    dtypes = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)


def is_shapes(shapes) -> bool:
    """Whether it is a shape or a pytree of shapes."""
    return all(is_shape(leaf) for leaf in jax.tree.leaves(shapes, is_leaf=is_shape))


def _without_arrays(shapes):
    """Shapes with Python integers where a compiled `init` returned arrays () of integers."""

    def convert(n):
        return int(n) if isinstance(n, jax.Array) and n.ndim == 0 and jnp.issubdtype(n.dtype, jnp.integer) else n

    return jax.tree.map(convert, shapes)
