"""What the site makes of plain Markdown pages: executed blocks, a table of contents, links to names."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

from scripts import api_pages, rule_pages
from scripts.api_pages import addresses

HERE = Path(__file__).parents[1]
NOTEBOOK = """---
file_format: mystnb
kernelspec:
  name: python3
language_info:
  name: python
  pygments_lexer: ipython3
---
"""
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?=(\s*^```text\n)?)", re.DOTALL | re.MULTILINE)
OUTSIDE = {"../CONTRIBUTING.md": "project/CONTRIBUTING.md", "../CHANGELOG.md": "project/CHANGELOG.md"}
"""Pages of the repository that are copied into the site, with the address that they have there."""
BELOW = {"reference": "api", "rules": "rules", "experiments": "experiments"}
"""Pages under which the pages of a folder stand."""


def executed(text: str) -> str:
    """A page whose ```python blocks are cells. Where the page prints the output itself, the cell shows none."""

    def cell(block: re.Match) -> str:
        tags = ":tags: [remove-output]\n\n" if block[2] else ""
        return f"```{{code-cell}} python\n{tags}{block[1]}```\n"

    return NOTEBOOK + BLOCK.sub(cell, text) if BLOCK.search(text) and not text.startswith("---") else text


def copy_outside() -> None:
    """Copy the pages of `OUTSIDE` to where the site has them, with links that fit there."""
    for link, target in OUTSIDE.items():
        text = (HERE / link).read_text().replace("](README.md", "](docs/start.md")
        text = re.sub(r"\]\((?:docs/)?((?!https?:|#)[^)]+\.md)", r"](../\1", text)
        text = re.sub(r"\]\((docs/skeletons/)", r"](../../\1", text)
        file = HERE / target
        file.parent.mkdir(exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def contents(text: str, listed: list[str]) -> str:
    """The start page with a hidden table of contents: the links in its tables, one group for each heading."""
    trees, seen = [], {"index"}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        linked = re.findall(r"^\| \[[^]]*\]\(([\w/]+)\.md\)", body, re.MULTILINE)
        pages = [page for page in dict.fromkeys(linked) if page not in seen]
        seen.update(pages)
        if pages:
            trees.append(tree(pages, title.strip()))
    trees.append(tree([target.removesuffix(".md") for target in OUTSIDE.values()], "The project"))
    rest = [page for page in listed if page not in seen]
    text = re.sub(r"^\| \[\w+\.md\]\(", "| [](", text, flags=re.MULTILINE)  # the site shows the title of the page
    return "\n".join([text, *trees, *([tree(rest, "Further pages")] if rest else [])])


def below(page: str, text: str) -> list[str]:
    """The pages below a page: first those that its text links, in this order."""
    folder = BELOW[page]
    linked = dict.fromkeys(re.findall(rf"\]\(({folder}/\w+)\.md\)", text))
    return [*linked, *sorted({f"{folder}/{file.stem}" for file in (HERE / folder).glob("*.md")} - set(linked))]


def tree(pages: list[str], caption: str = "") -> str:
    """A hidden table of contents."""
    options = [f":caption: {caption}"] if caption else []
    return "\n".join(["", "```{toctree}", ":hidden:", *options, "", *pages, "```", ""])


def read(app, page: str, source: list[str]) -> None:
    """What Sphinx reads instead of the file's text."""
    text = source[0]
    for link, target in OUTSIDE.items():
        text = text.replace(f"]({link}", f"]({target}")
    if page == "index":
        text = contents(text, sorted(file.stem for file in HERE.glob("*.md")))
    elif page in BELOW:
        text += rule_pages.overview() if page == "rules" else ""
        if page == "reference":
            text += "\n## Room by room\n\n" + api_pages.table("api/")
        text += tree(below(page, text))
    source[0] = executed(text)


class NamesAreLinks(SphinxTransform):
    """`bp.fit` or `bpjax.rules.delayed(...)` in a text becomes a link to its entry; on the reference page, `fit` too."""

    default_priority = 400
    NAME = re.compile(r"(?:bp|bpjax)\.([A-Za-z_][\w.]*)(?:\(.*\))?$", re.DOTALL)

    def apply(self, **kwargs) -> None:
        """Replace the literals of one page."""
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            match = self.NAME.match(f"bp.{text}" if self.env.docname == "reference" else text)
            linked = isinstance(literal.parent, nodes.reference | nodes.title | pending_xref)
            if not match or linked or self.env.docname.startswith("api/"):
                continue
            path = f"bpjax.{match[1]}" if "." in match[1] else addresses().get(match[1], "")
            if path.startswith("bpjax."):
                reference = pending_xref(
                    "", refdomain="py", reftype="obj", reftarget=path, refdoc=self.env.docname, refwarn=False
                )
                literal.replace_self(reference)
                reference += literal


def setup(app) -> dict:
    """Connect to Sphinx."""
    copy_outside()
    app.connect("source-read", read)
    app.add_transform(NamesAreLinks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
