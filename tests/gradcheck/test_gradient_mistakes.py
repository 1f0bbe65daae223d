"""A sample of the statistics: mistakes in the text of handwritten gradients are judged wrong, located and named."""

import importlib.util
from pathlib import Path

import pytest
from full_size import FULL

PATH = Path(__file__).parents[2] / "scripts" / "gradient_mistakes.py"
SPEC = importlib.util.spec_from_file_location("gradient_mistakes", PATH)
assert SPEC is not None and SPEC.loader is not None
statistics = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(statistics)

SAMPLE = {"attention": 2, "batch_norm": 3, "cross_entropy": 14, "equilibrium": 0, "gru": 1, "scan": 4}
"""The position of one mistake for each of six functions."""


def check(file, position):
    found = list(statistics.mistakes(file))
    outcome = statistics.examine(found[position % len(found)], beside=False)
    assert outcome.wrong and outcome.located and outcome.named, outcome.text


@pytest.mark.parametrize("file", [pytest.param(f, marks=[pytest.mark.thorough] * (f != "attention")) for f in SAMPLE])
def test_a_mistake_is_judged_located_and_named(file):
    check(file, SAMPLE[file])


@pytest.mark.thorough
@pytest.mark.parametrize("file", statistics.files()[:: 1 if FULL else 2])
def test_more_mistakes_are_judged_located_and_named(file):
    check(file, 12)


def test_there_are_two_hundred_mistakes_in_twelve_functions():
    found = {file: list(statistics.mistakes(file)) for file in statistics.files()}
    assert len(found) == 12 and sum(map(len, found.values())) >= 200
    assert all(mistake.source != mistake.source.replace(mistake.new, mistake.old) for mistake in found["scan"])
