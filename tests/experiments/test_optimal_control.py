"""Optimal control: closed forms worked out apart from the experiment, and the whole of it at a small size."""

import csv
import json

import jax
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from bpjax.util.files import slug
from experiments.common.stored import read_zarr
from experiments.optimal_control import (
    bounded,
    dreyfus,
    experiment,
    linear,
    methods,
    problems,
    published,
    solve,
    tables,
)

# one process, so that its results are computed once
pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")


def test_richardsons_extrapolation_removes_two_orders():
    values = [2 + 3 * h**4 + 5 * h**5 for h in (0.4, 0.2, 0.1)]
    found = solve.extrapolate(values)
    assert found.value == pytest.approx(2, abs=1e-14) and 1e-6 < found.uncertainty < 1e-2
    assert found.order == pytest.approx(4, abs=0.5)
    assert np.isnan(solve.extrapolate([1.0, 1.0, 1.0 + 1e-16]).order)


def test_iterations_until_an_error_stays_small():
    assert solve.epochs_to(np.array([1, 1e-9, 1, 1e-7, 1e-8])) == 3
    assert solve.epochs_to(np.array([1.0, 1.0])) is None and solve.epochs_to(np.array([0.0, 0.0])) == 0


def test_controls_at_other_times():
    controls = methods.stage_times(3) * 2 + 1  # linear in time
    np.testing.assert_allclose(methods.resampled(controls, methods.stage_times(5)), methods.stage_times(5) * 2 + 1)


def test_zermelos_ship_ends_at_the_origin():
    # an independent integration of the best path, tan θ = tan 105° + t
    start = problems.zermelo_start(np.radians(105), np.radians(240))
    assert start == pytest.approx((3.6586576, 2 - 6**0.5 - 2**0.5), abs=5e-8)

    def motion(t, s):
        slope = np.tan(np.radians(105)) + t
        length = -np.hypot(1, slope)  # cos θ < 0 on the whole path
        return [1 / length - s[1], slope / length]

    end = solve_ivp(motion, (0, 2 + 2 * 3**0.5), start, rtol=1e-12, atol=1e-13).y[:, -1]
    np.testing.assert_allclose(end, 0, atol=1e-10)


@pytest.mark.parametrize("case", linear.SOFT + linear.HARD, ids=lambda case: case.name)
def test_two_closed_forms_of_the_quadratic_cost(case):
    # the published formula and the Gramian, which is checked by quadrature
    z, w = linear.gramian(case)

    def integrand(t, i, j):
        moved = linear.expm(case.matrix * t) @ case.column
        return moved[i] * moved[j]

    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert w[i, j] == pytest.approx(quad(integrand, 0, case.final_time, (i, j), limit=200)[0], rel=1e-9, abs=1e-12)
    last = linear.last_costate(case) if case.weight is not None or w[1, 1] else 0
    assert 0.5 * z @ last == pytest.approx(case.formula, rel=1e-12)
    first, end = linear.costates(case, 10)[[0, -1]]
    np.testing.assert_allclose(end, last)
    np.testing.assert_allclose(first, linear.expm(case.matrix.T * case.final_time) @ last, rtol=1e-10, atol=1e-12)


