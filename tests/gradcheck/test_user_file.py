"""Which functions of which files are checked, whatever the files do. What the check itself says is tested elsewhere."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bpjax.gradcheck import check_file as room
from bpjax.gradcheck.check_file import check_file
from bpjax.gradcheck.user_file import FileError
from bpjax.util.terminal import encodable

RULES = """
import jax, jax.numpy as jnp, numpy as np
@jax.custom_vjp
def f(x): return x
@jax.custom_jvp
def g(x, y): return x * y
class C:
    @jax.custom_jvp
    def h(x): return x
from jax.nn import relu
def plain(x): return x
"""

PLAIN = """
import numpy as np
def function(x, y): return x * y
def gradient(x, y): return y
"""


class Checked(NamedTuple):
    """What the stand-in of `check_gradient` was called with, as a report."""

    function: object
    arguments: tuple
    options: dict
    verdict: str = "right"

    def to_dict(self):
        return {"verdict": self.verdict}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    def check_gradient(function, *arguments, **options):
        asked = len(arguments) == 1 and isinstance(arguments[0], str)  # the verdict is what the function returns
        return Checked(function, arguments, options, function(*arguments) if asked else "right")

    monkeypatch.setattr(room, "check_gradient", check_gradient)


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def shapes(report):
    return [tuple(np.shape(a) for a in checked.arguments) for _, checked in report.reports]


ARGUMENTS = {
    "arguments = (np.ones(2), np.ones(3))": [((2,), (3,))],
    "arguments = [np.ones(2), np.ones(3)]": [((2,), (3,))],
    "def arguments(): return np.ones(2), np.ones(3)": [((2,), (3,))],
    "arguments = [(np.ones(k), np.ones(3)) for k in (1, 2)]": [((1,), (3,)), ((2,), (3,))],
    "def arguments():\n    for k in (1, 2): yield np.ones(k), np.ones(3)": [((1,), (3,)), ((2,), (3,))],
    "arguments = ((np.ones(1), 2.0), (np.ones(2), 2.0), (np.ones(3), 2.0))": [((k,), ()) for k in (1, 2, 3)],
    "function_arguments = (np.ones(2), np.ones(3))": [((2,), (3,))],
    "arguments = {'function': (np.ones(2), np.ones(3))}": [((2,), (3,))],
}


@pytest.mark.parametrize("text", ARGUMENTS)
def test_arguments_in_any_form(text, write):
    assert shapes(check_file(write(f"{PLAIN}{text}"))) == ARGUMENTS[text]


def test_one_argument_and_keyword_arguments(write):
    one = "def function(p): return p\ndef gradient(p): return p\n"
    assert shapes(check_file(write(f"import numpy as np\n{one}arguments = np.ones(2)"))) == [((2,),)]
    (_, checked), *_ = check_file(write(f"{one}arguments = {{'w': 1.0}}")).reports
    assert checked.arguments == ({"w": 1.0},)
    (_, checked), *_ = check_file(write(f"{PLAIN}arguments = {{'x': 1.0, 'y': 2.0}}\nargnums = 1")).reports
    assert checked.arguments == () and checked.options["x"] == 1.0 and checked.options["argnums"] == 1


def test_every_custom_rule_with_arguments_is_checked(write):
    text = f"{RULES}f_arguments = (1.0,)\ng_arguments = {{'x': 1.0, 'y': 2.0}}\ndef g_gradient(x, y): return y\n"
    report = check_file(write(text), timed=False, tolerance=1e-3)
    assert [name for name, _ in report.reports] == ["f", "g"]
    assert [checked.options["gradient"] is None for _, checked in report.reports] == [True, False]
    assert all(checked.options["tolerance"] == 1e-3 for _, checked in report.reports)
    assert [name for name, _ in report.unchecked] == ["C.h"]
    assert "not checked: C.h (no example arguments: define `C_h_arguments`)" in str(report)
    assert str(report).endswith("2 right, 0 wrong, 0 cannot tell, 1 not checked.")


def test_the_worst_verdict_counts(write):
    text = "def {0}(x): return '{1}'\n{0}_arguments = ('verdict',)\n"
    verdicts = {"a": "right", "b": "wrong", "c": "cannot tell"}
    report = check_file(write("".join(text.format(*pair) for pair in verdicts.items())))
    assert report.verdict == "wrong" and not report.to_dict()["ok"]
    assert check_file(write(text.format("a", "right") + text.format("c", "cannot tell"))).verdict == "cannot tell"


def test_a_function_by_name(write):
    file = write(f"{RULES}{PLAIN}arguments = (1.0, 2.0)\nplain_arguments = 3.0\nobject = C()\nC_h_arguments = (4.0,)")
    for name, arguments, has_gradient in [
        ("plain", (3.0,), False),
        ("g", (1.0, 2.0), False),  # `gradient` belongs to `function`
        ("function", (1.0, 2.0), True),
        ("C.h", (4.0,), False),
    ]:
        ((_, checked),) = check_file(f"{file}::{name}").reports
        assert checked.arguments == arguments and (checked.options["gradient"] is not None) == has_gradient


def test_neighbours_and_packages(write, tmp_path):
    write("value = 2.0", "neighbour.py")
    text = f"from neighbour import value\n{PLAIN}arguments = (value, 1.0)"
    ((_, checked),) = check_file(write(text)).reports
    assert checked.arguments == (2.0, 1.0) and "neighbour" not in sys.modules and str(tmp_path) not in sys.path
    write("", "package/__init__.py")
    write("value = 3.0", "package/inner.py")
    for statement in ("from ..inner import value", "from package.inner import value"):
        text = f"{statement}\n{PLAIN}arguments = (value, 1.0)"
        write("", "package/below/__init__.py")
        ((_, checked),) = check_file(write(text, "package/below/mine.py")).reports
        assert checked.arguments == (3.0, 1.0)
    text = f"from .neighbour import value\n{PLAIN}arguments = (value, 1.0)"
    ((_, checked),) = check_file(write(text)).reports  # a folder without __init__.py
    assert checked.arguments == (2.0, 1.0)
    assert not list(tmp_path.rglob("__pycache__"))


def test_the_file_runs_as_a_module(write):
    text = f"{PLAIN}arguments = (1.0, 2.0)\nif __name__ == '__main__': raise SystemExit\nimport sys\nseen = sys.argv"
    argv = list(sys.argv)
    assert check_file(write(text, "json.py")).verdict == "right"  # a name that another module has
    assert check_file(write(text, "with space.py")).verdict == "right"
    import json

    assert hasattr(json, "dumps") and sys.argv == argv


REFUSED = {
    "empty": ("", "", "must define `function`"),
    "names": ("def f(x): return x", "", "It defines `f`. Name one of these with FILE::NAME"),
    "no such name": (RULES, "::missing", "has no `missing`. It defines `f`, `g`, `C.h`, `plain`"),
    "no such attribute": (RULES, "::C.missing", "has no `C.missing`"),
    "not a function": ("x = 3", "::x", "must be a function, got int"),
    "empty name": (RULES, "::", "expected the name of a function after `::`"),
    "no arguments": (RULES, "::f", "defines no example arguments of `f`"),
    "no arguments of any": (RULES, "", "example arguments for none of them. Define `f_arguments"),
    "arguments that do not fit": (PLAIN + "arguments = (1.0,)", "", "cannot be called with 1 example argument."),
    "arguments that raise": (PLAIN + "def arguments(): return 1 / 0", "", "raised a ZeroDivisionError"),
    "arguments that exit": (PLAIN + "def arguments(): exit(0)", "", "exits with status 0"),
    "no sets": (PLAIN + "arguments = iter(())", "", "cannot be called with 0 example arguments"),
    "gradient": (PLAIN.replace("def gradient(x, y): return y", "gradient = 3") + "arguments = (1, 2)", "", "got 3"),
    "function": ("function = 3", "", "`function` in .* must be a function, got int"),
    "exit": ("raise SystemExit(0)", "", "exits with status 0"),
    "exit at once": ("import os; os._exit(0)", "", "exits with status 0"),
    "syntax": ("def f(:", "", "raised a SyntaxError"),
    "null bytes": ("x = 1\0", "", "raised a"),
}


@pytest.mark.parametrize(("text", "name", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_checked_is_said(text, name, sentence, write):
    with pytest.raises(FileError, match=sentence):
        check_file(write(text) + name)


def test_what_is_no_python_file(write, tmp_path):
    for reference, sentence in [
        (str(tmp_path), "got the directory"),
        (str(tmp_path / "none.py"), "found none at"),
        (str(tmp_path / "none.py::f"), "found none at .*none.py"),
        (write("{}", "book.ipynb"), "is a notebook"),
    ]:
        with pytest.raises(FileError, match=sentence):
            check_file(reference)


def test_errors_of_the_code_name_its_line(write):
    file = write("def function(x):\n    return inner(x)\ndef inner(x):\n    exit(0)\narguments = ('verdict',)")
    with pytest.raises(FileError, match="mine.py, line 4, in inner: SystemExit: 0"):
        check_file(file)


def test_the_traceback_is_that_of_the_file(write):
    with pytest.raises(FileError) as raised:
        check_file(write("def f():\n    raise KeyError('k')\nf()"))
    assert raised.value.shown.count("File ") == 2 and raised.value.shown.endswith("KeyError: 'k'")


def test_text_for_terminals_without_our_characters():
    assert encodable("⟨dy, Jv⟩ ≤ 3·10", "ascii") == "<dy, Jv> <= 3*10"
    assert encodable("θ", "ascii") == "\\u03b8"
    assert encodable("θ ≤ 1", "utf-8") == "θ ≤ 1"


@pytest.mark.thorough
def test_as_a_program_in_a_bare_environment(write, tmp_path):
    """No HOME, an ASCII terminal in a C locale, a read-only folder, a file that prints and closes standard output."""
    text = """
import atexit, os, sys
import jax.numpy as jnp
print("from Python"); os.system("echo from the shell"); atexit.register(print, "at the end")
def function(θ): return jnp.sum(θ**2)
def gradient(θ): return 3 * θ
arguments = jnp.ones(2)
"""
    file = Path(write(text))
    tmp_path.chmod(0o555)
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "JAX_COMPILATION_CACHE_DIR") if key in os.environ}
    environment = kept | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "bpjax", "compare", file.name]
    plain = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (plain.returncode, plain.stderr) == (1, "")
    assert "WRONG: " in plain.stdout and "\\u03b8" in plain.stdout and plain.stdout.isascii()
    assert plain.stdout.index("from Python") < plain.stdout.index("WRONG: ")
    as_json = subprocess.run([*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    import json

    assert as_json.returncode == 1 and json.loads(as_json.stdout)["verdict"] == "wrong"
    assert "from the shell" in as_json.stderr and "at the end" in as_json.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
