"""Check the answers in files: each file in a separate process with a time limit."""

import ast
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bpjax.teaching.exercises.registry import TASKS
from bpjax.teaching.exercises.task import Verdict

STARTING = 120.0
"""Seconds for Python and JAX to start, beyond which a process that says nothing is ended."""


class Row(NamedTuple):
    """One exercise of one file."""

    file: str
    exercise: str
    right: bool
    mistake: str
    sentence: str
    seconds: float


def exercises_in(file: Path) -> tuple[str, ...]:
    """The exercises that a file defines a function or a variable for, without running it.

    Raises:
        SyntaxError: the file is no Python.
    """
    found = set()
    for node in ast.parse(file.read_bytes(), str(file)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            found.add(node.name)
        for target in getattr(node, "targets", ()):
            found |= {name.id for name in ast.walk(target) if isinstance(name, ast.Name)}
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return tuple(name for name in TASKS if name in found)


def check_file(file: Path, seconds: float, names: Sequence[str] | None = None, quiet: bool = True) -> list[Row]:
    """One row for each exercise of a file; whatever the file does, this returns.

    Args:
        file: with functions named as the exercises.
        seconds: for each exercise.
        names: of exercises; by default those that the file defines.
        quiet: what the file prints is dropped.
    """
    try:
        names = exercises_in(file) if names is None else names
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return [_row(file, "", Verdict(False, "file", f"The file is no Python: {error.args[0]}{line}."), 0.0)]
    except OSError as error:
        return [_row(file, "", Verdict(False, "file", f"The file cannot be read: {error.strerror}."), 0.0)]
    if not names:
        sentence = f"The file has no function with the name of an exercise: {', '.join(TASKS)}."
        return [_row(file, "", Verdict(False, "missing", sentence), 0.0)]
    rows: list[Row] = []
    waiting = list(names)
    while waiting:
        found, end = _run(file, waiting, seconds, quiet)
        rows += found
        waiting = waiting[len(found) :]
        if waiting:  # the process ended in this exercise
            rows.append(_row(file, waiting.pop(0), end, seconds))
    return rows


def _run(file: Path, names: list[str], seconds: float, quiet: bool) -> tuple[list[Row], Verdict]:
    """(rows of the exercises that were checked, what to say of the next one)."""
    with tempfile.TemporaryDirectory(prefix="bpjax-exercise-") as folder:
        results = Path(folder) / "results"
        results.touch()
        command = [
            sys.executable,
            "-m",
            "bpjax.teaching.exercises.worker",
            str(file),
            str(results),
            str(seconds),
            *names,
        ]
        output = subprocess.DEVNULL if quiet else None
        end = Verdict(False, "ends Python", "The function ends Python: it must return its result.")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            _wait_for_start(process, results)
            status = process.wait(2 * seconds * (len(names) + 1))
        except subprocess.TimeoutExpired:
            end = Verdict(False, "too long", f"The function takes longer than {seconds:g} s and cannot be interrupted.")
        else:
            if not results.stat().st_size:
                sentence = f"The check itself could not start (status {status}); this says nothing of the file."
                end = Verdict(False, "not started", sentence)
        finally:
            process.kill()
            process.wait()
        rows = []
        for line in results.read_text(encoding="utf-8").splitlines()[1:]:
            entry = json.loads(line)
            verdict = Verdict(entry["right"], entry["mistake"], entry["sentence"])
            rows.append(_row(file, entry["exercise"], verdict, entry["seconds"]))
        return rows, end


def _wait_for_start(process: subprocess.Popen, results: Path) -> None:
    """Wait until the process has written its first line, has ended, or is given up."""
    given_up = time.monotonic() + STARTING
    while process.poll() is None and not results.stat().st_size and time.monotonic() < given_up:
        time.sleep(0.02)


def _row(file: Path, name: str, verdict: Verdict, took: float) -> Row:
    return Row(file.name, name, verdict.right, verdict.mistake or "", verdict.sentence, took)


def check_folder(folder: Path, seconds: float, names: Sequence[str] | None = None) -> list[Row]:
    """The rows of all Python files of a folder, in the order of their names; some files at a time.

    Raises:
        ValueError: there is no such folder, or no Python file in it.
    """
    files = sorted(folder.glob("*.py")) if folder.is_dir() else []
    if not files:
        raise ValueError(f"Expected a folder with Python files, got {folder}.")
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        return [row for rows in pool.map(lambda file: check_file(file, seconds, names), files) for row in rows]


def as_csv(rows: Iterable[Row]) -> str:
    """One line per file and exercise, with a header."""
    with io.StringIO(newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)
        return text.getvalue()
