"""Inputs to trace other people's functions with: shapes as the user writes them, floats or integers as they need."""

import itertools
import operator
import warnings
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.layer import as_shape, is_shape
from bpjax.util.call_text import shown
from bpjax.util.trees import described

MOST_INPUTS = 4
"""Up to so many inputs the dtypes are tried out; with more they must be given."""


def as_shapes(who: str, in_shape):
    """A shape, or a pytree of shapes, with Python integers; a single number is a shape of one axis."""

    def convert(shape):
        try:
            made = tuple(operator.index(n) for n in as_shape(shape) if not isinstance(n, bool))
        except (TypeError, ValueError):
            made = ()
        if len(made) != len(as_shape(shape)) or any(n < 0 for n in made):
            raise ValueError(
                f"`{who}` expected `in_shape` to be a shape without the batch axis, such as (4,), or a pytree of "
                f"shapes, got {shown(in_shape)}."
            )
        return made

    return jax.tree.map(convert, in_shape, is_leaf=lambda node: node is None or is_shape(node))


def check_dtypes(who: str, dtype) -> None:
    """Raise a `ValueError` unless `dtype` is None, a dtype of numbers or its name, or a pytree of them."""
    leaves = jax.tree.leaves(dtype)
    if dtype is not None and not (leaves and all(map(_is_dtype, leaves))):
        raise ValueError(
            f"`{who}` expected `dtype` to be a dtype, such as jnp.int32, or one for each input, got {shown(dtype)}."
        )


def _is_dtype(leaf) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):  # one-letter names that NumPy is about to drop
            made = jnp.dtype(leaf) if isinstance(leaf, str | type | np.dtype) else None
        return made is not None and (any(jnp.issubdtype(made, kind) for kind in (jnp.bool_, jnp.number)))
    except TypeError:
        return False


def batch_of(shapes, examples, dtype):
    """A pytree of shapes as abstract arrays (examples, *shape); `dtype` is one, or a pytree of them."""

    def one(shape, dtype):
        return jax.ShapeDtypeStruct((examples, *shape), dtype)

    try:
        dtypes = jax.tree.map(lambda _: jnp.dtype(dtype), shapes, is_leaf=is_shape)
    except (TypeError, ValueError):
        dtypes = dtype
    try:
        return jax.tree.map(one, shapes, dtypes, is_leaf=is_shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"Expected `dtype` to be a dtype, such as jnp.int32, or one for each of the inputs {shapes}, got {dtype!r}."
        ) from None


def traced(who: str, name: str, function: Callable, shapes, dtype, floating):
    """`(x, function(x))` for an abstract batch x of two examples, with floats where they work, otherwise integers.

    A `dtype` given by the user is the only one tried. Which of the dtypes is found changes no number: shapes alone are
    read from the result.

    Raises:
        ValueError: the function cannot be called on any of them; the message repeats the error with the first.
    """
    errors = []
    for x in _candidates(shapes, dtype, floating):
        try:
            return x, jax.eval_shape(function, x)
        except Exception as error:
            if isinstance(error, ValueError) and str(error).startswith(f"`{who}`"):
                raise
            errors.append((x, error))
    x, error = errors[0]
    reason = " ".join(str(error).split())[:300]
    raise ValueError(f"`{who}` cannot call {name} on x of {described(x)}: {type(error).__name__}: {reason}") from error


def _candidates(shapes, dtype, floating) -> Iterator:
    """Abstract batches: all floats first, then with more and more integers."""
    if dtype is not None:
        yield batch_of(shapes, 2, dtype)
        return
    inputs, structure = jax.tree.flatten(shapes, is_leaf=is_shape)
    kinds = itertools.product((floating, jnp.result_type(int)), repeat=len(inputs))
    if len(inputs) > MOST_INPUTS:
        kinds = [(floating,) * len(inputs)]
    for dtypes in sorted(kinds, key=lambda kind: sum(np.issubdtype(d, np.integer) for d in kind)):
        yield batch_of(shapes, 2, structure.unflatten(dtypes))
