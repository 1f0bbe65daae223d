"""Compile by what is computed: new function objects share one program when they compute the same.

JAX caches a program by the function object. A new network object has new functions, so `jax.jit` would compile it
again, and a `jax.jit` with the function as a static argument would keep each of these programs.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.stages import Compiled

from bpjax.util.checks import is_concrete
from bpjax.util.fingerprint import jaxpr_fingerprint
from bpjax.util.jax_settings import jax_settings
from bpjax.util.jaxprs import opened, subjaxprs

MOST = 256
"""Programs that are kept; the least recently used goes first. Each takes up to a few MiB."""


class SharedJit:
    """A function, compiled as by `jax.jit`; called with tracers it becomes part of the computation around it.

    The arrays that the function closes over belong to what is computed: others have a program of their own.
    """

    def __init__(self, function: Callable, compiler_options: dict | None = None):
        self.function, self.options = function, compiler_options
        self.programs: dict = {}  # by the shapes of the arguments

    def __call__(self, *arguments):
        """The function's result."""
        leaves, structure = jax.tree.flatten(arguments)
        if not all(map(is_concrete, leaves)):
            return self.function(*arguments)
        return self._program(arguments, leaves, structure).jitted(*arguments)

    def compiled(self, *arguments) -> Compiled:
        """The program for arguments like these."""
        return self._program(arguments, *jax.tree.flatten(arguments)).compiled(arguments)

    def _program(self, arguments, leaves, structure) -> "Program":
        kind = structure, tuple(map(jax.typeof, leaves)), jax_settings()
        if kind not in self.programs:
            program = Program(jax.jit(self.function, compiler_options=self.options), arguments, kind, self.options)
            self.programs[kind] = _shared(program)
        return self.programs[kind]


class Program:
    """A jitted function for arguments of some shapes; two that compute the same are equal."""

    def __init__(self, jitted, arguments, kind: Any, options: dict | None):
        """Trace it: `jitted` traces once, and computes from this trace when it is called."""
        self.jitted = jitted
        traced = jitted.trace(*arguments)
        outputs = jax.tree.structure(traced.out_info)
        self.executables: dict = {}  # by the device
        computed = object() if calls_host(traced.jaxpr) else jaxpr_fingerprint(traced.jaxpr)
        self.identity = computed, outputs, kind, repr(options)

    def compiled(self, arguments) -> Compiled:
        """The program on the default device."""
        config: Any = jax.config
        device = config.jax_default_device
        if device not in self.executables:
            self.executables[device] = self.jitted.lower(*arguments).compile()
        return self.executables[device]

    def __eq__(self, other):
        return isinstance(other, Program) and self.identity == other.identity

    def __hash__(self):
        return hash(self.identity)


@functools.lru_cache(maxsize=MOST)
def _shared(program: Program) -> Program:
    """The first of equal programs that is still kept."""
    return program


@functools.lru_cache(maxsize=MOST)
def shared_program(
    make: Callable, functions: tuple[Callable, ...], options: tuple[tuple[str, Any], ...] = ()
) -> SharedJit:
    """`make` with its first arguments filled by `functions`, compiled; looked up by these functions.

    Args:
        make: (*functions, *arrays) -> arrays.
        functions: of a layer, for instance.
        options: items of `compiler_options`.
    """
    return SharedJit(functools.partial(make, *functions), dict(options) or None)


def calls_host(jaxpr) -> bool:
    """Whether a jaxpr calls Python functions: what these do is not seen in it, so that it is not shared."""
    return any(
        "callback" in equation.primitive.name or equation.effects or any(map(calls_host, subjaxprs(equation)))
        for equation in opened(jaxpr).eqns
    )
