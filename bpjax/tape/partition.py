"""Cut a function and its reverse sweep, traced together, into a forward and a backward program.

What depends on the cotangents is the backward program, the rest is the forward program; the values of the forward
program that the backward program reads are the residuals. In the body of a loop, what depends on neither the carry nor
the scanned inputs is computed once, before the loop.
"""

from collections.abc import Callable
from typing import NamedTuple

from jax.extend import core

from bpjax.util.jaxprs import bind_primitive, live_equations, num_entries, opened

INVARIANT, FORWARD, BACKWARD = range(3)

CHEAP = frozenset(
    "add sub mul neg abs sign max min select_n convert_element_type broadcast_in_dim reshape squeeze transpose copy "
    "eq ne lt le gt ge and or not xor is_finite square integer_pow iota real imag conj expand_dims slice rev "
    "stop_gradient".split()
)
"""Primitives that cost no more than reading their result: computed again where this needs no new residual."""

CHAIN = 32  # the most cheap operations in a row that are computed again


class Partition(NamedTuple):
    """Three programs over the variables of one jaxpr, evaluated one after the other."""

    jaxpr: core.Jaxpr
    constants: dict  # variable -> value
    equations: tuple[list, list, list]  # by stage: invariant, forward, backward
    num_forward: int  # how many of the results, from the first, are results of the forward program
    residuals: list  # variables of the forward stage that the backward stage reads, without those given anyway
    invariants: list  # variables of the invariant stage that a later stage reads
    given: list  # of the variables that the backward program has anyway, those it reads

    def evaluate(self, stage: int, environment: dict, wanted) -> list:
        """Run the equations of a stage on known variables; the values of the wanted atoms."""
        environment = self.constants | environment

        def value_of(atom):
            return atom.val if isinstance(atom, core.Literal) else environment[atom]

        for equation in self.equations[stage]:
            results = bind_primitive(equation, [value_of(atom) for atom in equation.invars])
            environment.update(zip(equation.outvars, results, strict=True))
        return [value_of(atom) for atom in wanted]

    def run_forward(self, arrays: list) -> tuple[list, list]:
        """The results and the residuals of a function that is no body of a loop."""
        known = self._with_invariants(dict(zip(self.jaxpr.invars, arrays, strict=False)))
        found = self.evaluate(FORWARD, known, [*self.jaxpr.outvars[: self.num_forward], *self.residuals])
        return found[: self.num_forward], found[self.num_forward :]

    def run_backward(self, arrays: list, residuals: list, cotangents: list) -> list:
        """The cotangents of the active arguments of a function that is no body of a loop."""
        known = dict(zip(self.jaxpr.invars, [*arrays, *cotangents], strict=True))
        known = self._with_invariants(known | dict(zip(self.residuals, residuals, strict=True)))
        return self.evaluate(BACKWARD, known, self.jaxpr.outvars[self.num_forward :])

    def _with_invariants(self, known: dict) -> dict:
        return known | dict(zip(self.invariants, self.evaluate(INVARIANT, known, self.invariants), strict=True))


Recompute = bool | Callable[[core.JaxprEqn], bool]
"""Which operations are computed again in the backward program instead of storing what they compute."""


def partition_call(closed, num_arguments: int, num_results: int, recompute: Recompute) -> Partition:
    """`partition` of a function that is no body of a loop: its arguments are stored anyway."""
    arguments, cotangents = (variables := opened(closed).invars)[:num_arguments], variables[num_arguments:]
    stages = [FORWARD] * len(arguments) + [BACKWARD] * len(cotangents)
    return partition(closed, stages, arguments, num_results, recompute)


