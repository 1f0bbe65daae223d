"""The learning-rate experiment: its numbers against closed forms and known runs, and the whole as a user runs it."""

import collections
import contextlib
import csv
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from experiments_widths import too_wide
from jax.flatten_util import ravel_pytree

import bpjax as bp
from experiments.common.stored import read_zarr
from experiments.learning_rate import experiment, problems, rows, steep

SMALL = {
    "rates-per-decade": 1,
    "lowest-rate": 0.1,
    "highest-rate": 10,
    "small-seeds": 3,
    "xor-epochs": 200,
    "squared-epochs": 6,
    "entropy-epochs": 6,
    "curvature-samples": 3,
    "edge-seeds": 1,
    "oscillation-epochs": 12,
    "hidden": 4,
}
RATES = ["--squared-rates", "0.1", "10000", "--entropy-rates", "0.2"]
FLAGS = ["--only", "xor", *RATES, *(word for name, number in SMALL.items() for word in (f"--{name}", str(number)))]


MOST_PROGRAMS = 100
"""Of a small run. It compiles 64 where nothing is compiled yet; with receipts operation by operation 212."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder and the printed words of a small run, as a user makes it: float32, JAX's own rules of promotion."""
    folder, out = tmp_path_factory.mktemp("learning_rate") / "result", io.StringIO()
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs):
        if event.endswith("backend_compile_duration"):
            compiled.append(str(kwargs.get("fun_name", event)))

    jax.monitoring.register_event_duration_secs_listener(listen)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.delitem(problems.RULES, problems.DELTA)  # one program less to compile
        with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
            assert experiment.main([*FLAGS, "--out", str(folder)]) == 0
    jax.monitoring.unregister_event_duration_listener(listen)
    return folder, out.getvalue(), compiled


def sweep_keys(index, seeds):
    """The keys of the seeds, from the root 0 on: as `bp.sweep` folds them."""
    return [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), index), seed) for seed in range(seeds)]


def known(rule="fixed rate"):
    """Four starts at the rates 1, 10, 100, one epoch limit of 100; the limits 2/λ are 5, 20, 50 and 200.

    Start 0 is solved at 10 after 50 epochs, so at 1 its 100 epochs are a fifth of the way. Start 1 is solved at 1 after
    30 epochs, so at 10 it has come further. Start 2 is never solved; the longest way of another is 500. Start 3
    diverges.
    """
    solved = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    diverged = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 1]], bool)
    epochs = np.array([[100, 30, 100, 7], [50, 100, 100, 5], [2, 100, 100, 3]])
    dims = ("learning_rate", "seed")
    return xr.Dataset(
        {
            "solved": (dims, solved),
            "diverged": (dims, diverged),
            "epochs": (dims, epochs),
            "error": (dims, np.where(diverged, np.nan, 0.5)),
            "limit": ("seed", [5.0, 20.0, 50.0, 200.0]),
        },
        {"learning_rate": [1.0, 10.0, 100.0], "seed": range(4)},
        {"name": "known", "problem": "known, 1-1-1", "rule": rule, "epoch_limit": 100},
    )


def test_what_became_of_known_runs():
    slow, solved, stuck, diverged = rows.SLOW, rows.SOLVED, rows.STUCK, rows.DIVERGED
    expected = [[slow, solved, slow, diverged], [solved, stuck, stuck, diverged], [diverged, stuck, stuck, diverged]]
    np.testing.assert_array_equal(rows.kinds(known()), expected)
    # where the rate changes by itself, the path has no closed form
    assert (rows.kinds(known("bold driver"))[0] == [stuck, solved, stuck, diverged]).all()


