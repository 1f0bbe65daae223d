"""Results on disk: what replaces what, what is refused, and what a killed process leaves."""

import errno
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpjax.results import record, replace, seal
from bpjax.util import folders, locks


@dataclass(frozen=True)
class Config:
    rate: float = 0.1


def write(folder, text):
    with record.written_aside(folder) as aside:
        (aside / "numbers.csv").write_text(text)
        record.write_record(aside, Config(), receipt="right")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def result(tmp_path):
    """A stored result with the text "first" in numbers.csv."""
    write(tmp_path / "result", "first")
    return tmp_path / "result"


def test_a_result_replaces_a_result(tmp_path):
    folder = tmp_path / "deep" / "result"
    write(folder, "first")
    write(folder, "second")
    assert (folder / "numbers.csv").read_text() == "second"
    written = json.loads((folder / record.MARK).read_text())
    assert written["config"] == {"rate": 0.1} and written["receipt"] == "right"
    assert written["versions"]["jax"] and written["device"]["platform"] == "cpu"
    assert written["precision"] == {"matmul": "highest", "x64": True}
    # sha256sum of a file that holds "second"
    assert written["files"] == {"numbers.csv": "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4"}
    assert names(folder.parent) == ["result"] and names(folder) == ["numbers.csv", "record.json"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_the_earlier_result_stays_when_writing_fails(stop, result):
    with pytest.raises(stop), record.written_aside(result) as aside:
        (aside / "sub").mkdir()
        (aside / "sub" / "numbers.csv").write_text("half")
        raise stop
    assert (result / "numbers.csv").read_text() == "first" and names(result.parent) == ["result"]


def test_a_result_needs_its_record(tmp_path):
    with pytest.raises(RuntimeError, match="needs its record"), record.written_aside(tmp_path / "result"):
        pass
    assert not list(tmp_path.iterdir())


# --- What is refused -------------------------------------------------------------------------------------------------


def record_of_another_program(folder):
    (folder / "record.json").write_text('{"config": {}, "versions": {"jax": "0.10.2"}}')


def added_file(folder):
    write(folder, "first")
    (folder / "letters.txt").write_text("dear")


def added_empty_folder(folder):
    write(folder, "first")
    (folder / "mine").mkdir()


def added_link(folder):
    write(folder, "first")
    (folder / "data").symlink_to("/etc")


def added_fifo(folder):
    write(folder, "first")
    os.mkfifo(folder / "pipe")


def edited_file(folder):
    write(folder, "first")
    (folder / "numbers.csv").write_text("other")  # the same size


def edited_record(folder):
    write(folder, "first")
    (folder / record.MARK).write_text((folder / record.MARK).read_text().replace("0.1", "0.2"))


def listed_by_hand(folder):
    write(folder, "first")
    found = json.loads((folder / record.MARK).read_text())
    (folder / "letters.txt").write_text("first")
    found["files"]["letters.txt"] = found["files"]["numbers.csv"]
    (folder / record.MARK).write_text(json.dumps(found))


def nested_record(folder):
    (folder / record.MARK).write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: (folder / "letters.txt").write_text("dear"), "it has no record.json"),
        (record_of_another_program, "its record.json is not one that bpjax seals"),
        (nested_record, "its record.json is not one that bpjax seals"),
        (added_file, "it holds letters.txt, which its record does not list"),
        (added_empty_folder, "it holds mine/, which"),
        (added_link, "it holds data, which"),
        (added_fifo, "it holds pipe, which"),
        (edited_file, "numbers.csv in it has been changed"),
        (edited_record, "its record.json has been changed"),
        (listed_by_hand, "its record.json has been changed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_ours_is_refused_and_stays(make, words, tmp_path):
    folder = tmp_path / "result"
    folder.mkdir()
    make(folder)
    before = {name: os.lstat(path).st_ino for name, path in seal.entries(folder)}
    with pytest.raises(ValueError, match=words):
        record.check_replaceable(folder)
    with pytest.raises(ValueError, match=words):
        write(folder, "new")
    assert {name: os.lstat(path).st_ino for name, path in seal.entries(folder)} == before
    assert names(tmp_path) == ["result"]


def test_a_deleted_file_leaves_a_result(result):
    (result / "numbers.csv").unlink()
    write(result, "second")
    assert (result / "numbers.csv").read_text() == "second"


@pytest.mark.parametrize("kind", ["a file", "a FIFO", "a socket", "a character device", "a symbolic link"])
def test_a_folder_replaces_nothing_but_a_folder(kind, tmp_path):
    path = tmp_path / "result"
    if kind == "a file":
        path.write_text("dear")
    elif kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "a character device":
        path = Path("/dev/null")
    else:
        path.symlink_to(path)
    before = os.lstat(path).st_ino
    with pytest.raises(ValueError, match=rf"is {kind}.*a result is a folder"):
        write(path, "new")
    assert os.lstat(path).st_ino == before


def test_a_link_stays_and_what_it_points_to_is_replaced(result, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to("result")
    write(link, "second")
    assert link.is_symlink() and (result / "numbers.csv").read_text() == "second"
    link.unlink()
    link.symlink_to("elsewhere/new")
    write(link, "third")
    assert link.is_symlink() and (tmp_path / "elsewhere" / "new" / "numbers.csv").read_text() == "third"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o002, 0o775)])
