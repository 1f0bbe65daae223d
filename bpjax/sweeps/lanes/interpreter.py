"""Evaluate a jaxpr for all runs at once, equation by equation, by one rule per primitive.

A primitive without a rule falls back to `jax.vmap`; the log "bpjax.sweeps.lanes" says which and on what shapes.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import jax
from jax import lax
from jax.extend import core

from bpjax.sweeps.lanes.jaxprs import count_reads
from bpjax.sweeps.lanes.values import PerRun, array_of
from bpjax.types import Array
from bpjax.util.jaxprs import CALL_JAXPR, bind_primitive, live_equations, subjaxprs

log = logging.getLogger("bpjax.sweeps.lanes")

MATERIALIZE_FROM = 10
"""Operations per run that storing a value must save. Storing costs about a microsecond, once for all runs."""


class PrimitiveRule(Protocol):
    """How a primitive is evaluated for all runs."""

    def __call__(self, interpreter: "Interpreter", equation, values: list) -> list | None:
        """The results of `equation` for its input values, or None where the rule does not apply."""
        ...


class Interpreter(NamedTuple):
    """What the rules of the primitives need to know, and what has been computed in this function body."""

    runs: int
    primitives: Mapping[str, PrimitiveRule]
    unknown: Array  # () a boolean whose value no compiler can know, see `materialize`
    memo: dict  # operation on particular values -> results: XLA does not find repetitions behind `materialize`
    origins: dict  # id of a materialized value -> the value it was computed as

    def inner(self) -> "Interpreter":
        """An interpreter for the body of a loop or branch, whose results must not be reused outside."""
        return self._replace(memo={}, origins=dict(self.origins))


def eval_closed_jaxpr(interpreter: Interpreter, closed, values: list) -> list:
    """The results of a closed jaxpr for arguments that are shared by all runs or `PerRun`."""
    return eval_jaxpr(interpreter, closed.jaxpr, closed.consts, values)


def eval_jaxpr(interpreter: Interpreter, jaxpr, consts, values: list) -> list:
    """The results of a jaxpr for its constants and arguments.

    Args:
        interpreter: the rules, and what has been computed in this body so far.
        jaxpr: an open jaxpr.
        consts: the values of its constants.
        values: its arguments, shared by all runs or `PerRun`.
    """
    environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *values), strict=True))

    def value_of(atom):
        return atom.val if isinstance(atom, core.Literal) else environment[atom]

    equations = live_equations(jaxpr)
    reads = count_reads(equations, jaxpr.outvars)
    for equation in equations:
        inputs = [value_of(atom) for atom in equation.invars]
        for variable, result in zip(equation.outvars, eval_equation_once(interpreter, equation, inputs), strict=True):
            is_per_run = isinstance(result, PerRun)
            environment[variable] = materialize(interpreter, result, reads[variable]) if is_per_run else result
    return [value_of(atom) for atom in jaxpr.outvars]


def eval_equation_once(interpreter: Interpreter, equation, values: list) -> list:
    """`eval_equation`, with results reused where the same operation was applied to the same values before.

    A second forward pass on the same parameters costs nothing.
    """
    if equation.effects or subjaxprs(equation):
        return eval_equation(interpreter, equation, values)
    inputs = tuple(
        (str(atom.val), str(atom.aval))
        if isinstance(atom, core.Literal)
        else id(interpreter.origins.get(id(value), value))
        for atom, value in zip(equation.invars, values, strict=True)
    )
    operation = (equation.primitive.name, str(equation.params), inputs)
    if operation not in interpreter.memo:
        results = eval_equation(interpreter, equation, values)
        interpreter.memo[operation] = values, results  # keeps the values alive, so that their ids are not reused
    return interpreter.memo[operation][1]


def eval_equation(interpreter: Interpreter, equation, values: list) -> list:
    """One equation: by the primitive itself for shared values, by its rule, or by `vmap` where no rule applies."""
    name = equation.primitive.name
    if not any(isinstance(v, PerRun) for v in values) and name not in CALL_JAXPR:
        return bind_primitive(equation, values)
    rule = interpreter.primitives.get(name)
    results = rule(interpreter, equation, values) if rule else None
    return batch_by_vmap(interpreter, equation, values) if results is None else results


def batch_by_vmap(interpreter: Interpreter, equation, values: list) -> list:
    """A primitive without a rule: `vmap` of it over the last axis."""
    shapes = ", ".join(str(getattr(atom.aval, "shape", "?")) for atom in equation.invars)
    log.info("%s of %s is evaluated by vmap: it has no rule", equation.primitive.name, shapes)
    axes = [-1 if isinstance(v, PerRun) else None for v in values]
    batched = jax.vmap(
        lambda *arrays: bind_primitive(equation, arrays), in_axes=axes, out_axes=-1, axis_size=interpreter.runs
    )
    return [PerRun(result) for result in batched(*map(array_of, values))]


def materialize(interpreter: Interpreter, value: PerRun, reads: int) -> PerRun:
    """The same value, computed once and stored in memory, where this saves more than it costs.

    XLA's CPU back end fuses a cheap operation into every operation that reads it and recomputes it for each: an
    unrolled sum of ten terms reads its factors ten times. Fusion ends at a conditional. Both branches are the identity,
    one of them in a form the compiler does not see through. (`optimization_barrier` alone has no effect on CPUs.)
    """
    if value.recompute_cost * (value.array.size // interpreter.runs) * (reads - 1) < MATERIALIZE_FROM:
        return value
    operation = ("materialize", id(value))
    if operation not in interpreter.memo:
        array = lax.cond(interpreter.unknown, lambda a: a, lambda a: lax.optimization_barrier(a), value.array)
        interpreter.memo[operation] = value, PerRun(array)
        interpreter.origins[id(interpreter.memo[operation][1])] = value
    return interpreter.memo[operation][1]
