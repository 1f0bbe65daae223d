"""The documentation site, as far as it can be checked without Sphinx: contents, names, rules, messages, settings."""

import ast
import functools
import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

import bpjax as bp
from scripts import api_pages, api_source, docstrings, rule_pages
from scripts.generated_pages import LIST, write_pages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def site_text_module():
    """`docs/_extension/site_text.py`, which needs no Sphinx."""
    spec = importlib.util.spec_from_file_location("site_text", DOCS / "_extension" / "site_text.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SITE = site_text_module()


def test_every_page_stands_in_a_table_of_the_start_page():
    linked = set(re.findall(r"^\| \[[^]]*\]\(([\w/]+)\.md\)", (DOCS / "index.md").read_text(), re.MULTILINE))
    assert set(SITE.pages_of_the_contents()) - linked - {"index"} == set(), (
        "add a row to docs/index.md, which is also the site's table of contents"
    )


def test_the_table_of_contents_of_the_site_has_every_page_once():
    text = SITE.site_text("index", (DOCS / "index.md").read_text())
    trees = re.findall(r"```{toctree}\n:hidden:\n:caption: (.*?)\n\n(.*?)\n```", text, re.DOTALL)
    pages = [page for _, listed in trees for page in listed.split()]
    assert sorted(pages) == sorted({*SITE.pages_of_the_contents(), *PROJECT} - {"index"})
    assert {"notebooks/derivation", "start"} <= set(pages) and not [page for page in pages if page.startswith("api")]
    assert "Further pages" not in dict(trees)


PROJECT = "project/CONTRIBUTING", "project/CHANGELOG"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_the_site_runs_the_blocks_that_the_tests_run(page):
    text = page.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    cells = re.findall(
        r"^```{code-cell} python\n(?::tags:.*?\n\n)?(.*?)^```$", SITE.executed(text), re.DOTALL | re.MULTILINE
    )
    assert cells == blocks or text.startswith("---")
    assert SITE.executed(text).startswith("---") or not blocks


def test_an_output_that_the_page_prints_itself_is_not_shown_twice():
    text = "# A\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nprint(2)\n```\n"
    assert SITE.executed(text) == SITE.NOTEBOOK + (
        "# A\n\n```{code-cell} python\n:tags: [remove-output]\n\nprint(1)\n```\n\n```text\n1\n```\n\n"
        "```{code-cell} python\nprint(2)\n```\n"
    )


@pytest.mark.parametrize(
    "page", sorted([*DOCS.glob("*.md"), *DOCS.glob("experiments/*.md")]), ids=lambda page: page.name
)
def test_the_names_in_a_text_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    names = set(re.findall(r"`bp(?:jax)?\.([A-Za-z_][\w.]*\w)", text))
    assert not sorted(name for name in names if not exists(name))


def exists(name):
    """Whether `bp.name` or `bpjax.name` can be had: an attribute, also of a module that has to be imported."""
    words = name.split(".")
    for split in range(len(words), -1, -1):
        try:
            place = importlib.import_module(".".join(["bpjax", *words[:split]]))
        except ModuleNotFoundError:
            continue
        try:
            functools.reduce(getattr, words[split:], place)
        except AttributeError:
            continue
        return True
    return False


def test_every_experiment_has_a_page_with_a_figure_and_a_table():
    linked = set(re.findall(r"\]\(experiments/(\w+)\.md\)", (DOCS / "experiments.md").read_text()))
    folders = {folder.parent.name for folder in (ROOT / "experiments").glob("*/__main__.py")}
    assert {page.stem for page in (DOCS / "experiments").glob("*.md")} == linked == folders
    for name in sorted(folders):
        text = (DOCS / "experiments" / f"{name}.md").read_text()
        assert f"python -m experiments.{name}" in text and "|---|" in text
        assert "![" in text or not list((ROOT / "experiments" / name).glob("*.png"))


def anchors(page):
    """The addresses of the headings of a page, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_to_headings_exist(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        assert anchor in anchors(page.parent / target if target else page), f"{target}#{anchor}"


@pytest.mark.parametrize("room", api_source.rooms())
def test_every_public_name_is_on_the_page_of_its_room_with_its_docstring(room):
    page, entries = api_pages.page(room), api_source.entries(room)
    assert {entry.name for entry in entries} == set(api_source.public_names(f"bpjax.{room}"))
    for entry in entries:
        assert re.search(rf"^`+{{py:\w+}} {re.escape(entry.name)}(\(|$)", page, re.MULTILINE), entry.path
        assert entry.doc, f"{entry.path} needs a docstring: its API page would be empty"
    assert not re.search(r"^(Args|Raises|Returns):$", page, re.MULTILINE)


def test_the_rooms_with_pages_are_those_with_public_names():
    expected = {name for name in bp.__all__ if getattr(getattr(bp, name), "__all__", None)} | {"tape", "types"}
    assert set(api_source.rooms()) == expected


def test_the_arguments_in_a_docstring_are_those_of_the_signature():
    wrong = []
    for room in api_source.rooms():
        for entry in api_source.entries(room):
            if entry.kind == "function":
                arguments = docstrings.markdown(entry.doc).split("**Raises**")[0]
                listed = re.findall(r"^- `([\w*]+)`:", arguments, re.MULTILINE)
                missing = [name for name in listed if not re.search(rf"{re.escape(name)}\b", entry.signature)]
                wrong += [f"{entry.path}: {name}" for name in missing]
    assert not wrong


def test_a_docstring_becomes_markdown():
    text = """One line.

    Some text with `x_1 * y` and x_1 * y:
        y = a * b

    forward    y = x W
    backward   dx = dy W

    Args:
        x: the input, (N, D);
            of any dtype.

    Raises:
        ValueError: always.
    """
    assert docstrings.markdown(text) == (
        "One line.\n\nSome text with `x_1 * y` and x\\_1 \\* y:\n\n"
        "```text\ny = a * b\n```\n\n```text\nforward    y = x W\nbackward   dx = dy W\n```\n\n"
        "**Arguments**\n\n- `x`: the input, (N, D); of any dtype.\n\n"
        "**Raises**\n\n- `ValueError`: always."
    )


def test_types_in_a_signature_are_addresses_and_defaults_are_not():
    signature = "(network: Layer, x: Array | None=None, phi=Layer) -> Rule"
    linked = "(network: bpjax.layers.Layer, x: jax.Array | None=None, phi=Layer) -> bpjax.rules.Rule"
    assert api_pages.linked_signature(signature) == linked


def test_every_rule_has_a_page_made_by_a_public_function():
    records = json.loads(rule_pages.RECORDS.read_text())
    pages = rule_pages.pages()
    assert [page.name for page in pages] == list(bp.rules.RULES)
    assert len({page.file for page in pages}) == len(pages)
    for page in pages:
        text = rule_pages.text_of(page, records)
        assert page.entry is not None, f"{page.rule!r} is made by no public function of bpjax.rules"
        assert all(f"## {part}" in text for part in ("Equations", "Deviations from the source", "Receipt", "Curve"))
    assert rule_pages.overview().count("](rules/") == len(pages)


def test_a_rule_without_a_record_says_so():
    page = rule_pages.pages()[2]
    assert "Not measured yet" in rule_pages.text_of(page, {"rules": {}})


def test_recorded_rules_are_in_the_registry():
    records = json.loads(rule_pages.RECORDS.read_text())
    assert set(records["rules"]) <= set(bp.rules.RULES), "record again: a rule was renamed or removed"


def messages_of_the_source():
    """The texts of all errors of bpjax, without what is filled in."""
    texts = []
    for file in (ROOT / "bpjax").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr | ast.Constant):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                constants = [part.value for part in parts if isinstance(part, ast.Constant)]
                texts.append("…".join(text for text in constants if isinstance(text, str)))
    return "\n".join(texts)


@pytest.mark.thorough
def test_the_messages_on_the_troubleshooting_page_are_those_of_the_source():
    source = messages_of_the_source()
    blocks = re.findall(r"^```text\n(.*?)\n```", (DOCS / "troubleshooting.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 20
    pieces = [piece.strip(" `.,'(") for block in blocks for piece in block.split("…")]
    assert not [piece for piece in pieces if len(piece) > 12 and piece not in source]


def test_what_the_site_needs_is_an_extra_and_what_it_generates_is_not_in_git():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/docs/_build/", "/docs/api/", "/docs/rules/", "/docs/project/"} <= set(ignored)
    assert 'docs = ["sphinx' in (ROOT / "pyproject.toml").read_text()


def test_generated_pages_replace_and_delete_only_generated_ones(tmp_path):
    (tmp_path / "mine.md").write_text("mine")
    write_pages(tmp_path, {"a.md": "a", "b.md": "b"})
    write_pages(tmp_path, {"b.md": "c"})
    assert {file.name for file in tmp_path.iterdir()} == {"mine.md", "b.md", LIST}
    assert (tmp_path / "b.md").read_text() == "c"
    with pytest.raises(ValueError, match=r"Expected to write a new page .*mine\.md, got a file that is there"):
        write_pages(tmp_path, {"d.md": "d", "mine.md": "theirs"})
    assert (tmp_path / "mine.md").read_text() == "mine" and not (tmp_path / "d.md").exists()
