"""The pytrees of an optimizer: weights, gradients, and a rate or a sign for each of them.

A complex weight is two real weights: optimizers see its real and its imaginary part, a `ComplexParts` in its place, as
with `optax.contrib.split_real_and_imaginary`. A sign is that of a part, not of a complex number. As everywhere in JAX
the direction of descent is the conjugate of `jax.grad`, which the caller takes.

Half precision has its state in float32. Abstract weights, `jax.ShapeDtypeStruct`, have a state like the real ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.types import Array, Params
from bpjax.util.checks import as_array
from bpjax.util.precision import HALF


class ComplexParts(NamedTuple):
    """A complex array as two real ones."""

    real: Any  # an array, or a `jax.ShapeDtypeStruct`
    imaginary: Any


class PerAxis(NamedTuple):
    """An array (n, n) or (n,) for every axis of an array of weights, or one array () for a single weight."""

    axes: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array of weights."""
        return tuple(len(array) for array in self.axes if array.ndim)


def real_weights(who: str, tree: Params, name: str = "params") -> Params:
    """The pytree with real floating-point arrays as leaves: a `ComplexParts` for each complex array.

    Raises:
        ValueError: a leaf is not an array of floating-point or complex numbers.
    """

    def real(path, leaf):
        where = name + jax.tree_util.keystr(path)
        if isinstance(leaf, jax.ShapeDtypeStruct):
            leaf = jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype), sharding=leaf.sharding)
        else:
            leaf = as_array(who, where, leaf)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        if not jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise ValueError(
                f"`{who}` expected `{where}` of a floating-point type, got {leaf.dtype}{list(leaf.shape)}: it has "
                "no gradient. Convert it with `.astype(jnp.float32)`, or leave it out with `optax.masked`."
            )
        if isinstance(leaf, jax.ShapeDtypeStruct):
            part = jax.ShapeDtypeStruct(leaf.shape, jnp.finfo(leaf.dtype).dtype)
            return ComplexParts(part, part)
        return ComplexParts(jnp.real(leaf), jnp.imag(leaf))

    return jax.tree_util.tree_map_with_path(real, tree)


def is_complex(node) -> bool:
    """Whether a node stands for a complex array."""
    return isinstance(node, ComplexParts)


def complex_again(tree: Params) -> Params:
    """The pytree with a complex array for each `ComplexParts`."""
    return jax.tree.map(lambda node: jax.lax.complex(*node) if is_complex(node) else node, tree, is_leaf=is_complex)


def zeros(params: Params) -> Params:
    """Zeros like the weights, half precision as float32."""
    return jax.tree.map(lambda w: jnp.zeros_like(w, dtype=_wide(w)), params)


def no_signs(params: Params) -> Params:
    """Signs like the weights, all 0: −1, 0 and 1 fit into an int8, a quarter of the memory traffic of a float32."""
    return jax.tree.map(lambda w: jnp.zeros_like(w, dtype=jnp.int8), params)


def filled(params: Params, number) -> Params:
    """Arrays like the weights filled with a number, half precision as float32."""
    return jax.tree.map(lambda w: jnp.full_like(w, number, dtype=_wide(w)), params)


def copies(params: Params) -> Params:
    """New arrays with the values of the weights, 0 for abstract ones."""

    def copy(w):
        return jnp.zeros_like(w) if isinstance(w, jax.ShapeDtypeStruct) else jnp.array(w, copy=True)

    return jax.tree.map(copy, params)


def _wide(w):
    return jnp.float32 if w.dtype in HALF else w.dtype


def each_weight(step: Callable, outputs: int, scalars: tuple, *trees) -> tuple[Params, ...]:
    """Apply `step(*scalars, *arrays) -> arrays` to every array of weights.

    Args:
        step: written for the arrays of one place in the pytrees.
        outputs: how many arrays it returns.
        scalars: hyperparameters, converted to the dtype of the arrays, and booleans, passed as they are.
        *trees: pytrees of one structure, with arrays or `PerAxis` as leaves; the first one holds the gradients. Python
            numbers are passed as they are.

    Returns:
        A pytree for each of the `outputs`.

    Raises:
        ValueError: the gradients do not have the structure or the shapes of the state.
    """
    (leaves, structure), *others = (jax.tree.flatten(tree, is_leaf=_is_per_axis) for tree in trees)
    for _, other in others:
        if other != structure:
            raise ValueError(
                f"An optimizer expected gradients in the structure of its weights, {other}, got {structure}. "
                "Make the state with `optimizer.init(params)` of the same params."
            )
    columns: list[list[Any]] = [[] for _ in range(outputs)]
    for arrays in zip(leaves, *(beside for beside, _ in others), strict=True):
        _check_shapes(arrays)
        dtype = arrays[0].dtype
        converted = [s.astype(dtype) if jnp.issubdtype(s.dtype, jnp.floating) else s for s in scalars]
        for column, array in zip(columns, step(*converted, *arrays), strict=True):
            column.append(array)
    return tuple(structure.unflatten(column) for column in columns)


def _is_per_axis(node) -> bool:
    return isinstance(node, PerAxis)


def _check_shapes(arrays) -> None:
    g, *others = arrays
    for other in others:
        if hasattr(other, "shape") and other.shape != g.shape:
            raise ValueError(
                f"An optimizer expected a gradient in the shape of its weights, {other.shape}, got {g.shape}. "
                "Make the state with `optimizer.init(params)` of the same params."
            )
