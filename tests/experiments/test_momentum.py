"""The experiment as a user runs it, at a small size, and its measurements against numbers worked out by hand."""

import csv
import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from experiments_widths import too_wide

import bpjax as bp
from experiments.common.stored import read_zarr
from experiments.momentum import ends, networks, planes, ravines, report
from experiments.momentum import experiment as momentum

SMALL = (
    "--rates 4 --momenta 3 --xor-seeds 3 --xor-epochs 300 --conditions 10 "
    "--boundary-momenta 0.5 --network-momenta 0 --digits 2 --rest 1e-4 --rest-seeds 2 --minima 1 "
    "--effective-rates 0.3 --lag-momenta 0.5 --lag-epochs 20 --hidden 4 --end-steps 30 --frictionless-steps 200"
).split()


@pytest.fixture
def xor_only(monkeypatch):
    """The other problems take the same path, and minima of networks have a separate test."""
    problems = planes.problems
    monkeypatch.setattr(planes, "problems", lambda config: problems(config)[1:2])
    monkeypatch.setattr(networks, "tasks", lambda config: {})


def test_from_flags_to_figures(tmp_path, capsys, monkeypatch, as_a_user_runs_it, xor_only):
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "result"
    assert momentum.main([*SMALL, "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.count("gradient receipt: right") == 1 and "2(1+α)/(1−α)" in out and "Figures:" in out
    assert not too_wide(out)
    for name in ("momentum", "momentum_maps", "momentum_solved", "momentum_theory"):
        assert (folder / f"{name}.png").stat().st_size > 10_000
        assert "<svg" in (folder / f"{name}.svg").read_text()[:1000]
    assert json.loads((folder / "record.json").read_text())["config"]["xor_seeds"] == 3
    stored = read_zarr(folder / "xor.zarr")
    assert {name: stored.sizes[name] for name in ("form", "learning_rate", "momentum", "seed")} == {
        "form": 3, "learning_rate": 4, "momentum": 3, "seed": 3,
    }  # fmt: skip
    # without momentum the forms are one, on the same seeds
    first = stored.isel(momentum=0)
    assert (first.epochs == first.epochs.isel(form=0)).all() and (first.solved == first.solved.isel(form=0)).all()
    rows = list(csv.DictReader((folder / "momentum.csv").read_text().splitlines()))
    assert len(rows) == 3 * 4 * 3
    assert sum(int(row["solved"]) for row in rows) == int(stored.solved.sum())
    limits = {row["form"]: row for row in csv.DictReader((folder / "momentum_boundaries.csv").read_text().splitlines())}
    assert {form: float(row["predicted"]) for form, row in limits.items()} == {
        "heavy_ball": 3, "convex": 6, "nesterov": 1.5, "velocity": 3,
    }  # fmt: skip
    assert len(list(folder.glob("xor_*.html"))) == 3


# --- Measurements ----------------------------------------------------------------------------------------------------


def test_the_error_of_a_ravine_by_hand():
    x, target = ravines.ravine(100.0)
    np.testing.assert_allclose(jnp.diag(x) ** 2, [1, 100 ** (-1 / 3), 100 ** (-2 / 3), 0.01])
    w = jnp.array([[1.0], [2.0], [3.0], [4.0]])
    error = ravines.ravine_rule.grads(bp.layers.Affine(w), (), (x, target))[0]
    np.testing.assert_allclose(error, 0.5 * (1 + 4 * 100 ** (-1 / 3) + 9 * 100 ** (-2 / 3) + 16 * 0.01))


def test_limits_in_ravines_are_the_published_ones():
    config = SimpleNamespace(conditions=(10.0, 1e4), boundary_momenta=(0.5, 0.9), digits=4, bisection_steps=50_000)
    found = ravines.ravine_boundaries(config, jax.random.key(0))
    measured = {(b.form, b.condition, b.momentum): b.measured for b in found}
    published = {"heavy_ball": (3, 3.8), "velocity": (3, 3.8), "convex": (6, 38), "nesterov": (1.5, 1.9 * 2 / 2.8)}
    for (form, _, alpha), rate in measured.items():  # papers.md 5.1, L = 1
        assert rate == pytest.approx(published[form][0 if alpha == 0.5 else 1], rel=1e-4)
    assert len(measured) == 16


@pytest.mark.parametrize(
    ("form", "rate"),
    [("gradient descent", 0.980198), ("heavy_ball", 0.818182), ("convex", 0.818182), ("nesterov", 0.884722)],
)
def test_convergence_at_condition_100_is_the_published_one(form, rate):
    speed = ravines.ravine_speed(form, 100.0, 20_000)
    assert speed.measured == pytest.approx(rate, abs=1.5e-6)
    assert speed.power == pytest.approx(0 if form == "gradient descent" else 1, abs=2e-3)


def test_the_late_rate_is_fitted_apart_from_the_prefactor():
    t = np.arange(2000)
    sigma, power = ravines.late_rate((1 + 0.3 * t) * 0.97**t)
    assert sigma == pytest.approx(0.97, abs=1e-6) and power == pytest.approx(1, abs=1e-3)
    naive = ((1 + 0.3 * 1999) * 0.97**1999) ** (1 / 1999)
    assert abs(naive - 0.97) > 1e-3


def test_the_limit_of_stability_at_a_minimum_is_that_of_its_curvature():
    config = SimpleNamespace(
        encoder_inputs=4, encoder_hidden=2, decay=0.01, rest=1e-9, rest_rate=0.3, rest_momentum=0.9, rest_epochs=20_000,
        rest_seeds=2, minima=1, push=1e-6, digits=3, network_steps=20_000, network_momenta=(0.5,),
    )  # fmt: skip
    minima = networks.find_minima("xor", config, jax.random.key(0))
    flat = jnp.asarray(minima.weights[0])
    # λ_max apart from Lanczos: all eigenvalues of the Hessian of the error, by jax alone
    network, (x, target) = minima.rule.network, minima.batch

    def error(w):
        output, _ = network.forward(minima.params(w), x)
        return 0.5 * ((target - output) ** 2).sum() + 0.5 * config.decay * (w**2).sum()

    assert jnp.linalg.norm(jax.grad(error)(flat)) < 1e-8
    largest = float(jnp.linalg.eigvalsh(jax.hessian(error)(flat))[-1])
    assert minima.curvature[0] == pytest.approx(largest, rel=1e-6)
    found = networks.network_boundaries(config, minima, jax.random.key(0))
    for boundary, limit in zip(found, (3, 6, 1.5), strict=True):
        assert boundary.measured * largest == pytest.approx(limit, rel=1e-3)


def test_epochs_behind_a_shifted_curve():
    t = np.arange(1, 51)
    behind = ends.epochs_behind(np.exp(-0.01 * t), np.exp(-0.01 * (t - 4.0)))
    assert np.isnan(behind[:4]).all()
    np.testing.assert_allclose(behind[4:], 4)


def test_momentum_0_and_1_are_as_the_encyclopedia_says(as_a_user_runs_it):
    config = SimpleNamespace(end_steps=50, end_rate=2.0, ravine=100.0, frictionless_steps=500)
    facts = ends.end_facts(config, jax.random.key(3))
    assert [fact.holds for fact in facts if not fact.holds] == [
        None
    ]  # the compiled program, which claims nothing exact
    assert sum("bit for bit" in fact.expected for fact in facts) == 4


# --- Reading planes --------------------------------------------------------------------------------------------------


def plane():
    """Two momenta × two rates × three seeds by hand."""
    solved = np.array([[[1, 1, 0], [0, 0, 1]], [[1, 1, 1], [0, 0, 0]]], bool)
    epochs = np.array([[[10, 30, 99], [99, 99, 5]], [[8, 9, 7], [99, 99, 99]]])
    dims = ("momentum", "learning_rate", "seed")
    coords = {"learning_rate": [1.0, 2.0], "momentum": [0.0, 0.9], "seed": range(3)}
    return xr.Dataset({"solved": (dims, solved), "epochs": (dims, epochs)}, coords)


def test_failures_count_as_infinite():
    np.testing.assert_array_equal(planes.medians(plane()), [[30, np.inf], [8, np.inf]])
    assert planes.fastest(plane()) == planes.Cell(1.0, 0.9, 8.0, 1.0)
    assert planes.fastest(plane().isel(momentum=[0])) == planes.Cell(1.0, 0.0, 30.0, pytest.approx(2 / 3))
    assert planes.fastest(plane().isel(learning_rate=[1])) is None


def test_epochs_at_the_effective_rate():
    # convex at η is plain descent at η in the long run; heavy_ball at α = 0.9 needs a tenth of the rate
    assert planes.at_effective_rate(plane(), "convex", 1.0) == (0.9, 8.0)
    assert planes.at_effective_rate(plane(), "heavy_ball", 10.1) == (0.9, np.inf)
    assert math.isnan(planes.at_effective_rate(plane(), "heavy_ball", 1.0)[1])  # 0.1 is off the axis


def test_a_plane_without_success_says_so():
    row = planes.Row("xor", "convex", None, None, math.nan, 0.9, math.nan, 0.0, 0.0)
    assert report.plane_sentences([row]) == [
        "xor: no rate without momentum solved half of its runs: allow more epochs."
    ]


# --- Bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--rates", "1"], "`rates` to be an integer ≥ 2, got 1"),
        (["--highest-momentum", "1"], "`highest_momentum`"),
        (["--boundary-momenta", "0.5", "1.5"], "`boundary_momenta`"),
        (["--conditions", "10", "10"], "distinct numbers in `conditions`"),
        (["--conditions", "1"], "`conditions` to be a finite number > 1"),
        (["--xor-rates", "1", "0.5"], "`xor_rates[1]` to be a finite number > 1, got 0.5"),
        (["--matmul-precision", "best"], "`matmul_precision` among default"),
    ],
)
def test_a_bad_number_gets_a_sentence(flags, sentence, tmp_path, capsys):
    assert momentum.main([*flags, "--out", str(tmp_path / "result")]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "result").exists()
