"""Record a function: evaluate its jaxpr equation by equation, and keep what the reverse sweep needs.

An entry of the tape is an elementary operation, or a structure with entries inside (a call, a loop, a branch). The
reverse sweep goes through the entries backwards; each adds to the adjoints of its inputs (Linnainmaa 1970, 1976).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import jax
import numpy as np
from jax.extend import core

from bpjax.tape.derivatives import DERIVATIVES, cotangents_of_inputs, depends_on_inputs
from bpjax.tape.values import Adjoints, Value, is_differentiable
from bpjax.util.jaxprs import bind_primitive, live_equations, opened


class Entry(Protocol):
    """One line of the tape."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]

    def sweep(self, adjoints: Adjoints) -> None:
        """Add to the adjoints of the inputs what the adjoints of the outputs contribute."""
        ...


class Structure(Protocol):
    """How an equation with functions inside (a call, a loop, a branch) is recorded."""

    def __call__(self, recorder: "Recorder", equation, inputs: list[Value]) -> Entry | None:
        """The entry of the equation, or None to treat it as an elementary operation."""
        ...


class Recorder(NamedTuple):
    """How a function is recorded."""

    structures: Mapping[str, Structure]
    custom_rules: Literal["use", "open", "open_all"] = "use"  # see `reverse`
    while_bound: int | None = None  # the most iterations of a `while_loop`
    keep_inactive: bool = False  # also keep operations that do not depend on the differentiated arguments
    recompute: bool = False  # loops: recompute the body in the reverse sweep instead of storing its values
    active_constants: bool = False  # also differentiate by the constants of the function

    def record(self, jaxpr, inputs: list[Value], consts=None) -> tuple[list[Entry], list[Value]]:
        """Evaluate a jaxpr.

        Args:
            jaxpr: open, or closed with its constants.
            inputs: a value for each of its arguments.
            consts: values or arrays of its constants; by default those of the closed jaxpr.

        Returns:
            the entries in the order of evaluation, and the value of each result.
        """
        consts = getattr(jaxpr, "consts", ()) if consts is None else consts
        jaxpr = opened(jaxpr)
        known = [c if isinstance(c, Value) else self._constant(c) for c in consts]
        environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*known, *inputs), strict=True))

        def value_of(atom) -> Value:
            return self._constant(atom.val) if isinstance(atom, core.Literal) else environment[atom]

        entries: list[Entry] = []
        for equation in live_equations(jaxpr):
            entry = self._record_equation(equation, [value_of(atom) for atom in equation.invars])
            if self.keep_inactive or any(output.active for output in entry.outputs):
                entries.append(entry)
            environment.update(zip(equation.outvars, entry.outputs, strict=True))
        return entries, [value_of(atom) for atom in jaxpr.outvars]

    def _constant(self, array) -> Value:
        if self.active_constants and is_differentiable(array):
            return Value(np.asarray(array, getattr(array, "dtype", None)), True)  # literals of JAX have no shape
        return Value(array, False)

    def _record_equation(self, equation, inputs: list[Value]) -> Entry:
        structure = self.structures.get(equation.primitive.name)
        if structure and (self.keep_inactive or any(value.active for value in inputs)):
            entry = structure(self, equation, inputs)
            if entry is not None:
                return entry
        return Operation.apply(equation, inputs)


def sweep(entries: Sequence[Entry], adjoints: Adjoints) -> None:
    """The reverse sweep: the entries from the last to the first."""
    for entry in reversed(entries):
        entry.sweep(adjoints)


@dataclass(eq=False)
class Operation:
    """An elementary operation: its derivative comes from the table, or from `jax.vjp` where the table has no entry."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    vjp: Callable | None = None  # of the primitive by JAX, where the table has no entry
    by_jax: bool = False  # whether the last sweep differentiated it by `jax.vjp`

    @classmethod
    def apply(cls, equation, inputs: list[Value]) -> "Operation":
        """Apply the primitive of an equation; without an entry of the table, JAX computes its residuals as well."""
        name, needed = equation.primitive.name, [value.active for value in inputs]
        is_active = [any(needed) and depends_on_inputs(name, variable.aval) for variable in equation.outvars]
        arrays, vjp = [value.array for value in inputs], None
        if any(is_active) and name not in DERIVATIVES:
            results, vjp = vjp_by_jax(equation, arrays, needed, is_active)
        else:
            results = bind_primitive(equation, arrays)
        return cls(equation, inputs, [Value(r, k) for r, k in zip(results, is_active, strict=True)], vjp)

    @property
    def derivative(self):
        """The entry of the table, or None."""
        return DERIVATIVES.get(self.equation.primitive.name)

    def sweep(self, adjoints: Adjoints) -> None:
        """Add to the adjoints of the inputs what the adjoints of the outputs contribute."""
        if all(adjoints.of(value) is None for value in self.outputs):
            return
        cotangents = [adjoints.or_zeros(value) if value.active else None for value in self.outputs]
        for value, cotangent in zip(self.inputs, self.pull_back(cotangents), strict=True):
            if cotangent is not None:
                adjoints.add(value, cotangent)

    def pull_back(self, cotangents: list) -> list:
        """The cotangents of the inputs (None for an inactive one) for those of the outputs."""
        needed = [value.active for value in self.inputs]
        arrays, results = [v.array for v in self.inputs], [v.array for v in self.outputs]
        if self.derivative is not None and self.vjp is None:
            params = self.equation.params
            found = cotangents_of_inputs(self.derivative, params, arrays, results, cotangents, needed)
            if found is not None:
                return found
        self.by_jax = True
        is_active = [value.active for value in self.outputs]
        vjp = self.vjp or vjp_by_jax(self.equation, arrays, needed, is_active)[1]
        found = iter(vjp([cotangent for cotangent in cotangents if cotangent is not None]))
        return [next(found) if wanted else None for wanted in needed]


def vjp_by_jax(equation, arrays: list, needed: list[bool], is_active: list[bool]) -> tuple[list, Callable]:
    """The results of a primitive, and its `jax.vjp`.

    Args:
        equation: the primitive and its parameters.
        arrays: its inputs.
        needed: which inputs are differentiated.
        is_active: which results are differentiated.

    Returns:
        the results, and the function from the cotangents of the active results to those of the needed inputs.
    """
    differentiated = [k for k, wanted in enumerate(needed) if wanted]

    def alone(*chosen):
        full = list(arrays)
        for k, array in zip(differentiated, chosen, strict=True):
            full[k] = array
        results = list(zip(bind_primitive(equation, full), is_active, strict=True))
        return [r for r, active in results if active], [r for r, active in results if not active]

    active, vjp, others = jax.vjp(alone, *(arrays[k] for k in differentiated), has_aux=True)
    active, others = iter(active), iter(others)
    return [next(active if k else others) for k in is_active], vjp


@dataclass(eq=False)
class Call:
    """A call of a function, recorded in place: its entries read and compute the values of the caller."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    entries: list[Entry] = field(default_factory=list)

    def sweep(self, adjoints: Adjoints) -> None:
        """The reverse sweep of the entries inside."""
        sweep(self.entries, adjoints)
