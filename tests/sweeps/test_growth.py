"""Stores that grow, are opened while they are incomplete, and are merged."""

import json

import jax
import numpy as np
import pytest
import xarray as xr
import zarr
from sweeping import LARGE, SMALL, countdown
from sweeping import counted as swept

import bpjax as bp
from bpjax.results.seal import digest_of
from bpjax.sweeps.store import SweepStore

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it", "small_chunks")
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def large():
    """The large sweep without a store; the tests compare with it."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        return swept(LARGE)


def same(one, other) -> bool:
    return one.drop_attrs().load().equals(other.drop_attrs().load())


def test_a_grown_sweep_runs_only_what_is_missing_and_has_the_bits_of_one_in_one_go(store, large):
    reports = []
    assert swept(LARGE, store, progress=reports.append).identical(large)
    assert reports[0].done == 2 * 3 and reports[0].runs == 45
    assert "6 of 45 runs, 100% solved, 0% diverged" == str(reports[0])
    assert swept(SMALL, store, progress=reports.append).equals(swept(SMALL))  # a part of what is there
    assert reports[-1].done == 6 == reports[-1].runs


def test_open_at_any_time_with_missing_runs_marked(store, large):
    bp.sweep(countdown, {"length": [4], "rate": [1.0], "seed": [9]}, key=KEY, store=store, curves=[1, 3, 8])
    opened = bp.open_sweep(store)
    assert dict(opened.sizes) == {"length": 3, "rate": 2, "seed": 4, "epoch": 3} and opened.attrs["missing"] == 24 - 7
    assert opened.length.values.tolist() == [3, 4, 9]  # ascending, although 4 came last
    there = opened.sel(length=4, rate=1.0, seed=9)
    assert int(there.reason) == 1 and float(there.draw) == float(large.draw.sel(length=4, rate=1.0, seed=9))
    lacking = opened.sel(length=4, rate=0.5, seed=0)
    assert int(lacking.reason) == -1 and np.isnan(lacking.draw) and np.isnan(lacking.curve).all() and not lacking.solved
    assert opened.reason.attrs["flag_meanings"] == "running done missing"


def test_xarray_and_zarr_read_a_store_without_bpjax(store):
    assert xr.open_zarr(store).drop_vars(["check", "device"]).load().equals(bp.open_sweep(store).load())
    group = zarr.open_group(store, mode="r")
    assert group["draw"].shape == (2, 1, 3) and group["draw"].metadata.dimension_names == ("length", "rate", "seed")


def test_draws_and_points_grow(tmp_path):
    def axes(samples):
        return {"length": bp.sweeps.draws(1, 9, samples), "seed": [1]}

    swept(axes(4), tmp_path / "draws")
    reports = []
    more = swept(axes(9), tmp_path / "draws", progress=reports.append)
    assert reports[0].done == 4 and more.equals(swept(axes(9)))

    first = {"point": bp.points(length=[3, 5], rate=[1.0, 2.0])}
    more = {"point": bp.points(length=[5, 3, 3], rate=[2.0, 2.0, 1.0])}
    swept(first, tmp_path / "points")
    assert swept(more, tmp_path / "points", progress=reports.append).equals(swept(more)) and reports[-1].runs == 3
    assert bp.open_sweep(tmp_path / "points").length.values.tolist() == [3, 5, 3]


def test_deleted_runs_are_run_again(store):
    whole = bp.open_sweep(store).load()
    assert bp.sweeps.delete_runs(store, length=3, seed=[0, 2]) == 2
    assert bp.open_sweep(store).attrs["missing"] == 2
    reports = []
    swept(SMALL, store, progress=reports.append)
    assert reports[0].done == 4 and bp.open_sweep(store).load().identical(whole)
    for wrong, message in (
        ({}, "expected values of"),
        ({"seed": 7}, "values that `seed` has"),
        ({"a": 1}, "one of length"),
    ):
        with pytest.raises(ValueError, match=message):
            bp.sweeps.delete_runs(store, **wrong)


def test_stores_are_merged(tmp_path, store, large):
    swept({**SMALL, "rate": [1.0, 0.25]}, tmp_path / "second")
    swept({**LARGE, "length": [3, 4]}, tmp_path / "third")
    parts = [store, tmp_path / "second", tmp_path / "third"]
    merged = bp.merge_sweeps(parts, tmp_path / "merged")
    assert same(merged, bp.merge_sweeps(parts)) and same(merged, bp.open_sweep(tmp_path / "merged"))
    assert merged.attrs["missing"] == 3 * 5 - 3 * 3  # of length 9 only the seeds 0, 1, 2 are there
    reports = []
    assert swept(LARGE, tmp_path / "merged", progress=reports.append).equals(large) and reports[0].done == 45 - 6


def test_what_cannot_be_merged(tmp_path, store):
    swept(SMALL, tmp_path / "other")
    array = zarr.open_group(tmp_path / "other", mode="r+")["draw"]
    with pytest.raises(ValueError, match="expected sweeps of one computation.*differ in key"):
        bp.sweep(countdown, SMALL, key=jax.random.key(6), store=tmp_path / "key", curves=[1, 3, 8])
        bp.merge_sweeps([store, tmp_path / "key"])
    array[0, 0, 0] += 1  # the checksum does not match: the run is missing, and nothing contradicts
    assert bp.merge_sweeps([store, tmp_path / "other"]).attrs["missing"] == 0
    with pytest.raises(ValueError, match="a list of folders"):
        bp.merge_sweeps(store)
    with pytest.raises(ValueError, match="the folder of a stored sweep"):
        bp.merge_sweeps([tmp_path])


def test_a_run_with_two_results_is_named(tmp_path, store, monkeypatch):
    write = SweepStore.write

    def wrong(self, box, values, done):
        values["draw"][0] += 1
        write(self, box, values, done)

    monkeypatch.setattr(SweepStore, "write", wrong)
    swept({**SMALL, "length": [3], "seed": [0]}, tmp_path / "other")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="`draw` at length=3, rate=0.5, seed=0 in .* is another"):
        bp.merge_sweeps([store, tmp_path / "other"])


def test_nothing_foreign_is_touched(tmp_path):
    """A folder called runs, a record of another program: refused, and left as they are."""
    (tmp_path / "one" / "runs").mkdir(parents=True)
    (tmp_path / "one" / "runs" / "events.tfevents").write_text("dear")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "record.json").write_text(json.dumps({"format": "bpjax sweep, version 2", "sha256": "0"}))
    for name in ("one", "two"):
        before = {path: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        with pytest.raises(ValueError, match="holds"):
            swept(SMALL, tmp_path / name)
        assert {path: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()} == before
    assert digest_of({"format": "bpjax sweep, version 2"}) != "0"


def test_an_interrupt_writes_what_is_there_and_says_how_to_go_on(tmp_path, large):
    def interrupt(progress):
        if progress.done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="of 45 runs have stopped; they are stored in .*store: start the same"):
        swept(LARGE, tmp_path / "store", progress=interrupt)
    reports = []
    assert swept(LARGE, tmp_path / "store", progress=reports.append).equals(large)
    assert reports[0].done > 8
