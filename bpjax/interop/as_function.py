"""A way out: a layer as an ordinary JAX function that carries its hand-written backward with it."""

from collections.abc import Callable

import jax

from bpjax.layers.layer import Layer, check_layer


def as_function(layer: Layer) -> Callable:
    """`function(params, x) -> y`, whose derivative is the layer's own `backward`: a `jax.custom_vjp`.

    It runs inside anybody's `jax.grad`, `jit`, `vmap`, `scan` and `checkpoint`, and so inside a model of Flax,
    Equinox or Haiku: make the params with `layer.init`, keep them where the model keeps its own, and call the function
    on a batch.

        function = as_function(network)
        jax.grad(lambda params: error(function(params, x)))(params)      # backpropagation by hand

    Call it once, outside of what is compiled: each call gives another function. Kept for the backward pass: the params,
    and what the layer keeps. Where x holds tokens, masks or keys, their gradient is of dtype float0, as JAX has it.

    Never take it for an oracle: `jax.grad` of it is the hand-written backward and agrees with it, right or wrong. The
    oracle is `jax.grad` of `layer.forward`, which is what `compare` and `autodiff` use.

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
        return y, (params, residuals)

    def backward(kept, dy):
        params, residuals = kept
        return layer.backward(params, residuals, dy)

    function.defvjp(forward, backward)
    return function
