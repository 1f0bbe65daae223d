"""Arithmetic over whole pytrees of arrays."""

import jax
import jax.numpy as jnp
import optax

from bpjax.precision import widen
from bpjax.types import Array


def norm(tree) -> Array:
    """Euclidean norm () over all arrays, half precision summed in float32; finite only if every number is."""
    return optax.tree.norm(jax.tree.map(widen, tree))


def select(condition: Array, a, b):
    """Pytree `a` where the scalar condition holds, else `b`."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def take(tree, rows):
    """The given rows of every array."""
    return jax.tree.map(lambda a: a[rows], tree)
