"""A function whose reverse sweep has a dial for every mistake that can be made in it.

Every use of a value by an operation has a dial c: the contribution of this use to the gradient is multiplied by c.
Every wrong derivative in `alternatives` has a dial m: 0 is the right derivative, 1 the wrong one. With c = 1 and m = 0
the gradient is right. Dials belong to the equations of the source, so that all iterations of a loop share theirs.
"""

import functools
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from bpjax.gradcheck.activity import Statement, active_variables, is_variable, statements
from bpjax.gradcheck.alternatives import (
    Alternative,
    alternatives,
    of_statement,
    other_operand,
    updated_weights,
    without_keepdims,
)
from bpjax.gradcheck.dialed_operations import scaled, with_dials, with_statement
from bpjax.gradcheck.places import COMPOUND, NOWHERE, Place, is_library_function, place_of
from bpjax.gradcheck.widen import IDENTITY, Widened, is_inexact, widened
from bpjax.tape.control_flow import belongs_to_jax
from bpjax.tape.derivatives import ZERO_DERIVATIVE
from bpjax.util.jaxprs import CALL_JAXPR, live_equations, opened, scan_counts

SILENT = IDENTITY | frozenset(["reshape", "squeeze", "expand_dims", "convert_element_type"])
"""Operations without dials: those of the operations before and after them say the same."""

ITERATIONS = (
    "",
    "the first iteration",
    "the last iteration",
    "all iterations but the first",
    "all iterations but the last",
)
"""Where dials in loops hold: everywhere, or there."""

STRUCTURES = frozenset(["scan", "while", "cond", "custom_vmap_call"])


class Dial(NamedTuple):
    """One mistake that can be made in a reverse sweep."""

    place: Place
    primitive: str
    operand: int  # which input of the operation
    order: int  # position in the program
    in_loop: bool
    value: Hashable  # the value that is used; dials of one value add up
    origin: Place  # the line that computes this value
    equation: Hashable
    alternative: Alternative | None  # None: the dial multiplies the contribution of a use
    sizes: frozenset[int]  # lengths of axes there, for means and sums
    constant: float | None  # a number that is the other operand

    @property
    def neutral(self) -> float:
        """The position in which the gradient is right."""
        return 1.0 if self.alternative is None else 0.0


