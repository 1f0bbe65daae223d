"""What stands on a tape: operations, and values with names."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from bpjax.tape.lines import Group, Line
from bpjax.tape.names import Assigned, assigned_names
from bpjax.tape.record import Operation
from bpjax.tape.source import Source, source_of
from bpjax.tape.symbols import operation_name, symbol
from bpjax.tape.values import Adjoints, Value
from bpjax.types import Array


class Input(NamedTuple):
    """What an operation reads."""

    entry: int | None  # the number of the entry that computed it
    argument: str | None  # the name of the argument
    value: Array  # neither of both: a constant


class Variable(NamedTuple):
    """A value with a name: an argument, or what a statement `h = …` of the source computed."""

    name: str
    value: Array
    adjoint: Array | None  # ∂result/∂value; None where it is not differentiated, or before a sweep
    entry: "TapeEntry | None"  # None for an argument


class Variables(tuple[Variable, ...]):
    """All values that a name had: in a loop, in several calls."""

    def _of_one(self, field: str):
        raise ValueError(f"`{self[0].name}` has {len(self)} values on this tape: choose one, for example [0].{field}.")

    @property
    def value(self):
        """Refused: there are several."""
        self._of_one("value")

    @property
    def adjoint(self):
        """Refused: there are several."""
        self._of_one("adjoint")


@dataclass(frozen=True, eq=False)
class Recorded:
    """What does not change when a tape is swept."""

    name: str
    file: str | None  # of the function
    lines: list[Line]
    entries: list  # as the recorder made them, for the reverse sweep
    arguments: tuple[str, ...]  # their names
    leaves: list[tuple[str, Any]]  # of the arguments: (name, a `Value`, or a constant)
    structure: Any  # of the arguments
    outputs: list[Value]
    out_structure: Any
    again: Callable[..., "Recorded"]  # record the same call with other `custom_rules` and another recorder

    @cached_property
    def origin(self) -> dict[Value, int | str]:
        """Where a value comes from: the number of the entry, or the name of the argument."""
        of_arguments = {leaf: name for name, leaf in self.leaves if isinstance(leaf, Value)}
        return of_arguments | {value: line.number for line in self.lines for value in line.record.outputs}

    @cached_property
    def assigned(self) -> list[Assigned]:
        """The names that the source gives to values, in the order of evaluation."""
        return assigned_names(self.lines)

    @cached_property
    def name_of(self) -> dict[Value, str]:
        """The name of each value that has one."""
        return {assigned.value: assigned.name for assigned in reversed(self.assigned)}

    def text_of(self, value: Value, number: int) -> str | None:
        """What an operation with this number calls an input, None for a constant: `h`, or `v3` where `h` is newer."""
        origin = self.origin.get(value)
        if not isinstance(origin, int):
            return origin
        name = self.name_of.get(value)
        same = self.by_name.get(name or "", [])
        before = bisect_left(same, number, key=lambda assigned: assigned.number)
        return name if before and same[before - 1].value is value else f"v{origin}"

    @cached_property
    def by_name(self) -> dict[str, list[Assigned]]:
        """The values that each name was given."""
        found: dict[str, list[Assigned]] = {}
        for assigned in self.assigned:
            found.setdefault(assigned.name, []).append(assigned)
        return found


@dataclass(frozen=True, eq=False)
class TapeEntry:
    """An elementary operation on the tape."""

    _recorded: Recorded
    _adjoints: Adjoints | None
    _line: Line

    @property
    def number(self) -> int:
        """Its place on the tape, from 0."""
        return self._line.number

    @property
    def operation(self) -> str:
        """The name of the JAX primitive; `index` and `stack` for the inputs and results of an iteration of a loop."""
        return operation_name(self._line.record)

    @property
    def symbol(self) -> str:
        """The operation in symbols, such as `v0 + v1` or `tanh a`."""
        return symbol(self._line.record, lambda value: self._recorded.text_of(value, self.number))

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What it reads."""
        found = [(self._recorded.origin.get(value), value.array) for value in self._line.record.inputs]
        return tuple(
            Input(origin if isinstance(origin, int) else None, origin if isinstance(origin, str) else None, array)
            for origin, array in found
        )

    @property
    def value(self) -> Any:
        """The result: an array; a tuple of arrays for an operation with several."""
        return _one([value.array for value in self._line.record.outputs])

    @property
    def adjoint(self) -> Any:
        """∂result/∂value, as `value`; None where it is not differentiated, or before a sweep."""
        return _one([adjoint_of(value, self._adjoints) for value in self._line.record.outputs])

    @property
    def source(self) -> Source | None:
        """The innermost line of the user's code; None where Python does not know it."""
        return source_of(self._line.frames[0]) if self._line.frames else None

    @property
    def lines(self) -> tuple[Source, ...]:
        """All lines of the user's code that were active, the innermost first."""
        return tuple(source_of(frame) for frame in self._line.frames)

    @property
    def name(self) -> str | None:
        """The variable to which the source assigns the value."""
        names = [self._recorded.name_of.get(value) for value in self._line.record.outputs]
        return names[0] if len(names) == 1 else None

    @property
    def depth(self) -> int:
        """How many functions, branches and loops it is inside."""
        return len(self._line.path)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The runs of functions, branches and loops it is inside, the outermost first."""
        return self._line.path

    @property
    def path(self) -> tuple[str, ...]:
        """The functions, branches and loops it is inside, such as `("scan step, iteration 3",)`."""
        return tuple(
            group.program.name if group.iteration is None else f"{group.program.name}, iteration {group.iteration}"
            for group in self._line.path
        )

    @property
    def by(self) -> Literal["table", "custom rule", "jax.vjp"] | None:
        """Where its derivative comes from; None for an operation that is not differentiated."""
        record = self._line.record
        if not any(value.active for value in record.outputs):
            return None
        if not isinstance(record, Operation) or not (record.by_jax or record.derivative is None):
            return "table"
        return "custom rule" if self.operation.startswith("custom_") else "jax.vjp"

    def __repr__(self) -> str:
        return f"<{self.number}: {self.name or f'v{self.number}'} = {self.symbol}, value {self.value}>"


def adjoint_of(value: Value, adjoints: Adjoints | None):
    """The adjoint of a value; zeros where the result does not depend on it."""
    return adjoints.or_zeros(value) if adjoints is not None and value.active else None


def _one(items: list):
    return items[0] if len(items) == 1 else tuple(items)
