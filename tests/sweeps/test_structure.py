"""Sweeps over structure: one dataset of many programs, the same numbers as single sweeps, stores that grow."""

import functools
import json
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.sweeps.structure import sweep_over

KEY = jax.random.key(5)
AXES = {"rate": [1.0, 0.5], "seed": range(3)}
STRUCTURE = {"width": [2, 3], "goal": {"low": 1.0, "high": 2.0}}


class Walk(NamedTuple):
    """Grows by its rate until it reaches the goal: the simplest run with a structure."""

    epoch: jax.Array
    reason: jax.Array
    place: jax.Array  # (width,)


class Record(NamedTuple):
    error: jax.Array


def make_trial(width, goal):
    """A walk in `width` dimensions; wide ones stop for another reason, and store another outcome."""

    def trial(key, rate):
        def epoch(run):
            place = run.place + rate
            reason = jnp.where(place.min() >= goal, 1, jnp.where(run.epoch >= 4, 2, 0)).astype(jnp.int32)
            after = Walk(run.epoch + 1, reason, place)
            after = jax.tree.map(lambda new, old: jnp.where(run.reason == 0, new, old), after, run)
            return after, Record(after.place.sum())

        def outcome(run):
            only = {"twice": 2 * run.epoch, "big": run.place[0] > 1} if width == 3 else {"mean": run.place.mean()}
            return {"epochs": run.epoch, "place": run.place, **only}

        zero = jnp.zeros((), jnp.int32)
        start = Walk(zero, zero, jax.random.uniform(key, (width,)))
        names = ("running", "arrived" if width == 2 else "all there", "epoch limit")
        return bp.training.Trial(start, bp.training.Program(epoch, outcome, names))

    return trial


@functools.cache
def whole():
    return sweep_over(STRUCTURE, make_trial, AXES, key=KEY, curves=iter([1, 2]), receipt="right")


def test_every_combination_is_the_sweep_of_its_trial():
    result = whole()
    assert result.solved.dims == ("width", "goal", "rate", "seed") and result.place.sizes["place_0"] == 3
    assert result.width.values.tolist() == [2, 3] and result.goal.values.tolist() == ["low", "high"]
    assert result.rate.values.tolist() == AXES["rate"]
    words = result.reason.attrs["flag_meanings"].split()
    for width, goal in ((2, "high"), (3, "low")):
        alone = bp.sweep(make_trial(width, STRUCTURE["goal"][goal]), AXES, key=KEY, curves=[1, 2])
        joined = result.sel(width=width, goal=goal)
        for name in ("epochs", "solved", "diverged", "curve"):
            np.testing.assert_array_equal(joined[name], alone[name])
        np.testing.assert_array_equal(joined.place[..., :width], alone.place)
        alone_words = alone.reason.attrs["flag_meanings"].split()
        assert [words[code] for code in joined.reason.values.flat] == [
            alone_words[code] for code in alone.reason.values.flat
        ]


def test_reasons_are_joined_and_what_some_lack_is_nan_or_minus_one():
    result = whole()
    assert result.reason.attrs["flag_meanings"] == "running arrived epoch_limit all_there"
    assert set(np.unique(result.reason.sel(width=3))) <= {2, 3} and set(np.unique(result.reason.sel(width=2))) <= {1, 2}
    assert np.isnan(result.place.sel(width=2)[..., 2]).all() and np.isfinite(result.place.sel(width=3)).all()
    assert np.isnan(result["mean"].sel(width=3)).all() and np.isfinite(result["mean"].sel(width=2)).all()
    assert (result.twice.sel(width=2) == -1).all() and result.twice.dtype == np.int32
    np.testing.assert_array_equal(result.twice.sel(width=3), 2 * result.epochs.sel(width=3))
    assert np.isnan(result.big.sel(width=2)).all() and set(np.unique(result.big.sel(width=3))) <= {0.0, 1.0}
    assert result.solved.dtype == bool and result.epochs.dtype == np.int32


