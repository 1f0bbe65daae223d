"""What can be read off a jaxpr without evaluating it: live equations, sizes, and how often a variable is read."""

import math
from collections import Counter

import jax
from jax.extend import core

CALL_JAXPR = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Primitives that call a function, and the name of the parameter that holds the function's jaxpr."""

VIEWS = {"broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "rev", "copy", "convert_element_type"}
"""Primitives whose result has the same entries in another shape or dtype."""


def live_equations(jaxpr) -> list:
    """The equations that the results depend on, in order."""
    used, live = set(map(id, jaxpr.outvars)), []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or any(id(variable) in used for variable in equation.outvars):
            used.update(map(id, equation.invars))
            live.append(equation)
    return live[::-1]


def count_reads(equations: list, outvars) -> Counter:
    """How often an entry of each variable is read.

    A variable that is repeated along an axis is read once per repetition. A change of shape is not a reader; the
    readers of its result are.
    """
    reads = Counter(atom for atom in outvars if isinstance(atom, core.Var))
    for equation in reversed(equations):
        most = max(num_entries(variable) for variable in equation.outvars)
        if equation.primitive.name == "dot_general":
            most *= math.prod(
                equation.invars[0].aval.shape[axis] for axis in equation.params["dimension_numbers"][0][0]
            )
        through = reads[equation.outvars[0]] if equation.primitive.name in VIEWS else 1
        for atom in equation.invars:
            if isinstance(atom, core.Var):
                reads[atom] += through * max(1, most // max(1, num_entries(atom)))
    return reads


def num_entries(atom) -> int:
    """Entries of a variable or literal in one run."""
    return math.prod(getattr(atom.aval, "shape", ()))


def subjaxprs(equation) -> list:
    """The jaxprs among the parameters of an equation."""
    kinds = (core.ClosedJaxpr, core.Jaxpr)
    return [p for p in jax.tree.leaves(equation.params, is_leaf=lambda p: isinstance(p, kinds)) if isinstance(p, kinds)]


def largest_array(closed) -> int:
    """Entries of the largest array that a closed jaxpr computes, its inner functions included."""
    sizes = [1]
    for equation in closed.jaxpr.eqns:
        sizes += [num_entries(variable) for variable in equation.outvars]
        sizes += [largest_array(inner) for inner in subjaxprs(equation) if isinstance(inner, core.ClosedJaxpr)]
    return max(sizes)


def bind_primitive(equation, arrays) -> list:
    """The primitive of an equation, applied to arrays."""
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    results = equation.primitive.bind(*functions, *arrays, **params)
    return list(results) if equation.primitive.multiple_results else [results]