def test_the_numbers_of_known_runs_by_hand():
    first, second, third = rows.rows_of(known())
    assert (first.solved, first.too_slow, first.stuck, first.diverged) == (1, 2, 0, 1)
    assert first.mean_epochs == (30 + 3 * 100) / 4 and second.mean_epochs == (50 + 3 * 100) / 4
    assert first.median_epochs == np.inf and third.mean_epochs == 100
    assert first.over_limit == pytest.approx(1 / 35)  # the median of 5, 20, 50 and 200 is 35
    # Wilson for 1 of 4 at z = 1.959964: (p + z²/2n ± z √(pq/n + z²/4n²)) / (1 + z²/n), by hand
    assert (first.low, first.high) == pytest.approx((0.045587, 0.699358), abs=1e-5)
    assert rows.best_row([first, second, third]) is first
    h = rows.limit_summary(known())
    # solved at most at 10 and 1, limits 5 and 20: 2 and 0.05
    np.testing.assert_allclose(h.reach, [0.05 + 0.25 * 1.95, 0.05 + 0.5 * 1.95, 0.05 + 0.75 * 1.95])
    # below their limits: rate 1 of all four, 10 of three, 100 of the last; start 3 diverged at each of its three
    assert h.diverged_below == (3, 8) and h.solved_above == (1, 4)


def test_a_network_near_its_minimum_follows_to_first_order(keys):
    near, key, gaps = steep.xor_minimum(next(keys), 1.0), next(keys), []
    for displacement in (1e-3, 1e-4):

        def start(v, displacement=displacement):
            return jax.tree.map(lambda w, d: w + displacement * d, near.weights, v)

        result = steep.coordinates(near._replace(start=start), key, 8)
        gaps.append(float(np.abs(result.coordinate - result.predicted).max()))
    assert gaps[0] < 0.02 and gaps[1] == pytest.approx(gaps[0] / 10, rel=0.2)


def test_from_flags_to_figures(small):
    folder, out, _ = small
    assert "XOR, 2-2-1  gradient receipt: right" in out and "Edge of stability" in out and "Figures:" in out
    assert not too_wide(out)
    for name in ("", "_variable", "_oscillation", "_edge"):
        assert (folder / f"learning_rate{name}.png").stat().st_size > 10_000
        assert "<svg" in (folder / f"learning_rate{name}.svg").read_text()[:1000]
    for name in ("xor", "edge"):
        assert 10_000 < (folder / f"learning_rate_{name}.html").stat().st_size < 1_500_000
    edge = (folder / "learning_rate_edge.html").read_text()
    assert "Does training go on at the edge of stability?" in edge and '"rates":[0.1,10000.0]' in edge
    record = json.loads((folder / "record.json").read_text())
    assert record["config"]["small_seeds"] == 3 and record["precision"]["matmul"] == "highest"
    assert record["receipts"]["xor"].startswith("right")

    stored = [read_zarr(folder / f"sweeps_{i}.zarr") for i in range(2)]
    assert [s.attrs["rule"] for s in stored] == ["fixed rate", "bold driver"]
    np.testing.assert_allclose(stored[0].learning_rate, [0.1, 1, 10])
    for result in stored:  # the first error does not depend on the rate: nothing has been learnt yet
        first = result.curve.isel(epoch=0).values
        np.testing.assert_allclose(first, first[:1].repeat(3, axis=0), rtol=1e-6)
    table = list(csv.DictReader((folder / "learning_rate.csv").read_text().splitlines()))
    assert len(table) == 6 and sum(int(r["solved"]) for r in table) == sum(int(s.solved.sum()) for s in stored)
    cells = list(csv.DictReader((folder / "learning_rate_map.csv").read_text().splitlines()))
    assert len(cells) == 9 and {cell["outcome"] for cell in cells} >= {"solved", "too slow"}
    jumps = list(csv.DictReader((folder / "learning_rate_oscillation.csv").read_text().splitlines()))
    assert len(jumps) == 2 * 4 * 13


