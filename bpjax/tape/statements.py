"""The statements of the user's source, and which of them a frame was executing."""

import ast
import linecache
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

from bpjax.tape.source import COMPREHENSIONS, Frame, Position


class Statement(NamedTuple):
    """A statement, or one element of `u, v = …, …`."""

    position: Position  # of the expression on the right of an assignment; of the whole statement otherwise
    targets: tuple[tuple[str, str], ...]  # (name, its place in the result: "", "[0]", "[1][0]"); none: no assignment
    scope: Position | None  # the function around it
    in_loop: bool  # whether a `for` or `while` of this function is around it


class Place(NamedTuple):
    """Where the instruction of a frame stands."""

    statements: list[Statement]  # around it in its function, the innermost last; none without source
    in_comprehension: bool


class Statements:
    """The statements of the files that were active."""

    def __init__(self):
        """No file is read yet."""
        self._files: dict[str, tuple[list[Statement], list[Position], list[Position]]] = {}
        self._at: dict[tuple[CodeType, int], Place] = {}

    def at(self, frame: Frame) -> Place:
        """The place of the instruction of a frame."""
        key = (frame.code, frame.instruction)
        if key not in self._at:
            found, functions, comprehensions = self._of_file(frame.file)
            position = frame.position
            around = [function for function in functions if contains(function, position)]
            scope = around[-1] if around else None
            statements = [s for s in found if s.scope == scope and contains(s.position, position)]
            if frame.code.co_name in COMPREHENSIONS:  # a function before Python 3.12; generators also after it
                self._at[key] = Place([], True)
            else:
                self._at[key] = Place(statements, any(contains(c, position) for c in comprehensions))
        return self._at[key]

    def _of_file(self, file: str) -> tuple[list[Statement], list[Position], list[Position]]:
        if file not in self._files:
            try:
                tree = ast.parse("".join(linecache.getlines(file)))
            except SyntaxError:
                tree = ast.Module([], [])
            functions = [position_of(node) for node in _walk(tree) if isinstance(node, FUNCTION)]
            comprehensions = [position_of(node) for node in _walk(tree) if isinstance(node, COMPREHENSION)]
            self._files[file] = list(_statements(tree, None, False)), functions, comprehensions
        return self._files[file]


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SEVERAL = (ast.Tuple, ast.List, ast.Dict, ast.Set, *COMPREHENSION)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, outer ones before inner ones."""
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _statements(tree: ast.AST, scope: Position | None, in_loop: bool) -> Iterator[Statement]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield Statement(position_of(node), (), scope, in_loop)
        for targets, value in _assignments(node):
            yield Statement(position_of(value), targets, scope, in_loop)
        if isinstance(node, FUNCTION):
            yield from _statements(node, position_of(node), False)
        else:
            yield from _statements(node, scope, in_loop or isinstance(node, ast.For | ast.While | ast.AsyncFor))


Targets = tuple[tuple[str, str], ...]


def _assignments(node: ast.AST) -> Iterator[tuple[Targets, ast.AST]]:
    """The names and the expression of an assignment; several names for an expression with several results."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _assigned(target, node.value)
    elif isinstance(node, ast.AugAssign):
        yield from ((targets, node) for targets, _ in _assigned(node.target, node.value))  # the sum starts at `x +=`
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield from _assigned(node.target, node.value)


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[Targets, ast.AST]]:
    left, right = (node.elts if isinstance(node, ast.Tuple | ast.List) else [] for node in (target, value))
    if left and len(left) == len(right):
        for one, element in zip(left, right, strict=True):
            yield from _assigned(one, element)
    elif not isinstance(value, SEVERAL):
        yield tuple(_places(target, "")), value


def _places(target: ast.expr, place: str) -> Iterator[tuple[str, str]]:
    """Each name in a target with its place in the result."""
    if isinstance(target, ast.Name):
        yield target.id, place
    elif isinstance(target, ast.Tuple | ast.List) and not any(isinstance(e, ast.Starred) for e in target.elts):
        for k, element in enumerate(target.elts):
            yield from _places(element, f"{place}[{k}]")


def position_of(node) -> Position:
    """The range of the text of a node."""
    return Position(node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)


def contains(outer: Position, inner: Position) -> bool:
    """Whether a range of text lies in another one; by lines alone where the columns are not known."""
    if inner.column is None:
        return outer.line <= inner.line and inner.end_line <= outer.end_line
    starts = (outer.line, outer.column or 0) <= (inner.line, inner.column)
    return starts and (inner.end_line, inner.end_column or 0) <= (outer.end_line, outer.end_column or 0)
