"""Single mistakes that can be made in the code, each one changed expression of one line; for `mutation_check.py`.

A mistake is a sign, a missing factor, a dropped term, a transposed product, a wrong axis, an index off by one. Its
identity does not depend on its file and line, so that it can be found again after files have moved. Checks, messages,
annotations and defaults are not changed.
"""

import ast
import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

QUOTAS = dict(layers=70, losses=8, rules=35, optimizers=20, second_order=6, training=14, sweeps=14, theory=18)
ROOMS = {room: room for room in QUOTAS} | dict.fromkeys(("stops", "trial", "restarts"), "training")
COMPARISONS = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!="}
INVERSE = {"maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max", "any": "all", "all": "any"}
DROPPED = set("abs sqrt square exp log log1p expm1 sign conj conjugate reversed sorted stop_gradient tanh flip".split())
SWAPPED = set("matmul dot outer weight_gradient input_gradient subtract divide".split())
AXES = {"0": "-1", "1": "0", "2": "1", "-1": "0", "-2": "-1"}


class Mistake(NamedTuple):
    """One changed expression."""

    room: str
    file: str  # below the root of the tree
    line: int
    columns: tuple[int, int]  # of the expression, in bytes
    function: str  # the names of the functions around it
    kind: str
    nth: int  # among those of its function that are otherwise the same
    old: str  # the expression
    new: str
    before: str  # the line
    after: str

    def identity(self) -> tuple:
        """What identifies the mistake, without file and line."""
        return self.room, self.function, self.kind, " ".join(self.old.split()), self.nth


def changes(node: ast.AST, text) -> Iterator[tuple[str, str]]:
    """The possible mistakes in an expression as (kind, new text); `text(node)` is its source."""

    def whole(part):  # fit to stand as an operand anywhere
        simple = ast.Name, ast.Constant, ast.Attribute, ast.Call, ast.Subscript
        return text(part) if isinstance(part, simple) else f"({text(part)})"

    match node:
        case ast.BinOp(ast.JoinedStr() | ast.List() | ast.Tuple() | ast.Constant(str())):
            return
        case ast.BinOp(_, _, ast.JoinedStr() | ast.List() | ast.Tuple() | ast.Constant(str())):
            return
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            first, sign = text(left) if isinstance(left, ast.BinOp) else whole(left), "+-"[isinstance(op, ast.Add)]
            yield "sign", f"{first} {sign} {whole(right)}"
            yield "dropped term", whole(left)
        case ast.BinOp(left, ast.Mult() | ast.Div() | ast.Pow() as op, right):
            yield "missing factor", whole(left)
            if isinstance(op, ast.Mult):
                yield "missing factor, left", whole(right)
        case ast.BinOp(left, ast.MatMult(), right):
            yield "transposed product", f"({whole(right)} @ {whole(left)})"
        case ast.UnaryOp(ast.USub() | ast.Not(), operand) if not isinstance(operand, ast.Constant):
            yield "sign" if isinstance(node.op, ast.USub) else "negation", whole(operand)
        case ast.Compare(left, [op], [right]) if type(op) in COMPARISONS:
            yield "comparison", f"{whole(left)} {COMPARISONS[type(op)]} {whole(right)}"
        case ast.BoolOp(op, [left, right]):
            yield "and for or", f"({whole(left)} {'or' if isinstance(op, ast.And) else 'and'} {whole(right)})"
        case ast.IfExp(test, body, orelse):
            yield "wrong branch", f"{whole(orelse)} if {whole(test)} else {whole(body)}"
        case ast.Attribute(value, "T"):
            yield "transposed product", text(value)
        case ast.Subscript(value, ast.Constant(int(index))):
            yield "off by one", f"{text(value)}[{index + 1}]"
        case ast.Subscript(value, ast.Slice(None, ast.expr() as upper, None)):
            yield "off by one", f"{text(value)}[: {text(upper)} - 1]"
        case ast.Subscript(value, ast.Slice(ast.expr() as lower, None, None)):
            yield "off by one", f"{text(value)}[{text(lower)} + 1 :]"
        case ast.Call(ast.Name(name) | ast.Attribute(_, name), arguments, keywords):
            if name in DROPPED and len(arguments) == 1 and not keywords:
                yield "dropped call", whole(arguments[0])
            elif name in DROPPED and isinstance(node.func, ast.Attribute) and not arguments and not keywords:
                yield "dropped call", whole(node.func.value)
            elif name in INVERSE:
                yield "inverse call", text(node).replace(name + "(", INVERSE[name] + "(", 1)
            elif name == "range" and len(arguments) == 1:
                yield "off by one", f"range({text(arguments[0])} - 1)"
            elif name == "where" and len(arguments) == 3:
                yield "wrong branch", f"{text(node.func)}({', '.join(text(arguments[i]) for i in (0, 2, 1))})"
            elif name in SWAPPED and len(arguments) == 2 and not keywords:
                yield "transposed product", f"{text(node.func)}({text(arguments[1])}, {text(arguments[0])})"
        case ast.keyword("axis", value) if text(value) in AXES:
            yield "wrong axis", f"axis={AXES[text(value)]}"
        case ast.keyword("keepdims" | "causal" | "back" | "reverse", ast.Constant(bool(flag))):
            yield "flag", f"{node.arg}={not flag}"


