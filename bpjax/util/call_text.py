"""The text of a call, for `repr`: `32, use_bias=False`."""

from collections.abc import Callable
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def call_text(*args, **options) -> str:
    """The arguments of a call as one would type them; an option is a pair (value, default), shown where they differ.

    call_text(32, use_bias=(False, True), scale=(1.0, 1.0)) is "32, use_bias=False".
    """
    shown = [f"{name}={value_text(value)}" for name, (value, default) in options.items() if _differ(value, default)]
    return ", ".join([*map(value_text, args), *shown])


def value_text(value) -> str:
    """A short text: scalars as numbers, arrays as `float32[3]`, functions by name, everything else by its `repr`."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if value.ndim == 0 and not isinstance(value, Tracer) and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return f"{value.item():g}" if np.issubdtype(value.dtype, np.floating) else str(value)
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if is_function(value):
        name = getattr(value, "__name__", "<lambda>")
        return "…" if name in ("<lambda>", "init", "initializer") else name
    return repr(value)


def is_function(value) -> TypeGuard[Callable[..., Any]]:
    """Whether a value is to be called. A `Layer` is not: its `__call__` only says what to write instead."""
    return callable(value) and not getattr(value, "refuses_calls", False)


def shown(value) -> str:
    """`value_text` on one line of at most 60 characters, for the "got …" of an error message."""
    if isinstance(value, Tracer):
        return f"a traced {value.dtype}{list(value.shape)}" if hasattr(value, "dtype") else "a traced value"
    if is_function(value):
        return getattr(value, "__name__", type(value).__name__)
    text = " ".join(value_text(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _differ(value, default) -> bool:
    if isinstance(value, jax.Array | np.ndarray):
        return True
    return value is not default and value != default
