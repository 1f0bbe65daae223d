"""Checks of a user's input, and their error messages: what was expected, what came, how to fix it.

Shapes and dtypes are known while JAX traces, so those checks cost nothing in a compiled program. Values are checked
only where they are concrete: on the host, before anything is compiled.
"""

import math
from collections.abc import Iterable
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bpjax.types import Array
from bpjax.util.call_text import is_function, shown
from bpjax.util.on_host import on_host


def is_concrete(x) -> bool:
    """Whether `x` has values, instead of being traced by `jit`, `grad` or `vmap`."""
    return not isinstance(x, Tracer)


def as_array(who: str, name: str, x) -> Array:
    """`x`, an array or nested lists of numbers, as an array, or a `ValueError`."""
    try:
        if isinstance(x, np.ndarray) and x.dtype == object:
            x = x.tolist()
        if x is None:
            raise TypeError
        return jnp.asarray(x)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`{who}` expected `{name}` to be an array of numbers, got {shown(x)}.") from None


def as_real_numbers(who: str, name: str, x) -> np.ndarray:
    """Integers or floating-point numbers as a NumPy array of float64, or a `ValueError`."""
    try:
        numbers = np.asarray(x)
    except (TypeError, ValueError):
        numbers = np.asarray(None)
    if isinstance(x, tuple | list) and any(isinstance(leaf, bool | np.bool_) for leaf in jax.tree.leaves(x)):
        numbers = np.asarray(None)  # NumPy makes 1 of a True among numbers
    if not any(jnp.issubdtype(numbers.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise ValueError(f"`{who}` expected `{name}` to be an array of real numbers, got {shown(x)}.")
    return numbers.astype(np.float64)


def as_booleans(who: str, name: str, x) -> np.ndarray:
    """Booleans as a NumPy array, or a `ValueError`."""
    try:
        flags = np.asarray(x)
    except (TypeError, ValueError):
        flags = np.asarray(None)
    flags = flags.astype(bool) if isinstance(x, tuple | list) and flags.shape == (0,) else flags
    if flags.dtype != bool:
        raise ValueError(f"`{who}` expected booleans in `{name}`, got {shown(x)}.")
    return flags


def as_floating(who: str, name: str, x) -> Array:
    """`x` as an array of a floating-point dtype, or a `ValueError`."""
    x = as_array(who, name, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"`{who}` expected `{name}` of a floating-point type, got {x.dtype}{list(x.shape)}. "
            f"{floating_cure(name, x.dtype)}"
        )
    return x


def floating_cure(name: str, dtype) -> str:
    """How to make an array of a dtype one of floating-point numbers, for messages."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return (
            "Complex numbers are not supported: make two real arrays, "
            f"`jnp.concatenate([{name}.real, {name}.imag], axis=-1)`."
        )
    return f"Convert it: `{name}.astype(jnp.float32)`."


def check_features(who: str, x, features: int) -> Array:
    """`x` as a float array of shape (N, features) with N ≥ 1, or a `ValueError`."""
    x = as_floating(who, "x", x)
    if x.ndim != 2 or x.shape[1] != features:
        raise ValueError(
            f"`{who}` expected `x` of shape (N, {features}), got {x.shape}. "
            "Add the batch axis (`x[None]`), or give `init` the `in_shape` of the data."
        )
    if x.shape[0] == 0:
        raise ValueError(f"`{who}` expected at least one example, got an empty batch of shape {x.shape}.")
    return x


def check_same_dtype(who: str, x: Array, w: Array) -> None:
    """Raise a `ValueError` where data and weights differ in dtype: there is no silent promotion."""
    if x.dtype != w.dtype:
        raise ValueError(
            f"`{who}` expected `x` in the dtype of its weights, {w.dtype}, got {x.dtype}. "
            f"Cast the data: `bp.util.cast(batch, '{w.dtype}')`."
        )


def check_finite(who: str, name: str, tree) -> None:
    """Raise a `ValueError` that names the first concrete leaf holding a NaN or an infinity, and where."""
    check_arguments(who, tree, f"`{name}`")
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not is_concrete(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        values = on_host(leaf).astype(np.float64)
        finite = np.isfinite(values)
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise ValueError(
                f"`{who}` expected finite numbers in `{name}{jax.tree_util.keystr(path)}`, got "
                f"{values[where]} at index {where} "
                f"({int((~finite).sum())} of {finite.size} entries). Clean or drop those examples."
            )


def check_number(
    who: str, name: str, value, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> None:
    """Raise a `ValueError` unless a concrete `value` is finite, > `above`, ≥ `least`, ≤ `most`; tracers pass."""
    if not is_concrete(value):
        return
    number = _as_number(value)
    if math.isfinite(number) and abs(number) <= _largest() and above < number and least <= number <= most:
        return
    lower = f" > {above:g}" if above > -math.inf else f" ≥ {least:g}" if least > -math.inf else ""
    upper = f" ≤ {most:g}" if most < math.inf else ""
    bounds = lower + (" and" if lower and upper else "") + upper
    size = f" that {jnp.result_type(float)} can hold" if _largest() < abs(number) < math.inf else ""
    raise ValueError(f"`{who}` expected `{name}` to be a finite number{bounds}{size}, got {shown(value)}.")


def _as_number(value) -> float:
    """The value of a real number or of an array () of one; NaN for anything else: a boolean, a text, a key."""
    is_array = isinstance(value, np.ndarray | np.generic | jax.Array) and value.shape == ()
    if is_array and not any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        return math.nan
    if isinstance(value, bool) or not (is_array or isinstance(value, Real)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _largest() -> float:
    """The largest number of the default floating-point type: anything above it would become infinity on the way."""
    return float(jnp.finfo(jnp.result_type(float)).max)


def check_between(who: str, name: str, value, low: float, high: float) -> None:
    """Raise a `ValueError` unless a concrete `value` lies strictly between `low` and `high`; tracers pass."""
    check_number(who, name, value)
    if is_concrete(value) and not low < float(value) < high:
        raise ValueError(f"`{who}` expected `{name}` between {low:g} and {high:g}, got {shown(value)}.")


def check_bound(who: str, name: str, bound, lower_name: str, lower) -> None:
    """Raise a `ValueError` unless a concrete upper bound, infinity allowed, is at least `lower`."""
    if not is_concrete(bound) or not is_concrete(lower):
        return
    number = math.inf if isinstance(bound, float) and bound == math.inf else _as_number(bound)
    if not number >= float(lower):
        raise ValueError(f"`{who}` expected `{name}` ≥ `{lower_name}`, {lower!r}, got {shown(bound)}.")


def check_choice(who: str, name: str, value, choices: Iterable[str]) -> None:
    """Raise a `ValueError` unless `value` is one of the `choices`."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{who}` expected `{name}` to be one of {', '.join(choices)}, got {shown(value)}.")


def other_params(layer: str, expected: str, params) -> ValueError:
    """The error to raise where a layer receives params of another layer; `layer` names it: "`dense(3)`"."""
    return ValueError(
        f"{layer} expected params {expected}, got {jax.tree.map(jnp.shape, params)}. "
        "Do they belong to another network? Make them with this network's `init`."
    )


def check_count(who: str, name: str, value, least: int = 1, most: int = 2**31 - 1) -> int:
    """`value` as an `int`, or a `ValueError` unless it is a Python or NumPy integer from `least` to `most`."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if is_integer and least <= value <= most:
        return int(value)
    upper = f" and ≤ {most}" if is_integer and value > most else ""
    raise ValueError(f"`{who}` expected `{name}` to be an integer ≥ {least}{upper}, got {shown(value)}.")


def check_counts(who: str, name: str, values, fewest: int = 1) -> tuple[int, ...]:
    """`values`, a tuple, a list or an array (n,) of at least `fewest` integers ≥ 1, as a tuple of `int`."""
    values = np.asarray(values).tolist() if getattr(values, "ndim", 0) == 1 and is_concrete(values) else values
    if not isinstance(values, tuple | list) or len(values) < fewest:
        least = f", at least {fewest}" if fewest else ""
        raise ValueError(f"`{who}` expected `{name}` to be a tuple of integers ≥ 1{least}, got {shown(values)}.")
    return tuple(check_count(who, name, value) for value in values)


def check_flag(who: str, name: str, value) -> bool:
    """`value` as a `bool`, or a `ValueError` unless it is a Python or NumPy boolean: "False" and None are none."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise ValueError(f"`{who}` expected `{name}` to be True or False, got {shown(value)}.")


def check_text(who: str, name: str, value) -> str:
    """`value` itself, or a `ValueError` unless it is a text of at least one character."""
    if isinstance(value, str) and value:
        return value
    raise ValueError(f"`{who}` expected `{name}` to be a text, got {shown(value)}.")


def check_function(who: str, name: str, value):
    """`value` itself, or a `ValueError` unless it can be called; a record such as a layer is no function."""
    if is_function(value):
        return value
    raise ValueError(f"`{who}` expected `{name}` to be a function, got {shown(value)}.")


def check_instance(who: str, name: str, value, kind: type, example: str):
    """`value` itself, or a `ValueError` unless it is a `kind`; `example` is a call that makes one."""
    if isinstance(value, kind):
        return value
    cure = f"Call it first: `{shown(value)}(...)`." if is_function(value) else f"Make one: `{example}`."
    raise ValueError(f"`{who}` expected `{name}` to be a {kind.__name__}, got {shown(value)}. {cure}")


def check_arguments(who: str, arguments, what: str = "arguments") -> None:
    """Raise a `ValueError` that names the first leaf of a pytree that is no array, number or key."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(arguments):
        if not _is_array_like(leaf):
            where = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise ValueError(f"`{who}` expected {what} of arrays and numbers, got {shown(leaf)}{where}.")


def check_real(who: str, name: str, tree) -> None:
    """Raise a `ValueError` that names the first leaf of a pytree that holds no real numbers."""
    check_arguments(who, tree, f"`{name}`")
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not any(jnp.issubdtype(jnp.result_type(leaf), kind) for kind in (jnp.floating, jnp.integer)):
            where = jax.tree_util.keystr(path)
            raise ValueError(f"`{who}` expected real numbers in `{name}{where}`, got {shown(leaf)}.")


def check_like(who: str, name: str, tree, like_name: str, like) -> None:
    """Raise a `ValueError` unless a pytree of arrays has the structure and the shapes of another one."""
    check_arguments(who, tree, f"`{name}`")
    check_arguments(who, like, f"`{like_name}`")
    if jax.tree.structure(tree) != jax.tree.structure(like):
        raise ValueError(
            f"`{who}` expected `{name}` in the structure of `{like_name}`, {shown(jax.tree.structure(like))}, "
            f"got {shown(jax.tree.structure(tree))}."
        )
    both = zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(like), strict=True)
    for (path, leaf), expected in both:
        if jnp.shape(leaf) != jnp.shape(expected):
            where = jax.tree_util.keystr(path)
            raise ValueError(
                f"`{who}` expected `{name}{where}` of shape {jnp.shape(expected)}, as in `{like_name}`, "
                f"got {jnp.shape(leaf)}."
            )


def _is_array_like(leaf) -> bool:
    """Whether JAX takes it for an array: a number, or anything of a dtype of numbers, booleans or keys."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or isinstance(leaf, type):
        return isinstance(leaf, bool | float | complex) or (isinstance(leaf, int) and abs(leaf) < 2**63)
    kinds = (jnp.number, jnp.bool_, jax.dtypes.extended)
    return dtype == jax.dtypes.float0 or any(jnp.issubdtype(dtype, kind) for kind in kinds)


def check_key(who: str, name: str, key):
    """`key` itself, or a `ValueError` unless it is one random key of JAX, typed or of the old kind uint32 (2,)."""
    if isinstance(key, jax.Array | np.ndarray):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
        if typed or (key.dtype == np.uint32 and key.shape in ((2,), (4,))):
            return key
    raise ValueError(
        f"`{who}` expected `{name}` to be one random key, got {shown(key)}. Make one: `jax.random.key(0)`."
    )
