"""A sweep in parts: each process computes its blocks of one store."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from sweeping import LARGE, SMALL, countdown
from sweeping import counted as swept

import bpjax as bp
from bpjax.cli import main
from bpjax.sweeps import grid, part_sweep, record_file
from bpjax.sweeps.chunk_locks import ChunkLocks
from bpjax.sweeps.part import Part, part_of
from bpjax.sweeps.record_file import write_record_file
from bpjax.sweeps.writer import only_writer

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")
RUNS = 45


@pytest.fixture(scope="module")
def large():
    """The large sweep in one go."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        return swept(LARGE).sortby(list(LARGE))


@pytest.fixture(autouse=True)
def few_chunks_and_no_waiting(monkeypatch):
    """Chunks of at most eight runs."""
    monkeypatch.setattr(part_sweep, "PREPARE_SECONDS", 0.0)
    monkeypatch.setattr(grid, "RUNS_A_CHUNK", 8)
    monkeypatch.setattr(grid, "CHUNKS_A_PART", 1)


def files(store) -> dict[str, bytes]:
    """The bytes of all arrays of a store."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*/c/**/*") if p.is_file()}


def test_parts_in_any_order_and_number_give_the_bits_of_one_process(tmp_path, large):
    """Three of five parts, then those that are missing as two parts: bytes equal to those of parts in their order."""
    for index in (4, 0, 3):
        some = swept(LARGE, tmp_path / "parts", part=(index, 5))
        assert some.sizes["run"] == some.reason.size and some.attrs["part"] == f"{index}/5" and some.solved.all()
    missing = bp.open_sweep(tmp_path / "parts").attrs["missing"]
    reports = []
    results = [swept(LARGE, tmp_path / "parts", part=f"{k}/2", progress=reports.append) for k in (1, 0)]
    assert sum(result.sizes["run"] for result in results) == RUNS
    assert 0 < missing < RUNS and reports[-1].done == reports[-1].runs == results[1].sizes["run"]
    assert bp.open_sweep(tmp_path / "parts").load().drop_attrs().equals(large.drop_attrs())
    for index in range(5):
        swept(LARGE, tmp_path / "order", part=(index, 5))
    assert files(tmp_path / "parts") == files(tmp_path / "order") and len(files(tmp_path / "order")) > 50
    assert not list(tmp_path.rglob(".lock-*"))


def test_a_part_returns_its_runs_with_their_coordinates(tmp_path, large):
    some = swept(LARGE, tmp_path / "store", part=(1, 4))
    point = {name: some[name].isel(run=2).item() for name in LARGE}
    assert some.isel(run=2).draw == large.sel(point).draw and some.curve.dims == ("run", "epoch")
    whole = swept(LARGE, tmp_path / "store", part="whole")
    assert whole.sortby(list(LARGE)).drop_attrs().equals(large.drop_attrs())


def test_a_grown_sweep_in_parts(tmp_path, large):
    swept(SMALL, tmp_path / "store", part=(0, 1))
    reports = []
    for index in range(3):
        swept(LARGE, tmp_path / "store", part=(index, 3), progress=reports.append)
    assert sum(report.done for report in reports if report.done == report.runs) >= RUNS
    stored = bp.open_sweep(tmp_path / "store").load()
    assert stored.transpose(..., "epoch").equals(large.transpose(*stored.draw.dims, "epoch")[list(stored.data_vars)])
    of_the_small_grid = swept(SMALL, tmp_path / "store", part=(0, 1))
    assert of_the_small_grid.sizes["run"] == 6


def test_two_processes_on_one_block(tmp_path):
    """What another process holds is left to it, everything else is done, and the end is one sentence."""
    swept(LARGE, tmp_path / "store", part=(4, 5))
    with ChunkLocks(tmp_path / "store", {"part": "0/5"}) as locks:
        assert locks.claim("0.0.0") is None
        with pytest.raises(ValueError, match=r"1 of the \d+ blocks of this part .*process \d+ on .*Start the part"):
            swept(LARGE, tmp_path / "store", part=(0, 1))
        left = bp.open_sweep(tmp_path / "store").attrs["missing"]
        assert 0 < left <= 8
        with pytest.raises(ValueError, match="process .* computes part 0/5 of it and a store has one writer"):
            swept(LARGE, tmp_path / "store")
        more = {**LARGE, "seed": range(12)}
        with pytest.raises(ValueError, match="one writer at a time, or several"):
            swept(more, tmp_path / "store", part=(0, 2))
    reports = []
    swept(LARGE, tmp_path / "store", part=(0, 1), progress=reports.append)
    assert bp.open_sweep(tmp_path / "store").attrs["missing"] == 0 and reports[0].done == 0
    with only_writer(tmp_path / "store"), pytest.raises(ValueError, match="is being written by process"):
        swept(LARGE, tmp_path / "store", part=(0, 1))


def test_the_command_line_says_what_is_left(tmp_path, capsys):
    swept(LARGE, tmp_path / "store", part=(0, 2))
    with ChunkLocks(tmp_path / "store", {"part": "1/2"}) as locks:
        locks.claim("0.1.0")
        assert main(["progress", str(tmp_path / "store"), "--parts", "2"]) == 1
    found = capsys.readouterr().out
    missing = bp.open_sweep(tmp_path / "store").attrs["missing"]
    assert f"{RUNS - missing} of {RUNS} runs are stored" in found and "part 1/2: process" in found
    assert "part 1/2: " in found and "blocks left" in found and "part 0/2: " not in found
    swept(LARGE, tmp_path / "store", part=(1, 2))
    assert main(["progress", str(tmp_path / "store"), "--parts", "2"]) == 0
    assert "left" not in capsys.readouterr().out and main(["progress", str(tmp_path)]) == 2


def test_a_block_that_was_taken_over_is_not_written(tmp_path, monkeypatch, caplog):
    """A process that was suspended and taken for dead: it writes nothing into what another one holds."""
    monkeypatch.setattr(ChunkLocks, "is_mine", lambda self, name: name != "0.0.0")
    with pytest.raises(ValueError, match="1 of the"):
        swept(LARGE, tmp_path / "store", part=(0, 1))
    assert "another process has taken over chunk 0.0.0" in caplog.text
    assert 0 < bp.open_sweep(tmp_path / "store").attrs["missing"] <= 8


def test_another_computation_is_refused(tmp_path):
    swept(SMALL, tmp_path / "store", part=(0, 2))
    with pytest.raises(ValueError, match="differ in key"):
        bp.sweep(countdown, SMALL, key=jax.random.key(6), store=tmp_path / "store", curves=[1, 3, 8], part=(1, 2))


def test_an_interrupted_part_keeps_what_it_has(tmp_path):
    def interrupt(progress):
        if progress.done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="part 0/1 has computed is stored in .*start it again"):
        swept(LARGE, tmp_path / "store", part=(0, 1), progress=interrupt)
    assert bp.open_sweep(tmp_path / "store").attrs["missing"] <= RUNS - 8


@pytest.mark.parametrize(
    "wrong", ["3/2", "2/2", (2, 2), (-1, 2), (0, 0), "1", "a/b", (0.0, 2), (True, 2), 3, "", "٣/٤"]
)
def test_wrong_parts(tmp_path, wrong):
    with pytest.raises(ValueError, match="`sweep` expected .*`part`.* from 0"):
        swept(SMALL, tmp_path / "store", part=wrong)
    assert not (tmp_path / "store").exists()


def test_a_part_needs_a_store():
    with pytest.raises(ValueError, match="`sweep` expected `store` for part 0/2"):
        swept(SMALL, part=(0, 2))


def slurm(task, count, least, most, step=1):
    values = {"ID": task, "COUNT": count, "MIN": least, "MAX": most, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, None),
        ({"BPJAX_PART": "3/16"}, Part(3, 16)),
        ({"BPJAX_PART": "whole", **slurm(1, 4, 0, 3)}, None),
        ({"BPJAX_PART": "1/2", **slurm(1, 4, 0, 3)}, Part(1, 2)),
        (slurm(3, 16, 0, 15), Part(3, 16)),
        (slurm(16, 16, 1, 16), Part(15, 16)),  # --array=1-16
        (slurm(14, 4, 8, 14, 2), Part(3, 4)),  # --array=8-14:2
        (slurm(7, 1, 7, 7), Part(0, 1)),  # a single task again: everything that is missing
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, Part(2, 4)),
        ({"JOB_COMPLETION_INDEX": "3", "BPJAX_PARTS": "4"}, Part(3, 4)),
        ({"BPJAX_PART": "16/16"}, "BPJAX_PART.* from 0 to 15"),
        (slurm(3, 3, 1, 7), "without gaps"),  # --array=1,3,7
        ({"SLURM_ARRAY_TASK_ID": "x"}, "without gaps"),
        ({"JOB_COMPLETION_INDEX": "3"}, "expected BPJAX_PARTS"),
        ({"JOB_COMPLETION_INDEX": "3", "BPJAX_PARTS": "3"}, "from 0 to 2"),
    ],
)
def test_the_environment_says_which_part(environment, expected):
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            part_of("sweep", None, True, environment)
    else:
        assert part_of("sweep", None, True, environment) == expected
    assert part_of("sweep", None, False, environment) is None and part_of("sweep", "whole", True, environment) is None


def test_the_environment_of_the_process_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("BPJAX_PART", "1/2")
    assert swept(SMALL, tmp_path / "store").attrs["part"] == "1/2"
    assert swept(SMALL).reason.dims == ("length", "rate", "seed")


def test_groups_of_runs_share_a_checksum(tmp_path, monkeypatch, large):
    """As in a large store: chunks of many runs, and a checksum for each group of neighbours."""
    for name, value in {"RUNS_A_CHUNK": 2, "CHUNKS": 4, "RUNS_A_GROUP": 2}.items():
        monkeypatch.setattr(grid, name, value)
    store = tmp_path / "store"
    swept(LARGE, store, part=(0, 2))
    record = json.loads((store / "record.json").read_text())
    assert np.prod(record["chunks"]) == 8 and np.prod(record["groups"]) == 2
    swept(LARGE, store, part=(1, 2))
    assert bp.open_sweep(store).load().drop_attrs().equals(large.drop_attrs())
    path = sorted(p for p in (store / "draw" / "c").rglob("*") if p.is_file())[0]
    other = sorted(p for p in (store / "draw" / "c").rglob("*") if p.is_file())[1]
    path.write_bytes(other.read_bytes())  # what a kill between two files of a chunk can leave
    assert 0 < bp.open_sweep(store).attrs["missing"] <= 8
    reports = []
    swept(LARGE, store, part=(0, 1), progress=reports.append)
    assert bp.open_sweep(store).load().drop_attrs().equals(large.drop_attrs())
    assert bp.sweeps.delete_runs(store, seed=[0, 9]) == 18
    assert swept(LARGE, store).sortby(list(LARGE)).drop_attrs().equals(large.drop_attrs())


def test_long_axes_are_hashed_in_the_record(tmp_path, monkeypatch, large):
    """Their values are in the Zarr array of the coordinate; the same sweep restores a damaged one."""
    monkeypatch.setattr(record_file, "LONGEST_LIST", 2)
    store = tmp_path / "store"
    swept(SMALL, store)
    swept(LARGE, store, part=(0, 1))
    axes = json.loads((store / "record.json").read_text())["axes"]["coords"]
    assert set(axes["rate"][1]) == {"sha256", "count"}
    assert bp.open_sweep(store).load().draw.equals(large.draw.transpose(*axes))
    swept(LARGE, tmp_path / "second", part=(0, 1))
    (tmp_path / "second" / "rate" / "c" / "0").write_bytes(b"")
    for attempt in (lambda: bp.open_sweep(tmp_path / "second"), lambda: swept(SMALL, tmp_path / "second")):
        with pytest.raises(ValueError, match="rate.* is damaged; no results are lost"):
            attempt()
    swept(LARGE, tmp_path / "second", part=(0, 1))
    assert bp.open_sweep(tmp_path / "second").attrs["missing"] == 0


def test_a_store_of_version_2_is_read_and_continued(tmp_path, large):
    """It has a checksum for every run and does not say on which device."""
    store = tmp_path / "store"
    swept(SMALL, store)
    record, root = (json.loads((store / name).read_text()) for name in ("record.json", "zarr.json"))
    del record["groups"], record["files"]["device/zarr.json"], record["sha256"]
    del root["consolidated_metadata"]["metadata"]["device"]
    shutil.rmtree(store / "device")
    (store / "zarr.json").write_text(json.dumps(root))
    record["files"]["zarr.json"] = hashlib.sha256((store / "zarr.json").read_bytes()).hexdigest()
    record["format"] = "bpjax sweep, version 2"
    record["axes"]["coords"]["seed"] = ["seed", [0, 1, 2]]
    write_record_file(store, record)
    assert bp.open_sweep(store).attrs["missing"] == 0
    reports = []
    swept(LARGE, store, part=(0, 1), progress=reports.append)
    assert bp.open_sweep(store).load().draw.equals(large.draw.transpose("length", "rate", "seed"))
    assert reports[-1].epochs == int(large.epochs.sum()) - 3 * (3 + 9)
