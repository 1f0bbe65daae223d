"""A computed result is never lost for want of a place to write it."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpjax.results import plots
from bpjax.results.record import write_record, written_aside
from bpjax.results.replace import claimed, target_of
from bpjax.results.seal import foreign
from experiments.common import config as common
from experiments.common.command import command
from experiments.common.keep import keep


@dataclass(frozen=True)
class Config(common.StoredSettings):
    out: Path = Path("results")


def store(config, folder, text):
    (folder / "numbers.csv").write_text(text)
    write_record(folder, config)
    return text.upper()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The temporary folder of the process, where results go for which there is no room elsewhere."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def full_disk(below, monkeypatch):
    """Refuse new bytes below a folder as a full disk does, also through `write_file`."""

    def refused(path, *arguments, **options):
        if str(path).startswith(str(below)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return written(path, *arguments, **options)

    written = Path.write_text
    monkeypatch.setattr(Path, "write_text", refused)


def test_a_result_goes_where_it_should(tmp_path, temporary, capsys):
    config, value = keep(Config(out=tmp_path / "result"), store, "text")
    assert value == "TEXT" and config.out == tmp_path / "result"
    assert (config.out / "numbers.csv").read_text() == "text"
    assert capsys.readouterr().err == "" and not list(temporary.iterdir())


def test_a_full_disk_costs_no_result(tmp_path, temporary, monkeypatch, capsys):
    (tmp_path / "disk").mkdir()
    keep(Config(out=tmp_path / "disk" / "result"), store, "old")
    full_disk(tmp_path / "disk", monkeypatch)
    config, value = keep(Config(out=tmp_path / "disk" / "result"), store, "new")
    said = capsys.readouterr().err
    assert "No space left on device" in said and f"The result is in {config.out}." in said
    assert value == "NEW" and config.out.parent == temporary and (config.out / "numbers.csv").read_text() == "new"
    assert foreign(config.out) is None
    assert (tmp_path / "disk" / "result" / "numbers.csv").read_text() == "old"
    assert os.listdir(tmp_path / "disk") == ["result"]


def test_a_full_disk_that_our_own_message_reports(tmp_path, temporary, monkeypatch, capsys):
    """`write_csv` turns the system's error into a `ValueError`."""

    def with_table(config, folder, text):
        if folder.parent != temporary:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
                plots.write_csv(folder / "table.csv", {"a": [1, 2]})
        return store(config, folder, text)

    config, _ = keep(Config(out=tmp_path / "result"), with_table, "new")
    assert config.out.parent == temporary and "No space left" in capsys.readouterr().err


def test_a_foreign_file_that_came_during_the_training(tmp_path, temporary, capsys):
    out = tmp_path / "result"
    out.mkdir()
    (out / "letters.txt").write_text("dear")
    config, _ = keep(Config(out=out), store, "new")
    assert config.out.parent == temporary and "holds something that is not a result" in capsys.readouterr().err

    def slow(config, folder, text):
        if folder.parent == tmp_path:
            (tmp_path / "other" / "letters.txt").write_text("dear")
        return store(config, folder, text)

    keep(Config(out=tmp_path / "other"), store, "old")
    config, _ = keep(Config(out=tmp_path / "other"), slow, "new")
    assert config.out == tmp_path / "other-2" and f"The result is in {config.out}." in capsys.readouterr().err
    assert (config.out / "numbers.csv").read_text() == "new"


def test_no_place_at_all_and_a_mistake_of_the_experiment(tmp_path, temporary, monkeypatch):
    with pytest.raises(ValueError, match="wrong shape"):
        keep(Config(out=tmp_path / "result"), lambda *_: (_ for _ in ()).throw(ValueError("wrong shape")), "new")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    full_disk(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="could not be written anywhere.*No space left"):
        keep(Config(out=tmp_path / "result"), store, "new")
    assert os.listdir(tmp_path) == ["tmp"] and not list(temporary.iterdir())


def test_a_second_run_into_the_same_folder_is_refused_before_it_trains(tmp_path, capsys):
    """The first holds the folder from its start to its end, not only while it writes."""
    out, trained = tmp_path / "result", []

    def run(config, console):
        keep(config, store, "first")
        code = (
            "import sys; from pathlib import Path; from bpjax.results.record import check_replaceable\n"
            "try: check_replaceable(Path(sys.argv[1]))\nexcept ValueError as error: print(error)"
        )
        root = str(Path(__file__).parents[2])
        trained.append(
            subprocess.run(
                [sys.executable, "-c", code, str(out)], capture_output=True, text=True, timeout=300, cwd=root
            ).stdout
        )

    assert command("example", Config, None, run, ["--out", str(out)]) == 0
    assert f"{out} is being written by process {os.getpid()}" in trained[0]
    assert json.loads((out / "record.json").read_text())["format"] == "bpjax result 1"
    assert os.listdir(tmp_path) == ["result"]
    with claimed(target_of(out)):
        pass  # free again


def test_the_command_says_what_is_in_the_way(tmp_path, capsys):
    (tmp_path / "letters.txt").write_text("dear")
    never = lambda config, console: pytest.fail("it must not train")  # noqa: E731
    assert command("example", Config, None, never, ["--out", str(tmp_path)]) == 2
    assert "it has no record.json" in capsys.readouterr().err and os.listdir(tmp_path) == ["letters.txt"]
    with written_aside(tmp_path / "result") as aside:
        (aside / "record.json").write_text("{}")
    (tmp_path / "result" / "notes.md").write_text("mine")
    assert command("example", Config, None, never, ["--out", str(tmp_path / "result")]) == 2
    assert "notes.md, which its record does not list" in capsys.readouterr().err
