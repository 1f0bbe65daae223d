"""The public names of the rooms, read from the source: signature, docstring, fields, methods; bpjax is not imported."""

import ast
import functools
import inspect
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bpjax"


class Member(NamedTuple):
    """A field, property or method of a class."""

    kind: str  # "attribute", "property" or "method"
    name: str
    signature: str  # of a method; the type of an attribute or property
    doc: str


class Entry(NamedTuple):
    """A public name."""

    room: str  # "layers"
    name: str  # "dense"
    module: str  # "bpjax.layers.dense"
    kind: str  # "function", "class" or "data"
    signature: str  # the arguments and "-> result" of a function; the definition of data
    doc: str
    members: tuple[Member, ...] = ()

    @property
    def path(self) -> str:
        """The import path for users, "bpjax.layers.dense"."""
        return f"bpjax.{self.room}.{self.name}"


@functools.cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text())


def file_of(module: str) -> Path:
    """The file of a module of the package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def public_names(module: str) -> list[str]:
    """The `__all__` of a module; for `types`, which has none, what is assigned in it."""
    tree = parsed(file_of(module))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    if module != "bpjax.types":
        return []
    return [node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)]  # pyright: ignore


def rooms() -> list[str]:
    """The rooms with public names, in the order of `bpjax/__init__.py`'s table of contents."""
    order = "tasks layers networks losses rules optimizers second_order training sweeps results tape analysis".split()
    order += "gradcheck audit teaching interop theory types util".split()
    found = {f.stem for f in PACKAGE.glob("*.py")} | {f.parent.name for f in PACKAGE.glob("*/__init__.py")}
    named = [room for room in found - {"__init__", "__main__"} if public_names(f"bpjax.{room}")]
    return sorted(named, key=lambda room: (order.index(room) if room in order else len(order), room))


def defining_module(module: str, name: str) -> str:
    """The module in which a name is defined, following imports."""
    for node in parsed(file_of(module)).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bpjax."):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return defining_module(node.module, alias.name)
    return module


def definition(module: str, name: str) -> tuple[ast.AST, str]:
    """The node that defines a name, and the text that documents it where that is not a docstring."""
    body = parsed(file_of(module)).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node, ast.get_docstring(node) or ""
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and getattr(targets[0], "id", "") == name:
            return node, text_of(after)
    raise LookupError(f"{module} does not define {name}: its API page cannot be made.")


def text_of(node: ast.AST | None) -> str:
    """The text of a string that stands alone, as it does after what it documents; else ''."""
    alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return inspect.cleandoc(node.value.value) if alone else ""  # pyright: ignore


def signature_of(node: ast.FunctionDef, *, method: bool = False) -> str:
    """The arguments and the result, as written in the source."""
    arguments = node.args
    if method and arguments.args:
        arguments = ast.arguments(**{**ast_fields(arguments), "args": arguments.args[1:]})
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments)}){result}"


def ast_fields(node: ast.AST) -> dict:
    """The fields of a node by name."""
    return dict(ast.iter_fields(node))


def decorators(node: ast.FunctionDef) -> set[str]:
    """The last word of each decorator."""
    return {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}


def members_of(node: ast.ClassDef, lines: list[str]) -> tuple[Member, ...]:
    """The public fields, properties and methods, and `__call__`, in the order of the source."""
    found = []
    for child, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            comment = lines[(child.end_lineno or child.lineno) - 1].partition("  # ")[2]
            found.append(Member("attribute", child.target.id, ast.unparse(child.annotation), text_of(after) or comment))
        elif isinstance(child, ast.FunctionDef):
            doc, marks = ast.get_docstring(child) or "", decorators(child)
            if {"property", "cached_property"} & marks:
                found.append(Member("property", child.name, ast.unparse(child.returns) if child.returns else "", doc))
            else:
                found.append(Member("method", child.name, signature_of(child, method="staticmethod" not in marks), doc))
    public = [m for m in found if not m.name.startswith("_") or (m.name == "__call__" and m.doc)]
    return tuple(public)


def entry(room: str, name: str) -> Entry:
    """What is known of a public name."""
    module = defining_module(f"bpjax.{room}", name)
    node, doc = definition(module, name)
    if isinstance(node, ast.FunctionDef):
        return Entry(room, name, module, "function", signature_of(node), doc)
    if isinstance(node, ast.ClassDef):
        members = members_of(node, file_of(module).read_text().splitlines())
        return Entry(room, name, module, "class", "", doc, members)
    return Entry(room, name, module, "data", ast.unparse(node), doc)


def entries(room: str) -> list[Entry]:
    """All public names of a room, in the order of its `__all__`."""
    return [entry(room, name) for name in public_names(f"bpjax.{room}")]


def module_docstring(module: str) -> str:
    """The docstring of a module."""
    return ast.get_docstring(parsed(file_of(module))) or ""
