"""Export a layer as an ordinary JAX function whose derivative is the hand-written backward pass."""

from collections.abc import Callable

import jax

from bpjax.layers.layer import Layer, check_layer


@jax.tree_util.register_static
class _Axes(frozenset):
    """The axes of a mesh along which an array differs between the devices of a `shard_map`."""


def as_function(layer: Layer) -> Callable:
    """`function(params, x) -> y`, whose derivative is the layer's own `backward`: a `jax.custom_vjp`.

    It works under `jax.grad`, `jit`, `vmap`, `scan`, `checkpoint` and `shard_map`, and so inside a Flax, Equinox or
    Haiku model: make the params with `layer.init`, store them with the parameters of the model, and call the function
    on a batch.

        function = as_function(network)
        jax.grad(lambda params: error(function(params, x)))(params)      # backpropagation by hand

    Call `as_function` once, outside of compiled code: each call returns a new function. Residuals: the params and the
    residuals of the layer. In a `shard_map`, the gradient of params that all devices share is the sum over the devices,
    as JAX computes it. The gradient of integers, booleans and keys in x has dtype float0, as everywhere in JAX.

    Do not use it as an oracle: `jax.grad` of it is the hand-written backward pass, right or wrong. The oracle is
    `jax.grad` of `layer.forward`, which `compare` and `autodiff` use.

    Forward mode is not supported: `jax.jvp` and `jax.jacfwd` of the function itself raise JAX's `TypeError`, "can't
    apply forward-mode autodiff (jvp) to a custom_vjp function". Second derivatives are: `jax.hessian` and
    `jax.jvp(jax.grad(...))` differentiate the hand-written backward itself.

    Raises:
        ValueError: `layer` is not a Layer.
    """
    check_layer("as_function", layer)

    @jax.custom_vjp
    def function(params, x):
        return layer.forward(params, x)[0]

    def forward(params, x):
        y, residuals = layer.forward(params, x)
        return y, (params, residuals, jax.tree.map(_mesh_axes, x))

    def backward(kept, dy):
        params, residuals, axes_of_x = kept
        dparams, dx = layer.backward(params, residuals, dy)
        if not _any_axes((params, dparams, dx)):
            return dparams, dx
        axes = jax.tree.map(_mesh_axes, params)
        return _on_axes(dparams, axes), _on_axes(dx, axes_of_x)

    function.defvjp(forward, backward)
    return function


def _mesh_axes(x) -> _Axes:
    kind = getattr(jax.typeof(x), "manual_axis_type", None)  # the name since JAX 0.10; `vma` before
    return _Axes(kind.varying if kind is not None else getattr(jax.typeof(x), "vma", ()))


def _any_axes(tree) -> bool:
    return any(_mesh_axes(leaf) for leaf in jax.tree.leaves(tree) if leaf.dtype != jax.dtypes.float0)


def _on_axes(gradients, axes):
    """Gradients that differ along the axes of their inputs and no other: summed over those that are too many."""

    def one(gradient, wanted):
        if gradient is None or gradient.dtype == jax.dtypes.float0:
            return gradient
        found = _mesh_axes(gradient)
        gradient = jax.lax.psum(gradient, tuple(sorted(found - wanted))) if found - wanted else gradient
        missing = tuple(sorted(wanted - found))
        return jax.lax.pcast(gradient, missing, to="varying") if missing else gradient

    is_axes = lambda node: isinstance(node, _Axes)
    return jax.tree.map(lambda wanted, gradient: one(gradient, wanted), axes, gradients, is_leaf=is_axes)
