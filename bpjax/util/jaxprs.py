"""What every walk over a jaxpr needs: calls, live equations, functions within functions, and evaluation."""

import math

import jax
import jax.numpy as jnp
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


ELEMENTWISE = (
    "abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz"
    " convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt igamma"
    " igammac integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not or"
    " population_count pow real imag reduce_precision rem round rsqrt select_n shift_left shift_right_arithmetic"
    " shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor"
).split()
"""Primitives that are applied to each entry of their inputs."""


def live_equations(jaxpr, wanted=None) -> list:
    """The equations that the results depend on, in order; `wanted`: some of the results."""
    used, live = set(map(id, jaxpr.outvars if wanted is None else wanted)), []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or any(id(variable) in used for variable in equation.outvars):
            used.update(map(id, equation.invars))
            live.append(equation)
    return live[::-1]


def num_entries(atom) -> int:
    """Entries of a variable or literal in one run."""
    return math.prod(getattr(atom.aval, "shape", ()))


def subjaxprs(equation) -> list:
    """The jaxprs, open or closed, among the parameters of an equation.

    JAX 0.10 has one class for open and one for closed jaxprs, JAX 0.12 one for both.
    """
    leaves = jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns"))
    return [p for p in leaves if hasattr(p, "eqns")]


def opened(jaxpr):
    """The open jaxpr of an open or closed one."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def largest_array(jaxpr) -> int:
    """Entries of the largest array that an open or closed jaxpr computes, its inner functions included."""
    sizes = [1]
    for equation in opened(jaxpr).eqns:
        sizes += [num_entries(variable) for variable in equation.outvars]
        sizes += [largest_array(inner) for inner in subjaxprs(equation)]
    return max(sizes)


def scan_counts(equation) -> tuple[int, int]:
    """How many inputs of a scan are constants and how many are carried: scanned inputs have one more axis outside.

    JAX 0.10 has these counts among the parameters, 0.11 under other names; the shapes are the same in both.
    """
    inner = equation.params["jaxpr"].jaxpr
    scanned = sum(a.aval.ndim > b.aval.ndim for a, b in zip(equation.invars, inner.invars, strict=True))
    stacked = sum(a.aval.ndim > b.aval.ndim for a, b in zip(equation.outvars, inner.outvars, strict=True))
    carried = len(equation.outvars) - stacked
    return len(equation.invars) - scanned - carried, carried


def bind_primitive(equation, arrays) -> list:
    """The primitive of an equation, applied to arrays."""
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    results = equation.primitive.bind(*functions, *arrays, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def shapes_of(variables) -> list[jax.ShapeDtypeStruct]:
    """Shape and dtype of each variable of a jaxpr."""
    return [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in variables]


def evaluate_jaxpr(jaxpr, consts, arguments) -> list:
    """The results of an open jaxpr."""
    environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def value_of(atom):
        return atom.val if isinstance(atom, core.Literal) else environment[atom]

    for equation in jaxpr.eqns:
        results = bind_primitive(equation, [value_of(atom) for atom in equation.invars])
        environment.update(zip(equation.outvars, results, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]


def one_condition(condition, body):
    """A `while_loop` under `vmap`, which has one condition for each example, as one that has a single condition.

    The loop goes on while any example does; examples that have ended keep their carry.

    Args:
        condition: carry -> booleans, of the leading axes of the carry.
        body: carry -> carry, lists of arrays.
    """

    def any_condition(carry):
        return jnp.any(condition(carry))

    def masked_body(carry):
        going = condition(carry)

        def keep(new, old):
            mask = jnp.reshape(going, going.shape + (1,) * (jnp.ndim(new) - going.ndim))
            return jnp.where(mask, new, old)

        return [keep(new, old) for new, old in zip(body(carry), carry, strict=True)]

    return any_condition, masked_body
