"""The reverse-mode experiment: rounding forecasts, costs of gradients, checkpointing, ordered derivatives, RTRL."""

import csv
import math

import jax.numpy as jnp
import numpy as np
import pytest
from experiments_widths import too_wide

import bpjax as bp
from experiments.reverse_mode import (
    checkpointing,
    experiment,
    helmholtz,
    multiplications,
    ordered,
    programs,
    rounding,
    rtrl,
    sparse_nets,
)


def quiet(completed, doing="", unit=""):
    """No progress bar."""


# --- Rounding --------------------------------------------------------------------------------------------------------


def test_rounding_to_bits_is_that_of_the_hardware():
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-5, 5).repeat(100)
    np.testing.assert_array_equal(programs.rounded(values, 24), values.astype(np.float32))
    np.testing.assert_array_equal(programs.rounded(values, 8), np.asarray(jnp.asarray(values, jnp.bfloat16), float))
    assert programs.rounded(np.float64(1 + 2**-4), 4) == 1  # a tie goes to the even one


def test_a_forecast_by_hand():
    """z = x y with x = 1 + 2⁻⁸, y = 1 + 2⁻⁷ in 8 bits: x becomes 1, y stays, z = y is exact. dz/dx = y."""
    program = programs.Program(2, (programs.Step("×", (0, 1)),))
    arguments = np.array([1 + 2**-8, 1 + 2**-7])
    values, errors = programs.rounding_errors(program, arguments, 8)
    assert values.tolist() == [1, 1 + 2**-7, 1 + 2**-7] and errors.tolist() == [-(2**-8), 0, 0]
    _, exact, adjoints = rounding.swept(program, arguments)
    assert adjoints.tolist() == [1 + 2**-7, 1 + 2**-8, 1]
    assert adjoints @ errors == values[-1] - exact[-1] == -(2**-8) * (1 + 2**-7)


def test_the_forecast_approaches_the_error_as_the_precision_grows():
    found, bounds = rounding.forecasts(1, 12, quiet)
    by_bits = rounding.medians(found)
    assert by_bits[8] < 0.05 and by_bits[24] < 1e-5 and rounding.order(found) == pytest.approx(1, abs=0.3)
    assert all(abs(b.measured) <= b.bound for b in bounds)


def test_the_unstable_recurrence_multiplies_the_first_error_by_a_factorial():
    rows = rounding.recurrence(9)
    for row in rows:
        assert row.coefficient == (-1) ** (row.n - 1) * math.factorial(row.n)
        assert row.first_order == pytest.approx(row.measured, rel=1e-9)
    # ∫ x² eˣ⁻¹ dx over 0 … 1 is 1 − 2/e; to float32, E₁ = 1/e has the error 9.1e-9, times 9!
    assert rows[0].exact == pytest.approx(1 - 2 / math.e)
    assert abs(rows[-1].measured) == pytest.approx(abs(float(np.float32(1 / math.e)) - 1 / math.e) * 362880, rel=1e-6)


# --- Helmholtz -------------------------------------------------------------------------------------------------------


def test_counts_of_the_helmholtz_energy():
    for n in (1, 10, 50):
        costs = helmholtz.counted(n)
        assert costs.operations == 2 * n * n + 7 * n + 8  # tests/tape/test_operations.py derives it
        assert costs.reverse_count <= 5 and costs.forward_count / n > 2
    sizes = (20, 50, 100, 200)
    ratios = [helmholtz.counted(n) for n in sizes]
    assert helmholtz.exponent(sizes, [c.forward_count for c in ratios]) == pytest.approx(1, abs=0.03)
    assert helmholtz.exponent(sizes, [c.reverse_count for c in ratios]) == pytest.approx(0, abs=0.03)


def test_gradients_of_the_helmholtz_energy_are_those_of_jax_and_of_differences(monkeypatch):
    assert helmholtz.gradient_difference(5) < 1e-13
    x, a, b = helmholtz.mixture(3)
    step = 1e-6 * jnp.array([0.0, 1.0, 0.0])
    difference = (helmholtz.helmholtz(x + step, a, b) - helmholtz.helmholtz(x - step, a, b)) / 2e-6
    assert float(bp.reverse(helmholtz.helmholtz)(x, a, b)[1][1]) == pytest.approx(float(difference), rel=1e-7)


# --- Checkpointing and sparse nets -----------------------------------------------------------------------------------


def test_the_integers_of_griewank_and_walther():
    assert checkpointing.optimal_cases() == (623, 623)
    assert [bp.layers.repeated_steps(*case) for case in checkpointing.PUBLISHED] == [15, 210, 374, 222, 3636, 1225]


def test_a_gradient_executes_the_published_number_of_steps():
    assert checkpointing.executed(10, 3) == (10, 3, 15, 15, 3)


