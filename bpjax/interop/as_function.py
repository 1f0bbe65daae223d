"""Export a layer as an ordinary JAX function whose derivative is the hand-written backward pass."""

from collections.abc import Callable

import jax

from bpjax.layers.layer import Layer, check_layer


def as_function(layer: Layer) -> Callable:
    """`function(params, x) -> y`, whose derivative is the layer's own `backward`: a `jax.custom_vjp`.

    It works under `jax.grad`, `jit`, `vmap`, `scan` and `checkpoint`, and so inside a Flax, Equinox or Haiku model:
    make the params with `layer.init`, store them with the parameters of the model, and call the function on a batch.

        function = as_function(network)
        jax.grad(lambda params: error(function(params, x)))(params)      # backpropagation by hand

    Call `as_function` once, outside of compiled code: each call returns a new function. Residuals: the params and the
    residuals of the layer. The gradient of integers, booleans and keys in x has dtype float0, as everywhere in JAX.

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
        return y, (params, residuals)

    def backward(params_and_residuals, dy):
        params, residuals = params_and_residuals
        return layer.backward(params, residuals, dy)

    function.defvjp(forward, backward)
    return function
