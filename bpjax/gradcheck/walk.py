"""Walk through the program of a function in float64, and know at every equation where in the source it is.

Each value has a key: the equations that call the function it belongs to, and its variable. Values that are only passed
on or reshaped share a key.
"""

from collections.abc import Hashable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from bpjax.gradcheck.activity import Statement, active_variables, is_variable, statements
from bpjax.gradcheck.places import NOWHERE, Place, is_library_function, place_of
from bpjax.gradcheck.widen import IDENTITY, Widened, is_inexact, widened
from bpjax.tape.control_flow import belongs_to_jax
from bpjax.tape.derivatives import ZERO_DERIVATIVE
from bpjax.util.jaxprs import CALL_JAXPR, live_equations, opened, scan_counts

SILENT = IDENTITY | frozenset(["reshape", "squeeze", "expand_dims", "convert_element_type"])
"""Operations that pass a value on: those before and after them say the same of a gradient."""

STRUCTURES = frozenset(["scan", "while", "cond", "custom_vmap_call"])


class Walk(Widened):
    """A closed jaxpr in float64; subclasses say what happens to operations, statements and iterations."""

    def __init__(self, closed, open_jax: bool):
        """A function traced in the dtype under test."""
        super().__init__(closed, open_jax)
        self.counts: dict[Hashable, Any] = {}  # iterations of while loops, from a first run
        self._plain = Widened(closed, open_jax)
        self._active = active_variables(closed)
        self._leaves: dict[Hashable, int] = {((), v): k for k, v in enumerate(opened(closed).invars)}
        self._aliases: dict[Hashable, Hashable] = {}
        self._origins: dict[Hashable, Place] = {}
        self._path: tuple = ()
        self._place: Place | None = None  # of the line that calls the function of JAX we are in
        self._loops = 0
        self._frame: tuple[dict, dict] = ({}, {})  # arrays and equations by variable, of the jaxpr being walked
        self._record: dict | None = None

    def _operation(self, equation, inputs: list) -> list:
        """The results of an elementary operation."""
        raise NotImplementedError

    def _statement(self, equation, statement: Statement, x, y):
        """The result y of a statement with input x, after its last equation."""
        raise NotImplementedError

    def _carried(self, equation, k: int, variable, first, array):
        """The k-th carried value at the beginning of an iteration."""
        raise NotImplementedError

    def _begin_iteration(self, first, last) -> Any:
        raise NotImplementedError

    def _end_iteration(self, outer) -> None:
        raise NotImplementedError

    def origin(self, value: Hashable) -> Place:
        """The line that computes a value."""
        return self._origins.get(value, NOWHERE)

    def leaf(self, value: Hashable) -> int | None:
        """The position of the argument that a value is, None for other values."""
        return self._leaves.get(value)

    def _value(self, atom) -> Hashable:
        value = (self._path, atom)
        while value in self._aliases:
            value = self._aliases[value]
        return value

    # --- Walking ----------------------------------------------------------------------------------------------------

    def evaluate(self, jaxpr, arguments: list, consts=None) -> list:
        """The results of an open or closed jaxpr; each equation with its dials."""
        consts = [widened(c) for c in (getattr(jaxpr, "consts", ()) if consts is None else consts)]
        jaxpr = opened(jaxpr)
        environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))
        found = statements(jaxpr, self._active) if self._place is None else {}
        producers: dict = {}
        for equation in live_equations(jaxpr):
            if not equation.outvars:
                continue
            inputs = [widened(a.val) if isinstance(a, core.Literal) else environment[a] for a in equation.invars]
            outer, self._frame = self._frame, (environment, producers)
            environment.update(zip(equation.outvars, self._equation(equation, inputs), strict=True))
            self._frame = outer
            producers.update(dict.fromkeys(equation.outvars, equation))
            for statement in found.get(id(equation), ()):
                x, y = environment[statement.input], environment[statement.output]
                environment[statement.output] = self._statement(equation, statement, x, y)
            for v in equation.outvars:
                self._origins.setdefault((self._path, v), self._place or place_of(equation))
                if self._record is not None and self._loops == 0 and is_inexact(v.aval):
                    self._record[self._value(v)] = environment[v]
        return [widened(a.val) if isinstance(a, core.Literal) else environment[a] for a in jaxpr.outvars]

    def _equation(self, equation, inputs: list) -> list:
        name = equation.primitive.name
        if not any(is_variable(v) and v in self._active for v in equation.invars):
            return self._plain._equation(equation, inputs)
        if name in ("custom_jvp_call", "custom_vjp_call"):
            if not self.open_jax and belongs_to_jax(equation.params["call_jaxpr"]):
                return self._operation(equation, inputs)
        if name in CALL_JAXPR:
            return self._call(equation, inputs)
        if name in STRUCTURES:
            return self._structure(equation, inputs)
        if name in SILENT:
            self._aliases[(self._path, equation.outvars[0])] = (self._path, equation.invars[0])
            return self._plain._equation(equation, inputs)
        if name in ZERO_DERIVATIVE or not any(v in self._active for v in equation.outvars):
            return self._plain._equation(equation, inputs)
        return self._operation(equation, inputs)

    def _call(self, equation, inputs: list) -> list:
        closed = equation.params[CALL_JAXPR[equation.primitive.name]]
        outer = self._path
        with _Inside(self, equation, closed):
            for inner, atom in zip(opened(closed).invars, equation.invars, strict=True):
                if is_variable(atom):
                    self._aliases[(self._path, inner)] = (outer, atom)
            for inner, variable in zip(opened(closed).outvars, equation.outvars, strict=True):
                if is_variable(inner):
                    self._aliases[(outer, variable)] = (self._path, inner)
            return self.evaluate(closed, inputs)

    # --- Loops and branches -----------------------------------------------------------------------------------------

    def _structure(self, equation, inputs: list) -> list:
        with _Inside(self, equation, None):
            if equation.primitive.name == "while":
                return self._while(equation, inputs)
            if equation.primitive.name == "scan":
                return self._scan(equation, inputs)
            return super()._equation(equation, inputs)

    def _scan(self, equation, inputs: list) -> list:
        n_consts, n_carry = scan_counts(equation)
        p = equation.params
        return self._loop(equation, p["jaxpr"], inputs, n_consts, n_carry, p["length"], p["reverse"])

    def _loop(self, equation, body, inputs, n_consts: int, n_carry: int, length: int, reverse: bool = False) -> list:
        """A loop as a scan whose carry passes a dial between iterations."""
        consts, carry, xs = inputs[:n_consts], inputs[n_consts : n_consts + n_carry], inputs[n_consts + n_carry :]
        variables = opened(body).invars
        atoms = equation.invars[len(equation.invars) - len(inputs) :]
        for inner, atom in zip(variables[:n_consts], atoms, strict=False):
            if is_variable(atom):
                self._aliases[(self._path, inner)] = (self._path[:-1], atom)
        steps = np.arange(length)[::-1] if reverse else np.arange(length)

        def step(carry, slices):
            (first, last), x = slices
            outer = self._begin_iteration(first, last)
            carry = [
                self._carried(equation, k, v, first, array)
                for k, (v, array) in enumerate(zip(variables[n_consts : n_consts + n_carry], carry, strict=True))
            ]
            results = self.evaluate(body, [*consts, *carry, *x])
            self._end_iteration(outer)
            return results[:n_carry], results[n_carry:]

        ends = (steps == 0, steps == length - 1)
        last, ys = lax.scan(step, carry, (ends, xs), length=length, reverse=reverse)
        return [*last, *ys]

    def _while(self, equation, inputs: list) -> list:
        """A `while_loop` as a scan over the iterations that it took in the first run."""
        p, key = equation.params, self._path
        n_cond, n_body = p["cond_nconsts"], p["body_nconsts"]
        count = self.counts.get(key)
        if isinstance(count, int):
            n_carry = len(inputs) - n_cond - n_body
            return self._loop(equation, p["body_jaxpr"], inputs[n_cond:], n_body, n_carry, count)
        if self._loops > 1:
            raise NotImplementedError("The number of iterations of a while loop inside a loop is not counted.")
        body_consts = inputs[n_cond : n_cond + n_body]
        count, carry = lax.while_loop(
            lambda s: self._plain.evaluate(p["cond_jaxpr"], [*inputs[:n_cond], *s[1]])[0],
            lambda s: (s[0] + 1, self._plain.evaluate(p["body_jaxpr"], [*body_consts, *s[1]])),
            (jnp.zeros((), jnp.int32), inputs[n_cond + n_body :]),
        )
        self.counts[key] = count
        return carry


class _Inside:
    """While a function inside an equation is walked."""

    def __init__(self, walk: Walk, equation, closed):
        self.walk, self.equation, self.closed = walk, equation, closed

    def __enter__(self):
        walk, equation = self.walk, self.equation
        self.before = walk._path, walk._place, walk._loops
        if walk._place is None and self.closed is not None and is_library_function(self.closed):
            place = place_of(equation)
            if place.known:
                walk._place = place._replace(call=place.call or str(equation.params.get("name", "")))
        walk._path = (*walk._path, id(equation))
        walk._loops += equation.primitive.name in ("scan", "while", "cond")

    def __exit__(self, *_):
        self.walk._path, self.walk._place, self.walk._loops = self.before