def test_the_umask_is_respected(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        write(tmp_path / "result", "first")
    finally:
        os.umask(before)
    assert (tmp_path / "result").stat().st_mode & 0o777 == mode
    (tmp_path / "result").chmod(0o750)
    write(tmp_path / "result", "second")  # a mode that the user has set stays
    assert (tmp_path / "result").stat().st_mode & 0o777 == 0o750


def test_no_place_to_write(tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ValueError, match="cannot be written to .*: choose another folder"):
        record.check_replaceable(tmp_path / "letters.txt" / "result")
    with pytest.raises(ValueError, match="File name too long"):
        write(tmp_path / ("x" * 300), "new")
    write(tmp_path / ("x" * 255), "new")  # the hidden names beside it are shorter


def test_a_file_put_there_meanwhile_stays_and_the_new_result_is_kept(result):
    """After the check at the start, while the block runs."""
    with pytest.raises(replace.Misplaced, match="letters.txt.*complete in") as misplaced:
        with record.written_aside(result) as aside:
            (aside / "numbers.csv").write_text("second")
            record.write_record(aside, Config())
            (result / "letters.txt").write_text("dear")
    assert names(result) == ["letters.txt", "numbers.csv", "record.json"]
    assert misplaced.value.folder == result.with_name("result-2") and names(result.parent) == ["result", "result-2"]
    assert (result.with_name("result-2") / "numbers.csv").read_text() == "second"


def test_a_file_put_there_at_the_last_moment_stays(result, monkeypatch, caplog):
    """After the last check, just before the folders are exchanged."""

    def late(one, other):
        (result / "letters.txt").write_text("dear")
        return folders.exchange(one, other)

    monkeypatch.setattr(replace, "exchange", late)
    write(result, "second")
    assert names(result) == ["numbers.csv", "record.json"] and (result / "numbers.csv").read_text() == "second"
    assert (result.with_name("result-2") / "letters.txt").read_text() == "dear" and "result-2" in caplog.text


# --- Killed, and two at once -----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_writer_killed_at_any_event_leaves_a_complete_result(tmp_path):
    """See `killed_writer.py`: some 140 kills, and after each the next write succeeds and leaves nothing behind."""
    script, root = Path(__file__).with_name("killed_writer.py"), str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for how, found in json.loads(done.stdout).items():
        assert found["faults"] == [] and found["kills"] >= 60 and found["new"] > 5
        assert found["recovered"] == (how == "renames")  # of a kill between the two renames


def test_where_folders_cannot_be_exchanged_they_are_renamed(result, monkeypatch):
    monkeypatch.setattr(replace, "exchange", lambda one, other: False)
    write(result, "second")
    assert (result / "numbers.csv").read_text() == "second" and names(result.parent) == ["result"]


def test_the_second_writer_is_refused_in_a_sentence(result):
    refused = []

    def second():
        try:
            write(result, "second")
        except ValueError as error:
            refused.append(str(error))

    with record.written_aside(result) as aside:
        (aside / "numbers.csv").write_text("first writer")
        record.write_record(aside, Config())
        other = threading.Thread(target=second)
        other.start()
        other.join()
    host = socket.gethostname()
    assert f"is being written by process {os.getpid()} on {host} since" in refused[0]
    assert (result / "numbers.csv").read_text() == "first writer" and names(result.parent) == ["result"]


def test_a_claim_holds_for_the_blocks_inside_it(result):
    with replace.claimed(replace.target_of(result)):
        write(result, "second")
        write(result, "third")
        assert any(name.endswith("-lock") for name in names(result.parent))
    assert names(result.parent) == ["result"]


def test_a_lock_file_that_a_killed_process_left_is_taken_over(result):
    lock = folders.hidden_name(result, "lock")
    lock.write_text('{"format": "bpjax lock", "host": "x", "process": 1, "since": "yesterday"}')
    write(result, "second")
    assert names(result.parent) == ["result"]
    lock.write_text("dear")
    with pytest.raises(ValueError, match="not a lock file of bpjax"):
        write(result, "third")
    assert lock.read_text() == "dear"


def test_a_file_system_without_locks(result, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    write(result, "second")
    assert (result / "numbers.csv").read_text() == "second" and names(result.parent) == ["result"]


def write_often(folder, text, barrier, results):
    """For a process of its own: write as soon as the other does, and say whether it was refused."""
    done = []
    for _ in range(40):
        barrier.wait()
        try:
            with record.written_aside(folder) as aside:
                (aside / "numbers.csv").write_text(text)
                (aside / record.MARK).write_text("{}")
            done.append("written")
        except ValueError as error:
            done.append("refused" if "is being written by" in str(error) else str(error))
    results.put(done)


@pytest.mark.thorough
@pytest.mark.parametrize("pairs", range(5))
def test_two_processes_at_once_break_nothing(pairs, tmp_path):
    """5 × 40 pairs: each writer succeeds or is refused in a sentence, and the folder holds one whole result."""
    context = multiprocessing.get_context("spawn")
    barrier, results, folder = context.Barrier(2), context.Queue(), tmp_path / "result"
    writers = [context.Process(target=write_often, args=(folder, text, barrier, results)) for text in ("one", "two")]
    for writer in writers:
        writer.start()
    done = [results.get(timeout=120) for _ in writers]
    for writer in writers:
        writer.join()
    assert all(set(pair) <= {"written", "refused"} and "written" in pair for pair in zip(*done, strict=True))
    assert seal.foreign(folder) is None and (folder / "numbers.csv").read_text() in ("one", "two")
    assert names(tmp_path) == ["result"]