def test_operations_of_a_sparse_gradient_are_proportional_to_its_edges():
    few, many = (sparse_nets.cost(500, per_unit, is_local=True, rounds=1) for per_unit in (2, 6))
    assert many.operations / few.operations == pytest.approx(many.edges / few.edges, rel=0.12)
    assert many.operations <= 5 * many.forward_operations


def test_multiplications_of_a_gradient():
    dense, sparse = multiplications.dense_and_sparse()
    # 10 · 20 + 20 · 30 + 30 · 5 weights; backward twice, but the first layer's 200 once
    assert (dense.forward, dense.backward) == (950, 2 * 950 - 200)
    assert sparse.forward == sparse.weights and sparse.backward == 2 * sparse.weights - sparse.first


# --- Derivatives -----------------------------------------------------------------------------------------------------


def test_werbos_example():
    z1, z2 = ordered.both_kinds(ordered.WERBOS)
    assert (z1.direct, z1.ordered, z1.total, z1.by_tape) == (3, 23, 23, 23)
    assert (z2.value, z2.direct, z2.ordered) == (4, 5, 5)


def test_ordered_derivatives_are_total_derivatives():
    rows = ordered.both_kinds(ordered.recurrent_system())
    for row in rows:
        assert row.ordered == pytest.approx(row.total, abs=1e-14) == pytest.approx(row.by_tape, abs=1e-14)
    found = {row.name: row for row in rows}
    # E = ½ Σ (hₜ − dₜ)²: the last state acts directly alone, the weights only through the states
    assert found["h4"].direct == found["h4"].ordered == pytest.approx(found["h4"].value - 0.5)
    assert found["w"].direct == found["u"].direct == found["a1"].direct == 0
    # ∂⁺E/∂h₃ = h₃ − d₃ + w (1 − h₄²) (h₄ − d₄)
    h3, h4 = found["h3"].value, found["h4"].value
    assert found["h3"].ordered == pytest.approx(h3 + 0.1 + 0.9 * (1 - h4**2) * (h4 - 0.5))


def test_rtrl_is_backpropagation_through_time():
    differences = rtrl.differences(units=3, steps=6)
    assert differences["BPTT − jax.grad"] < 1e-13 and differences["RTRL − BPTT"] < 1e-13
    assert differences["truncated after T"] == 0 and differences["truncated after T/3"] > 0.01


def test_rtrl_by_hand():
    """One unit, two times: h₁ = tanh(x₁ w), h₂ = tanh(x₂ w + v h₁), E = h₂: dE/dv = (1 − h₂²) h₁."""
    params, x, _ = rtrl.example(1, 2, seed=0)
    x, dy = x[:1, :, :], jnp.array([[[0.0], [1.0]]])
    y, dparams = rtrl.rtrl(params, x, dy)
    h1, h2 = float(y[0, 0, 0]), float(y[0, 1, 0])
    assert h1 == pytest.approx(math.tanh(float(x[0, 0] @ params.wx[:, 0])))
    assert dparams.wh.item() == pytest.approx((1 - h2**2) * h1)


def test_costs_of_both_directions_in_time():
    through_time, forward = rtrl.exponents(rtrl.costs((32, 64)))
    assert through_time == pytest.approx(2, abs=0.1) and forward == pytest.approx(4, abs=0.15)


# --- The whole -------------------------------------------------------------------------------------------------------


def test_from_flags_to_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(experiment.Config, "timed_sizes", [10, 20])
    monkeypatch.setattr(experiment.Config, "nets", [(200, 2, False), (1000, 2, False), (200, 2, True), (1000, 2, True)])
    monkeypatch.setattr(experiment.Config, "counted_runs", [(10, 3)])
    out = tmp_path / "result"
    flags = "--quick --programs 8 --gases 20 --steps 101 --units 1000".split()
    assert experiment.main([*flags, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert not too_wide(printed)
    for words in ("623", "ordered ∂⁺E/∂z", "479001600", "published numbers agree", "Figure:"):
        assert words in printed
    assert (out / "reverse_mode.png").stat().st_size > 10_000
    rows = list(csv.DictReader((out / "findings.csv").read_text().splitlines()))
    wrong = [row["quantity"] for row in rows if row["agrees"] == "False"]
    assert all("time" in quantity or "exponent" in quantity for quantity in wrong)  # small sizes, measured times
    assert {row["topic"] for row in rows if row["published"]} >= {"Werbos 1974: ordered derivatives"}


@pytest.mark.parametrize("flags", [["--programs", "1"], ["--gases", "3"], ["--steps", "5"], ["--units", "-1"]])
def test_wrong_numbers_get_a_sentence(flags, tmp_path, capsys):
    assert experiment.main([*flags, "--out", str(tmp_path / "x")]) == 2
    captured = capsys.readouterr()
    assert f"`{flags[0][2:]}`" in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "x").exists()