def test_seeds_share_their_starts_where_shapes_allow():
    """The first epoch adds the rate to the start, so that curves of two goals begin alike."""
    result = whole()
    np.testing.assert_array_equal(result.curve.sel(goal="low", epoch=1), result.curve.sel(goal="high", epoch=1))
    assert len(np.unique(result.curve.sel(width=3, goal="low", rate=1.0, epoch=1))) == 3


def test_the_record_names_what_combinations_have_in_common_and_where_they_differ():
    record = json.loads(whole().attrs["record"])
    assert record["structure"] == {"width": [2, 3], "goal": ["low", "high"]} and record["curves"] == [1, 2]
    assert [(one["width"], one["goal"]) for one in record["combinations"]] == [
        (2, "low"), (2, "high"), (3, "low"), (3, "high")
    ]  # fmt: skip
    assert whole().attrs["receipt"] == "right"


def test_labels_may_be_numpy_numbers_texts_or_objects():
    seen = []

    def make(width, kind, size, flag):
        seen.append((type(width), kind, type(size), flag))
        return make_trial(width, 1.0)

    structure = {
        "width": np.array([2]), "kind": {"a/b, c=d": None}, "size": (jnp.float32(0.5),), "flag": [True],
    }  # fmt: skip
    result = sweep_over(structure, make, {"rate": [1.0]}, key=KEY)
    assert seen == [(int, None, float, True)] and dict(result.sizes)["kind"] == 1
    assert float(result.epochs.sel(width=2, kind="a/b, c=d", size=0.5, flag=True, rate=1.0)) >= 1


def test_one_progress_over_all_combinations():
    states = []
    sweep_over(STRUCTURE, make_trial, AXES, key=KEY, curves=[1, 2], progress=states.append)
    assert {state.runs for state in states} == {24} and states[-1].done == 24 and states[-1].epochs > 24
    assert all(a.done <= b.done and a.seconds <= b.seconds for a, b in zip(states, states[1:], strict=False))


class Stopped(Exception):
    pass


def test_an_interrupted_store_continues_and_grows(tmp_path):
    folder, calls = tmp_path / "store", []

    def stop(state):
        if state.done > 5:
            raise Stopped

    with pytest.raises(Stopped):
        sweep_over(STRUCTURE, make_trial, AXES, key=KEY, store=folder, progress=stop, curves=[1, 2])
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("kept")
    result = sweep_over(STRUCTURE, make_trial, AXES, key=KEY, store=folder, curves=[1, 2], receipt="right")
    assert result.drop_attrs().identical(whole().drop_attrs())
    assert {entry.name for entry in folder.iterdir()} == {
        "structure.json", "notes", *(f"width={w},goal={g}" for w in (2, 3) for g in ("low", "high"))
    }  # fmt: skip
    more = {"width": [4, 2], "goal": {"high": 2.0}}
    grown = sweep_over(more, make_trial, AXES, key=KEY, store=folder, curves=[1, 2], progress=calls.append)
    assert max(state.done for state in calls) == 12 and calls[-1].epochs == int(grown.epochs.sel(width=4).sum())
    assert (folder / "width=4,goal=high").is_dir() and (folder / "notes" / "mine.txt").read_text() == "kept"
    np.testing.assert_array_equal(grown.place.sel(width=2)[..., :2], whole().place.sel(width=2, goal=["high"])[..., :2])


@pytest.mark.parametrize("kind", ["foreign", "other dimensions", "a file", "damaged"])
def test_a_folder_that_is_not_ours_is_refused_and_stays(kind, tmp_path):
    folder = tmp_path / "store"
    if kind == "a file":
        folder.write_text("precious")
    else:
        folder.mkdir()
        (folder / {"foreign": "thesis.tex"}.get(kind, "structure.json")).write_text(
            {"foreign": "precious", "damaged": "{"}.get(kind, '{"structure": {"depth": "number"}}')
        )
    before = {path: path.read_bytes() for path in [folder, *folder.rglob("*")] if path.is_file()}
    message = {"other dimensions": r"sweeps over depth \(number\), and this one is over width", "damaged": "damaged"}
    with pytest.raises(ValueError, match=message.get(kind, "something that is not a sweep over a structure")):
        sweep_over(STRUCTURE, make_trial, AXES, key=KEY, store=folder)
    assert {path: path.read_bytes() for path in [folder, *folder.rglob("*")] if path.is_file()} == before


