"""Arithmetic on pytrees of arrays."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.types import Array, Key
from bpjax.util.precision import widen


def norm(tree) -> Array:
    """Euclidean norm () over all arrays, half precision summed in float32; finite only if every entry is."""
    return optax.tree.norm(jax.tree.map(widen, tree))


def select(condition: Array, a, b):
    """Pytree `a` where the scalar condition holds, otherwise `b`."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def bytes_of(tree) -> int:
    """The size of all arrays, which may be shapes with dtypes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def take(tree, rows):
    """The given rows of every array."""
    return jax.tree.map(lambda a: a[rows], tree)


def described(tree):
    """The pytree with "float32[3, 4]" for each array, for messages."""
    return jax.tree.map(lambda a: f"{jnp.result_type(a)}{list(jnp.shape(a))}", tree)


def noise_like(key: Key, tree, draw: Callable):
    """Noise in the shapes and dtypes of the arrays, each from its own key; `draw` is (key, shape, dtype) -> array."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten([draw(k, w.shape, w.dtype) for k, w in zip(keys, leaves, strict=True)])


def flat(tree) -> np.ndarray:
    """All entries as one vector, in float64."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])
