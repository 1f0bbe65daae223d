"""Which functions of a user's module are checked, with which gradient and at which arguments.

By convention the module defines `function` (or a custom rule of any name), `arguments` and, unless the function has a
rule, `gradient`. Several functions are told apart by name: `NAME_arguments`, `NAME_gradient`, `NAME_argnums`, or
`arguments = {"NAME": (...)}`.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from bpjax.gradcheck.arguments import unwrapped
from bpjax.gradcheck.user_file import FileError
from bpjax.util.call_text import is_function


class Target(NamedTuple):
    """A function of a module, to be checked at one set of arguments."""

    name: str
    function: Callable
    gradient: Callable | None
    argnums: Any
    arguments: tuple
    keywords: dict


class Targets(NamedTuple):
    """What a module has to check."""

    checked: tuple[Target, ...]
    unchecked: tuple[tuple[str, str], ...]  # (name, reason) of custom rules that cannot be checked


def targets_of(module: ModuleType, name: str | None = None) -> Targets:
    """The functions to check: one by name, else `function`, else every custom rule of the module.

    Raises:
        FileError: there is none, or it has no example arguments.
    """
    names = vars(module)
    if name is not None:
        return Targets(tuple(_targets(module, name, _resolved(module, name))), ())
    chosen = {}
    if "function" in names:
        if not is_function(names["function"]):
            kind = type(names["function"]).__name__
            raise FileError(f"`function` in {module.__file__} must be a function, got {kind}.")
        chosen["function"] = names["function"]
    rules = {} if chosen else _custom_rules(module)
    explicit = {n: f for n, f in names.items() if is_function(f) and _has_own_arguments(names, n) and n != "function"}
    chosen |= {n: f for n, f in (rules | explicit).items() if not any(f is other for other in chosen.values())}
    if not chosen:
        raise FileError(_nothing_found(module))
    checked, unchecked = [], []
    for n, function in chosen.items():
        alone = len(chosen) == 1
        if n == "function" or alone or _has_own_arguments(names, n):
            checked += _targets(module, n, function)
        else:
            unchecked.append((n, f"no example arguments: define `{_variable(n)}_arguments`"))
    if not checked:
        listed = ", ".join(f"`{n}`" for n, _ in unchecked)
        raise FileError(
            f"{module.__file__} has the custom rules {listed}, and example arguments for none of them. Define "
            f"`{_variable(unchecked[0][0])}_arguments = (...)`, and so on."
        )
    return Targets(tuple(checked), tuple(unchecked))


def _nothing_found(module) -> str:
    there = _callables(module)
    listed = f" It defines {', '.join(f'`{n}`' for n in there[:12])}." if there else ""
    return (
        f"{module.__file__} must define `function`, any JAX function, `arguments`, a tuple to call it with, and "
        f"`gradient(*arguments)` unless the function has a custom rule.{listed}"
        + (" Name one of these with FILE::NAME." if there else "")
    )


# --- Finding functions -----------------------------------------------------------------------------------------------


def is_custom_rule(value) -> bool:
    """Whether a callable is a `custom_jvp` or `custom_vjp` of JAX or Equinox, perhaps under `jit` or `partial`."""
    kinds = ("custom_jvp", "custom_vjp", "filter_custom_jvp", "filter_custom_vjp")
    return is_function(value) and any(type(f).__name__ in kinds for f in unwrapped(value))


def _custom_rules(module) -> dict[str, Callable]:
    """The custom rules that a module and its classes define, by name; imported ones belong to another module."""
    found: dict[str, Callable] = {}
    for name, value in _members(module):
        own = getattr(value, "__module__", module.__name__) == module.__name__
        if is_custom_rule(value) and own and not any(value is other for other in found.values()):
            found[name] = value
    return found


def _members(module) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for attribute in vars(value):
                yield f"{name}.{attribute}", getattr(value, attribute, None)
        else:
            yield name, value


def _callables(module) -> list[str]:
    """Functions that a module defines itself."""
    own = [n for n, f in _members(module) if is_function(f) and getattr(f, "__module__", None) == module.__name__]
    return [n for n in own if not n.rpartition(".")[2].startswith("_")]


def _resolved(module, name: str) -> Callable:
    """A function of the module, or of a class or object in it."""
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            there = ", ".join(f"`{n}`" for n in _callables(module)[:20]) or "no functions"
            raise FileError(f"{module.__file__} has no `{name}`. It defines {there}.")
        found = getattr(found, part)
    if not is_function(found):
        raise FileError(f"`{name}` in {module.__file__} must be a function, got {type(found).__name__}.")
    return found


# --- Gradients and arguments -----------------------------------------------------------------------------------------


def _variable(name: str) -> str:
    return name.replace(".", "_")


def _has_own_arguments(names, name: str) -> bool:
    return f"{_variable(name)}_arguments" in names or name in _by_name(names)


def _by_name(names) -> dict:
    """`arguments` if it is a dict from names of functions of the module."""
    given = names.get("arguments")
    if not isinstance(given, dict) or not given:
        return {}
    known = all(isinstance(key, str) and is_function(names.get(key.split(".")[0])) for key in given)
    return given if known else {}


def _targets(module, name: str, function: Callable) -> Iterator[Target]:
    """A function at each set of its example arguments."""
    names = vars(module)
    variable = _variable(name)
    is_main = name == "function" or "function" not in names
    gradient = names.get(f"{variable}_gradient", names.get("gradient") if is_main else None)
    argnums = names.get(f"{variable}_argnums", names.get("argnums") if is_main else None)
    if gradient is not None and not is_function(gradient):
        raise FileError(f"The gradient of `{name}` in {module.__file__} must be a function, got {gradient!r:.60}.")
    given = names.get(f"{variable}_arguments", _by_name(names).get(name, names.get("arguments")))
    if given is None:
        raise FileError(
            f"{module.__file__} defines no example arguments of `{name}`: expected `arguments = (...)` or "
            f"`{variable}_arguments = (...)`, a tuple to call it with."
        )
    more = names.get(f"{variable}_keywords", names.get("keywords", {}))
    sets = list(_sets(given, function, name))
    if not sets:
        raise FileError(f"The example arguments of `{name}` in {module.__file__} are empty.")
    for k, (arguments, keywords) in enumerate(sets):
        label = name if len(sets) == 1 else f"{name}, arguments {k + 1} of {len(sets)}"
        yield Target(label, function, gradient, argnums, arguments, keywords | (more if isinstance(more, dict) else {}))


def _sets(given, function, name: str) -> Iterable[tuple[tuple, dict]]:
    """Each set of arguments as positional and keyword arguments.

    `arguments` may be a tuple or list of arguments, one argument, a dict of keyword arguments, several of these in a
    list, or a function or generator that returns them.
    """
    if inspect.isroutine(given) or isinstance(given, partial):
        given = given()
    if isinstance(given, Iterator):
        given = list(given)
    if isinstance(given, tuple | list) and given and _are_sets(given, function):
        return [_one_set(each, function) for each in given]
    arguments, keywords = _one_set(given, function)
    if not _binds(function, arguments, keywords):
        count = f"{len(arguments)} example argument{'s' * (len(arguments) != 1)}"
        raise FileError(f"`{name}{_signature(function)}` cannot be called with {count}.")
    return [(arguments, keywords)]


def _are_sets(given, function) -> bool:
    if not all(isinstance(each, tuple | list | dict) for each in given):
        return False
    if not all(_fits(each, function) for each in given):
        return False
    is_list_of_tuples = isinstance(given, list) and all(isinstance(each, tuple) for each in given)
    return is_list_of_tuples or not _binds(function, given)


def _fits(one, function) -> bool:
    return _binds(function, (), one) if isinstance(one, dict) else _binds(function, one)


def _one_set(given, function) -> tuple[tuple, dict]:
    if isinstance(given, tuple | list):
        return tuple(given), {}
    if isinstance(given, dict) and _binds(function, (), given):
        return (), given
    return (given,), {}


def _binds(function, arguments: Iterable, keywords: Any = None) -> bool:
    """Whether a function can be called so."""
    try:
        inspect.signature(function).bind(*arguments, **(keywords or {}))
    except TypeError:
        return False
    except ValueError:  # no signature
        return True
    return True


def _signature(function) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "(...)"
