"""What a user meets first: the import, the README, the files of the repository."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def python(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)


def test_import_needs_jax_and_optax_alone_and_touches_no_setting():
    code = """
import sys, jax, optax
before = {name: getattr(jax.config, name, None) for name in jax.config.values}
import bpjax
extras = {"matplotlib", "rich", "tyro", "xarray", "zarr", "sklearn", "chex", "pytest", "hypothesis", "flax"}
extras |= {"optimistix", "lineax", "equinox", "safetensors", "llvmlite"}
print(sorted(extras & set(sys.modules)))
print([name for name, value in before.items() if getattr(jax.config, name, None) != value])
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.parametrize("package", ["sklearn", "scipy.stats"])
def test_a_missing_extra_is_named(package):
    call = {"sklearn": "bp.digits()", "scipy.stats": "bpjax.results.statistics.student([1, 2])"}[package]
    code = f"import sys; import bpjax as bp; import bpjax.results.statistics; sys.modules['{package}'] = None; {call}"
    result = python(code)
    assert "pip install 'bpjax[experiments]'" in result.stderr


def module(room):
    """A room; `bpjax.tape` is also the name of a function, which the top level has in its place."""
    return importlib.import_module(f"bpjax.{room}")


ROOMS = (
    "types util losses tasks layers networks interop theory optimizers rules second_order training results sweeps "
    "tape analysis gradcheck audit teaching cli"
).split()


def files_of(room):
    folder = ROOT / "bpjax" / room
    return sorted(folder.rglob("*.py")) or [folder.with_suffix(".py")]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room):
    """No room imports from a room after it in the list, so there are no circles."""
    allowed = ROOMS[: ROOMS.index(room) + 1]
    for file in files_of(room):
        for imported in re.findall(r"^\s*(?:from|import) bpjax\.(\w+)", file.read_text(), re.MULTILINE):
            assert imported in allowed or room == "cli", f"{file.name} imports {imported}"


def test_the_root_of_the_package_holds_rooms_alone():
    root = ROOT / "bpjax"
    assert {file.stem for file in root.glob("*.py")} == {"__init__", "__main__", "types", "cli"}
    assert {folder.name for folder in root.iterdir() if list(folder.glob("*.py"))} == set(ROOMS) - {"types", "cli"}


PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "experiments").glob("*.md"))
RUN_BLOCKS = """
import json, linecache, sys
for name, code in json.load(sys.stdin):
    linecache.cache[name] = len(code), None, code.splitlines(keepends=True), name  # so that the source is known
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
"""


def blocks(page, language):
    """The (first line number, code) of every block of a language on a page."""
    text = page.read_text()
    found = re.finditer(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return [(text.count("\n", 0, block.start()) + 2, block[1]) for block in found]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[] if page.name == "README.md" else pytest.mark.thorough)
        for page in PAGES
        if blocks(page, "python")
    ],
)
def test_the_code_on_a_page_runs(page, tmp_path):
    """Each block by itself, as a reader would paste it; all blocks of a page in one process."""
    code = json.dumps([(f"{page.name}, line {line}", code) for line, code in blocks(page, "python")])
    command = [sys.executable, "-c", RUN_BLOCKS]
    result = subprocess.run(command, input=code, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_readme_is_short_and_has_its_two_commands():
    commands = " ".join(code for _, code in blocks(README, "sh"))
    assert "experiments.learning_rate" in commands and "pytest" in commands
    assert commands.count("python3 -m venv") == 2
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_figures_of_a_page_exist(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_the_reference_page_names_every_public_name():
    import bpjax as bp

    text = (ROOT / "docs" / "reference.md").read_text()
    names = {name for room in ROOMS if room != "cli" for name in getattr(module(room), "__all__", [])}
    assert not [name for name in names | set(bp.__all__) - set(ROOMS) if f"`{name}`" not in text]


def test_public_names_are_documented_and_importable_from_their_rooms():
    import bpjax as bp

    rooms = [module(room) for room in ROOMS if room not in ("types", "cli")]
    public = {name: getattr(room, name) for room in rooms for name in getattr(room, "__all__", [])}
    assert len(public) > 200
    ours = [entry for entry in public.values() if getattr(entry, "__module__", "").startswith("bpjax.")]
    assert not [entry.__name__ for entry in ours if callable(entry) and not entry.__doc__]
    top = [name for name in bp.__all__ if name not in ROOMS]
    assert 40 <= len(top) <= 70
    assert all(getattr(bp, name) is public[name] for name in [*top, "tape"] if name in public)


def test_a_name_of_another_room_is_pointed_out():
    import bpjax as bp

    with pytest.raises(AttributeError, match=r"no attribute 'from_linen'; it is bpjax.interop.from_linen$"):
        bp.from_linen  # noqa: B018
    with pytest.raises(AttributeError, match=r"module 'bpjax' has no attribute 'nonsense'$"):
        bp.nonsense  # noqa: B018
    assert not hasattr(bp, "group_norm")


def test_importing_the_room_leaves_the_function_tape_at_the_top_level():
    code = """
import bpjax as bp, bpjax.tape, bpjax.tape.tape, bpjax.tape.derivatives, importlib
from bpjax.tape import Tape, reverse, tape, vjp
importlib.import_module("bpjax.tape.table")
assert bp.tape is bpjax.tape is tape and bp.reverse is reverse
assert isinstance(bp.tape(lambda x: x * 2, 3.0), Tape)
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