def expressions(node, function: str = "") -> Iterator[tuple[str, ast.expr | ast.keyword]]:
    """All expressions that compute something, with the names of the functions around them."""
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.arguments() | ast.If(body=[ast.Raise()]):
            return
        case ast.AnnAssign(value=value):
            node = ast.Expr(value) if value else ast.Pass()
        case ast.FunctionDef(name=name, body=body):
            if re.match("_?check|__repr__|__str__", name):
                return
            function, node = f"{function}.{name}".lstrip("."), ast.Module(body, [])
        case ast.Call(func=called) if re.search(r"\b_?check_|\blog\b|warn|\bother_params", ast.unparse(called)):
            return
    if isinstance(node, ast.expr | ast.keyword) and node.lineno == node.end_lineno:
        yield function, node
    for child in ast.iter_child_nodes(node):
        yield from expressions(child, function)


def all_mistakes(root: Path) -> Iterator[Mistake]:
    """All possible single mistakes in the files of the rooms."""
    for path in sorted((root / "bpjax").rglob("*.py")):
        room = ROOMS.get(path.relative_to(root / "bpjax").parts[0].removesuffix(".py"))
        if room is None or path.stem in ("catalogue", "registry", "progress"):
            continue
        seen, source = Counter(), path.read_bytes()
        lines = source.splitlines()
        text = lambda part, lines=lines: lines[part.lineno - 1][part.col_offset : part.end_col_offset].decode()
        for function, node in expressions(ast.parse(source)):
            for kind, new in changes(node, text):
                line, columns, old = node.lineno, (node.col_offset, node.end_col_offset or 0), text(node)
                seen[function, kind, old] += 1
                mistake = Mistake(room, str(path.relative_to(root)), line, columns, function, kind, 0, old, new, "", "")
                after = edited(source, mistake, new).splitlines()[line - 1].decode().strip()
                before = lines[line - 1].decode().strip()
                yield mistake._replace(nth=seen[function, kind, old], before=before, after=after)


def edited(source: bytes, mistake: Mistake, new: str) -> bytes:
    """The source with other text in the place of the mistake."""
    lines, (start, end) = source.splitlines(keepends=True), mistake.columns
    line = lines[mistake.line - 1]
    lines[mistake.line - 1] = line[:start] + new.encode() + line[end:]
    return b"".join(lines)


def draw(mistakes: list[Mistake], seed: int, scale: float) -> list[Mistake]:
    """Choose the quota of each room by the smallest hashes, over all kinds in turn, at most one mistake per line."""
    rank = lambda m: hashlib.sha256(repr((seed, m.identity())).encode()).hexdigest()
    turns, rooms = Counter(), {room: [] for room in QUOTAS}
    for mistake in {(m.file, m.line): m for m in sorted(mistakes, key=rank, reverse=True)}.values():
        rooms[mistake.room].append(mistake)
    for room, drawn in rooms.items():
        keyed = []
        for mistake in sorted(drawn, key=rank):
            turns[room, mistake.kind] += 1
            keyed.append((turns[room, mistake.kind], rank(mistake), mistake))
        rooms[room] = [mistake for *_, mistake in sorted(keyed)[: max(1, round(QUOTAS[room] * scale))]]
    return sum(rooms.values(), [])


def find_again(wanted: list[Mistake], mistakes: list[Mistake]) -> Iterator[tuple[Mistake, Mistake | None]]:
    """Find each mistake of another tree in this one: the identical one, or the most similar one of its kind."""
    form = lambda m: re.sub(r"[^\W\d]\w*", "a", re.sub(r"\s", "", m.old))
    description = lambda m: f"{m.function} {m.old} {m.before}"
    likeness = lambda old, new: difflib.SequenceMatcher(None, description(old), description(new)).ratio()
    identical, taken = {m.identity(): m for m in mistakes}, set()
    for old in sorted(wanted, key=lambda m: m.identity() not in identical):
        found = identical.get(old.identity())
        if found is None or found in taken:
            near = [m for m in mistakes if m.kind == old.kind and m not in taken and likeness(old, m) > 0.65]
            rated = [(form(m) == form(old), likeness(old, m), m) for m in near]
            found = max(rated, default=(None,))[-1]
        taken.add(found)
        yield old, found


def place_of(mistake: Mistake) -> str:
    """The file and line of a mistake."""
    return f"{mistake.file}:{mistake.line}"
