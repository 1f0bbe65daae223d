"""The plateau experiment: its parts against values worked out apart from it, and the whole of it at a small size."""

import csv
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from experiments_widths import too_wide

import bpjax as bp
from bpjax import theory
from experiments.common.stored import read_zarr
from experiments.plateau_escape import committee, escapes, experiment, laws, races, saddles, starts

SMALL = ["--only", "deep", "--seeds", "5", "--law-nets", "2", "--law-inputs", "10", "--law-time", "60"]
SMALL += ["--law-units", "2"]


pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")


# --- Parts -----------------------------------------------------------------------------------------------------------


def test_chosen_takes_the_steps_of_the_chosen_optimizer():
    each = bp.momentum(0.1, 0.9), bp.momentum(0.1, 0.9, form="nesterov"), bp.rprop(0.1)
    slopes = jnp.array([1.0, -0.5, 0.3, 0.2])

    def walk(optimizer):
        state, w = optimizer.init(jnp.zeros(())), []
        for g in slopes:
            change, state = optimizer.update(g, state)
            w.append(float(change))
        return w

    for index, alone in enumerate(each):
        assert walk(races.chosen(jnp.int32(index), *each)) == walk(alone)
    assert walk(each[0])[:2] == pytest.approx([-0.1, -0.9 * 0.1 + 0.05])  # v ← αv − ηg


def test_the_convex_device_takes_the_steps_of_the_convex_form():
    rows = {row.name: row for row in races.methods(0.9, 0.1, 0.1, 0.1, 2)}
    method, convex = rows["convex"], bp.momentum(0.5, 0.9, form="convex")
    shown = bp.momentum(0.5 * method.rate, method.momentum)
    states = convex.init(jnp.zeros(())), shown.init(jnp.zeros(()))
    for g in (1.0, -2.0, 0.5):
        one, first = convex.update(jnp.float32(g), states[0])
        two, second = shown.update(jnp.float32(g), states[1])
        states = first, second
        assert float(one) == pytest.approx(float(two), rel=1e-5)
    assert rows["larger rate"].rate == pytest.approx(10) and rows["plain descent"] == races.Method("plain descent")


def test_the_committee_backward_is_the_vjp_of_its_forward(keys):
    with jax.enable_x64(True):
        network = committee.committee(2, 5)
        params, _ = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), network.init(next(keys), (5,)))
        x, dy = jax.random.normal(next(keys), (4, 5)), jax.random.normal(next(keys), (4, 1))
        y, residuals = network.forward(params, x)
        _, vjp = jax.vjp(lambda p, x: network.forward(p, x)[0], params, x)
        for ours, oracle in zip(
            jax.tree.leaves(network.backward(params, residuals, dy)), jax.tree.leaves(vjp(dy)), strict=True
        ):
            np.testing.assert_allclose(ours, oracle, atol=1e-12)
    # erf(1/√2) is the chance of a normal number within one deviation, 0.682689
    assert float(committee.teacher(jnp.ones((1, 5)), 2)[0, 0]) == pytest.approx(2 * 0.682689, rel=1e-5)


def test_the_generalisation_error_is_that_of_theory_and_of_samples(keys):
    J = 0.5 * jax.random.normal(next(keys), (2, 6))
    B = np.eye(2, 6)
    exact = float(committee.generalization_error(J))
    assert exact == pytest.approx(float(theory.generalization_error(J @ J.T, J @ B.T, B @ B.T)), rel=1e-5)
    x = jax.random.normal(next(keys), (200_000, 6))
    student = jax.scipy.special.erf(x @ J.T / math.sqrt(2)).sum(1)
    sampled = 0.5 * np.asarray((student - committee.teacher(x, 2)[:, 0]) ** 2)
    assert exact == pytest.approx(sampled.mean(), abs=float(4 * sampled.std() / math.sqrt(len(x))))


