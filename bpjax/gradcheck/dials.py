"""A function whose reverse sweep has a dial for every mistake that can be made in it.

Every use of a value by an operation has a dial c: the contribution of this use to the gradient is multiplied by c.
Every wrong derivative in `alternatives` has a dial m: 0 is the right derivative, 1 the wrong one. With c = 1 and m = 0
the gradient is right. Dials belong to the equations of the source, so that all iterations of a loop share theirs.
"""

import functools
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from bpjax.gradcheck.alternatives import Alternative, Situation, alternatives
from bpjax.gradcheck.places import NOWHERE, Place, is_library_function, place_of
from bpjax.gradcheck.widen import IDENTITY, Widened, is_inexact, widened
from bpjax.tape.control_flow import belongs_to_jax
from bpjax.tape.derivatives import ZERO_DERIVATIVE
from bpjax.util.jaxprs import CALL_JAXPR, live_equations, num_entries, opened, scan_counts

SILENT = IDENTITY | frozenset(["reshape", "squeeze", "expand_dims", "convert_element_type"])
"""Operations without dials: those of the operations before and after them say the same."""

STRUCTURES = frozenset(["scan", "while", "cond", "custom_vmap_call"])


class Dial(NamedTuple):
    """One mistake that can be made in a reverse sweep."""

    place: Place
    primitive: str
    operand: int  # which input of the operation
    order: int  # position in the program
    in_loop: bool
    value: Hashable  # the value that is used; dials of one value add up
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

    def __init__(self, closed, open_jax: bool = True):
        """A function traced in the dtype under test."""
        super().__init__(closed, open_jax)
        self.dials: list[Dial] = []
        self.iterations: dict[Hashable, Any] = {}  # of while loops: counted by a first run
        self._plain = Widened(closed, open_jax)
        self._active = active_variables(closed, open_jax)
        self._keys: dict[Hashable, int] = {}
        self._aliases: dict[Hashable, Hashable] = {}
        self._path: tuple = ()
        self._place: Place | None = None  # of the line that calls the function of JAX we are in
        self._loops = 0
        self._setting: Any = None

    def results(self, setting, *arrays) -> list:
        """The results; their reverse sweep is that of the setting of the dials, None for no dials."""
        self._setting = setting
        outputs = self(*arrays)
        if len(outputs) == 1:
            return outputs
        found = []
        for k, (atom, y) in enumerate(zip(opened(self.closed).outvars, outputs, strict=True)):
            use = self._dial(("result", k), Dial(NOWHERE, "result", k, 10**6 + k, False, None, None, frozenset(), None))
            found.append(_scaled(self._position(use), y) if setting is not None and is_inexact(y) else y)
        return found

    # --- Keys and positions -----------------------------------------------------------------------------------------

    def _dial(self, key: Hashable, dial: Dial) -> int:
        if key not in self._keys:
            self._keys[key] = len(self.dials)
            self.dials.append(dial)
        return self._keys[key]

    def _position(self, index: int):
        return self._setting[index]

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
        skips = statements(jaxpr, self._active) if self._place is None else {}
        for equation in live_equations(jaxpr):
            if not equation.outvars:
                continue
            inputs = [widened(a.val) if isinstance(a, core.Literal) else environment[a] for a in equation.invars]
            environment.update(zip(equation.outvars, self._equation(equation, inputs), strict=True))
            for x, y, place in skips.get(id(equation), ()):
                environment[y] = self._skip(equation, x, place, environment[x], environment[y])
        return [widened(a.val) if isinstance(a, core.Literal) else environment[a] for a in jaxpr.outvars]

    def _equation(self, equation, inputs: list) -> list:
        name = equation.primitive.name
        if not any(isinstance(v, core.Var) and v in self._active for v in equation.invars):
            return self._plain._equation(equation, inputs)
        if name in ("custom_jvp_call", "custom_vjp_call") and not (
            self.open_jax or not belongs_to_jax(equation.params["call_jaxpr"])
        ):
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
                if isinstance(atom, core.Var):
                    self._aliases[(self._path, inner)] = (outer, atom)
            for inner, variable in zip(opened(closed).outvars, equation.outvars, strict=True):
                if isinstance(inner, core.Var):
                    self._aliases[(outer, variable)] = (self._path, inner)
            return self.evaluate(closed, inputs)

    def _structure(self, equation, inputs: list) -> list:
        with _Inside(self, equation, None):
            if equation.primitive.name == "while":
                return self._while(equation, inputs)
            return super()._equation(equation, inputs)

    def _while(self, equation, inputs: list) -> list:
        """A `while_loop` as a scan over the iterations that it took in the first run."""
        p, key = equation.params, self._path
        n_cond, n_body = p["cond_nconsts"], p["body_nconsts"]
        cond_consts, body_consts = inputs[:n_cond], inputs[n_cond : n_cond + n_body]
        carry = inputs[n_cond + n_body :]
        if key in self.iterations and not isinstance(self.iterations[key], jax.core.Tracer):
            body = lambda carry, _: (self.evaluate(p["body_jaxpr"], [*body_consts, *carry]), None)  # noqa: E731
            return lax.scan(body, carry, None, length=int(self.iterations[key]))[0]
        if self._loops > 1:
            raise NotImplementedError("a while loop inside a loop")
        state = (jnp.zeros((), jnp.int32), carry)
        count, carry = lax.while_loop(
            lambda s: self._plain.evaluate(p["cond_jaxpr"], [*cond_consts, *s[1]])[0],
            lambda s: (s[0] + 1, self._plain.evaluate(p["body_jaxpr"], [*body_consts, *s[1]])),
            state,
        )
        self.iterations[key] = count
        return carry

    # --- Dials ------------------------------------------------------------------------------------------------------

    def _place_of(self, equation) -> Place:
        if self._place is None:
            return place_of(equation)
        return self._place

    def _operation(self, equation, inputs: list) -> list:
        """An operation whose derivative depends on its dials."""
        name, place = equation.primitive.name, self._place_of(equation)
        active = [isinstance(a, core.Var) and a in self._active for a in equation.invars]
        result = equation.outvars[0].aval
        avals = [a.aval for a in equation.invars]
        uses, wrong = {}, {}
        for k in (k for k, is_active in enumerate(active) if is_active):
            key, order = (self._path, id(equation), k), len(self.dials)
            others = [_number(a) for j, a in enumerate(inputs) if j != k]
            constant = others[0] if len(others) == 1 else None
            dial = Dial(
                place, name, k, order, self._loops > 0, self._value(equation.invars[k]), None, _sizes(avals[k], result), constant
            )
            uses[k] = self._dial(key, dial)
            choices = alternatives(name, equation.params, avals, k, result, active)
            wrong[k] = [
                (self._dial((*key, n), dial._replace(alternative=choice)), choice) for n, choice in enumerate(choices)
            ]
        plain = functools.partial(_plain, self._plain, equation)
        if self._setting is None:
            return plain(*inputs)
        positions = {index: self._position(index) for k in uses for index in (uses[k], *(i for i, _ in wrong[k]))}
        return list(_with_dials(plain, equation.params, uses, wrong, positions, inputs))

    def _skip(self, equation, x, place: Place, array, result):
        """A statement whose derivative can be left out: the cotangent of its result goes to its input unchanged."""
        choice = Alternative("derivative missing", "its derivative is missing", lambda s: s.dz)
        dial = Dial(place, "statement", 0, len(self.dials), self._loops > 0, self._value(x), choice, frozenset(), None)
        index = self._dial((self._path, id(equation), "skip"), dial)
        return result if self._setting is None else _skipped(self._position(index), array, result)


