"""The time-series experiment: its data and scores by hand, its forecasts in loops, and the whole at a small size."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments_widths import too_wide
from oracles import relative_error

import bpjax as bp
from bpjax.util.files import slug
from bpjax.util.trees import take
from experiments.common.stored import read_zarr
from experiments.time_series import experiment, tables
from experiments.time_series.edge import edge_of
from experiments.time_series.laser import Laser, collapse, laser, nmse
from experiments.time_series.models import LAGS, autoregression, filters, forecasts, models
from experiments.time_series.trainings import Training, counted_error, train, windows_of

SMALL = filters("small", (1, 3, 1), (4, 2))


def test_the_series_is_that_of_the_competition():
    pytest.importorskip("reservoirpy")
    series = laser()
    assert (series.known.sum(), series.future.sum()) == (59_894, 5_521)
    assert series.known[:5].tolist() == [86, 141, 95, 41, 22] and series.future[:4].tolist() == [72, 178, 122, 36]
    z = series.standardized(series.known)
    assert z.mean() == pytest.approx(0, abs=1e-12) and z.std(ddof=1) == pytest.approx(1)
    np.testing.assert_allclose(series.intensity(z), series.known, atol=1e-10)
    assert collapse(series.future, 100) == 57  # after the pulse of 255


def test_another_series_is_refused(monkeypatch):
    datasets = pytest.importorskip("reservoirpy.datasets")
    monkeypatch.setattr(datasets, "santafe_laser", lambda: np.ones((1100, 1)))
    with pytest.raises(ValueError, match="the sums 59,894 and 5,521"):
        laser()


def test_without_the_package_a_sentence_says_how_to_install_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "reservoirpy", None)
    monkeypatch.setitem(sys.modules, "reservoirpy.datasets", None)
    assert experiment.main(["--quick", "--out", str(tmp_path / "x")]) == 2
    assert "pip install 'bpjax[time-series]'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_error_by_hand():
    observed = np.array([1.0, 3, 5, 7])  # variance 5
    assert nmse(observed, np.array([2.0, 3, 5, 7])) == pytest.approx(1 / 4 / 5)
    assert nmse(observed, np.full(4, 4.0)) == pytest.approx(1)
    assert nmse(observed, np.full(4, 4.0), 10.0) == pytest.approx(0.5)
    assert nmse(observed, np.array([[np.nan, 1, 1, 1], [1, 3, 5, 7]])).tolist() == [np.inf, 0]


def test_the_collapse():
    steps = np.arange(100)
    pulses = 100 * np.maximum(0, np.cos(2 * np.pi * steps / 8)) ** 2
    assert collapse(pulses, 50) == -1
    assert collapse(np.where(steps < 60, pulses, 0.3 * pulses), 50) == 56
    assert collapse(np.where(steps < 60, pulses, 0.6 * pulses), 50) == -1
    assert collapse(np.where(steps < 60, pulses, 0.3 * pulses), 200) == -1


def test_wans_network():
    fir, delay_line, lstm = models().values()
    assert (fir.parameters, fir.window, fir.warm_up) == (1105, 33, 32)  # 25·12 + 5·144 + 5·12 + 25 biases
    assert (delay_line.parameters, delay_line.window, lstm.parameters) == (1121, 33, 1169)
    first, _, second, _, third = jax.vmap(fir.start)(jax.random.split(jax.random.key(0), 400))
    for (w, b), (largest, of_bias) in zip(
        (first, second, third), [(0.03, 0.75), (0.0125, 0.0125), (0.0125, 0.0125)], strict=True
    ):  # squares of ½ √(3 / (inputs · taps)), and of ½ √3 for the first biases
        for array, square in ((w, largest), (b, of_bias)):
            assert jnp.abs(array).max() == pytest.approx(square**0.5, rel=0.02)
            assert array.std() == pytest.approx((square / 3) ** 0.5, rel=0.1)


def test_forecasts_are_those_of_a_loop(keys):
    params = jax.vmap(SMALL.start)(jax.random.split(next(keys), 2))
    series = jax.random.normal(next(keys), (20,))
    one_step, iterated = forecasts(SMALL, params, series, 6)
    for start in range(2):
        own = take(params, start)
        output = lambda x, own=own: SMALL.network.forward(own, jnp.asarray(x)[None, :, None])[0][0, :, 0]
        np.testing.assert_allclose(one_step[start], output(series)[13:19], atol=1e-13)
        known = series[:14].tolist()
        for _ in range(6):
            known.append(float(output(known)[-1]))
        np.testing.assert_allclose(iterated[start], known[14:], atol=1e-13)


def test_the_linear_model_continues_two_sines_exactly():
    t = np.arange(150)
    series = 2 + np.sin(0.3 * t) + 0.5 * np.cos(1.1 * t)  # four lags and an intercept suffice
    one_step, iterated = autoregression(series[:100], series[100:], 4)
    np.testing.assert_allclose(one_step, series[100:], atol=1e-10)
    np.testing.assert_allclose(iterated, series[100:], atol=1e-8)


def test_windows_hold_every_value_that_counts():
    known = jnp.arange(1000.0)
    _, _, lstm = models().values()
    x, target = windows_of(lstm, known)
    np.testing.assert_array_equal(x + 1, target)
    assert x.shape[1:] == (132, 1)
    assert set(np.asarray(target)[:, 32:].ravel().tolist()) == set(range(33, 1000))
    assert windows_of(SMALL, known)[0].shape == (1, 999, 1)


def test_the_error_that_counts_and_its_gradient(keys):
    loss = counted_error(2)
    y, target = (jax.random.normal(next(keys), (3, 5, 1)) for _ in range(2))
    assert loss.value(y, target) == pytest.approx(float(np.mean(np.asarray(y - target)[:, 2:] ** 2)))
    assert relative_error(loss.gradient(y, target), jax.grad(loss.value)(y, target)) < 1e-14


def test_temporal_backpropagation_is_the_gradient_without_the_edge(keys):
    edge = edge_of(jax.random.normal(next(keys), (120,)), next(keys), 1e-6)
    assert edge.without_edge < 1e-13 < 1e-3 < edge.with_edge < 0.3
    assert edge.one_pass < 0.01


def test_training_is_one_pass_after_another(keys):
    known, future, key = jax.random.normal(next(keys), (150,)), jnp.zeros(10), next(keys)
    model = models()["FIR network"]
    done = []
    slow, fast = train(Training(model, (1e-3, 1e-2)), known, future, key, (2, 20), done.append)
    assert done == list(range(1, 41))
    params = model.start(jax.random.split(key, 2)[1])
    one_pass = jax.jit(bp.rules.temporal_epoch)
    for _ in range(20):
        params, errors = one_pass(params, known[None, :-1, None], known[None, 1:, None], 1e-2)
    assert fast.training_mse[-1, 1] == pytest.approx(float(jnp.mean(errors[0, LAGS - 1 :] ** 2)), rel=1e-10)
    assert slow.training_mse[-1, 1] > fast.training_mse[-1, 1]
    windows = jnp.concatenate([known, future])[None, -LAGS - 10 : -10]
    ahead = model.network.forward(params, windows[:, :, None])[0][0, -1, 0]
    assert fast.one_step[1, 0] == pytest.approx(float(ahead), rel=1e-10)
    assert fast.iterated[-1, 1, 0] == pytest.approx(float(ahead), rel=1e-10)


def test_starts_are_chosen_without_the_forecast_values():
    scores = tables.Scores(
        *(np.array(row) for row in ([0.1, 0.5, 0.9], [1, 1, 1], [3, np.nan, 2], [4, 3, 5], [1, 1, 1]))
    )
    assert (scores.by_training, scores.by_rehearsal) == (2, 1)


def test_the_whole_experiment_small(tmp_path, capsys, monkeypatch):
    t = np.arange(1100)
    series = np.round(60 + 50 * np.sin(0.8 * t) * (1 + 0.5 * np.sin(0.05 * t)))
    monkeypatch.setattr(experiment, "laser", lambda: Laser(series[400:600], series[600:700]))
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "series"
    assert experiment.main(["--quick", "--starts", "2", "--epochs", "20", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert not too_wide(printed)
    assert (
        "differs" in printed and "1105" in printed and "A quick run" in printed
    )  # the sums are those of another series
    stored = read_zarr(out / "time_series.zarr")
    name = slug("FIR network, μ = 0.0001")
    assert stored[f"{name}_iterated"].shape == (20, 2, 100) and stored[f"{name}_training_mse"].shape == (20, 2)
    assert stored.attrs["without_edge"] < 1e-13
    assert json.loads((out / "record.json").read_text())["config"]["epochs"] == 20
    assert (out / "time_series.png").stat().st_size > 10_000 and (out / "time_series_errors.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--starts", "1"], "`starts`"), (["--epochs", "3"], "`epochs`"), (["--learning-rate", "0"], "`learning_rate`")],
)
def test_wrong_numbers_get_a_sentence(arguments, words, tmp_path, capsys):
    assert experiment.main([*arguments, "--out", str(tmp_path / "x")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
