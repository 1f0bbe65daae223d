"""Wrong values for an argument whose valid value is known, and other legitimate ways to write the valid one."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp

WRONG_KINDS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "word",
    "empty text": lambda: "",
    "empty tuple": lambda: (),
    "empty list": list,
    "empty dict": dict,
    "object": object,
    "True": lambda: True,
    "number": lambda: 0.7,
    "integer": lambda: 3,
    "complex": lambda: 1 + 2j,
    "key": lambda: jax.random.key(3),
    "uncalled factory": lambda: bp.dense,
    "class": lambda: bp.Layer,
    "layer": lambda: bp.tanh,
    "loss": lambda: bp.squared_error,
    "tuple of texts": lambda: ("a", "b"),
    "array": lambda: jnp.ones((2, 3)),
    "array of texts": lambda: np.array(["a", "b"]),
}
"""A value of each kind; those of the valid value's own kind are left out."""


def kind_of(value) -> str:
    """What kind of thing a valid value is."""
    if value is None:
        return "None"
    if isinstance(value, bool | np.bool_):
        return "flag"
    if isinstance(value, int | np.integer):
        return "integer"
    if isinstance(value, float | np.floating):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bp.Layer):
        return "layer"
    if isinstance(value, bp.losses.Loss):
        return "loss"
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return "key"
    if isinstance(value, jax.Array | np.ndarray):
        return "array"
    if isinstance(value, tuple | list) and not hasattr(value, "_fields") and value:
        if all(isinstance(entry, bool) for entry in value):
            return "booleans"
        if all(isinstance(entry, int) for entry in value):
            return "integers"
        if all(isinstance(entry, float | int) for entry in value):
            return "numbers"
    if callable(value) and not hasattr(value, "_fields"):
        return "function"
    return "tree" if jax.tree.leaves(value) else "other"


OWN_KIND = {
    "None": ("None",), "flag": ("True",), "integer": ("integer",), "number": ("number", "integer"), "text": ("text",),
    "layer": ("layer",), "loss": ("loss",), "key": ("key",), "array": (), "integers": (), "numbers": (), "booleans": (),
    "tree": (),
    "function": ("uncalled factory", "class"), "other": (),
}  # fmt: skip
"""Wrong kinds that are right, or that nobody can tell from right, for a valid value of a kind."""


def wrong_values(value) -> Iterator[tuple[str, Any]]:
    """(label, wrong value) for one argument; what is the valid value itself is left out."""
    for label, wrong in other_values(value):
        if not (type(wrong) is type(value) and isinstance(value, int | float | tuple) and is_same(wrong, value)):
            yield label, wrong


def is_same(wrong, value) -> bool:
    """Whether two values of one type are equal; arrays inside are compared by identity alone."""
    return wrong is value or (not jax.tree.leaves(value) or isinstance(value, int | float)) and wrong == value


def other_values(value) -> Iterator[tuple[str, Any]]:
    """(label, value) of all kinds for one argument."""
    kind = kind_of(value)
    for label, make in WRONG_KINDS.items():
        if label not in OWN_KIND[kind] and not (is_empty(value) and type(made := make()) is type(value) and not made):
            yield label, make()
    if kind in ("integer", "number"):
        yield from wrong_numbers(kind)
    elif kind in ("integers", "numbers", "booleans"):
        yield from (entry for entry in wrong_tuples(value) if (kind, entry[0]) != ("booleans", "an entry True"))
    elif kind == "array":
        yield from wrong_arrays(value)
    elif kind in ("tree", "layer", "loss", "other") and not callable(value):
        yield from wrong_trees(value)


def is_empty(value) -> bool:
    """Whether it is a tuple, a list or a dictionary without entries."""
    return isinstance(value, tuple | list | dict) and not value


def wrong_numbers(kind: str) -> Iterator[tuple[str, Any]]:
    """Numbers that are no size, no rate, no bound."""
    yield "NaN", math.nan
    yield "infinity", math.inf
    yield "minus infinity", -math.inf
    yield "negative", -1
    yield "zero", 0
    yield "10**30", 10**30
    yield "10**400", 10**400
    yield "1e300", 1e300
    yield "array (2,)", jnp.ones(2)
    yield "list", [1.0]
    yield "numeric text", "3"
    yield "NumPy complex", np.complex64(0.5 + 2j)
    yield "NumPy boolean", np.bool_(True)
    if kind == "integer":
        yield "fraction", 2.7
        yield "float of an integer", 2.0


