"""Call a function that the user wrote; whatever is wrong with it is reported with its name, file and line."""

import functools
import traceback
from collections.abc import Callable
from pathlib import Path

import jax

TRACING = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
"""JAX's errors for Python code that needs a value where there are only shapes and dtypes."""

HINT = "It is compiled: compute with `jax.numpy`, and write `jnp.where` in place of Python's `if`."


def call_user(who: str, role: str, function: Callable, *arguments):
    """The result of `function(*arguments)`.

    Args:
        who: the bpjax function that was given the user's function, for messages.
        role: what the user's function is to it: "outcome", "watch 'accuracy'".
        function: of the user.
        *arguments: for it.

    Raises:
        ValueError: the function raised an exception, which is the cause and keeps its traceback.
    """
    try:
        return function(*arguments)
    except Exception as error:
        line = failing_line(function, error)
        message = next(iter(str(error).splitlines()), "") or "no message"
        hint = f" {HINT}" if isinstance(error, TRACING) else ""
        raise ValueError(
            f"`{who}` called the {role} function {place(function)}, which raised {type(error).__name__}"
            f"{f' in line {line}' if line else ''}: {message.rstrip('.')}.{hint}"
        ) from error


def hashable(function: Callable) -> Callable:
    """The function, or one that calls it if it cannot be the key of a cache, as an object that holds arrays."""
    try:
        hash(function)
        return function
    except TypeError:
        return functools.wraps(function, updated=())(lambda *arguments: function(*arguments))


def place(function: Callable) -> str:
    """Name, file and line of a function: "`accuracy_of` (study.py, line 12)"."""
    function = unwrapped(function)
    code = code_of(function)
    name = getattr(function, "__qualname__", type(function).__qualname__).rpartition("<locals>.")[2]
    return f"`{name}`" + (f" ({Path(code.co_filename).name}, line {code.co_firstlineno})" if code else "")


def unwrapped(function: Callable) -> Callable:
    """The function inside partial applications and wrappers such as `jax.jit`."""
    while True:
        inner = function.func if isinstance(function, functools.partial) else getattr(function, "__wrapped__", None)
        if inner is None:
            return function
        function = inner


def code_of(function: Callable):
    """The code object of a function, method or callable object; None for one that is not written in Python."""
    function = getattr(function, "__func__", function)
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)


def failing_line(function: Callable, error: BaseException) -> int | None:
    """The line of `function` from which the exception came, or None where it never reached its lines."""
    code = code_of(unwrapped(function))
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code is code]
    return lines[-1] if lines else None