def test_the_published_formulas():
    formulas = {case.name.split(",")[0]: case.formula for case in linear.SOFT + linear.HARD}
    assert formulas["p. 166"] == pytest.approx(0.95898203, abs=5e-9)
    assert formulas["double integrator"] == 6 and formulas["p. 153"] == pytest.approx(1 / 3)
    assert published.slide(10, 5, 9.80665) == pytest.approx(1.801603122, abs=5e-10)
    assert published.slide(2, 2, 9.8) == pytest.approx(0.8247591432, abs=5e-11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The stored result of one quick run."""
    out = tmp_path_factory.mktemp("optimal_control") / "out"
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        assert experiment.main(["--quick", "--out", str(out)]) == 0
    return out


def stored(folder, name):
    return read_zarr(folder / f"{slug(name)}.zarr")


def test_the_command_stores_table_figures_and_record(folder):
    for name in ("optimal_control", "quadratic_cost", "bounded", "dreyfus"):
        assert (folder / f"{name}.png").stat().st_size > 10_000 and (folder / f"{name}.svg").exists()
    assert json.loads((folder / "record.json").read_text())["config"]["quick"] is True
    with open(folder / "findings.csv") as file:
        rows = list(csv.DictReader(file))
    differ = [row["quantity"] for row in rows if row["verdict"] == "differs"]
    assert differ == ["range from a bad start", "least cost with x ≤ 1/9"] and len(rows) > 50


def test_the_ship_takes_the_shortest_time(folder):
    found = stored(folder, tables.ZERMELO)
    time = solve.extrapolate(found.final_time.values)
    assert time.value == pytest.approx(2 + 2 * 3**0.5, abs=1e-9) and time.order == pytest.approx(4, abs=0.1)
    # λx = −cos θ_f / (V + u cos θ_f) with V = 1, and u = 0 at the end: ½; λy = tan θ_f λx
    np.testing.assert_allclose(found.costate[-1], [0.5, 0.5 * 3**0.5], atol=1e-7)
    # all costates are 0 at the first guess of Newton's method, which cannot start there
    assert [solve.epochs_to(error) is not None for error in solve.errors(found)] == [True, True, False]


@pytest.mark.parametrize("case", linear.SOFT + linear.HARD, ids=lambda case: case.name)
def test_the_quadratic_costs_are_the_closed_forms(case, folder):
    value = solve.extrapolate(stored(folder, case.name).cost.values).value
    assert value == pytest.approx(case.formula, rel=1e-6)


def test_the_costates_obey_their_differential_equation(folder):
    # dλ/dt = −(∂f/∂s)ᵀ λ of the longest range, by an independent integrator along the solution
    found = stored(folder, tables.RANGE)

    def motion(t, z):
        _, lx, ly, _ = z
        a = np.interp(t, found.stage_time.values.ravel(), found.control.values.ravel())
        return [0.5 - np.sin(a), 0, 0, -(lx * np.cos(a) + ly * np.sin(a))]

    path = solve_ivp(motion, (0, 2), [0, *found.costate.values[0]], t_eval=found.time.values, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(path.y[1:].T, found.costate, atol=2e-4)
    assert path.y[3, -1] == pytest.approx(0, abs=2e-4)  # the final speed is free
    assert -float(found.cost[-1]) == pytest.approx(1.712314, abs=1e-5)


def test_slides_and_orbit(folder):
    for name, form in zip(tables.SLIDES, ((10, 5, 9.80665), (2, 2, 9.8)), strict=True):
        time = solve.extrapolate(stored(folder, name).final_time.values)
        assert time.value == pytest.approx(published.slide(*form), abs=1e-9)
    radius = -solve.extrapolate(stored(folder, tables.ORBIT).cost.values).value
    assert radius == pytest.approx(1.5252777, abs=1e-6)


def test_the_bounds(folder):
    fuel, denham = stored(folder, tables.FUEL), stored(folder, tables.DENHAM)
    # u = −1 to t₁, 1 from t₂: v(t_f) = ½ − t₁ + 1.5 − t₂ = 0 and ∫ |u| = t₁ + 1.5 − t₂ = 1.5 − √0.1
    t1, t2 = fuel.attrs["switches"]
    assert t1 + t2 == pytest.approx(2, abs=1e-13) and t2 - t1 == pytest.approx(0.1**0.5, abs=1e-13)
    known = [2, 2 + 6 * 0.04, 2 + 6 / 9, 4, 40 / 9]  # l = 0.3, 0.2, 1/6, 1/9, 0.1
    np.testing.assert_allclose(denham.attrs["least"], known, rtol=1e-12)
    # u = −(2/(3 l)) (1 − t/(3 l)) up to 3 l, then 0
    u = np.where(denham.stage_time < 1 / 3, -6 * (1 - 3 * denham.stage_time), 0)
    np.testing.assert_allclose(denham.control[:30], u[:30], atol=1e-8)
    # the gradient vanishes: u = −λv, and λx jumps from 18 to 0
    np.testing.assert_allclose(denham.costate[:20, 0], 18, atol=1e-8)
    np.testing.assert_allclose(denham.costate[21:39, 0], 0, atol=1e-7)
    assert denham.attrs["stationary"] < 1e-10


def test_the_saturated_control():
    # the end of an independent integration with this costate is x_f = λ / a²
    cost, costate = bounded.saturated_cost()
    path = solve_ivp(
        lambda t, s: [-bounded.oscillating(t) * np.clip(costate * bounded.oscillating(t), -1, 1)], (0, 1), [1.0],
        max_step=1e-3, rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    assert 4 * path.y[0, -1] == pytest.approx(costate, abs=1e-6)  # the corners of u cost the integrator digits
    with jax.enable_x64(True):
        found = bounded.saturated(50, 400, (500, 1000))
    assert float(found.cost[-1]) == pytest.approx(cost, abs=1e-6)
    assert float(found.path_error[1].min()) < 1e-9


def test_dynamic_programming_and_the_adjoint():
    with jax.enable_x64(True):
        found = dreyfus.compare_dynamic_programming(3)
    assert max(found) < 1e-13


def test_adapted_gains_lower_the_cost():
    with jax.enable_x64(True):
        found = dreyfus.adapt_gains(400)
    np.testing.assert_allclose(found.gradient[0], found.oracle, rtol=1e-12)
    assert float(found.cost[-1]) < 0.2 * float(found.cost[0])

    def motion(t, s):
        return [s[1], -9.81 * np.sin(s[0]) + 1.0 * (np.pi - s[0]) - 1.0 * s[1]]

    path = solve_ivp(motion, (0, 5), [0, 0], t_eval=found.time.values, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(path.y.T, found.before, atol=1e-4)
