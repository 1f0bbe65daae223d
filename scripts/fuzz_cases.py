"""A cheap valid call of every public callable: what `scripts/fuzz_inputs.py` changes one argument at a time."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fuzz_learning import LEARNING
from fuzz_networks import NETWORKS
from fuzz_parameters import BY_PARAMETER, OMIT

import bpjax as bp

ROOMS = tuple(sorted(module.name for module in pkgutil.iter_modules(bp.__path__) if module.ispkg))
"""Where public names live: what each room lists in `__all__`."""


class Call(NamedTuple):
    """A call that works: a callable, by name, with the arguments to change."""

    name: str
    """As a user finds it: "layers.dense", "layers.dense(…).forward"."""
    function: Callable
    arguments: dict[str, Any]
    """Parameter to value; a parameter named *0, *1, … is positional."""

    def __call__(self, **changes):
        """Call with some arguments changed."""
        arguments = self.arguments | changes
        positional = [value for name, value in arguments.items() if name.startswith("*")]
        first = [p.name for p in positional_before_star(self.function)] if positional else []
        named = {name: value for name, value in arguments.items() if name not in first and not name.startswith("*")}
        return self.function(*[arguments[name] for name in first], *positional, **named)


def positional_before_star(function) -> list[inspect.Parameter]:
    """The parameters in front of `*args`."""
    return [p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


BY_CALLABLE = NETWORKS | LEARNING
"""What a callable takes in place of, or beside, the values by parameter name."""


def public(room: str) -> dict[str, Any]:
    """The public names of a room, "layers.dense", with what they stand for."""
    module = importlib.import_module(f"bpjax.{room}")
    return {f"{room}.{name}": getattr(module, name) for name in getattr(module, "__all__", [])}


def is_record(thing) -> bool:
    """Whether it is a class: records hold what they are given; the functions that take them check it."""
    return inspect.isclass(thing)


def missing(room: str) -> list[str]:
    """The required parameters of a room's callables that have no valid value here, "layers.dense(features)"."""
    without = []
    for name, function in public(room).items():
        if not callable(function) or is_record(function) or hasattr(function, "_fields"):
            continue
        known = BY_PARAMETER | BY_CALLABLE.get(name, {})
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is parameter.empty and parameter.kind not in (2, 4) and parameter.name not in known:
                without.append(f"{name}({parameter.name})")
    return without


def valid_call(name: str, function) -> Call:
    """The valid call of a callable; a `LookupError` names the parameter that has no value yet."""
    special = BY_CALLABLE.get(name, {})
    arguments = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name.startswith("_"):  # for other modules, not for users
            continue
        make = special.get(parameter.name, BY_PARAMETER.get(parameter.name))
        if parameter.name not in special and parameter.default is None:
            make = None  # an optional argument of which each callable has its own idea
        if make is not None and (value := make()) is not OMIT:
            arguments[parameter.name] = value
        elif parameter.default is not parameter.empty:
            if make is None:
                arguments[parameter.name] = parameter.default
        else:
            raise LookupError(f"`{name}` has no valid value for `{parameter.name}`: add one to scripts/fuzz_cases.py")
    extra = {parameter: make() for parameter, make in special.items() if parameter not in arguments}
    return Call(name, function, arguments | {k: v for k, v in extra.items() if v is not OMIT})


def calls(room: str) -> Iterator[Call]:
    """The valid calls of a room: its functions, and what they make."""
    for name, function in public(room).items():
        if callable(function) and not is_record(function) and not hasattr(function, "_fields"):
            yield valid_call(name, function)
