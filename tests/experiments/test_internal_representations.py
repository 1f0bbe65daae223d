"""The problems of 1986: what the classifiers count, and the command from flags to table."""

import csv
import json

import numpy as np
import pytest

from experiments.internal_representations import experiment, problems, xor


@pytest.mark.parametrize(
    ("tables", "solution"),
    [
        (([0, 1, 1, 1], [0, 0, 0, 1]), "OR and AND"),
        (([1, 0, 0, 0], [0, 0, 0, 1]), "OR and AND"),  # NOR
        (([1, 1, 1, 0], [0, 1, 1, 1]), "OR and AND"),  # NAND first
        (([0, 1, 0, 0], [0, 0, 1, 0]), "the differences"),
        (([1, 1, 0, 1], [0, 1, 0, 0]), "the differences"),
        (([0, 0, 1, 1], [0, 0, 0, 1]), "others"),  # a unit that copies an input
        (([0, 0, 0, 1], [0, 0, 0, 1]), "others"),
        (([0, 0, 0, 0], [0, 0, 0, 1]), "others"),
    ],
)
def test_the_solutions_of_xor_are_told_apart(tables, solution):
    hidden = 0.1 + 0.8 * np.array(tables).T
    assert xor.solution_of(hidden) == solution == xor.solution_of(hidden[:, ::-1])


def test_undecided_outputs_are_counted():
    assert xor.undecided(np.array([[[0.1], [0.5], [0.6], [0.9]], [[0.0], [1.0], [0.2], [0.3]]])).tolist() == [2, 1]


def test_names_are_distinct():
    names = [problem.name for problem in problems.PROBLEMS]
    assert len(set(names)) == len(names)


def test_from_flags_to_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    out = tmp_path / "result"
    assert experiment.main(["--only", "xor", "--seeds", "12", "--quick", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "XOR, 2-2-1, η 0.25" in printed and "published numbers agree" in printed
    rows = list(csv.DictReader((out / "internal_representations.csv").read_text().splitlines()))
    shares = [row for row in rows if row["quantity"].startswith("of the solved")]
    assert len(shares) == 6 and all(row["verdict"] == "" for row in shares)
    record = json.loads((out / "record.json").read_text())
    assert record["config"]["quick"] and all("right" in receipt for receipt in record["receipts"].values())


def test_a_wrong_name_gets_a_sentence(tmp_path, capsys):
    assert experiment.main(["--only", "chess", "--out", str(tmp_path / "x")]) == 2
    assert "part of one of XOR" in capsys.readouterr().err
