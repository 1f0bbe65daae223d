"""Answers in files: on the command line and in bulk, whatever a file does."""

import csv
import io
import time

import pytest

from bpjax import cli
from bpjax.teaching.exercises.files import check_file, exercises_in

RIGHT = """
import numpy as np
def output_delta(net_input, target):
    print("debugging")
    o = 1 / (1 + np.exp(-net_input))
    return o * (1 - o) * (o - target)
def bias_change(delta, learning_rate):
    return -learning_rate * delta
"""

BEN = """
import sys
def net_input(x, w, b):
    sys.exit("done")
def bias_change(delta, learning_rate):
    return 1 / 0
"""

CARLA = """
def net_input(x, w, b):
    while True:
        pass
net_input.x = 1
hidden_delta = None
def bias_change(delta, learning_rate):
    while True:
        try:
            while True:
                pass
        except:
            pass
"""

DAVID = """
import os
def net_input(x, w, b):
    os._exit(3)
def bias_change(delta, learning_rate):
    os.kill(os.getpid(), 9)
"""

FILES = {
    "anna.py": RIGHT,
    "ben.py": BEN,
    "carla.py": CARLA,
    "david.py": DAVID,
    "emma.py": "def net_input(x, w, b)\n    return x",
    "felix.py": "raise RuntimeError('not finished')\ndef net_input(x, w, b): return x",
    "greta.py": "answer = 42",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.thorough
def test_a_folder_of_answers(folder, capsys):
    """None ends the check or delays it by more than a few of its time limits."""
    start = time.monotonic()
    assert cli.main(["exercise", "--folder", str(folder), "--time-limit", "1"]) == 0
    assert time.monotonic() - start < 100
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = {(row["file"], row["exercise"]): (row["right"], row["mistake"], row["sentence"]) for row in rows}
    assert found["anna.py", "output_delta"] == ("True", "", "Right on 6 random instances of different shapes.")
    assert found["anna.py", "bias_change"][1] == "not summed"
    assert (
        found["ben.py", "net_input"][1] == "exits"
        and "ZeroDivisionError in line 6" in found["ben.py", "bias_change"][2]
    )
    assert found["carla.py", "net_input"][1] == "too long" and found["carla.py", "hidden_delta"][1] == "missing"
    assert found["carla.py", "bias_change"][1] == "too long"  # ended from outside
    assert found["david.py", "net_input"][1] == "exits" and found["david.py", "bias_change"][1] == "ends Python"
    assert "no Python" in found["emma.py", ""][2] and "line 1" in found["emma.py", ""][2]
    assert "RuntimeError: not finished" in found["felix.py", "net_input"][2]
    assert found["greta.py", ""][1] == "missing"
    assert len(rows) == 12


def test_what_a_file_defines_is_found_without_running_it(folder):
    assert exercises_in(folder / "anna.py") == ("output_delta", "bias_change")
    assert exercises_in(folder / "felix.py") == ("net_input",)
    (row,) = check_file(folder / "emma.py", 1.0)
    assert row.mistake == "file" and row.sentence.startswith("The file is no Python")
    (row,) = check_file(folder / "nobody.py", 1.0)
    assert row.sentence == "The file cannot be read: No such file or directory."


@pytest.mark.thorough
def test_one_answer_on_the_command_line(folder, capfd):
    answer = str(folder / "anna.py")
    assert cli.main(["exercise", "output_delta", answer]) == 0
    assert capfd.readouterr().out.endswith("Right on 6 random instances of different shapes.\n")
    assert cli.main(["exercise", "net_input", answer]) == 2
    assert "has no function `net_input`" in capfd.readouterr().out


def test_lists_statements_and_wrong_names(tmp_path, capsys):
    assert cli.main(["exercise", "--list"]) == 0
    assert "softmax_delta" in capsys.readouterr().out
    assert cli.main(["exercise", "bias_change", "--hint", "2"]) == 0
    out = capsys.readouterr().out
    assert "The change of a bias" in out and "Hint 2 of 3" in out and "Hint 3" not in out
    assert cli.main(["exercise", "nothing"]) == 2
    assert "expected `name` to be one of net_input" in capsys.readouterr().err
    assert cli.main(["exercise", "bias_change", str(tmp_path / "none.py")]) == 2
    assert cli.main(["exercise", "--folder", str(tmp_path)]) == 2
    assert "Expected a folder with Python files" in capsys.readouterr().err
