"""The notebooks in docs/notebooks run from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.md"))


def cells(page):
    """The code of a notebook, as a kernel runs it."""
    found = re.findall(
        r"^```\{code-cell\} ipython3\n((?::[^\n]*\n)*)\n?(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return [code for _, code in found]


@pytest.mark.thorough
@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_runs(page, tmp_path):
    file = tmp_path / f"{page.stem}.py"
    file.write_text("\n\n".join(cells(page)))
    result = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_has_its_front_matter_and_its_links(page):
    text = page.read_text()
    assert text.startswith("---\nfile_format: mystnb\n") and len(cells(page)) == text.count("```{code-cell}")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert all((FOLDER / target).exists() for target in targets)
