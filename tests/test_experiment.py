"""The experiment as a user runs it, at a small size."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from loading import load_experiment

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "learning_rate.py"
SMALL = ["--rates-per-decade", "1", "--seeds", "3", "--xor-seeds", "4", "--digits-epochs", "12", "--xor-epochs", "300"]


@pytest.fixture(scope="module")
def experiment():
    return load_experiment("learning_rate")


@pytest.fixture(autouse=True)
def as_a_user_runs_it(float32):
    """float32, and JAX's own rules of promotion."""
    with jax.numpy_rank_promotion("allow"):
        yield


def test_from_flags_to_figure(experiment, tmp_path, capsys):
    folder = tmp_path / "result"
    assert experiment.main([*SMALL, "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.count("gradient receipt: right") == 2 and "Wilson" in out and "Figure:" in out
    assert (folder / "learning_rate.png").stat().st_size > 10_000
    assert "<svg" in (folder / "learning_rate.svg").read_text()[:1000]
    record = json.loads((folder / "record.json").read_text())
    assert record["config"]["seeds"] == 3 and record["precision"]["matmul"] == "highest"

    digits = xr.open_zarr(folder / "digits.zarr", consolidated=False).load()
    assert dict(digits.sizes) == {"learning_rate": 5, "seed": 3, "epoch": 12}
    np.testing.assert_allclose(digits.learning_rate, [0.01, 0.1, 1, 10, 100])
    assert digits.diverged.sel(learning_rate=100, method="nearest").all()
    assert not digits.diverged.sel(learning_rate=0.01, method="nearest").any()
    # the first error of a rate does not depend on the rate: nothing has been learnt yet
    first = digits.error.isel(epoch=0).values
    np.testing.assert_allclose(first, first[:1].repeat(5, axis=0), rtol=1e-6)
    rows = list(csv.DictReader((folder / "learning_rate.csv").read_text().splitlines()))
    assert len(rows) == 10 and {row["problem"] for row in rows} == {"digits", "xor"}
    solved = int(xr.open_zarr(folder / "xor.zarr", consolidated=False).solved.sum())
    assert sum(int(row["solved"]) for row in rows if row["problem"] == "xor") == solved


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--lowest-rate", "-1"], "`lowest_rate` to be a finite number > 0, got -1.0"),
        (["--highest-rate", "0.001"], "`highest_rate` to be a finite number > 0.01, got 0.001"),
        (["--lowest-rate", "nan"], "`lowest_rate` to be a finite number > 0, got nan"),
        (["--seeds", "0"], "`seeds` to be a whole number ≥ 1, got 0"),
        (["--matmul-precision", "best"], "`matmul_precision` among default"),
    ],
)
def test_a_bad_number_gets_a_sentence(experiment, flags, sentence, tmp_path, capsys):
    assert experiment.main([*flags, "--out", str(tmp_path / "result")]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "result").exists()


def test_a_folder_that_is_no_result_is_not_touched(experiment, tmp_path, capsys):
    (tmp_path / "letters.txt").write_text("dear")
    assert experiment.main(["--out", str(tmp_path)]) == 2
    assert "will not be replaced" in capsys.readouterr().err


def test_an_interruption_leaves_the_earlier_result(experiment, tmp_path, capsys, monkeypatch):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "record.json").write_text("{}")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "sweep", interrupted)
    assert experiment.main([*SMALL, "--out", str(tmp_path / "result")]) == 130
    assert "nothing was written" in capsys.readouterr().out
    assert (tmp_path / "result" / "record.json").read_text() == "{}"


@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--sede", 2)])
def test_help_and_a_wrong_flag(flag, status):
    result = subprocess.run([sys.executable, str(EXPERIMENT), flag], capture_output=True, text=True, timeout=120)
    assert result.returncode == status
    assert "Traceback" not in result.stderr
    if status == 0:
        assert "Learning rates to a factor of ten" in result.stdout