# --- Plateaus --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["symmetric start", "duplicated unit", "deep linear net"])
def test_the_critical_points_are_saddles_of_the_expected_height(name):
    plateau = starts.plateaus(4, name)[0]
    saddle = saddles.saddle_of(plateau)
    assert saddle.error == pytest.approx(plateau.height, rel=1e-5) and saddle.gradient < 1e-6
    assert saddle.downward < -1e-3 < 0 < saddle.largest
    if name == "deep linear net":  # E = ½ ‖S − W₁W₂‖² at 0 has the curvatures ±s
        assert (saddle.downward, saddle.largest) == (pytest.approx(-3, rel=1e-5), pytest.approx(3, rel=1e-5))


@pytest.mark.parametrize(("name", "height"), [("XOR", 0.5), ("saturated units", 6.0)])
def test_the_other_heights_by_hand(name, height):
    (plateau,) = starts.plateaus(4, name)
    params = plateau.start(jax.random.key(1))
    if name == "XOR":  # without weights all outputs are ½
        params = jax.tree.map(jnp.zeros_like, params)
    output, _ = plateau.network(plateau.unit).forward(params, plateau.batch[0])
    assert plateau.height == height
    assert float(plateau.loss.value(output, plateau.batch[1])) == pytest.approx(height, rel=3e-3)


# --- Outcomes --------------------------------------------------------------------------------------------------------


def test_restarts_by_hand():
    first = escapes.Times(np.array([10.0, 100.0, 100.0, 60.0]), np.array([True, False, False, True]))
    second = escapes.Times(np.array([50.0, 50.0, 20.0, 5.0]), np.array([True, False, True, True]))
    times = escapes.with_restarts([first, second], 100)  # 50 epochs each
    np.testing.assert_array_equal(times.durations, [10, 100, 70, 55])
    np.testing.assert_array_equal(times.observed, [True, False, True, True])


def made_up(epochs, solved):
    """A sweep of plain descent and another method over 20 seeds."""
    shape = (("method_index", "seed"), np.array(solved))
    return xr.Dataset(
        {"epochs": (("method_index", "seed"), np.array(epochs)), "solved": shape, "diverged": (shape[0], ~shape[1])},
        {"method_index": [0, 1], "seed": np.arange(20)},
    )


@pytest.mark.parametrize(("factor", "word"), [(0.1, "faster"), (10, "slower"), (1, "no difference")])
def test_summaries_by_hand(factor, word):
    rows = races.methods(0.9, 0.1, 0.1, 0.1, 1)
    plateau = starts.plateaus(4, "XOR")[0]
    epochs = 100 + 10 * np.arange(20)
    solved = np.ones((2, 20), bool)
    solved[1, :2] = False
    plain, other = escapes.summaries_of(made_up([epochs, factor * epochs], solved), plateau, rows, 0.01)
    assert (plain.median, plain.verdict, plain.stuck) == (190, "", 0)  # half of 20 have left at the tenth time
    assert other.stuck == pytest.approx(0.1) and other.diverged == 2 and other.verdict == word
    # two diverged and never leave: the tenth time of those from 120 on, not the ninth
    assert other.median == pytest.approx(210 * factor)
    assert other.speed == pytest.approx(190 / (210 * factor))
    assert other.later == pytest.approx((factor - 1) * 205)  # the middle of the 18 pairs


# --- Laws ------------------------------------------------------------------------------------------------------------


def test_balls_follow_theory_to_the_step():
    found = laws.ball_laws(laws.ball_paths([0.5, 0.9]))
    assert len(found) == 4 * (1 + 3 * 2) and all(law.holds for law in found)
    steps = {(law.landscape, law.form): law.measured for law in found
             if law.what == "steps from rest" and law.momentum in (0.0, 0.9)}  # fmt: skip
    # papers.md, 5.2 and 5.3
    assert [steps["flat stretch", form] for form in ("plain descent", "heavy ball", "convex")] == [200, 29, 209]
    assert [steps["saddle", form] for form in ("plain descent", "heavy ball", "convex")] == [2771, 380, 2898]


def test_a_law_that_is_broken_says_so():
    law = laws.Law("saddle", "convex", 0.9, "steps", 2898, 2771, 1.0)
    assert not law.holds and law._replace(measured=2897.5).holds and not law._replace(measured=math.nan).holds


