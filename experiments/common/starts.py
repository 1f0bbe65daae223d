"""Initial weights, drawn by programs that are compiled quickly because they run once."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

import bpjax as bp
from bpjax.util.compilation import FAST_COMPILATION

compiled_once = functools.partial(jax.jit, compiler_options=FAST_COMPILATION)
"""`jax.jit` for a program that runs once: a tenth to a third of the compilation time."""


def first_start(network: bp.Layer, key, in_shape: tuple[int, ...]):
    """`network.init(key, in_shape)[0]` as one program."""
    return compiled_once(lambda key: network.init(key, in_shape)[0])(key)


def starts_of(start: Callable, key, count: int) -> tuple[jax.Array, bp.types.Params]:
    """The keys (count,) that `bp.sweep` gives to the seeds 0, 1 …, and the weights that begin with them, stacked.

    Args:
        start: key -> params.
        key: of the sweep.
        count: seeds.
    """

    def drawn(key, seeds):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, seeds)
        return keys, jax.vmap(start)(keys)

    return compiled_once(drawn)(key, jnp.arange(count, dtype=jnp.uint32))