def test_an_error_names_its_combination_and_ends_the_others():
    def broken(width, goal):
        def trial(key, rate):
            if (width, goal) == (3, 1.0):
                raise RuntimeError("no such thing")
            return make_trial(width, goal)(key, rate)

        return trial

    with pytest.raises(RuntimeError, match="no such thing") as caught:
        sweep_over(STRUCTURE, broken, AXES, key=KEY)
    assert caught.value.__notes__[-1] == "in the combination width=3,goal=low"
    threads = threading.active_count()
    with pytest.raises(Stopped):
        sweep_over(STRUCTURE, make_trial, AXES, key=KEY, curves=[1, 2], progress=stop_late)
    assert threading.active_count() <= threads


def stop_late(state):
    if state.done:
        raise Stopped


def by_rank(width):
    def trial(key, rate):
        start, program = make_trial(2, 1.0)(key, rate)
        return bp.training.Trial(start, program._replace(outcome=lambda run: {"x": jnp.ones((2,) * width)}))

    return trial


BAD = {
    "no structure": ({}, make_trial, AXES, {}, "`structure` such as"),
    "a list": (["width"], make_trial, AXES, {}, "`structure` such as"),
    "one number": ({"width": 2}, make_trial, AXES, {}, "a list of numbers, a list of texts, or a dictionary"),
    "one text": ({"width": "tanh"}, make_trial, AXES, {}, "a list of numbers, a list of texts, or a dictionary"),
    "empty": ({"width": []}, make_trial, AXES, {}, "at least one entry"),
    "objects": ({"width": [bp.tanh, bp.relu]}, make_trial, AXES, {}, r"dictionary \{label: object\}"),
    "one array": ({"width": jnp.array(2)}, make_trial, AXES, {}, "a list of numbers"),
    "one layer": ({"width": bp.tanh}, make_trial, AXES, {}, "a list of numbers"),
    "a set": ({"width": {2, 3}}, make_trial, AXES, {}, "a list of numbers"),
    "mixed": ({"width": [2, "wide"]}, make_trial, AXES, {}, "a list of numbers"),
    "NaN": ({"width": [np.nan]}, make_trial, AXES, {}, "a list of numbers"),
    "twice": ({"width": [2, 2.0]}, make_trial, AXES, {}, "different values"),
    "not a name": ({"the width": [2]}, make_trial, AXES, {}, "names of arguments"),
    "missing": ({"width": [2]}, make_trial, AXES, {}, "to take the names in `structure`, width, .*goal"),
    "unknown": ({**STRUCTURE, "depth": [1]}, make_trial, AXES, {}, "to take the names in `structure`"),
    "no function": (STRUCTURE, "make", AXES, {}, "`make_trial` to be a function of width, goal"),
    "swapped": (make_trial, STRUCTURE, AXES, {}, "`structure` such as"),
    "in both": (STRUCTURE, make_trial, {**AXES, "width": [1]}, {}, "got width in both"),
    "no axes": (STRUCTURE, make_trial, ["rate"], {}, "`axes` such as"),
    "no trial": (STRUCTURE, lambda width, goal: width, AXES, {}, "to return a trial of `bp.sweep`"),
    "a Trial": ({"width": [2]}, lambda width: make_trial(2, 1.0)(KEY, 0.1), AXES, {}, "to return a trial of"),
    "option": (STRUCTURE, make_trial, AXES, {"curve": [1]}, "the unknown curve"),
    "taken": ({"epochs": [2]}, lambda epochs: make_trial(2, 1.0), AXES, {}, "other names in `structure` than epochs"),
    "fixed": ({"epoch": [2]}, lambda epoch: make_trial(2, 1.0), AXES, {}, "other names in `structure` than epoch"),
    "ranks": ({"width": [1, 2]}, by_rank, AXES, {}, "outcome `x` with one number of axes, got 1 where width=1 and 2"),
}


