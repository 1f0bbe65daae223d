"""The names that the user's source gives to values: `h` for what the statement `h = tanh(a)` computed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from bpjax.tape.lines import Line
from bpjax.tape.statements import Statement, Statements
from bpjax.tape.symbols import operation_name
from bpjax.tape.unrolled import Program, Slice
from bpjax.tape.values import Value, is_differentiable
from bpjax.util.jaxprs import opened


class Assigned(NamedTuple):
    """A value that was given a name."""

    number: int  # of the operation that computed it
    name: str
    value: Value


def assigned_names(lines: list[Line]) -> list[Assigned]:
    """Each name with the value that a statement assigned to it, in the order of evaluation.

    The value of a statement is the result of the last operation that was recorded while the statement was executed.
    The scanned inputs of a loop have the names of the parameters of its body.
    """
    executions = _Executions()
    for line in lines:
        executions.add(line)
    found = [
        Assigned(step.line.number, name, value)
        for statement, step in executions.last_steps()
        for name, value in _results(step, statement.targets)
    ]
    slices = [(line.number, line.record) for line in lines if isinstance(line.record, Slice)]
    found += [Assigned(number, slice_.name, slice_.outputs[0]) for number, slice_ in slices if slice_.name]
    return sorted(found, key=lambda assigned: assigned.number)


class _Step(NamedTuple):
    """An operation as a part of a statement."""

    line: Line
    level: int  # of the frames of the line, the one that executes the statement
    repeats: bool  # whether the statement, or a call around it, stands in a loop
    loop_inside: bool  # whether there is a loop in the functions that the statement calls

    @property
    def instruction(self) -> int:
        return self.line.frames[self.level].instruction

    @property
    def place(self) -> tuple:
        """What repeats when the statement is executed again."""
        inner = self.line.frames[: self.level + 1]
        return operation_name(self.line.record), *((frame.code, frame.instruction) for frame in inner)


@dataclass
class _Executions:
    """The executions of assignments, found from the frames of one operation after the other."""

    statements: Statements = field(default_factory=Statements)
    running: dict[tuple, dict[Statement, list[_Step]]] = field(default_factory=dict)  # for each call of a function
    finished: list[tuple[Statement, list[_Step]]] = field(default_factory=list)

    def add(self, line: Line) -> None:
        """The next operation: it continues, starts or ends executions in each function that is active."""
        places = [self.statements.at(frame) for frame in line.frames]
        loops = [place.in_comprehension or any(s.in_loop for s in place.statements) for place in places]
        for level, (frame, place) in enumerate(zip(line.frames, places, strict=True)):
            running = self.running.setdefault((frame.code, frame.run, line.frames[level + 1 :]), {})
            active = [statement for statement in place.statements if statement.targets]
            for statement in [s for s in running if s not in active]:
                self.finished.append((statement, running.pop(statement)))
            for statement in active:
                loop_inside = place.in_comprehension or any(loops[:level])
                step = _Step(line, level, statement.in_loop or any(loops[level + 1 :]), loop_inside)
                steps = running.setdefault(statement, [])
                if steps and step.repeats and step.instruction < steps[-1].instruction:  # the next iteration of a loop
                    self.finished.append((statement, steps))
                    running[statement] = steps = []
                steps.append(step)

    def last_steps(self) -> list[tuple[Statement, _Step]]:
        """Each execution of an assignment with its last operation."""
        still = [item for running in self.running.values() for item in running.items()]
        return [
            (statement, steps[k])
            for statement, steps in [*self.finished, *still]
            for k in range(_period(steps) - 1, len(steps), _period(steps))
        ]


def _period(steps: list[_Step]) -> int:
    """After how many operations a statement in a loop begins again: iterations of `for …: h = tanh(h)`."""
    places = [step.place for step in steps]
    if not steps[0].repeats or any(step.loop_inside for step in steps):
        return len(steps)
    fits = (p for p in range(1, len(steps) + 1) if len(steps) % p == 0 and places[:-p] == places[p:])
    return next(fits, len(steps))


def _results(step: _Step, targets) -> Iterator[tuple[str, Value]]:
    """The names with the results of the operation, or of the whole call or loop around it that the statement runs."""
    inside = [group for group in step.line.path if group.run > step.line.frames[step.level].run]
    record = inside[0].program if inside else step.line.record
    places = _places_of_results(record)
    for name, place in targets:
        floating = [value for value in record.outputs if is_differentiable(value.array)]
        if place in places:
            yield name, record.outputs[places.index(place)]
        elif not place and len(floating) == 1:  # one value, and a counter of iterations
            yield name, floating[0]


def _places_of_results(record) -> list[str]:
    """Where each result stands in what the call returns: "" for a single one, else "[0]", "[1].w", …."""
    if len(record.outputs) == 1:
        return [""]
    places = [f"[{k}]" for k in range(len(record.outputs))]
    if isinstance(record, Program):
        known = [opened(section.jaxpr).debug_info.result_paths for section in record.sections if section.jaxpr]
        places = [path.removeprefix("result") for path in (known[-1] if known else None) or ()]
    return places if len(places) == len(record.outputs) else []
