"""Cut a function and its reverse sweep, traced together, into a forward and a backward program.

What depends on the cotangents is the backward program, the rest is the forward program; the values of the forward
program that the backward program reads are the residuals. In the body of a loop, what depends on neither the carry nor
the scanned inputs is computed once, before the loop.
"""

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


class Partition(NamedTuple):
    """Three programs over the variables of one jaxpr, evaluated one after the other."""

    jaxpr: core.Jaxpr
    constants: dict  # variable -> value
    equations: tuple[list, list, list]  # by stage: invariant, forward, backward
    residuals: list  # variables of the forward stage that the backward stage reads, without those given anyway
    invariants: list  # variables of the invariant stage that a later stage reads

    def evaluate(self, stage: int, environment: dict, wanted) -> list:
        """Run the equations of a stage on known variables; the values of the wanted atoms."""
        environment = self.constants | environment

        def value_of(atom):
            return atom.val if isinstance(atom, core.Literal) else environment[atom]

        for equation in self.equations[stage]:
            results = bind_primitive(equation, [value_of(atom) for atom in equation.invars])
            environment.update(zip(equation.outvars, results, strict=True))
        return [value_of(atom) for atom in wanted]


def partition(closed, stages: list[int], given: list, num_forward: int, recompute: bool = False) -> Partition:
    """Cut a closed jaxpr in three.

    Args:
        closed: the function together with its reverse sweep.
        stages: the stage of each of its arguments: INVARIANT, FORWARD, or BACKWARD for a cotangent.
        given: variables that the backward program has anyway, besides those of the invariant stage.
        num_forward: how many of its results, from the first, are results of the forward program.
        recompute: compute everything again in the backward program that does not come from `given` or from arguments.
    """
    jaxpr = opened(closed)
    stage_of = dict.fromkeys(jaxpr.constvars, INVARIANT) | dict(zip(jaxpr.invars, stages, strict=True))
    equations = live_equations(jaxpr)
    stage_of_equation = []
    for equation in equations:
        stage = max((stage_of[a] for a in _variables(equation.invars)), default=INVARIANT)
        stage = max(stage, FORWARD) if equation.effects else stage
        stage_of_equation.append(stage)
        stage_of.update(dict.fromkeys(equation.outvars, stage))
    results = _variables(jaxpr.outvars[:num_forward]), _variables(jaxpr.outvars[num_forward:])
    stage_of_equation = _delay(equations, stage_of_equation, stage_of, set(given), results, recompute)
    by_stage = ([], [], [])
    for equation, stage in zip(equations, stage_of_equation, strict=True):
        by_stage[stage].append(equation)

    made_in = dict.fromkeys(jaxpr.constvars, INVARIANT) | dict(zip(jaxpr.invars, stages, strict=True))
    made_in |= {v: k for k, some in enumerate(by_stage) for e in some for v in e.outvars}
    read_forward = results[0] | _reads(by_stage[FORWARD])
    read_backward = results[1] | _reads(by_stage[BACKWARD])
    constants = dict(zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True))
    read_later = read_forward | read_backward
    invariants = [v for v in made_in if made_in[v] == INVARIANT and v in read_later and v not in constants]
    residuals = [v for v in made_in if made_in[v] == FORWARD and v in read_backward and v not in given]
    return Partition(jaxpr, constants, by_stage, residuals, invariants)


def _delay(equations, stages, stage_of, given: set, results: tuple[set, set], recompute: bool) -> list[int]:
    """Move operations of the forward program into the backward program where it alone reads their results.

    This is done for cheap operations whose inputs take no more memory than their results, and for all with `recompute`.
    """
    stages = list(stages)
    read_forward, read_backward = set(results[0]), set(results[1])
    read_backward |= _reads([e for e, s in zip(equations, stages, strict=True) if s == BACKWARD])
    for k in reversed(range(len(equations))):
        equation = equations[k]
        if stages[k] == BACKWARD:
            continue
        inputs = _variables(equation.invars)
        if stages[k] == FORWARD and not equation.effects and not read_forward.intersection(equation.outvars):
            new = [a for a in inputs if a not in read_backward and a not in given and stage_of[a] == FORWARD]
            saved = [v for v in equation.outvars if v in read_backward]
            if recompute or equation.primitive.name in CHEAP and _bytes(new) <= _bytes(saved):
                stages[k] = BACKWARD
                read_backward |= inputs
                continue
        read_forward |= inputs
    return stages


def _variables(atoms) -> set:
    return {atom for atom in atoms if isinstance(atom, core.Var)}


def _reads(equations) -> set:
    return {variable for equation in equations for variable in _variables(equation.invars)}


def _bytes(variables) -> int:
    return sum(num_entries(v) * getattr(getattr(v.aval, "dtype", None), "itemsize", 1) for v in variables)
