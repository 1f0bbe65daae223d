"""What a user meets first: the import, the README, the files of the repository."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def python(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)


def test_import_needs_jax_and_optax_alone_and_touches_no_setting():
    code = """
import sys, jax, optax
before = {name: getattr(jax.config, name, None) for name in jax.config.values}
import bpjax
extras = {"matplotlib", "rich", "tyro", "xarray", "zarr", "sklearn", "chex", "pytest", "hypothesis", "flax"}
extras |= {"optimistix", "lineax", "equinox", "safetensors"}
print(sorted(extras & set(sys.modules)))
print([name for name, value in before.items() if getattr(jax.config, name, None) != value])
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.parametrize("package", ["sklearn", "scipy.stats"])
def test_a_missing_extra_is_named(package):
    call = {"sklearn": "bp.digits()", "scipy.stats": "bpjax.results.statistics.wilson(1, 2)"}[package]
    code = f"import sys; import bpjax as bp; import bpjax.results.statistics; sys.modules['{package}'] = None; {call}"
    result = python(code)
    assert "pip install 'bpjax[experiments]'" in result.stderr


def test_imports_run_one_way():
    """The order of the rooms: none imports from one below it in this list, but for words and checks."""
    order = [
        "types",
        "precision",
        "trees",
        "sequential_under_vmap",
        "extras",
        "files",
        "checks",
        "settings",
        "store",
        "tasks",
        "layers",
        "networks",
        "doors",
        "theory",
        "losses",
        "optimizers",
        "rules",
        "second_order",
        "stops",
        "training",
        "trial",
        "restarts",
        "sweeps",
        "classification",
    ]
    for rank, room in enumerate(order):
        files = sorted((ROOT / "bpjax" / room).glob("*.py")) or [ROOT / "bpjax" / f"{room}.py"]
        for file in files:
            for imported in re.findall(r"^\s*(?:from|import) bpjax\.(\w+)", file.read_text(), re.MULTILINE):
                assert imported in order[: rank + 1], f"{file.name} imports {imported}"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().split("\n")[0][:40])
def test_the_readme_runs(code, tmp_path):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_readme_has_its_two_commands():
    commands = " ".join(blocks("sh"))
    assert "experiments/learning_rate.py" in commands and "pytest" in commands
    assert commands.count("python3 -m venv") == 2


def test_every_public_function_is_documented():
    import bpjax as bp

    public = [getattr(bp, name) for name in dir(bp) if not name.startswith("_")]
    own = [entry for entry in public if getattr(entry, "__module__", "").startswith("bpjax.") and callable(entry)]
    assert len(own) > 40
    assert not [entry.__name__ for entry in own if not entry.__doc__]
