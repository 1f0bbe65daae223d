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
from jax.extend import core

from bpjax.gradcheck.activity import Statement, is_variable
from bpjax.gradcheck.alternatives import (
    Alternative,
    alternatives,
    of_statement,
    other_operand,
    updated_weights,
    without_keepdims,
)
from bpjax.gradcheck.dialed_operations import scaled, with_dials, with_statement
from bpjax.gradcheck.places import COMPOUND, NOWHERE, Place, place_of
from bpjax.gradcheck.walk import Walk
from bpjax.gradcheck.widen import Widened, is_inexact
from bpjax.util.jaxprs import opened

ITERATIONS = (
    "",
    "the first iteration",
    "the last iteration",
    "all iterations but the first",
    "all iterations but the last",
)
"""Where dials in loops hold: everywhere, or there."""


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


class Dialed(Walk):
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
        self._names, self._kinds = names, kinds
        self._keys: dict[Hashable, int] = {}
        self._holds: Any = None  # in a loop: whether the dials hold in this iteration
        self._setting: Any = None
        self._gradients: Any = None

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

    def _dial(self, key: Hashable, dial: Dial) -> int:
        if key not in self._keys:
            self._keys[key] = len(self.dials)
            self.dials.append(dial)
        return self._keys[key]

    # --- Loops ------------------------------------------------------------------------------------------------------

    def _begin_iteration(self, first, last):
        outer = self._holds
        if self._setting is not None:
            here = jnp.stack([jnp.ones_like(first), first, last, ~first, ~last])[self._setting[-1].astype(int)]
            self._holds = here if outer is None else here & outer
        return outer

    def _end_iteration(self, outer) -> None:
        self._holds = outer

    def _carried(self, equation, k: int, variable, first, array):
        """The carry of an iteration; its dial is on the path from the iteration before."""
        if variable not in self._active:
            return array
        place = place_of(equation)
        dial = Dial(place, "carry", k, len(self.dials), True, None, place, None, None, frozenset(), None)
        index = self._dial((self._path, "carry", k), dial)
        return array if self._setting is None else scaled(jnp.where(first, 1.0, self._setting[index]), array)

    # --- Operations and statements ----------------------------------------------------------------------------------

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
            choices = alternatives(name, equation.params, avals, k, result)
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
