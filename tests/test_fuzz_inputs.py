"""Wrong arguments of every public callable end in one clear sentence: `scripts/fuzz_inputs.py` at a reduced size."""

import importlib
from pathlib import Path

import pytest
from full_size import FULL

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")

SCRIPTS = Path(__file__).parents[1] / "scripts"
CLEAN = (
    "losses",
    "networks",
    "theory",
    "tape",
    "gradcheck",
    "audit",
    "tasks",
    "analysis",
    "results",
    "interop",
    "second_order",
    "util",
)
"""The rooms in which every wrong argument is refused in a sentence or accepted for a reason."""


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def test_every_public_callable_has_a_valid_call(fuzz):
    cases = fuzz("fuzz_cases")
    assert not [parameter for room in cases.ROOMS for parameter in cases.missing(room)]


def test_an_error_from_elsewhere_is_no_sentence(fuzz):
    fuzzer, cases = fuzz("fuzz_inputs"), fuzz("fuzz_cases")
    call = cases.valid_call("losses.huber", cases.public("losses")["losses.huber"])
    wrong = [("delta", "text", {"delta": "word"}, "sentence"), ("delta", "negative", {"delta": -1}, "sentence")]
    for parameter, label, changes, expected in wrong:
        assert fuzzer.verdict(call, parameter, label, changes, True)[0] == expected
    careless = cases.Call("losses.careless", lambda delta: delta.shape, {"delta": 1.0})
    assert fuzzer.verdict(careless, "delta", "text", {"delta": "word"}, True)[0] == "to decode"
    silent = cases.Call("losses.silent", lambda x: 1.0, {"x": 1.0})
    assert fuzzer.verdict(silent, "x", "text", {"x": "word"}, True)[0] == "accepted"
    assert fuzzer.verdict(careless, "delta", "NumPy", {"delta": 2.0}, False)[0] == "refused"


SAMPLE = 150 if FULL else 40
"""Calls of each room; the script without --sample runs all."""


@pytest.mark.thorough
@pytest.mark.parametrize("room", CLEAN)
@pytest.mark.filterwarnings("ignore")
def test_wrong_arguments_end_in_a_sentence(room, fuzz, tmp_path, monkeypatch):
    """In this process, which the script does not trust: there a call may also hang or end Python."""
    monkeypatch.chdir(tmp_path)  # for calls that write a file with a wrong name
    fuzzer = fuzz("fuzz_inputs")
    found = []
    for _, (call, parameter, label, changes, wrong) in fuzzer.sampled(room, SAMPLE, 0):
        verdict, said = fuzzer.verdict(call, parameter, label, changes, wrong)
        found.append(verdict)
        assert verdict not in fuzzer.DEFECTS, f"{verdict} {call.name}({parameter}={label}): {said}"
    assert len(found) == SAMPLE and "sentence" in found
