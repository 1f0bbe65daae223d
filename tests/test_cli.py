"""The command line, as a user calls it."""

import json

import pytest

from bpjax import cli
from bpjax.gradcheck import registry
from bpjax.gradcheck.agreement import agree

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


@pytest.mark.parametrize("text", [RIGHT, CUSTOM_VJP], ids=["gradient", "custom_vjp"])
def test_a_right_file(text, file, capsys, float32):
    assert cli.main(["compare", file(text)]) == 0
    assert "right: its one leaf agrees" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (RIGHT.replace("return x.T @", "return 2 * x.T @"), "doubled"),
        (RIGHT.replace("return x.T @", "return -x.T @"), "sign flipped"),
        (CUSTOM_VJP.replace("(y, n)", "(a, n)"), "no classic mistake"),
        (CUSTOM_VJP.replace("n * y * (1 - y)", "0.5 * n * y * (1 - y)"), "halved"),
    ],
)
def test_a_wrong_file(text, mistake, file, capsys, float32):
    assert cli.main(["compare", file(text)]) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out and mistake in out


def test_json_of_a_file(file, capsys, float32):
    assert cli.main(["compare", "--json", file(RIGHT.replace("return x.T @", "return 2 * x.T @"))]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["ok"], data["mistake"]) == (False, "doubled")
    assert data["leaves"][0]["agreement"]["ratio"] == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "must define `function`"),
        (RIGHT.replace("def gradient", "def something_else"), "defines no `gradient"),
        (RIGHT.replace("jnp.sum(jnp.tanh(x @ w))", "jnp.tanh(x @ w)"), "must return a scalar"),
        (RIGHT.replace("jnp.ones((4, 3))", "jnp.nan * jnp.ones((4, 3))"), "expected finite numbers"),
    ],
)
def test_a_file_that_does_not_fit(text, sentence, file, capsys, float32):
    assert cli.main(["compare", file(text)]) == 2
    assert sentence in capsys.readouterr().err


def test_bad_usage(capsys, tmp_path):
    for arguments in (["compare", "--jsn"], [], ["comare"]):
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
def test_the_registry_is_right(capsys, monkeypatch, quick_compilation):
    """Every loss, and some of the layers and activations; tests/layers/test_layers.py checks every one of those."""
    monkeypatch.setattr(registry, "LAYERS", dict(list(registry.LAYERS.items())[::12]))
    monkeypatch.setattr(registry, "ACTIVATIONS", dict(list(registry.ACTIVATIONS.items())[::4]))
    assert cli.main(["compare"]) == 0
    out = capsys.readouterr().out
    entries = len(registry.LAYERS) + len(registry.ACTIVATIONS) + len(registry.LOSSES)
    assert f"{4 * entries} checks right, 0 wrong" in out
    assert all(name in out for name in (*registry.LAYERS, *registry.ACTIVATIONS, *registry.LOSSES))


def test_a_wrong_built_in_is_reported(monkeypatch, capsys):
    wrong = agree([1.0], [2.0], dtype="float32", allowed=1e-5)
    rows = [registry.Checked("layer", "broken", dtype, wrong) for dtype in registry.DTYPES]
    monkeypatch.setattr(cli, "check_registry", lambda: rows)
    assert cli.main(["compare"]) == 1
    assert "WRONG in float64, float32, bfloat16, float16" in capsys.readouterr().out
    assert cli.main(["compare", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
