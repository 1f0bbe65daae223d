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


def is_concrete(x) -> bool:
    """Whether `x` has values, instead of being traced by `jit`, `grad` or `vmap`."""
    return not isinstance(x, Tracer)


def as_floating(who: str, name: str, x) -> Array:
    """`x` as an array of a floating-point dtype, or a `ValueError`."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"`{who}` expected `{name}` of a floating-point type, got {x.dtype}{list(x.shape)}. "
            f"Convert it: `{name}.astype(jnp.float32)`."
        )
    return x


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
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not is_concrete(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        finite = np.isfinite(np.asarray(leaf, dtype=np.float64))
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise ValueError(
                f"`{who}` expected finite numbers in `{name}{jax.tree_util.keystr(path)}`, got "
                f"{np.asarray(leaf, dtype=np.float64)[where]} at index {where} "
                f"({int((~finite).sum())} of {finite.size} entries). Clean or drop those examples."
            )


def check_number(
    who: str, name: str, value, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> None:
    """Raise a `ValueError` unless a concrete `value` is finite, > `above`, ≥ `least`, ≤ `most`; tracers pass."""
    if not is_concrete(value):
        return
    is_number = isinstance(value, Real) or (hasattr(value, "shape") and value.shape == ())
    if is_number and math.isfinite(float(value)) and above < float(value) and least <= float(value) <= most:
        return
    lower = f" > {above:g}" if above > -math.inf else f" ≥ {least:g}" if least > -math.inf else ""
    upper = f" ≤ {most:g}" if most < math.inf else ""
    bounds = lower + (" and" if lower and upper else "") + upper
    raise ValueError(f"`{who}` expected `{name}` to be a finite number{bounds}, got {value!r}.")


def check_between(who: str, name: str, value, low: float, high: float) -> None:
    """Raise a `ValueError` unless a concrete `value` lies strictly between `low` and `high`; tracers pass."""
    check_number(who, name, value)
    if is_concrete(value) and not low < float(value) < high:
        raise ValueError(f"`{who}` expected `{name}` between {low:g} and {high:g}, got {value!r}.")


def check_bound(who: str, name: str, bound, lower_name: str, lower) -> None:
    """Raise a `ValueError` unless a concrete upper bound, infinity allowed, is at least `lower`."""
    if is_concrete(bound) and is_concrete(lower) and not float(bound) >= float(lower):
        raise ValueError(f"`{who}` expected `{name}` ≥ `{lower_name}`, {lower!r}, got {bound!r}.")


def check_choice(who: str, name: str, value, choices: Iterable[str]) -> None:
    """Raise a `ValueError` unless `value` is one of the `choices`."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"`{who}` expected `{name}` to be one of {', '.join(choices)}, got {value!r}.")


def other_params(layer: str, expected: str, params) -> ValueError:
    """The error to raise where a layer receives params of another layer; `layer` names it: "`dense(3)`"."""
    return ValueError(
        f"{layer} expected params {expected}, got {jax.tree.map(jnp.shape, params)}. "
        "Do they belong to another network? Make them with this network's `init`."
    )


def check_count(who: str, name: str, value, least: int = 1) -> None:
    """Raise a `ValueError` unless `value` is a Python or NumPy integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"`{who}` expected `{name}` to be an integer ≥ {least}, got {value!r}.")