@pytest.mark.parametrize(("structure", "make", "axes", "options", "message"), BAD.values(), ids=BAD)
def test_bad_input(structure, make, axes, options, message):
    with pytest.raises(ValueError, match=message):
        sweep_over(structure, make, axes, key=KEY, **options)


def test_labels_too_long_for_a_folder_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="shorter labels"):
        sweep_over({"width": [2], "goal": {"x" * 300: 1.0}}, make_trial, AXES, key=KEY, store=tmp_path / "s")


@pytest.mark.thorough
def test_a_store_is_opened_as_one_dataset_at_any_time(tmp_path):
    folder = tmp_path / "store"

    def stop(state):
        if state.done:
            raise Stopped

    with pytest.raises(Stopped):
        sweep_over(STRUCTURE, make_trial, AXES, key=KEY, store=folder, progress=stop)
    partial = bp.sweeps.open_sweep(folder)
    there = partial.reason >= 0
    assert partial.attrs["missing"] == int((~there).sum()) and there.any() and not (partial.solved & ~there).any()
    sweep_over({"width": [3], "goal": {"low": 1.0}}, make_trial, {"rate": [0.25], "seed": [7]}, key=KEY, store=folder)
    result = sweep_over(STRUCTURE, make_trial, AXES, key=KEY, store=folder)
    opened = bp.sweeps.open_sweep(folder)
    assert opened.goal.values.tolist() == ["high", "low"] and opened.rate.values.tolist() == [0.25, 0.5, 1.0]
    assert opened.attrs["missing"] == int((opened.reason == -1).sum()) == 4 * 3 * 4 - 24 - 1
    assert opened.reason.attrs["flag_meanings"].split()[-1] == "missing"
    same = opened.sel(goal=["low", "high"], rate=AXES["rate"], seed=AXES["seed"])
    for name in ("solved", "diverged", "epochs", "place", "mean", "twice"):
        np.testing.assert_array_equal(same[name], result[name])
    words = [np.array([*one.reason.attrs["flag_meanings"].split()])[one.reason.values] for one in (same, result)]
    np.testing.assert_array_equal(*words)
    extra = opened.sel(width=3, goal="low", rate=0.25, seed=7)
    assert int(extra.reason) >= 0 and np.isfinite(extra.place).all()


def test_an_empty_store_has_nothing_to_open(tmp_path):
    (tmp_path / "structure.json").write_text('{"structure": {"width": "number"}}')
    with pytest.raises(ValueError, match="got none so far"):
        bp.sweeps.open_sweep(tmp_path)


def test_parts_of_every_combination(tmp_path):
    options = {"key": KEY, "store": tmp_path, "curves": [1, 2]}
    found = [sweep_over(STRUCTURE, make_trial, AXES, part=(index, 2), **options) for index in (0, 1)]
    names = {f"width={w},goal={g}" for w in (2, 3) for g in ("low", "high")}
    assert set(found[0]) == set(found[1]) == names
    assert {sum(part[name].sizes["run"] for part in found) for name in names} == {6}
    assert len({sum(one.sizes["run"] for one in part.values()) for part in found}) == 1  # the same work for both
    opened = bp.open_sweep(tmp_path)
    assert opened.drop_attrs().equals(whole().sel(goal=opened.goal, rate=opened.rate).drop_attrs())
    with pytest.raises(ValueError, match="expected no `part`"):
        bp.sweeps.compare_choices({"b": 1}, lambda choice: None, [1.0], 8, key=KEY, part=(0, 2))
