"""The commands `python -m experiments.<name>` as a user types them: help, a wrong flag, Ctrl-C, a missing package."""

import importlib
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bpjax.results.record import written_aside
from experiments.common import start, threads

ROOT = Path(__file__).parents[2]
FIRST_CALLS = {
    "internal_representations": "run",
    "learning_rate": "run",
    "learning_rules": "run",
    "learning_speed": "run",
    "momentum": "run_planes",
    "optimal_control": "run",
    "plateau_escape": "run",
    "reverse_mode": "run",
    "scikit_learn_curves": "curves",
    "spiking_digits": "run",
    "time_series": "run",
    "trainability_boundary": "run",
}
"""Each experiment, and the function that its command calls first."""
NAMES = pytest.mark.parametrize("name", FIRST_CALLS)


def status_of(name, monkeypatch, *arguments):
    """The exit status of `python -m experiments.<name>` with these arguments, in this process."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"experiments.{name}", run_name="__main__")
    return stopped.value.code


@NAMES
def test_help_says_how_to_run_it_how_long_it_takes_and_what_it_writes(name, monkeypatch, capsys):
    assert status_of(name, monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    assert f"usage: python -m experiments.{name}" in out and f"    python -m experiments.{name} " in out
    assert "on two cores" in out
    assert f"results/{name}" in out or name == "scikit_learn_curves"  # which prints a table only


@NAMES
def test_a_wrong_flag(name, monkeypatch, capsys):
    assert status_of(name, monkeypatch, "--sede", "3") == 2
    err = capsys.readouterr().err
    assert "--sede" in err and f"python -m experiments.{name} --help" in err and "Traceback" not in err


@NAMES
def test_an_interruption_leaves_the_earlier_result(name, monkeypatch, capsys, tmp_path):
    with written_aside(tmp_path / "result") as aside:
        (aside / "record.json").write_text("{}")
    before = (tmp_path / "result" / "record.json").read_text()

    def interrupted(*args):
        raise KeyboardInterrupt

    experiment = importlib.import_module(f"experiments.{name}.experiment")
    monkeypatch.setattr(experiment, FIRST_CALLS[name], interrupted)
    output = [] if name == "scikit_learn_curves" else ["--out", str(tmp_path / "result")]
    assert status_of(name, monkeypatch, *output) == 130
    assert "nothing was written" in capsys.readouterr().out
    assert (tmp_path / "result" / "record.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_an_interruption_during_the_imports(monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(start.importlib, "import_module", interrupted)
    with pytest.raises(SystemExit) as stopped:
        start.start("momentum")
    assert stopped.value.code == 130


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'xarray'", name="xarray")

    monkeypatch.setattr(start.importlib, "import_module", missing)
    with pytest.raises(SystemExit, match=r"xarray is not installed.*pip install 'bpjax\[experiments\]'"):
        start.start("momentum")


def test_a_mistake_in_an_import_is_not_taken_for_a_missing_package():
    with pytest.raises(ModuleNotFoundError, match="experiments.chess"):
        start.start("chess")


def test_the_command_in_a_process_that_runs_nothing_else():
    command = [sys.executable, "-m", "experiments.learning_rate", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert result.returncode == 0 and "Learning rates per factor of ten" in result.stdout and not result.stderr


def test_an_interruption_stops_the_work_in_other_threads():
    stopped, running = [], threading.Event()

    def work(item, stop):
        if item == "interrupted":
            assert running.wait(20)
            raise KeyboardInterrupt
        running.set()
        stopped.append(stop.wait(20))

    with pytest.raises(KeyboardInterrupt):
        threads.in_parallel(work, ["interrupted", "other"], workers=2)
    assert stopped == [True]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("learning_rate", "--seed 4294967296", "`seed` to be an integer"),
        ("learning_rate", "--highest-rate nan", "`highest_rate` to be a finite number"),
        ("learning_rate", "--seeds 100000000000", "`seeds` to be an integer"),
        ("learning_rate", "--squared-rates 0.1 0.1", "distinct"),
        ("plateau_escape", "--offset inf", "`offset` to be a finite number"),
        ("learning_rules", "--xor-starts -1", "`xor_starts` to be an integer"),
        ("plateau_escape", "--only nothing", "`only` to be part of a plateau's name"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_before_anything_is_computed(name, flags, message, monkeypatch, capsys):
    assert status_of(name, monkeypatch, *flags.split()) == 2
    err = capsys.readouterr().err.strip()
    assert message in err and "\n" not in err and "Traceback" not in err
