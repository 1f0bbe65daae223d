"""Compile code under test so that nothing of it stays in JAX's caches.

Without `jit` JAX compiles every loop and branch alone, and keeps the program as long as the process lives: for code
that creates its functions at each call this is a leak.
"""

from collections.abc import Callable

import jax

from bpjax.gradcheck.arguments import is_concrete
from bpjax.util.jaxprs import opened, subjaxprs

LOOPS = frozenset(["scan", "while", "cond"])


def has_loops(function: Callable, *arguments) -> bool:
    """Whether JAX can trace a function, and finds loops or branches in it."""
    try:
        return _has_loops(jax.make_jaxpr(function)(*arguments))
    except Exception:  # noqa: BLE001  (host code, or a rule that raises)
        return False


def _has_loops(jaxpr) -> bool:
    return any(
        equation.primitive.name in LOOPS or any(map(_has_loops, subjaxprs(equation))) for equation in opened(jaxpr).eqns
    )


def compiled_once(function: Callable) -> Callable:
    """The function as one program for each set of shapes, which lives as long as the result of this call."""
    programs: dict = {}

    def call(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        if not all(map(is_concrete, leaves)):
            return function(*arguments)
        key = structure, tuple((leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)) for leaf in leaves)
        if key not in programs:
            programs[key] = jax.jit(function).lower(*arguments).compile()
        return programs[key](*arguments)

    return call
