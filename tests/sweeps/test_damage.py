"""Stores of which files are damaged, lost, swapped or foreign."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from full_size import FULL
from sweeping import SMALL
from sweeping import counted as swept

import bpjax as bp
from bpjax.sweeps import writer
from bpjax.sweeps.record_file import COPY

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it", "small_chunks")


def damage(path: Path, draw: random.Random) -> str:
    """Change a file at random; returns what was done."""
    data, kind = bytearray(path.read_bytes()), draw.choice(("flip", "flip", "cut", "gone", "zeros", "foreign", "empty"))
    at = draw.randrange(max(1, len(data)))
    if kind == "gone":
        path.unlink()
        return kind
    if kind == "flip" and data:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "zeros":
        data[at : at + 16] = bytes(len(data[at : at + 16]))
    data = data[:at] if kind == "cut" else b"" if kind == "empty" else b"{}" if kind == "foreign" else data
    path.write_bytes(bytes(data))
    return f"{kind} at {at}"


def damaged_copies(store: Path, folder: Path, count: int):
    """Copies of a store, each with one file damaged or two swapped."""
    draw = random.Random(0)
    for index in range(count):
        copy = folder / f"copy{index}"
        shutil.copytree(store, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file() and path.name != writer.LOCK)
        path = draw.choice(files)
        if draw.random() < 0.2:
            other = draw.choice(files)
            one, two = path.read_bytes(), other.read_bytes()
            path.write_bytes(two), other.write_bytes(one)
            what = f"swapped with {other.relative_to(copy)}"
        else:
            what = damage(path, draw)
        yield copy, f"{path.relative_to(copy)} {what}"
        shutil.rmtree(copy)


def outcome_of_damage(copy: Path, whole) -> str:
    """What `open_sweep`, then `sweep`, then `open_sweep` again make of a damaged store."""
    found = []
    for attempt in (lambda: bp.open_sweep(copy).load(), lambda: swept(SMALL, copy), lambda: bp.open_sweep(copy).load()):
        try:
            result = attempt()
        except ValueError as error:
            found.append("sentence" if str(copy) in str(error) else f"UNCLEAR {error}")
        except Exception as error:
            found.append(f"TRACEBACK {type(error).__name__}: {error}")
        else:
            there = result.reason.values >= 0
            names = ("draw", "curve", "epochs", "solved")
            right = all(np.array_equal(result[n].values[there], whole[n].values[there], equal_nan=True) for n in names)
            found.append(("whole" if there.all() else "some missing") if right else "WRONG")
    return " | ".join(found)


@pytest.mark.parametrize(
    "count", [4, pytest.param(40 if FULL else 16, marks=pytest.mark.thorough)], ids=["a few damages", "many damages"]
)
def test_whatever_is_damaged_is_run_again_or_named(tmp_path, store, count):
    whole = bp.open_sweep(store).load()
    found = {what: outcome_of_damage(copy, whole) for copy, what in damaged_copies(store, tmp_path, count)}
    bad = {what: text for what, text in found.items() if any(w in text for w in ("WRONG", "UNCLEAR", "TRACEBACK"))}
    assert not bad, json.dumps(bad, indent=1)
    unfinished = {what: text for what, text in found.items() if not text.endswith("whole | whole")}
    assert not unfinished, json.dumps(unfinished, indent=1)


def test_both_records_damaged_is_one_sentence(store):
    for name in ("record.json", COPY):
        (store / name).write_text("{")
    for attempt in (lambda: swept(SMALL, store), lambda: bp.open_sweep(store)):
        with pytest.raises(ValueError, match="holds a record that is damaged.*restore record.json"):
            attempt()
    assert xr.open_zarr(store).draw.shape == (2, 1, 3)


def test_a_store_of_version_0_1_is_named(tmp_path):
    (tmp_path / "record.json").write_text(json.dumps({"sweep": {"axes": {}}, "versions": {}}))
    with pytest.raises(ValueError, match="a record of version 0.1"):
        swept(SMALL, tmp_path)