def partition(closed, stages: list[int], given: list, num_forward: int, recompute: Recompute = False) -> Partition:
    """Cut a closed jaxpr in three.

    Args:
        closed: the function together with its reverse sweep.
        stages: the stage of each of its arguments: INVARIANT, FORWARD, or BACKWARD for a cotangent.
        given: variables that the backward program has anyway, besides those of the invariant stage.
        num_forward: how many of its results, from the first, are results of the forward program.
        recompute: compute again in the backward program what does not come from `given` or from arguments.
    """
    jaxpr = opened(closed)
    stage_of = dict.fromkeys(jaxpr.constvars, INVARIANT) | dict(zip(jaxpr.invars, stages, strict=True))
    equations = []
    for equation in live_equations(jaxpr):
        stage = max((stage_of[a] for a in _variables(equation.invars)), default=INVARIANT)
        stage = max(stage, FORWARD) if equation.effects else stage
        stage_of.update(dict.fromkeys(equation.outvars, stage))
        equations.append((equation, stage))
    results = _variables(jaxpr.outvars[:num_forward]), _variables(jaxpr.outvars[num_forward:])
    by_stage, read_forward, read_backward = _schedule(equations, stage_of, set(given), results, recompute)

    constants = dict(zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True))
    made_backward = {v for equation in by_stage[BACKWARD] for v in equation.outvars}
    read_later = read_forward | read_backward
    invariants = [v for v, k in stage_of.items() if k == INVARIANT and v in read_later and v not in constants]
    stored = [v for v, k in stage_of.items() if k == FORWARD and v in read_backward and v not in made_backward]
    residuals = [v for v in stored if v not in given]
    return Partition(
        jaxpr, constants, by_stage, num_forward, residuals, invariants, [v for v in given if v in read_backward]
    )


def _schedule(equations: list[tuple], stage_of: dict, given: set, results: tuple[set, set], recompute: Recompute):
    """The equations of each stage, from pairs (equation, stage), and what the forward and the backward stage read.

    An operation of the forward program is computed again in the backward program, instead of storing what it computes,
    if it is cheap and what it is made from by cheap operations takes no more memory than its results, or if `recompute`
    says so. If the forward program does not read its results, it is computed there only.
    """
    by_stage: tuple[list, list, list] = ([], [], [])
    made_by = {
        variable: equation
        for equation, stage in equations
        if stage == FORWARD and equation.primitive.name in CHEAP and not equation.effects
        for variable in equation.outvars
    }  # by cheap operations
    read_forward, read_backward = set(results[0]), set(results[1])
    for equation, stage in equations:
        if stage == BACKWARD:
            read_backward |= _variables(equation.invars)
    is_known = lambda v: stage_of[v] != FORWARD or v in read_backward or v in given
    for equation, stage in reversed(equations):
        inputs = _variables(equation.invars)
        if stage != FORWARD:
            by_stage[stage].append(equation)
            continue
        saved = [v for v in equation.outvars if v in read_backward]
        again = False
        if saved and not equation.effects:
            again = recompute(equation) if callable(recompute) else recompute
            again = (
                again or equation.outvars[0] in made_by and _bytes(_sources(inputs, made_by, is_known)) <= _bytes(saved)
            )
        if again:
            by_stage[BACKWARD].append(equation)
            read_backward |= inputs
        if equation.effects or read_forward.intersection(equation.outvars) or saved and not again:
            by_stage[FORWARD].append(equation)
            read_forward |= inputs
    for some in by_stage:
        some.reverse()
    return by_stage, read_forward, read_backward


def _sources(variables: set, made_by: dict, is_known) -> set:
    """What variables are made from by cheap operations, without what the backward program has anyway."""
    pending, seen, sources = list(variables), set(), set()
    while pending:
        variable = pending.pop()
        if variable in seen or is_known(variable):
            continue
        seen.add(variable)
        if variable in made_by and len(seen) <= CHAIN:
            pending += _variables(made_by[variable].invars)
        else:
            sources.add(variable)
    return sources


def _variables(atoms) -> set:
    return {atom for atom in atoms if isinstance(atom, core.Var)}


def _bytes(variables) -> int:
    return sum(num_entries(v) * getattr(getattr(v.aval, "dtype", None), "itemsize", 1) for v in variables)
