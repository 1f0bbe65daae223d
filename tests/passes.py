"""A layer's passes by hand, and by JAX from its forward pass alone."""

import jax
import jax.numpy as jnp
import numpy as np

QUICKLY = {"xla_cpu_use_fusion_emitters": False}
"""`compiler_options` for programs that are tiny and run once: XLA's plain emitter of loops, in a third of the time."""


def run(layer, params, x, dy):
    """Y and (dparams, dx), by hand."""
    y, residuals = layer.forward(params, x)
    return y, layer.backward(params, residuals, dy)


def forward_only(layer):
    return lambda params, x: layer.forward(params, x)[0]


def vjp(layer, params, x, dy):
    """(dparams, dx) by JAX."""
    return jax.vjp(forward_only(layer), params, x)[1](dy)


def compiled(function):
    """`run` or `vjp` of a layer as one program: an operation at a time would compile each by itself."""
    return lambda layer, *args: jax.jit(lambda *args: function(layer, *args), compiler_options=QUICKLY)(*args)


def noise_like(tree, keys):
    """Normal numbers in the shapes and dtypes of a pytree's floating-point leaves, float0 zeros for the others.

    Drawn by NumPy, which compiles nothing.
    """
    random = np.random.default_rng(np.asarray(jax.random.key_data(next(keys))))

    def draw(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.zeros(leaf.shape, jax.dtypes.float0)
        return jnp.asarray(random.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(draw, tree)