class Dialed(Widened):
    """A closed jaxpr in float64 with dials. Call it inside `jax.enable_x64(True)`.

    `dials` fills while the function is traced for the first time; later traces find theirs by key.
    """

    def __init__(self, closed, names: list[str], open_jax: bool = True, kinds: frozenset[str] | None = None):
        """Prepare.

        Args:
            closed: a function traced in the dtype under test.
            names: of its arguments.
            open_jax: also take off the custom rules of JAX.
            kinds: the mistakes in single derivatives that get a dial; all by default.
        """
        super().__init__(closed, open_jax)
        self.dials: list[Dial] = []
        self.counts: dict[Hashable, Any] = {}  # iterations of while loops, from a first run
        self._names, self._kinds = names, kinds
        self._plain = Widened(closed, open_jax)
        self._active = active_variables(closed)
        self._leaves: dict[Hashable, int] = {((), v): k for k, v in enumerate(opened(closed).invars)}
        self._keys: dict[Hashable, int] = {}
        self._aliases: dict[Hashable, Hashable] = {}
        self._origins: dict[Hashable, Place] = {}
        self._path: tuple = ()
        self._place: Place | None = None  # of the line that calls the function of JAX we are in
        self._loops = 0
        self._holds: Any = None  # in a loop: whether the dials hold in this iteration
        self._frame: tuple[dict, dict] = ({}, {})  # arrays and equations by variable, of the jaxpr being walked
        self._setting: Any = None
        self._gradients: Any = None
        self._record: dict | None = None

    def results(self, setting, gradients, *arrays) -> list:
        """The results, with a reverse sweep for one setting of the dials.

        Args:
            setting: the position of each dial, and last the iterations in which those in loops hold, one of
                `ITERATIONS`; or None.
            gradients: the right gradient by each argument.
            *arrays: the arguments.
        """
        self._setting, self._gradients = setting, gradients
        outputs = self(*arrays)
        if len(outputs) == 1:
            return outputs
        found = []
        for k, (atom, y) in enumerate(zip(opened(self.closed).outvars, outputs, strict=True)):
            origin = self._origins.get(self._value(atom), NOWHERE)
            dial = Dial(origin, "result", k, 10**6 + k, False, ("result", k), origin, None, None, frozenset(), None)
            use = self._dial(("result", k), dial)
            found.append(scaled(setting[use], y) if setting is not None and is_inexact(y) else y)
        return found

    def values(self, *arrays) -> dict:
        """The intermediate values outside loops, by key: see `Dial.value`."""
        self._setting, self._record = None, dict(zip(self._leaves, arrays, strict=True))
        self(*arrays)
        found, self._record = self._record, None
        return found

    def origin(self, value: Hashable) -> Place:
        """The line that computes a value."""
        return self._origins.get(value, NOWHERE)

    def leaf(self, value: Hashable) -> int | None:
        """The position of the argument that a value is, None for other values."""
        return self._leaves.get(value)

    def _dial(self, key: Hashable, dial: Dial) -> int:
        if key not in self._keys:
            self._keys[key] = len(self.dials)
            self.dials.append(dial)
        return self._keys[key]

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
        outer = self._holds

        def step(carry, slices):
            (first, last), x = slices
            if self._setting is not None:
                here = jnp.stack([jnp.ones_like(first), first, last, ~first, ~last])[self._setting[-1].astype(int)]
                self._holds = here if outer is None else here & outer
            carry = [
                self._carried(equation, k, v, first, array)
                for k, (v, array) in enumerate(zip(variables[n_consts : n_consts + n_carry], carry, strict=True))
            ]
            results = self.evaluate(body, [*consts, *carry, *x])
            self._holds = outer
            return results[:n_carry], results[n_carry:]

        ends = (steps == 0, steps == length - 1)
        last, ys = lax.scan(step, carry, (ends, xs), length=length, reverse=reverse)
        return [*last, *ys]

    def _carried(self, equation, k: int, variable, first, array):
        """The carry of an iteration; its dial is on the path from the iteration before."""
        if variable not in self._active:
            return array
        place = place_of(equation)
        dial = Dial(place, "carry", k, len(self.dials), True, None, place, None, None, frozenset(), None)
        index = self._dial((self._path, "carry", k), dial)
        return array if self._setting is None else scaled(jnp.where(first, 1.0, self._setting[index]), array)

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

    # --- Dials ------------------------------------------------------------------------------------------------------

    def _operation(self, equation, inputs: list) -> list:
        """An operation whose derivative depends on its dials."""
        name, place = equation.primitive.name, self._place or place_of(equation)
        avals, result = [a.aval for a in equation.invars], equation.outvars[0].aval
        active = [is_variable(a) and a in self._active for a in equation.invars]
        uses, wrong, extra = {}, {}, []
        for k in (k for k, is_active in enumerate(active) if is_active):
            value = self._value(equation.invars[k])
            dial = Dial(
                place, name, k, len(self.dials), self._loops > 0, value, self._origins.get(value, NOWHERE),
                (self._path, id(equation)), None, _sizes(avals[k], result), _constant(equation, k),
            )  # fmt: skip
            uses[k] = self._dial((self._path, id(equation), k), dial)
            if name in ("add", "sub") and dial.constant and self._kinds is None:
                inputs = self._without_constant(equation, dial, inputs)
            choices = alternatives(name, equation.params, avals, k, result, active)
            if name in ("dot_general", "mul"):
                choices = [*choices, *self._other_operands(equation, k, extra)]
            choices = self._chosen(choices)
            wrong[k] = [
                (self._dial((self._path, id(equation), k, n), dial._replace(alternative=choice)), choice)
                for n, choice in enumerate(choices)
            ]
        plain = functools.partial(_plain, self._plain, equation)
        if self._setting is None:
            return plain(*inputs)
        positions = {i: self._position(i) for k in uses for i in (uses[k], *(i for i, _ in wrong[k]))}
        return list(with_dials(plain, equation.params, uses, wrong, positions, extra, inputs))

    def _chosen(self, choices: list[Alternative]) -> list[Alternative]:
        return [choice for choice in choices if self._kinds is None or choice.mistake in self._kinds]

    def _without_constant(self, equation, dial: Dial, inputs: list) -> list:
        """The inputs of a sum with a constant that a backward pass which computes it again may forget."""
        choice = Alternative("constant missing", f"the constant {dial.constant:.6g} is missing", lambda s: s.dz)
        index = self._dial((self._path, id(equation), "constant"), dial._replace(alternative=choice))
        if self._setting is None:
            return inputs
        return [x if k == dial.operand else x * (1 - self._position(index)) for k, x in enumerate(inputs)]

    def _position(self, index: int):
        """The position of a dial in this iteration."""
        position = self._setting[index]
        return position if self._holds is None else jnp.where(self._holds, position, self.dials[index].neutral)

    def _other_operands(self, equation, index: int, extra: list) -> list[Alternative]:
        """Values that may be mistaken for the other operand of a product: those that it was computed from."""
        atom = equation.invars[1 - index]
        if not is_variable(atom) or self._place is not None or place_of(equation).call in COMPOUND:
            return []
        found = []
        environment, producers = self._frame
        value = self._value(atom)
        if value in self._leaves and equation.primitive.name == "dot_general":
            gradient = None if self._gradients is None else self._gradients[self._leaves[value]]
            found.append(updated_weights(index, len(extra)))
            extra.append(environment[atom] if gradient is None else gradient)
        transposed = producers[atom].primitive.name == "transpose" if atom in producers else False
        base = producers[atom].invars[0] if transposed else atom
        near, level = [], [base]
        for _ in range(6):
            level = [a for v in level if v in producers for a in producers[v].invars if is_variable(a)]
            near += [v for v in level if v.aval.shape == base.aval.shape and is_inexact(v.aval) and v not in near]
        for v in [v for v in near if v in environment][:3]:
            leaf = self.leaf(self._value(v))
            name = self.origin((self._path, v)).name if leaf is None else self._names[leaf]
            found.append(other_operand(index, len(extra), f"`{name}`" if name else "an earlier value"))
            extra.append(
                jnp.transpose(environment[v], producers[atom].params["permutation"]) if transposed else environment[v]
            )
        return found

    def _statement(self, equation, statement: Statement, x, y):
        """A statement whose derivative may be a wrong one as a whole."""
        shape = jnp.shape(x)
        choices = of_statement(len(shape))
        if len(shape) == 2 and shape[0] == shape[1]:
            choices.append(Alternative("wrong axis", "the sum in the derivative lost its axis", without_keepdims))
        choices, positions = self._chosen(choices), []
        if not choices:
            return y
        for n, choice in enumerate(choices):
            value = self._value(statement.input)
            dial = Dial(
                statement.place, "statement", n, len(self.dials), self._loops > 0, value,
                self._origins.get(value, NOWHERE), None, choice, frozenset(), None,
            )  # fmt: skip
            index = self._dial((self._path, id(equation), statement.place, n), dial)
            positions.append(None if self._setting is None else self._position(index))
        return y if self._setting is None else with_statement(choices, positions, x, y)


class _Inside:
    """While a function inside an equation is walked."""

    def __init__(self, walk: Dialed, equation, closed):
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


def _plain(widen: Widened, equation, *inputs) -> list:
    return widen._equation(equation, list(inputs))


def _constant(equation, index: int) -> float | None:
    """The other operand of an operation with two, where it is a number."""
    others = [a for k, a in enumerate(equation.invars) if k != index]
    if len(others) == 1 and isinstance(others[0], core.Literal) and np.ndim(others[0].val) == 0:
        return float(others[0].val)
    return None


def _sizes(aval, result) -> frozenset[int]:
    sizes = {*aval.shape, *result.shape, num_entries_of(aval), num_entries_of(result)}
    return frozenset(n for n in sizes if n > 2)


def num_entries_of(aval) -> int:
    """Entries of an array."""
    return int(np.prod(aval.shape, dtype=np.int64))
