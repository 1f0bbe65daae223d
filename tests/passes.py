"""A layer's passes by hand, and by JAX from its forward pass alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp

QUICKLY = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}
"""`compiler_options` for programs that are tiny and run once: XLA's plain emitter of loops, in a third of the time."""


def quick_jit(function):
    """`jax.jit` for a program that is tiny and runs a few times: eager calls compile every operation separately."""
    return jax.jit(function, compiler_options=QUICKLY)


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
    return lambda layer, *args: program(function, layer)(*args)


@functools.cache
def program(function, layer):
    return jax.jit(lambda *args: function(layer, *args), compiler_options=QUICKLY)


@functools.cache
def compiled_rules(network, loss):
    """`backprop` and `autodiff` of a chain, compiled whole and layer by layer: in two dtypes `compare` shares them."""
    one = lambda layer: layer._replace(forward=jax.jit(layer.forward), backward=jax.jit(layer.backward))
    network = bp.chain(*map(one, network.layers))
    rules = bp.backprop(network, loss), bp.autodiff(network, loss)
    return [rule._replace(grads=jax.jit(rule.grads, compiler_options=QUICKLY)) for rule in rules]


def moved(params, keys, scale):
    """Params with normal numbers times `scale` added, so that none is 0."""
    add = lambda p, noise: jnp.asarray(np.asarray(p) + scale * np.asarray(noise))
    return jax.tree.map(add, params, noise_like(params, keys))


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
