"""`bpjax plot`, as a user calls it."""

import json

import numpy as np
import pytest

from bpjax import cli

xr = pytest.importorskip("xarray")
pytest.importorskip("matplotlib")
pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A dataset as a user saves it."""
    dims, shape = ("learning_rate", "momentum", "seed"), (3, 2, 6)
    solved = np.random.default_rng(0).random(shape) < 0.8
    result = xr.Dataset(
        {"solved": (dims, solved), "epochs": (dims, np.where(solved, 20, 100))},
        {"learning_rate": [0.1, 1.0, 10.0], "momentum": [0.0, 0.9], "seed": range(6)},
    )
    path = tmp_path_factory.mktemp("saved") / "xor.zarr"
    result.to_zarr(path, consolidated=False)
    return path


def plot(*arguments) -> int:
    return cli.main(["plot", *map(str, arguments)])


def test_a_saved_dataset_is_drawn_and_the_same_call_replaces_its_figures(saved, tmp_path, capsys):
    out = tmp_path / "figures"
    for _ in range(2):
        assert plot(saved, "--out", out, "--figure", "success", "--format", "svg", "--font-size", 6, "--dark") == 0
    assert sorted(path.name for path in out.iterdir()) == ["record.json", "success.svg"]
    assert "3.5" in json.loads((out / "record.json").read_text())["config"]["width"].__repr__()
    assert "success.svg" in capsys.readouterr().out
    (out / "mine.txt").write_text("mine")
    before = (out / "success.svg").read_bytes()
    assert plot(saved, "--out", out) == 2
    assert "mine.txt, which its record does not list" in capsys.readouterr().err
    assert (out / "success.svg").read_bytes() == before and (out / "mine.txt").read_text() == "mine"


def test_the_figures_are_named_without_drawing(saved, capsys):
    assert plot(saved, "--list") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{saved}: a sweep of 36 runs", "  success", "  epochs", "  time_to_goal",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["nothing"], "nothing does not exist"),
        (["."], "holds no stored result"),
        (["letter.txt"], "cannot be read as a dataset"),
        (["SAVED", "--figure", "map"], "one of success, epochs, time_to_goal, got 'map'"),
        (["SAVED", "--x", "width"], "`--x` to be one of the axes with several numbers, learning_rate, momentum"),
        (["SAVED", "--select", "momentum=0.5"], "expected `--select momentum=` one of 0.0, 0.9, got '0.5'"),
        (["SAVED", "--select", "depth=1"], "NAME=VALUE with one of"),
        (["SAVED", "--width", "0"], "`width` to be a finite number"),
        (["SAVED", "--words", "letter.txt"], "cannot be read as JSON"),
        (["SAVED", "--out", "."], "never replaced"),
        (["damaged"], "is damaged, or not that of a sweep"),
        (["result"], "does not say which experiment wrote it"),
    ],
)
def test_what_cannot_be_drawn_gets_one_sentence(arguments, sentence, saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letter.txt").write_text("dear")
    for name, text in (("damaged", '{"format": "bpjax sw'), ("result", '{"format": "bpjax result 1"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    assert plot(*(str(saved) if word == "SAVED" else word for word in arguments)) == 2
    err = capsys.readouterr().err
    assert sentence in err and len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_help_names_the_kinds_of_stores(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        plot("--help")
    out = capsys.readouterr().out
    assert "result.to_zarr" in out and "bp.sweep(..., store=" in out and "never replaced" in out.replace("\n", " ")
    assert max(map(len, out.splitlines())) <= 80
