"""The command line, as a user calls it."""

import io
import json

import pytest

from bpjax import cli
from bpjax.gradcheck import command, registry
from bpjax.gradcheck.agreement import agree
from bpjax.util.terminal import encodable, make_printable, write

RIGHT = """
import jax, jax.numpy as jnp
def function(w, x): return jnp.sum(jnp.tanh(x @ w))
def gradient(w, x): return x.T @ (1 - jnp.tanh(x @ w) ** 2)
arguments = (jnp.ones((4, 3)), jax.random.normal(jax.random.key(0), (5, 4)))
"""

CUSTOM_VJP = """
import jax, jax.numpy as jnp
@jax.custom_vjp
def function(a, n): return n * jax.nn.sigmoid(a)
def forward(a, n): y = jax.nn.sigmoid(a); return n * y, (y, n)
def backward(residuals, dy): y, n = residuals; return n * y * (1 - y) * dy, None
function.defvjp(forward, backward)
arguments = (jnp.linspace(-2, 2, 9), 3)
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "mine.py"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (RIGHT, 0, "right: "),
        (CUSTOM_VJP, 0, "right: "),
        (RIGHT.replace("return x.T @", "return 2 * x.T @"), 1, "WRONG: "),
        (CUSTOM_VJP.replace("(y, n)", "(a, n)"), 1, "WRONG: "),
    ],
    ids=["gradient", "custom_vjp", "doubled", "wrong residual"],
)
def test_the_verdict_is_the_exit_status(text, status, said, file, capsys, float32):
    assert cli.main(["compare", "--no-timing", file(text)]) == status
    out = capsys.readouterr().out
    assert said in out and "Checked in" not in out


def test_json_of_a_file_is_all_that_is_printed(file, capsys, float32):
    noisy = "print('hello')\n" + RIGHT.replace("return x.T @", "print('called'); return 2 * x.T @")
    assert cli.main(["compare", "--json", file(noisy)]) == 1
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert (data["ok"], data["verdict"], len(data["checks"]), data["unchecked"]) == (False, "wrong", 1, [])
    assert data["checks"][0]["verdict"] == "wrong" and data["seconds"] > 0
    assert "hello" in captured.err and "called" in captured.err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "must define `function`"),
        (RIGHT.replace("def gradient", "def something_else"), "has no hand-written derivative"),
        (RIGHT.replace("jnp.sum(jnp.tanh(x @ w))", "jnp.tanh(x @ w)"), "must return a real scalar"),
        (
            RIGHT.replace("arguments = (jnp.ones((4, 3)), ", "arguments = ("),
            "cannot be called with 1 example argument.",
        ),
        (RIGHT.replace("x @ w))", "x @ x))"), "mine.py, line 3, in function: TypeError: dot_general requires"),
        ("import sys; sys.exit(0)", "exits with status 0 before it is checked"),
        ("def f(:", "raised a SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_used(text, sentence, file, capsys, float32):
    assert cli.main(["compare", file(text)]) == 2
    assert sentence in capsys.readouterr().err
    assert cli.main(["compare", "--json", file(text)]) == 2
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is False and sentence in data["error"]


def test_an_exception_of_the_file_is_shown_as_its_own(file, capsys):
    assert cli.main(["compare", file("def inner():\n    return 1 / 0\ninner()\n")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and "line 3" in err and "ZeroDivisionError" in err
    assert "runpy" not in err and "importlib" not in err and "user_file" not in err


def test_interrupted(file, capsys):
    assert cli.main(["compare", file("raise KeyboardInterrupt")]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_options_reach_the_check(file, monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr(command, "check_file", lambda reference, **options: seen.update(options) or Report())
    assert cli.main(["compare", "any.py", "--tolerance", "1e-3", "--order", "2", "--seed", "7"]) == 3
    assert seen == {"timed": True, "tolerance": 1e-3, "order": 2, "seed": 7}
    assert capsys.readouterr().out == "the report\n"


class Report:
    verdict = "cannot tell"

    def __str__(self):
        return "the report"


def test_bad_usage(capsys, tmp_path):
    refused = ["--jsn", "--order=3", "--seed=-1", "--tolerance=0", "--tolerance=nan", "--order=2"]
    for arguments in ([], ["comare"], ["compare", ""], *(["compare", option] for option in refused)):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2
    assert cli.main(["compare", str(tmp_path / "none.py")]) == 2
    assert "found none at" in capsys.readouterr().err


def test_help_explains_the_file(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", "--help"])
    assert stopped.value.code == 0
    assert "def gradient(w, x)" in capsys.readouterr().out


@pytest.mark.thorough
def test_the_registry_is_right(capsys, monkeypatch):
    """Some of each kind; tests/layers/test_layers.py and tests/losses/test_losses.py check every one."""
    for kind, step in (("LAYERS", 60), ("ACTIVATIONS", 15), ("LOSSES", 12)):
        monkeypatch.setattr(registry, kind, dict(list(getattr(registry, kind).items())[::step]))
    assert cli.main(["compare"]) == 0
    out = capsys.readouterr().out
    entries = len(registry.LAYERS) + len(registry.ACTIVATIONS) + len(registry.LOSSES)
    assert f"{4 * entries} checks right, 0 wrong" in out
    assert all(name in out for name in (*registry.LAYERS, *registry.ACTIVATIONS, *registry.LOSSES))


def test_a_wrong_built_in_is_reported(monkeypatch, capsys):
    wrong = agree([1.0], [2.0], dtype="float32", allowed=1e-5)
    rows = [registry.Checked("layer", "broken", dtype, wrong) for dtype in registry.DTYPES]
    monkeypatch.setattr(command, "check_registry", lambda: rows)
    assert cli.main(["compare"]) == 1
    assert "WRONG in float64, float32, bfloat16, float16" in capsys.readouterr().out
    assert cli.main(["compare", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_characters_that_a_terminal_lacks_are_replaced():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    make_printable(stream)
    print("δ ≤ 3 × σ ☃", file=stream, flush=True)
    assert stream.buffer.getvalue() == b"delta <= 3 x sigma \\u2603\n"
    assert encodable("δ ≤ 3", "latin-1") == "delta <= 3" and encodable("3 × 2 ± 1", "latin-1") == "3 × 2 ± 1"
    write("δ", None)