class _Inside:
    """While a function inside an equation is walked."""

    def __init__(self, walk: Dialed, equation, closed):
        self.walk, self.equation, self.closed = walk, equation, closed

    def __enter__(self):
        walk, equation = self.walk, self.equation
        self.before = walk._path, walk._place, walk._loops
        if walk._place is None and self.closed is not None and is_library_function(self.closed):
            place = place_of(equation)
            walk._place = place._replace(call=place.call or str(equation.params.get("name", "")))
        walk._path = (*walk._path, id(equation))
        walk._loops += equation.primitive.name in ("scan", "while")

    def __exit__(self, *_):
        self.walk._path, self.walk._place, self.walk._loops = self.before


def _plain(widen: Widened, equation, *inputs) -> list:
    return widen._equation(equation, list(inputs))


def _number(array) -> float | None:
    return float(array) if np.ndim(array) == 0 and isinstance(array, np.ndarray | np.generic | float | int) else None


def _sizes(aval, result) -> frozenset[int]:
    sizes = {*aval.shape, *result.shape, num_entries_of(aval), num_entries_of(result)}
    return frozenset(n for n in sizes if n > 2)


def num_entries_of(aval) -> int:
    """Entries of an array."""
    return int(np.prod(aval.shape, dtype=np.int64))


@jax.custom_vjp
def _scaled(c, x):
    return x


_scaled.defvjp(lambda c, x: (x, c), lambda c, dx: (jnp.zeros_like(c), (c * dx).astype(dx.dtype)))


@jax.custom_vjp
def _skipped(m, x, y):
    return y


_skipped.defvjp(
    lambda m, x, y: (y, m),
    lambda m, dy: (jnp.zeros_like(m), jnp.where(m == 0, jnp.zeros_like(dy), dy), jnp.where(m == 0, dy, jnp.zeros_like(dy))),
)


