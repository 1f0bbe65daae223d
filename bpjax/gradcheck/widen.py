"""Evaluate a function in float64 without tracing it again: the same program, only its roundings are gone.

A function that is traced again with float64 arguments may be another function: random numbers are drawn in another
dtype, `jnp.finfo(x.dtype)` is another number, a cast to float32 stays. Here the jaxpr that was traced in the dtype
under test is evaluated with every floating-point value in float64. Integers, keys and random bits stay as they are, so
that dropout draws the same mask.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend import core

from bpjax.tape.control_flow import belongs_to_jax
from bpjax.util.jaxprs import (
    CALL_JAXPR,
    bind_primitive,
    live_equations,
    one_condition,
    opened,
    scan_counts,
    shapes_of,
    subjaxprs,
)

AS_TRACED = frozenset(
    "bitcast_convert_type nextafter pure_callback io_callback pallas_call ffi_call shard_map pmap xla_pmap "
    "rng_uniform rng_bit_generator random_gamma".split()
)
"""Primitives evaluated in the dtype they were traced in, because they are defined by it or have no float64 form."""

IDENTITY = frozenset(["reduce_precision", "copy", "optimization_barrier"])
"""Primitives that only round, or do nothing."""

NARROW = frozenset(["pure_callback", "io_callback", "pallas_call", "ffi_call", "random_gamma"])
"""Primitives whose results have only the precision they were traced in."""


class Opened(NamedTuple):
    """What `Widened` met on its way."""

    custom_rules: list[str]  # functions whose custom derivative was taken off
    jax_rules: list[str]  # functions of JAX whose custom derivative was kept
    narrow: list[str]  # primitives that could not be evaluated in float64


class Widened:
    """A closed jaxpr as a function of float64 arrays. Call it inside `jax.enable_x64(True)`.

    Custom derivatives (`custom_jvp`, `custom_vjp`) are taken off at every depth: the function is what their primal
    computes. Those of JAX itself are kept, unless `open_jax`.
    """

    def __init__(self, closed, open_jax: bool = False, more_iterations: int = 0):
        """A function traced in the dtype under test.

        Args:
            closed: its jaxpr.
            open_jax: take off the rules of JAX too.
            more_iterations: of each loop that ends when a floating-point number is small enough.
        """
        self.closed, self.open_jax, self.more_iterations = closed, open_jax, more_iterations
        self.found = Opened([], [], [])
        self.iterations: list[int] = []  # of each `while_loop`, where it is run on concrete values

    def __call__(self, *arrays) -> list:
        """The results in float64."""
        return self.evaluate(self.closed, list(arrays))

    def evaluate(self, jaxpr, arguments: list, consts=None) -> list:
        """The results of an open or closed jaxpr for arguments whose floats are float64."""
        consts = [widened(c) for c in (getattr(jaxpr, "consts", ()) if consts is None else consts)]
        jaxpr = opened(jaxpr)
        environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))
        for equation in live_equations(jaxpr):
            if not equation.outvars:
                continue  # a debugging print, for instance
            inputs = [widened(a.val) if isinstance(a, core.Literal) else environment[a] for a in equation.invars]
            environment.update(zip(equation.outvars, self._equation(equation, inputs), strict=True))
        return [widened(a.val) if isinstance(a, core.Literal) else environment[a] for a in jaxpr.outvars]

    def _equation(self, equation, inputs: list) -> list:
        name = equation.primitive.name
        if name in ("custom_jvp_call", "custom_vjp_call"):
            return self._custom_rule(equation, inputs)
        if name in CALL_JAXPR:
            return self.evaluate(equation.params[CALL_JAXPR[name]], inputs)
        if name in STRUCTURES:
            return STRUCTURES[name](self, equation, inputs)
        if name in IDENTITY:
            return list(inputs)
        if name in AS_TRACED or any(True for _ in subjaxprs(equation)):
            return self._as_traced(equation, inputs)
        try:
            with_float64 = equation.replace(params={k: _wide_dtype(v) for k, v in equation.params.items()})
            return [widened(result) for result in bind_primitive(with_float64, inputs)]
        except (TypeError, ValueError, NotImplementedError):  # a primitive that is tied to its dtype
            return self._as_traced(equation, inputs)

    def _as_traced(self, equation, inputs: list) -> list:
        if equation.primitive.name not in AS_TRACED or equation.primitive.name in NARROW:
            self.found.narrow.append(equation.primitive.name)
        narrow = [
            lax.convert_element_type(x, a.aval.dtype) if is_inexact(x) else x
            for a, x in zip(equation.invars, inputs, strict=True)
        ]
        return [widened(result) for result in bind_primitive(equation, narrow)]

    def _custom_rule(self, equation, inputs: list) -> list:
        jaxpr = equation.params["call_jaxpr"]
        if self.open_jax or not belongs_to_jax(jaxpr):
            self.found.custom_rules.append(_function_name(jaxpr))
            return self.evaluate(jaxpr, inputs)
        self.found.jax_rules.append(_function_name(jaxpr))
        return self._rule_of_jax(equation, inputs)

    def _rule_of_jax(self, equation, inputs: list) -> list:
        """A function of JAX with the derivative that JAX gives it, as a `custom_jvp` in float64."""
        floats = [k for k, x in enumerate(inputs) if is_inexact(x)]
        shapes = shapes_of(equation.invars)

        def narrow(*arrays):
            return bind_primitive(equation, list(arrays))

        def with_tangents(arrays, tangents):
            def of_floats(*chosen):
                full = list(arrays)
                for k, x in zip(floats, chosen, strict=True):
                    full[k] = x
                return narrow(*full)

            return jax.jvp(of_floats, [arrays[k] for k in floats], list(tangents))

        @jax.custom_jvp
        def function(*arrays):
            return self.evaluate(equation.params["call_jaxpr"], list(arrays))

        @function.defjvp
        def jvp(arrays, tangents):
            traced = jax.make_jaxpr(with_tangents)(shapes, [shapes[k] for k in floats])
            moved = [jnp.zeros_like(arrays[k]) if _is_float0(tangents[k]) else tangents[k] for k in floats]
            results = Widened(traced).evaluate(traced, [*arrays, *moved])
            half = len(results) // 2
            return results[:half], [
                np.zeros(t.shape, jax.dtypes.float0) if _is_float0(t) else t for t in results[half:]
            ]

        return list(function(*inputs))


def widened(array):
    """A floating-point or complex array in float64 or complex128; anything else as it is."""
    if not is_inexact(array):
        return array
    wide = jnp.complex128 if jnp.issubdtype(array.dtype, jnp.complexfloating) else jnp.float64
    return lax.convert_element_type(array, wide)


def is_inexact(array) -> bool:
    """Whether an array is of floating-point or complex numbers."""
    return hasattr(array, "dtype") and jnp.issubdtype(array.dtype, jnp.inexact) or isinstance(array, float | complex)


def _is_float0(array) -> bool:
    return getattr(array, "dtype", None) == jax.dtypes.float0


def _wide_dtype(parameter):
    """A dtype among the parameters of an equation, widened."""
    if isinstance(parameter, np.dtype) or isinstance(parameter, type) and issubclass(parameter, np.generic):
        if jnp.issubdtype(parameter, jnp.complexfloating):
            return np.dtype("complex128")
        if jnp.issubdtype(parameter, jnp.floating):
            return np.dtype("float64")
    return parameter


def _function_name(jaxpr) -> str:
    info = getattr(opened(jaxpr).debug_info, "func_src_info", None) or "function"
    return info.split(" at ")[0]


# --- Loops and branches ----------------------------------------------------------------------------------------------


def _scan(widen: Widened, equation, inputs: list) -> list:
    n_consts, n_carry = scan_counts(equation)
    p = equation.params
    consts, carry, xs = inputs[:n_consts], inputs[n_consts : n_consts + n_carry], inputs[n_consts + n_carry :]

    def step(carry, x):
        results = widen.evaluate(p["jaxpr"], [*consts, *carry, *x])
        return results[:n_carry], results[n_carry:]

    last, ys = lax.scan(step, carry, xs, length=p["length"], reverse=p["reverse"], unroll=p["unroll"])
    return [*last, *ys]


def _while(widen: Widened, equation, inputs: list) -> list:
    p = equation.params
    n_cond, n_body = p["cond_nconsts"], p["body_nconsts"]
    cond_consts, body_consts = inputs[:n_cond], inputs[n_cond : n_cond + n_body]

    def condition(carry):
        return widen.evaluate(p["cond_jaxpr"], [*cond_consts, *carry])[0]

    def body(carry):
        return widen.evaluate(p["body_jaxpr"], [*body_consts, *carry])

    if opened(p["cond_jaxpr"]).outvars[0].aval.shape:
        condition, body = one_condition(condition, body)
    carry = inputs[n_cond + n_body :]
    if widen.more_iterations and ends_on_a_float(equation):
        last = lax.while_loop(condition, body, carry)
        return lax.fori_loop(0, widen.more_iterations, lambda _, carry: body(carry), last)
    if any(isinstance(x, Tracer) for x in inputs):
        return lax.while_loop(condition, body, carry)
    count, last = lax.while_loop(lambda s: condition(s[1]), lambda s: (s[0] + 1, body(s[1])), (0, carry))
    widen.iterations.append(int(count))
    return last


def ends_on_a_float(equation) -> bool:
    """Whether the condition of a `while` compares floating-point numbers: the loop is a solver with a tolerance."""
    condition = opened(equation.params["cond_jaxpr"])
    return any(is_inexact(a.aval) for e in condition.eqns for a in e.invars if e.primitive.name in COMPARISONS)


COMPARISONS = frozenset("gt ge lt le".split())


def _cond(widen: Widened, equation, inputs: list) -> list:
    index, *operands = inputs
    branches = [lambda *a, branch=branch: widen.evaluate(branch, list(a)) for branch in equation.params["branches"]]
    return list(lax.switch(lax.convert_element_type(index, jnp.int32), branches, *operands))


def _custom_linear_solve(widen: Widened, equation, inputs: list) -> list:
    lengths, jaxprs = equation.params["const_lengths"], equation.params["jaxprs"]
    groups, start = [], 0
    for length in lengths:
        groups.append(inputs[start : start + length])
        start += length

    def function(jaxpr, consts):
        return lambda *arrays: widen.evaluate(jaxpr, [*consts, *jax.tree.leaves(arrays)])

    matvec, _, solve, transpose_solve = (function(*pair) for pair in zip(jaxprs, groups, strict=True))
    return list(
        lax.custom_linear_solve(
            matvec,
            inputs[start:],
            lambda _, b: solve(b),
            None if jaxprs.transpose_solve is None else lambda _, b: transpose_solve(b),
        )
    )


def _custom_vmap(widen: Widened, equation, inputs: list) -> list:
    return widen.evaluate(equation.params["call"], inputs)


def _linear_call(widen: Widened, equation, inputs: list) -> list:
    """A linear function whose transpose somebody wrote by hand: the transpose is taken off."""
    callee = equation.params["callee"]
    widen.found.custom_rules.append(f"linear_call of {_function_name(callee)}")
    return widen.evaluate(callee, inputs)


STRUCTURES = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "custom_linear_solve": _custom_linear_solve,
    "custom_vmap_call": _custom_vmap,
    "linear_call": _linear_call,
}
"""How equations with functions inside are evaluated, under the names of their primitives."""
