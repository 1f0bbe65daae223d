"""A fingerprint of a computation: equal for the same operations on the same constants, in any process and script.

The fingerprint is a SHA-256 hash of a jaxpr in a canonical form. Variables are numbered in the order of their use,
equations that no result depends on are left out, and inner `jit`s are opened, so that the names of functions, their
files, comments and unused code have no influence. The bytes of constants count, data included.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from bpjax.util.jaxprs import live_equations, opened
from bpjax.util.source_files import user_code

INLINED = ("jit", "pjit", "closed_call", "core_call")
"""Calls that are part of the computation around them."""
RULES = re.compile(r"jvp|vjp|fwd|bwd|transpose|thunk")
"""Parameters with derivative rules, which the computation of a value does not use."""
IGNORED = ("name", "debug_info", "debug", "ctx_mesh", "effects", "accuracy")
"""Parameters that do not change results."""


class Step(NamedTuple):
    """An equation in canonical form."""

    text: str  # with numbered variables
    shape: str  # without variables: the operation and the types of its inputs and results
    code: CodeType | None  # the innermost function outside JAX in which it was written


def fingerprint(texts) -> str:
    """SHA-256 of texts, in hexadecimal."""
    total = hashlib.sha256()
    for text in texts:
        total.update(text.encode())
        total.update(b"\n")
    return total.hexdigest()


def array_fingerprint(array) -> str:
    """SHA-256 of dtype, shape and bytes of an array of numbers or keys."""
    if is_key(array):
        return f"{array.dtype}{array_fingerprint(jax.random.key_data(array))}"
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()


def is_key(array) -> bool:
    """Whether an array holds typed keys."""
    return hasattr(array, "dtype") and jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key)


class Canonical:
    """Writes parts of a jaxpr in canonical form."""

    def __init__(self, names: dict, unnamed=()):
        """Number variables in the order of their use.

        Args:
            names: {variable: text} of inputs and constants.
            unnamed: further constants, which are numbered where they are used first.
        """
        self.names, self.unnamed = dict(names), set(unnamed)
        self.count = 0
        self.used: list = []
        """The constants of `unnamed` in the order of their first use."""

    def name_of(self, atom) -> str:
        """The text that stands for a variable or literal."""
        if isinstance(atom, core.Literal):
            return f"{type_of(atom)}={literal_text(atom.val)}"
        if atom in self.unnamed and atom not in self.names:
            self.names[atom] = f"k{len(self.used)}:{type_of(atom)}"
            self.used.append(atom)
        return self.names[atom]

    def steps(self, jaxpr, code: CodeType | None = None, wanted=None) -> Iterator[Step]:
        """The live equations of an open jaxpr, those of inlined calls among them.

        Args:
            jaxpr: whose inputs and constants have names already.
            code: the function that calls it, where it is inlined.
            wanted: some of its results; all of them by default.
        """
        for equation in live_equations(jaxpr, wanted):
            where = code or user_code(equation)
            inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
            if equation.primitive.name in INLINED and inner is not None:
                yield from self.inlined(equation, inner, where)
                continue
            params = ",".join(
                f"{key}={param_text(value)}"
                for key, value in sorted(equation.params.items())
                if key not in IGNORED and not (callable(value) and not hasattr(value, "eqns") and RULES.search(key))
            )
            inputs = " ".join(map(self.name_of, equation.invars))
            for variable in equation.outvars:
                self.names[variable] = f"v{self.count}:{type_of(variable)}"
                self.count += 1
            operation = f"{equation.primitive.name}[{params}]"
            results = " ".join(map(type_of, equation.outvars))
            types = " ".join(self.type_or_value(atom) for atom in equation.invars)
            yield Step(f"{operation} {inputs} -> {results}", f"{operation} {types} -> {results}", where)

    def type_or_value(self, atom) -> str:
        """A literal or constant with its value, a variable as its type."""
        name = self.name_of(atom)
        return type_of(atom) if name[0] == "v" else name

    def inlined(self, equation, inner, where) -> Iterator[Step]:
        """The equations of a called function, as if they stood here."""
        body = opened(inner)
        outside = {}
        for variable, value in zip(body.constvars, getattr(inner, "consts", ()), strict=True):
            outside[variable] = f"c{array_fingerprint(value)}"
        for variable, atom in zip(body.invars, equation.invars, strict=True):
            outside[variable] = self.name_of(atom)
        shadowed, self.names = self.names, {**self.names, **outside}
        yield from self.steps(body, where)
        results = [self.name_of(atom) for atom in body.outvars]
        constants = {atom: self.names[atom] for atom in self.used}
        self.names = shadowed | constants | dict(zip(equation.outvars, results, strict=True))


def type_of(atom) -> str:
    """Shape and dtype of a variable or literal."""
    return type_text(getattr(atom.aval, "dtype", atom.aval), tuple(getattr(atom.aval, "shape", ())))


@functools.lru_cache(maxsize=1024)
def type_text(dtype, shape: tuple) -> str:
    """Shape and dtype as text; NumPy takes microseconds for the name of a dtype."""
    return f"{dtype}{list(shape)}"


def literal_text(value) -> str:
    """The exact value of a literal."""
    if is_key(value):
        return array_fingerprint(value)
    return np.asarray(value).tobytes().hex()


def param_text(value) -> str:
    """A parameter of a primitive as text that is the same in every process."""
    if hasattr(value, "eqns"):
        return jaxpr_fingerprint(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{param_text(part)}" for key, part in sorted(value.items(), key=str)) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ",".join(sorted(map(param_text, value))) + "}"
    if isinstance(value, tuple | list):
        return "(" + ",".join(map(param_text, value)) + ")"
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return array_fingerprint(value)
    if isinstance(value, FunctionType):
        return function_text(value)
    inner = getattr(value, "callback_func", None) or getattr(value, "__wrapped__", None)
    if isinstance(inner, FunctionType):
        return function_text(inner)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def jaxpr_fingerprint(closed) -> str:
    """The fingerprint of a jaxpr, the types of its inputs and the bytes of its constants included."""
    body = opened(closed)
    names: dict[Any, str] = {variable: f"i{k}:{type_of(variable)}" for k, variable in enumerate(body.invars)}
    names |= {variable: f"k{k}:{type_of(variable)}" for k, variable in enumerate(body.constvars)}
    for variable, value in zip(body.constvars, getattr(closed, "consts", ()), strict=False):
        names[variable] = f"c{array_fingerprint(value)}"
    writer = Canonical(names)
    texts = [step.text for step in writer.steps(body)]
    return fingerprint([*names.values(), *texts, *map(writer.name_of, body.outvars)])


def function_text(function: Callable) -> str:
    """The fingerprint of a Python function that a program calls back: its code, and what it closes over."""
    code = function.__code__
    parts = [code.co_code.hex(), repr(code.co_names)]
    parts += [param_text(constant) for constant in code.co_consts if not isinstance(constant, CodeType)]
    parts += [cell_text(cell) for cell in function.__closure__ or ()]
    return fingerprint(parts)


def cell_text(cell) -> str:
    """What a closure cell holds."""
    try:
        return param_text(cell.cell_contents)
    except ValueError:  # not filled yet
        return "empty"
