"""The arguments of a function, leaf by leaf: their names from the signature, and which can be differentiated."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class Named(NamedTuple):
    """A leaf of the arguments."""

    name: str  # "w", "params['w']", "x[0]"
    argument: int | str  # position or keyword
    path: str  # within the argument
    value: Any


def name_of(function: Callable) -> str:
    """The name of a function, a partial application, a method, or an object that is called."""
    for candidate in unwrapped(function):
        name = getattr(candidate, "__name__", None)
        if isinstance(name, str) and name != "<lambda>":
            return name
    own = getattr(function, "__name__", None)
    return own if isinstance(own, str) else type(function).__name__


def unwrapped(function) -> Iterator:
    """A callable and, one after the other, what it wraps: through `partial`, `jax.jit`, decorators and methods."""
    seen: list = []
    while function is not None and not any(function is other for other in seen):
        yield function
        seen.append(function)
        function = _inner(function)


def _inner(function):
    if isinstance(function, partial):
        return function.func
    if type(function).__module__.startswith("equinox") and type(function).__name__.startswith("filter_custom_"):
        return function.fn
    return getattr(function, "__func__", None) or getattr(function, "__wrapped__", None)


def named_leaves(function, arguments: Sequence, keywords: dict) -> list[Named]:
    """Every leaf of the arguments, None included."""
    names = _parameter_names(function, len(arguments))
    found = []
    for key, argument in [*enumerate(arguments), *keywords.items()]:
        name = names[key] if isinstance(key, int) else key
        for path, leaf in leaves_with_path(argument):
            found.append(Named(name + path, key, path, leaf))
    return found


def _parameter_names(function, count: int) -> list[str]:
    if type(function).__name__.startswith("filter_custom_"):
        function = _inner(function) or function  # its own signature hides the names
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [f"argument {k}" for k in range(count)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "argument ")
    return names + [f"{rest}[{k}]" for k in range(count - len(names))]


def leaves_with_path(tree) -> list[tuple[str, Any]]:
    """(path, leaf) of every leaf, None included."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: leaf is None)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def is_inexact(value) -> bool:
    """Whether a leaf, or a tracer in its place, has floating-point or complex entries."""
    if isinstance(value, float | complex):
        return True
    return hasattr(value, "dtype") and hasattr(value, "shape") and jnp.issubdtype(value.dtype, jnp.inexact)


def is_python_scalar(value) -> bool:
    """Whether a leaf is a Python number, which many rules take as static."""
    return isinstance(value, float | complex) and not isinstance(value, np.generic)


def is_concrete(value) -> bool:
    """Whether a leaf is a number or an array with known entries."""
    return not isinstance(value, Tracer)


def what_is(value) -> str:
    """A leaf in words: "PRNG key", "int32[3]", "str 'mean'", "function"."""
    if value is None:
        return "None"
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return "PRNG key"
        shape = ", ".join(map(str, value.shape))
        return f"{value.dtype}[{shape}]" if 0 not in value.shape else f"{value.dtype}[{shape}], empty"
    if isinstance(value, bool | int | float | complex | str | bytes) and len(repr(value)) < 30:
        return f"{type(value).__name__} {value!r}"
    return "function" if callable(value) else type(value).__name__


def candidates(function, named: list[Named], count: int) -> list[Named]:
    """The leaves that can have a derivative: inexact, not empty, not declared as static by a rule of the function."""
    declared = _declared_static(function, count)
    return [n for n in named if is_inexact(n.value) and np.size(n.value) and n.argument not in declared]


def _declared_static(function, count: int) -> set:
    """Positions and names of the arguments that a `custom_vjp` or `custom_jvp` declares as not differentiated."""
    found: set = set()
    shift = 0  # arguments that partial applications and methods have given before ours
    for candidate in unwrapped(function):
        numbers = getattr(candidate, "nondiff_argnums", ()) or ()
        if numbers:
            total = count + shift
            positions = {number % total if number < 0 else number for number in numbers}
            found |= {position - shift for position in positions}
            found |= {name for k, name in enumerate(_parameter_names(candidate, total)) if k in positions}
        shift += len(candidate.args) if isinstance(candidate, partial) else 0
        shift += 1 if getattr(candidate, "__self__", None) is not None and hasattr(candidate, "__func__") else 0
    return found
