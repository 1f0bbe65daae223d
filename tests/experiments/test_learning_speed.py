"""The learning-speed experiment: its numbers from known trials, its protocol, and the whole at a small size."""

import json

import jax
import numpy as np
import pytest
import xarray as xr
from experiments_widths import too_wide

import bpjax as bp
from experiments.common.stored import read_zarr
from experiments.learning_speed import experiment
from experiments.learning_speed import published as speeds
from experiments.learning_speed.row import Published, summary_of


def row(mean, deviation=None, trials=10):
    return next(iter(speeds.rows()))._replace(published=Published("A Paper", mean, deviation, trials))


def summary(published, epochs, solved=None):
    epochs = np.array(epochs)
    solved = np.ones(len(epochs), bool) if solved is None else np.array(solved)
    return summary_of(published, epochs, solved, np.zeros(len(epochs), int))


def test_the_numbers_of_a_row_by_hand():
    s = summary(row(20.0, 2.0), [10, 20, 30, 1000], [True, True, True, False])
    assert (s.mean, s.deviation, s.median, s.failures) == (20.0, 10.0, 20.0, 1)
    # Student's t for 2 degrees of freedom at 97.5 % is 4.302653
    assert s.high - s.mean == pytest.approx(4.302653 * 10 / 3**0.5, rel=1e-6)
    assert s.verdict == "agrees, but for failures"


@pytest.mark.parametrize(
    ("mean", "deviation", "trials", "verdict"),
    [
        (20.0, 2.0, 10, "agrees"),
        # ours 20.5 ± 0.577 of 200: 3 √(4 / 10 + 0.333 / 200 · …) = 1.9
        (22.3, 2.0, 10, "agrees"),
        (22.5, 2.0, 10, "differs: 0.91 ×"),
        (22.3, 2.0, 100, "differs: 0.92 ×"),
        (20.9, None, 1, "agrees"),
        (22.0, None, 1, "differs: 0.93 ×"),
        # no sd of the paper's, ours 0.501 for both: 3 · 0.501 · √(1 / 25 + 1 / 200) = 0.319
        (20.8, None, 25, "agrees"),
        (20.85, None, 25, "differs: 0.98 ×"),
    ],
)
def test_the_verdict(mean, deviation, trials, verdict):
    assert summary(row(mean, deviation, trials), [20, 21] * 100).verdict == verdict


def test_rows_where_all_fail_say_so():
    assert summary(row(20.0, 2.0), [9, 9], [False, False]).verdict == "ours fail"


def test_every_published_row_is_there_once():
    rows = speeds.rows()
    published = {(row.problem, row.rule, row.numbers, row.published.source) for row in rows if row.published}
    assert len(published) == sum(row.published is not None for row in rows) >= 24
    means = sorted(row.published.mean for row in rows if row.published)
    for known in (129, 121, 55, 22.1, 21, 19, 534, 405, 322, 15.98, 33.9, 24.22, 538.9, 250.4, 558, 1425, 2825):
        assert known in means  # papers.md, sections 2.2, 3.2, 4 and 9


def test_trials_equal_separate_trainings(keys):
    quickprop = next(row for row in speeds.rows() if row.problem == "tight encoders")
    trials = experiment.repeat(quickprop, 3, jax.random.key(5))
    optimizer = quickprop.optimizer.factory(**quickprop.optimizer.values)
    rule = bp.backprop(quickprop.network, quickprop.loss)
    for i in range(3):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), i), 0)  # of the seed, of the first start
        params, _ = quickprop.network.init(jax.random.split(key)[0], (4,))
        alone = bp.fit(rule, optimizer, params, quickprop.batch, key=key, epochs=quickprop.limit, stops=quickprop.stop)
        assert (alone.epochs, alone.reason == quickprop.stop.reason) == (int(trials.epochs[i]), bool(trials.solved[i]))


def test_epochs_of_restarted_trials_by_hand():
    solved = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], bool)
    starts = xr.Dataset(
        {
            "solved": (("start", "trial"), solved),
            "epochs": (("start", "trial"), [[7, 40, 40], [9, 40, 40], [40, 5, 40]]),
        }
    )
    trials = experiment.first_success(starts, 2)
    assert trials.epochs.values.tolist() == [7, 40 + 40 + 5, 3 * 40]
    assert trials.restarts.values.tolist() == [0, 2, 2] and trials.solved.values.tolist() == [True, True, False]


def test_the_whole_experiment_small(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "speed"
    arguments = ["--only", "units", "--trials", "6", "--out", str(out)]
    assert experiment.main(arguments) == 0
    printed = capsys.readouterr().out
    assert not too_wide(printed)
    assert (
        "24.22 ± 16.3" in printed
        and "Fahlman" in printed
        and "14 % restart" in printed
        and "Published values: 1 agrees" in printed
    )
    stored = read_zarr(out / "learning_speed.zarr")
    assert stored.epochs.shape == (1, 6) and stored.solved.all()
    assert (stored.epochs > 40 * stored.restarts).all()
    assert json.loads((out / "record.json").read_text())["config"]["trials"] == 6
    assert (out / "learning_speed.png").stat().st_size > 10_000
    assert (out / "learning_speed.csv").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--trials", "1"], "`trials`"), (["--only", "nothing"], "`only`"), (["--matmul-precision", "no"], "precision")],
)
def test_wrong_numbers_get_a_sentence(arguments, words, tmp_path, capsys):
    assert experiment.main([*arguments, "--out", str(tmp_path / "x")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
