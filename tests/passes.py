"""A layer's passes by hand, and by JAX from its forward pass only."""

import functools
import math

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
    """y and (dparams, dx), by hand."""
    y, residuals = layer.forward(params, x)
    return y, layer.backward(params, residuals, dy)


def forward_only(layer):
    return lambda params, x: layer.forward(params, x)[0]


def vjp(layer, params, x, dy):
    """(dparams, dx) by JAX."""
    return jax.vjp(forward_only(layer), params, x)[1](dy)


def run_and_vjp(layer, params, x, dy):
    """y, (dparams, dx) by hand, and the same by JAX."""
    return *run(layer, params, x, dy), vjp(layer, params, x, dy)


def compiled(function):
    """`run`, `vjp` or both of a layer as one program: eager calls compile every operation separately."""
    return lambda layer, *args: program(function, layer)(*args)


@functools.cache
def program(function, layer):
    return jax.jit(lambda *args: function(layer, *args), compiler_options=QUICKLY)


@functools.cache
def compiled_rules(network, loss):
    """`backprop` and `autodiff` of a chain, compiled whole and layer by layer."""
    one = lambda layer: layer._replace(forward=jax.jit(layer.forward), backward=jax.jit(layer.backward))
    network = bp.chain(*map(one, network.layers))
    rules = bp.backprop(network, loss), bp.autodiff(network, loss)
    first, second = (rule._replace(grads=jax.jit(rule.grads, compiler_options=QUICKLY)) for rule in rules)
    return first, second


def drawn_params(layer, in_shape, keys):
    """(params, out_shape) of a layer with random params, no entry 0, drawn by NumPy: `init` is only traced.

    Weights have variance 1 / fan-in; vectors, which are gains and biases, are around 0.5.
    """
    out_shapes = []

    def init(key):
        params, out_shape = layer.init(key, in_shape)
        out_shapes.append(out_shape)
        return params

    def scaled(noise):
        noise = np.asarray(noise)
        return jnp.asarray(noise / math.sqrt(math.prod(noise.shape[:-1])) if noise.ndim > 1 else 0.5 + 0.2 * noise)

    return jax.tree.map(scaled, noise_like(jax.eval_shape(init, next(keys)), keys)), out_shapes[0]


def moved(params, keys, scale):
    """Params plus normal noise times `scale`, so that no entry is 0."""
    add = lambda p, noise: jnp.asarray(np.asarray(p) + scale * np.asarray(noise))
    return jax.tree.map(add, params, noise_like(params, keys))


def noise_like(tree, keys):
    """Normal noise in the shapes and dtypes of a pytree's floating-point leaves, float0 zeros for the others.

    Drawn by NumPy, which compiles nothing.
    """
    random = np.random.default_rng(np.asarray(jax.random.key_data(next(keys))))

    def draw(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.zeros(leaf.shape, jax.dtypes.float0)
        return jnp.asarray(random.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(draw, tree)
