"""What a jaxpr says before it is evaluated: which values have a derivative, which equations are a statement."""

from typing import NamedTuple

from jax.extend import core

from bpjax.gradcheck.places import Place, places_of
from bpjax.gradcheck.widen import is_inexact
from bpjax.tape.derivatives import ZERO_DERIVATIVE
from bpjax.util.jaxprs import CALL_JAXPR, live_equations, opened, scan_counts


def active_variables(closed) -> set:
    """The variables, at every depth, that depend on the arguments of a function and can have a derivative."""
    active: set = set()

    def mark(jaxpr, inputs: list[bool]) -> list[bool]:
        jaxpr = opened(jaxpr)
        active.update(v for v, k in zip(jaxpr.invars, inputs, strict=True) if k and is_inexact(v.aval))
        for equation in jaxpr.eqns:
            outputs = of_equation(equation, [is_variable(a) and a in active for a in equation.invars])
            active.update(v for v, k in zip(equation.outvars, outputs, strict=True) if k and is_inexact(v.aval))
        return [is_variable(a) and a in active for a in jaxpr.outvars]

    def of_equation(equation, inputs: list[bool]) -> list[bool]:
        name, params = equation.primitive.name, equation.params
        if not any(inputs) or name in ZERO_DERIVATIVE:
            return [False] * len(equation.outvars)
        if name in CALL_JAXPR:
            return mark(params[CALL_JAXPR[name]], inputs)
        if name == "cond":
            return [any(column) for column in zip(*(mark(b, inputs[1:]) for b in params["branches"]), strict=True)]
        if name == "scan":
            return _fixed_point(mark, params["jaxpr"], inputs, *scan_counts(equation))
        if name == "while":
            n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
            return _fixed_point(mark, params["body_jaxpr"], inputs[n_cond:], n_body, len(inputs) - n_cond - n_body)
        return [True] * len(equation.outvars)

    mark(closed, [True] * len(opened(closed).invars))
    return active


def is_variable(atom) -> bool:
    """Whether an atom of a jaxpr is a variable, not a literal."""
    return isinstance(atom, core.Var)


def _fixed_point(mark, jaxpr, inputs: list[bool], n_consts: int, n_carry: int) -> list[bool]:
    """Which results of a loop are active: the carry is as it is after some iteration."""
    inputs = list(inputs)
    while True:
        results = mark(jaxpr, inputs)
        carry = [a or b for a, b in zip(inputs[n_consts : n_consts + n_carry], results[:n_carry], strict=True)]
        if carry == inputs[n_consts : n_consts + n_carry]:
            return carry + results[n_carry:]
        inputs[n_consts : n_consts + n_carry] = carry


class Statement(NamedTuple):
    """Several operations of one line, or of a function called there, from one value to one of its shape."""

    input: core.Var
    output: core.Var
    place: Place


def statements(jaxpr, active: set) -> dict[int, list[Statement]]:
    """The statements of a jaxpr, by the id of their last equation."""
    equations = live_equations(jaxpr)
    groups: dict[Place, list] = {}  # with and without the function of JAX that the line calls
    for equation in equations:
        lines = places_of(equation)
        if lines and lines[0].call:
            groups.setdefault(lines[0], []).append(equation)
        for place in lines:
            groups.setdefault(place._replace(call=""), []).append(equation)
    readers: dict = {}
    for equation in equations:
        for variable in filter(is_variable, equation.invars):
            readers.setdefault(variable, set()).add(id(equation))
    results = set(filter(is_variable, jaxpr.outvars))
    found: dict[int, list[Statement]] = {}
    seen = set()
    for place, members in groups.items():
        ids = frozenset(map(id, members))
        if len(members) < 2 or ids in seen:
            continue
        seen.add(ids)
        made = {v for e in members for v in e.outvars}
        read = {a for e in members for a in e.invars if is_variable(a) and a in active and a not in made}
        left = [v for v in made if v in active and (v in results or readers.get(v, set()) - ids)]
        if len(read) == 1 and len(left) == 1:
            (x,), (y,) = read, left
            if x.aval.shape == y.aval.shape and x.aval.ndim:
                found.setdefault(id(members[-1]), []).append(Statement(x, y, place))
    return found