def _with_dials(plain, params, uses: dict, wrong: dict, positions: dict, inputs: list) -> list:
    """The results of an operation; its derivative is chosen by the positions of its dials.

    Args:
        plain: the operation.
        params: of its equation.
        uses: for each differentiated input, the index of the dial c.
        wrong: for each, (index, alternative) of the dials m.
        positions: of these dials, by index.
        inputs: arrays.
    """

    @jax.custom_vjp
    def operation(positions, *inputs):
        return plain(*inputs)

    def forward(positions, *inputs):
        outputs = plain(*inputs)
        return outputs, (positions, inputs, outputs)

    def backward(residuals, cotangents):
        positions, inputs, outputs = residuals
        chosen = list(uses)

        def alone(*some):
            full = list(inputs)
            for k, x in zip(chosen, some, strict=True):
                full[k] = x
            return [y for y in plain(*full) if is_inexact(y)]

        inexact = [dy for y, dy in zip(outputs, cotangents, strict=True) if is_inexact(y)]
        _, vjp = jax.vjp(alone, *(inputs[k] for k in chosen))
        found: list = [None] * len(inputs)
        situation = Situation(plain, params, list(inputs), outputs, cotangents)
        for k, cotangent in zip(chosen, vjp(inexact), strict=True):
            right = cotangent
            for index, choice in wrong[k]:
                m = positions[index]
                other = choice.compute(situation)
                other = right + other if choice.scaled else other
                cotangent = jnp.where(m == 0, cotangent, jnp.reshape(other, right.shape).astype(right.dtype))
            found[k] = positions[uses[k]] * cotangent
        return jax.tree.map(jnp.zeros_like, positions), *found

    operation.defvjp(forward, backward)
    return operation(positions, *inputs)


def active_variables(closed, open_jax: bool) -> set:
    """The variables, at every depth, that depend on the arguments of a function and can have a derivative."""
    active: set = set()

    def mark(jaxpr, inputs: list[bool]) -> list[bool]:
        jaxpr = opened(jaxpr)
        active.update(v for v, k in zip(jaxpr.invars, inputs, strict=True) if k and is_inexact(v.aval))
        for equation in jaxpr.eqns:
            outputs = of_equation(equation, [isinstance(a, core.Var) and a in active for a in equation.invars])
            active.update(v for v, k in zip(equation.outvars, outputs, strict=True) if k and is_inexact(v.aval))
        return [isinstance(a, core.Var) and a in active for a in jaxpr.outvars]

    def of_equation(equation, inputs: list[bool]) -> list[bool]:
        name, params = equation.primitive.name, equation.params
        if not any(inputs) or name in ZERO_DERIVATIVE:
            return [False] * len(equation.outvars)
        if name in CALL_JAXPR:
            return mark(params[CALL_JAXPR[name]], inputs)
        if name == "cond":
            return [any(column) for column in zip(*(mark(b, inputs[1:]) for b in params["branches"]), strict=True)]
        if name == "scan":
            n_consts, n_carry = scan_counts(equation)
            return _fixed_point(mark, params["jaxpr"], inputs, n_consts, n_carry)
        if name == "while":
            n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
            return _fixed_point(mark, params["body_jaxpr"], inputs[n_cond:], n_body, len(inputs) - n_cond - n_body)
        return [True] * len(equation.outvars)

    mark(closed, [True] * len(opened(closed).invars))
    return active


def _fixed_point(mark, jaxpr, inputs: list[bool], n_consts: int, n_carry: int) -> list[bool]:
    """Which results of a loop are active: the carry is as it is after some iteration."""
    inputs = list(inputs)
    while True:
        results = mark(jaxpr, inputs)
        carry = [a or b for a, b in zip(inputs[n_consts : n_consts + n_carry], results[:n_carry], strict=True)]
        if carry == inputs[n_consts : n_consts + n_carry]:
            return carry + results[n_carry:]
        inputs[n_consts : n_consts + n_carry] = carry


def statements(jaxpr, active: set) -> dict[int, list[tuple]]:
    """Statements of several operations with one differentiated input and one result of its shape.

    Returns:
        by the id of its last equation: (variable of the input, variable of the result, place).
    """
    equations = live_equations(jaxpr)
    groups: dict[Hashable, list] = {}
    for equation in equations:
        place = place_of(equation)
        if place is NOWHERE:
            continue
        groups.setdefault((place._replace(call=""), None), []).append((equation, place))
        if place.call:
            groups.setdefault((place, place.call), []).append((equation, place))
    found: dict[int, list[tuple]] = {}
    readers: dict = {}
    for equation in equations:
        for variable in {a for a in equation.invars if isinstance(a, core.Var)}:
            readers.setdefault(variable, []).append(id(equation))
    results = {a for a in jaxpr.outvars if isinstance(a, core.Var)}
    seen = set()
    for members in groups.values():
        ids = {id(e) for e, _ in members}
        if len(members) < 2 or frozenset(ids) in seen:
            continue
        seen.add(frozenset(ids))
        made = [v for e, _ in members for v in e.outvars]
        read = {a for e, _ in members for a in e.invars if isinstance(a, core.Var) and a in active and a not in made}
        left = [v for v in made if v in active and (v in results or set(readers.get(v, ())) - ids)]
        if len(read) == 1 and len(left) == 1 and next(iter(read)).aval.shape == left[0].aval.shape:
            found.setdefault(id(members[-1][0]), []).append((next(iter(read)), left[0], members[0][1]))
    return found
