"""What Sphinx reads in place of a page: executed blocks, a table of contents, generated tables. Needs no Sphinx."""

import re
from pathlib import Path

from scripts import api_pages, rule_pages

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


def pages_of_the_contents() -> list[str]:
    """The pages that the table of contents lists: those that are written by hand and stand below no other page."""
    elsewhere = {"_build", "project", *BELOW.values()}
    files = [*HERE.glob("*.md"), *HERE.glob("*/*.md")]
    pages = [file.relative_to(HERE).with_suffix("") for file in files if file.parent.name not in elsewhere]
    return sorted(map(str, pages))


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
    rest = [page for page in listed if page not in seen]
    text = re.sub(r"^\| \[[\w/]+\.md\]\(", "| [](", text, flags=re.MULTILINE)  # the site shows the title of the page
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


def skeletons() -> str:
    """The skeleton files in full, for the page that explains them."""
    files = sorted((HERE / "skeletons").glob("*.py"))
    shown = [
        f"```{{literalinclude}} skeletons/{file.name}\n:language: python\n:caption: {file.name}\n```" for file in files
    ]
    return "\n\n".join(["", "## The skeleton files", *shown, ""])


def site_text(page: str, text: str) -> str:
    """The text of a page for the site."""
    for link, target in OUTSIDE.items():
        text = text.replace(f"]({link}", f"]({target}")
    if page == "index":
        text = contents(text, pages_of_the_contents())
    elif page == "adding":
        text += skeletons()
    elif page in BELOW:
        if page == "rules":
            text += rule_pages.overview()
        elif page == "reference":
            text += "\n## Room by room\n\n" + api_pages.table("api/")
        text += tree(below(page, text))
    return executed(text)
