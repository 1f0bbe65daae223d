"""The operations of a tape in the order of evaluation, each with the source lines that were active."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bpjax.tape.record import Operation
from bpjax.tape.source import Frame, frames_of
from bpjax.tape.unrolled import Program, Slice, Stack, Unstack


class Group(NamedTuple):
    """A run of a function inside, around an operation."""

    program: Program
    iteration: int | None  # of a loop
    run: int  # the number of this run


@dataclass(frozen=True, eq=False)
class Line:
    """An elementary operation of the tape."""

    number: int
    record: Operation | Slice | Stack
    frames: tuple[Frame, ...]  # the innermost first
    path: tuple[Group, ...]  # the outermost first

    @property
    def run(self) -> int:
        """The run of a function in which it was evaluated; 0 is that of the recorded function."""
        return self.path[-1].run if self.path else 0


def lines_of(entries: list) -> list[Line]:
    """The elementary operations among the entries, which were recorded with `UNROLLED`, and in the programs there."""
    numbers, runs = itertools.count(), itertools.count(1)

    def walk(entries, calls, path) -> Iterator[Line]:
        run = path[-1].run if path else 0
        for entry in entries:
            frames = frames_of(entry.equation, run, calls)
            if isinstance(entry, Program):
                yield from inside(entry, frames, path)
            elif not isinstance(entry, Unstack):
                yield Line(next(numbers), entry, frames, path)

    def inside(program, frames, path) -> Iterator[Line]:
        for section in program.sections:
            group = Group(program, section.iteration, next(runs))
            if section.jaxpr is None:
                own = (entry for entry in section.entries if not isinstance(entry, Unstack))
                yield from (Line(next(numbers), entry, frames, (*path, group)) for entry in own)
            else:
                yield from walk(section.entries, frames, (*path, group))

    return list(walk(entries, (), ()))