def wrong_tuples(value) -> Iterator[tuple[str, Any]]:
    """Tuples with one entry wrong, missing or too many."""
    for label, entry in (
        ("None", None), ("text", "a"), ("NaN", math.nan), ("infinity", math.inf), ("negative", -1), ("10**30", 10**30),
        ("fraction", 1.7), ("complex", 2j), ("True", True), ("tuple", (1,)), ("array", jnp.ones(3)),
    ):  # fmt: skip
        yield f"an entry {label}", (entry, *value[1:])
    yield "an entry missing", tuple(value[1:])
    yield "an entry too many", (*value, value[-1])


def wrong_arrays(value) -> Iterator[tuple[str, Any]]:
    """Arrays of another rank, shape, dtype, or with entries that are no numbers."""
    numbers = np.asarray(value)
    yield "a further axis", jnp.asarray(value)[None]
    yield "rank 0", jnp.asarray(1, numbers.dtype)
    yield "rank 7", jnp.ones((1,) * 7, numbers.dtype)
    yield "empty array", jnp.zeros((0, *numbers.shape[1:]), numbers.dtype)
    yield "complex array", jnp.asarray(numbers, complex)
    yield "array of objects", np.full(numbers.shape, object())
    if numbers.ndim:
        yield "another width", jnp.concatenate([jnp.asarray(value)] * 2, axis=-1)
    if np.issubdtype(numbers.dtype, np.floating):
        yield "NaN in an array", jnp.asarray(numbers).at[(0,) * numbers.ndim].set(jnp.nan)
        yield "infinity in an array", jnp.asarray(numbers).at[(0,) * numbers.ndim].set(jnp.inf)
        yield "integer array", jnp.asarray(numbers, int)
        yield "boolean array", jnp.ones(numbers.shape, bool)
        yield "another float dtype", jnp.asarray(numbers, jnp.float16)


def wrong_trees(value) -> Iterator[tuple[str, Any]]:
    """Pytrees with leaves of another shape or dtype, with a leaf missing, or something around them."""
    leaves = jax.tree.leaves(value)
    if any(not isinstance(a, jax.Array | np.ndarray) or jnp.issubdtype(a.dtype, jax.dtypes.prng_key) for a in leaves):
        return
    yield "a tuple around", (value,)
    yield "a dict around", {"a": value}
    if not leaves:
        return
    changes: dict[str, Callable] = {
        "a further axis": lambda a: a[None],
        "complex": lambda a: a.astype(complex),
        "integers": lambda a: a.astype(int),
        "another float dtype": lambda a: a.astype(jnp.float16),
        "NaN": lambda a: a * jnp.nan,
        "no rows": lambda a: a[:0] if a.ndim else a,
        "None": lambda a: None,
        "texts": lambda a: "a",
        "double width": lambda a: jnp.concatenate([a] * 2, axis=-1) if a.ndim else jnp.stack([a] * 2),
    }
    for label, change in changes.items():
        yield f"leaves: {label}", jax.tree.map(lambda a, change=change: change(jnp.asarray(a)), value)
    if isinstance(value, tuple) and value and not hasattr(value, "_fields"):
        yield "an entry missing", value[1:]
        yield "an entry too many", (*value, value[-1])
        yield "swapped", value[::-1]


def same_values(value) -> Iterator[tuple[str, Any]]:
    """(label, value) for other ways to write the valid value, all of which must work."""
    kind = kind_of(value)
    if kind == "integer":
        yield "NumPy int64", np.int64(value)
        yield "NumPy int32", np.int32(value)
    elif kind == "number":
        yield "NumPy float64", np.float64(value)
        yield "NumPy float32", np.float32(value)
        yield "NumPy array ()", np.asarray(value)
    elif kind == "flag":
        yield "NumPy boolean", np.bool_(value)
    elif kind == "integers":
        yield "a list", list(value)
        yield "NumPy integers", tuple(np.int64(entry) for entry in value)
    elif kind == "booleans":
        yield "a list", list(value)
        yield "NumPy booleans", np.array(value)
    elif kind == "numbers":
        yield "a list", list(value)
        yield "NumPy numbers", tuple(np.float32(entry) for entry in value)
    elif kind == "array":
        yield "a NumPy array", np.asarray(value)
        yield "nested lists", np.asarray(value).tolist()
    elif kind == "tree" and all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(value)):
        yield (
            "NumPy leaves",
            jax.tree.map(lambda a: a if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray(a), value),
        )
