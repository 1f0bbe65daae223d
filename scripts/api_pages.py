"""Write the API pages of the site, one for each room, from the docstrings: `python -m scripts.api_pages FOLDER`.

The pages are Markdown with the directives of MyST; bpjax is read, not imported.
"""

import argparse
import ast
import functools
import re
from itertools import groupby
from pathlib import Path

from scripts.api_source import Entry, Member, entries, module_docstring, public_names, rooms, signature_of
from scripts.docstrings import first_sentence, markdown
from scripts.generated_pages import write_pages

ELSEWHERE = {"Array": "jax.Array", "Key": "jax.Array", "np.ndarray": "numpy.ndarray", "xr.Dataset": "xarray.Dataset"}
"""Names in annotations that belong to other projects, under the names of their documentation."""
SHORT = 300
"""The longest definition of data that a page shows, in characters."""


@functools.cache
def addresses() -> dict[str, str]:
    """The import path of every public name by its name; where two rooms share a name, that of the first room."""
    found: dict[str, str] = {}
    for room in rooms():
        for name in public_names(f"bpjax.{room}"):
            found.setdefault(name, f"bpjax.{room}.{name}")
    return found | ELSEWHERE


@functools.cache
def top_level() -> frozenset[str]:
    """The names that are also in `bpjax` itself."""
    return frozenset(public_names("bpjax"))


class Addresses(ast.NodeTransformer):
    """Replaces the names of types by their import paths, which Sphinx turns into links."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name such as `Layer`."""
        path = addresses().get(node.id) if node.id[:1].isupper() else None
        return ast.parse(path, mode="eval").body if path else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """A dotted name such as `np.ndarray`."""
        path = ELSEWHERE.get(ast.unparse(node))
        return ast.parse(path, mode="eval").body if path else node


def linked(annotation: str) -> str:
    """An annotation with import paths."""
    return ast.unparse(Addresses().visit(ast.parse(annotation, mode="eval").body)) if annotation else ""


def linked_signature(signature: str) -> str:
    """A signature with import paths in its annotations; names in default values stay as they are."""
    function = ast.parse(f"def f{signature}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if argument and argument.annotation:
            argument.annotation = Addresses().visit(argument.annotation)
    if function.returns:
        function.returns = Addresses().visit(function.returns)
    return signature_of(function)


def fenced(directive: str, argument: str, body: str) -> str:
    """A MyST directive whose fence is longer than those inside it."""
    longest = max([2, *(len(fence) for fence in re.findall(r"^(`{3,})", body, re.MULTILINE))])
    fence = "`" * (longest + 1)
    return f"{fence}{{{directive}}} {argument}\n{body}\n{fence}"


def member_text(member: Member) -> str:
    """A field, property or method."""
    doc = markdown(member.doc)
    if member.kind == "method":
        return fenced("py:method", member.name + linked_signature(member.signature), "\n" + doc)
    return fenced(f"py:{member.kind}", member.name, f":type: {linked(member.signature)}\n\n{doc}")


def entry_text(entry: Entry) -> str:
    """A public name: signature, docstring, and the members of a class."""
    parts = [markdown(entry.doc)]
    if entry.room != "types" and entry.name in top_level():
        parts.append(f"Also `bp.{entry.name}`.")
    if entry.kind == "data":
        if len(entry.signature) <= SHORT:
            parts.append(f"```text\n{entry.signature}\n```")
        return fenced("py:data", entry.name, "\n" + "\n\n".join(part for part in parts if part))
    parts += [member_text(member) for member in entry.members]
    body = "\n" + "\n\n".join(part for part in parts if part)
    if entry.kind == "class":
        return fenced("py:class", entry.name, body)
    return fenced("py:function", entry.name + linked_signature(entry.signature), body)


def page(room: str) -> str:
    """The page of a room: its names in the order of its modules."""
    module = f"bpjax.{room}"
    parts = [f"# {module}", f"```{{py:module}} {module}\n```", markdown(module_docstring(module))]
    by_module = sorted(entries(room), key=lambda e: (e.module, e.name))
    for defined_in, group in groupby(by_module, key=lambda e: e.module):
        if defined_in != module:
            parts.append(f"## {defined_in.removeprefix(module + '.')}")
            parts.append(markdown(module_docstring(defined_in)))
        parts += [entry_text(entry) for entry in group]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(folder: str) -> str:
    """The rooms, each with a link to its page in a folder."""
    rows = [
        f"| [bpjax.{room}]({folder}{room}.md) | {first_sentence(module_docstring(f'bpjax.{room}'))} "
        f"| {len(public_names(f'bpjax.{room}'))} |"
        for room in rooms()
    ]
    return "\n".join(["| room | what it holds | names |", "|---|---|---|", *rows]) + "\n"


def write(folder: Path) -> list[Path]:
    """Write all pages."""
    return write_pages(folder, {f"{room}.md": page(room) for room in rooms()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the pages are written")
    print(*write(parser.parse_args().folder), sep="\n")