def test_the_lag_of_the_convex_form_grows_with_the_logarithm_of_the_growth():
    """α/(1 − α) (1 + ln(w₁/w₀)) to first order in ημ, as the sentence below the tables says."""
    for growth in (1e2, 1e4, 1e6):
        counts = [
            float(theory.saddle_steps(form, 0.01, 0.9, -0.05, 1.0, growth)) for form in ("convex", "gradient descent")
        ]
        assert counts[0] - counts[1] == pytest.approx(9 * (1 + math.log(growth)), rel=0.02)


def test_deep_linear_nets_follow_the_flow():
    found = {(law.form, law.what): law for law in laws.deep_linear_laws(laws.mode_paths(0.5))}
    assert found["plain descent", "flow, s = 3"].holds and found["plain descent", "flow, s = 1"].holds
    # ln[u (s − u₀) / (u₀ (s − u))] / 2sη at u = s/2
    assert found["plain descent", "flow, s = 3"].theory == pytest.approx(math.log(2.999 / 0.001) / (6 * 1e-3))
    assert all(law.holds for law in found.values() if "corrected" in law.what)
    measured = [found[form, "flow, s = 3"].measured for form in ("plain descent", "heavy ball", "convex")]
    assert measured[1] < 0.6 * measured[0] < measured[0] < measured[2]


def test_escape_from_a_saddle_is_that_of_the_closed_form():
    for form in (
        ("heavy_ball", 0.1, 0.9),
        ("convex", 0.1, 0.9),
        ("nesterov", 0.1, 0.5),
        ("gradient descent", 1.0, 0.0),
    ):
        exact = float(theory.saddle_steps(*form, -0.05, 1e-6, 1.0))
        assert abs(saddles.escape(form, -0.05, math.log(1e6)) - exact) <= 1


# --- The whole -------------------------------------------------------------------------------------------------------


def test_from_flags_to_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "result"
    assert experiment.main([*SMALL, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert not too_wide(printed)
    for words in ("gradient receipt: right", "200 = 200", "2898 = 2898", "0.011611", "Heavy ball leaves", "Figures:"):
        assert words in printed
    for name in ("plateau_escape", "plateau_laws"):
        assert (out / f"{name}.png").stat().st_size > 10_000
    assert "heavy ball" in (out / "plateau_escape.html").read_text()
    assert json.loads((out / "record.json").read_text())["config"]["seeds"] == 5
    rows = list(csv.DictReader((out / "plateau_escape.csv").read_text().splitlines()))
    medians = {row["method"]: float(row["median"]) for row in rows}
    assert len(rows) == 10 and medians["heavy ball"] < medians["plain descent"] < medians["convex"]

    # plain descent and the convex form, alone
    stored = read_zarr(out / "deep_linear_net.zarr")
    (plateau,) = experiment.Config(only="deep").plateaus
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 2)  # plateau 0, seed 2
    weights_key, run_key = jax.random.split(jax.random.fold_in(key, 0))
    for method, form in ((0, bp.momentum(0.005, 0.0)), (2, bp.momentum(0.005, 0.9, form="convex"))):
        alone = bp.fit(
            bp.backprop(plateau.network(None), plateau.loss), form, plateau.start(weights_key), plateau.batch,
            key=run_key, epochs=2000, stops=bp.error_below(0.8 * 5.0),
        )  # fmt: skip
        assert abs(alone.epochs - int(stored.epochs.sel(method_index=method, seed=2))) <= 1  # rounding at the level


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--momentum", "1"], "`momentum`"),
        (["--seeds", "1"], "`seeds`"),
        (["--noise", "-1"], "`noise`"),
        (["--law-units", "5"], "`law_units` ≤ 4, got 5"),
        (["--only", "nowhere"], "`only`"),
        (["--matmul-precision", "best"], "`matmul_precision` among default"),
    ],
)
def test_wrong_numbers_get_a_sentence(flags, words, tmp_path, capsys):
    assert experiment.main([*flags, "--out", str(tmp_path / "x")]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "x").exists()