def test_its_figures_can_be_drawn_again(small, capsys):
    from bpjax import cli

    assert cli.main(["plot", str(small[0]), "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("a result of the experiment learning_rate")
    (small[0] / "learning_rate.csv").rename(small[0] / "moved.csv")
    assert cli.main(["plot", str(small[0])]) == 2
    assert "learning_rate.csv is missing. Run `python -m experiments.learning_rate` again" in capsys.readouterr().err
    (small[0] / "moved.csv").rename(small[0] / "learning_rate.csv")


def test_it_compiles_few_programs(small):
    """Receipts, initial weights and curvatures are one program each, not one for every operation."""
    compiled = small[2]
    assert len(compiled) <= MOST_PROGRAMS, collections.Counter(compiled).most_common(10)


def test_the_limits_are_those_of_the_weights_the_sweep_begins_with(small, float32):
    result = read_zarr(small[0] / "sweeps_0.zarr")
    xor = next(p for p in problems.problems(experiment.Config()) if p.name == "xor")
    x, target = xor.batch

    flats, unravels = zip(*(ravel_pytree(xor.start(key)) for key in sweep_keys(1, 3)), strict=True)

    def error(flat):
        a, b = unravels[0](flat)[::2]
        hidden = 1 / (1 + jnp.exp(-(x @ a.w + a.b[None])))
        return 0.5 * ((target - 1 / (1 + jnp.exp(-(hidden @ b.w + b.b[None])))) ** 2).sum()

    hessian = jax.jit(jax.hessian(error))
    for seed, flat in enumerate(flats):
        largest = np.linalg.eigvalsh(hessian(flat))[-1]
        assert float(result.limit[seed]) == pytest.approx(2 / largest, rel=1e-3)
        assert float(result.curve[0, seed, 0]) == pytest.approx(float(error(flat)), rel=1e-5)


def test_jumps_of_the_linear_unit_are_the_closed_form(small):
    result = read_zarr(small[0] / "oscillations_0.zarr")
    x = np.asarray(bp.digits("train").present()[0])
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    assert result.attrs["curvature"] == pytest.approx(np.linalg.eigvalsh(x.T @ x / len(x))[-1], rel=1e-12)
    for over, path in zip((0.25, 0.75, 0.95, 1.025), result.coordinate.values, strict=True):
        np.testing.assert_allclose(path, (1 - 2 * over) ** np.arange(13), rtol=1e-8, atol=1e-11)


def test_sharpness_at_the_edge_is_that_of_training_step_by_step(small, float32):
    result = read_zarr(small[0] / "edges_0.zarr")
    rule, batch = steep.edge_rules(4)["squared error"]
    (key,) = sweep_keys(100, 1)
    gradient = jax.jit(rule.grads)
    params, _ = rule.network.init(jax.random.split(key)[0], (64,))
    np.testing.assert_array_equal(result.epoch, [0, 2, 4])
    for look in range(3):
        here = result.isel(learning_rate=0, seed=0, epoch=look)
        value, grads, _ = gradient(params, (), batch)
        assert float(here.error) == pytest.approx(float(value), rel=1e-4)
        if look == 2:
            expected = jax.jit(lambda p: bp.analysis.largest_curvature(rule, p, batch, key, steps=30))(params)
            assert float(here.sharpness) == pytest.approx(float(expected), rel=1e-2)
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, grads)
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, gradient(params, (), batch)[1])
    assert result.diverged.values.tolist() == [[False], [True]]
    calm, exploded = steep.saturation(result)
    assert calm["limit"] == 20 and exploded["diverged"] == 1 and np.isnan(exploded["late"])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--lowest-rate", "-1"], "`lowest_rate` to be a finite number > 0, got -1.0"),
        (["--highest-rate", "0.001"], "`highest_rate` to be a finite number > 0.01, got 0.001"),
        (["--lowest-rate", "nan"], "`lowest_rate` to be a finite number > 0, got nan"),
        (["--seeds", "0"], "`seeds` to be an integer ≥ 1, got 0"),
        (["--squared-rates", "0.5", "0.5"], "`squared_rates` to be distinct rates"),
        (["--only", "chess"], "`only` to be one of digits, xor, encoder, parity, got 'chess'"),
        (["--curvature-samples", "999"], "`curvature_samples` ≤ the epochs"),
        (["--matmul-precision", "best"], "`matmul_precision` among default"),
    ],
)
def test_a_bad_number_gets_a_sentence(flags, sentence, tmp_path, capsys):
    assert experiment.main([*flags, "--out", str(tmp_path / "result")]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "result").exists()


def test_a_folder_that_is_no_result_is_not_touched(tmp_path, capsys):
    (tmp_path / "letters.txt").write_text("dear")
    assert experiment.main(["--out", str(tmp_path)]) == 2
    assert "never replaced" in capsys.readouterr().err
