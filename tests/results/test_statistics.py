"""Statistics of many runs."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bpjax.results.statistics import epochs_or_never, quantiles_with_failures, student, wilson


def test_wilson_by_its_formula():
    # Wilson 1927: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) for 17 of 20, z = 1.959964
    n, p, z = 20, 0.85, 1.959963984540054
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = ((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    assert wilson(17, 20) == pytest.approx(expected, rel=1e-12)
    assert all(type(end) is float for end in wilson(np.int32(17), 20.0))


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_wilson_of_arrays_is_scipy_s(confidence):
    k, n = np.array([[0, 1, 5, 10], [0, 3, 900, 1000]]), np.array([[10], [1000]])
    low, high = wilson(k, n, confidence)
    for at, one in np.ndenumerate(k):
        theirs = stats.binomtest(int(one), int(n[at[0], 0])).proportion_ci(confidence, method="wilson")
        assert (low[at], high[at]) == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-15)
    assert low[0, 0] == 0.0 and high[0, 3] == 1.0  # exactly
    assert wilson([3, 0], [3, 0])[1].tolist() == [1.0, 1.0] and wilson(0, 0) == (0.0, 1.0)
    np.testing.assert_allclose(wilson(jnp.array([1, 5]), 10, confidence)[0], low[0, 1:3], rtol=1e-12)


@pytest.fixture
def runs():
    """(rate 2, seed 5) with `solved` and `epochs`."""
    solved = [[True, False, True, False, True], [False, False, False, True, False]]
    epochs = [[10, 99, 20, 99, 30], [99, 99, 99, 7, 99]]
    coords = {"rate": [0.1, 1.0], "seed": range(5)}
    return xr.Dataset({"solved": (("rate", "seed"), solved), "epochs": (("rate", "seed"), epochs)}, coords)


def test_data_arrays_keep_their_dimensions(runs):
    low, high = wilson(runs.solved.sum("seed"), runs.sizes["seed"])
    assert low.dims == high.dims == ("rate",) and low.sel(rate=0.1) == pytest.approx(wilson(3, 5)[0])
    low, _ = wilson(runs.solved.sum("rate"), xr.DataArray([2, 3], dims="other"))
    assert low.dims == ("seed", "other")
    times = epochs_or_never(runs.solved, runs.epochs)
    assert times.dims == ("rate", "seed") and times.sel(rate=1.0).values.tolist() == [np.inf] * 3 + [7, np.inf]
    first = epochs_or_never(runs.solved, runs.epochs.isel(rate=0))
    assert set(first.dims) == {"rate", "seed"} and first.sel(rate=1.0, seed=3) == 99
    np.testing.assert_array_equal(epochs_or_never(runs.solved, runs.epochs.values), times)
    np.testing.assert_array_equal(epochs_or_never(runs.solved.values, runs.epochs), times)
    middle = quantiles_with_failures(times.transpose(), [0.2, 0.6, 0.8], "seed")
    assert middle.dims == ("quantile", "rate") and middle.sel(rate=0.1).values.tolist() == [10, 30, np.inf]
    mean, low, high = student(runs.epochs.astype(float), axis="seed")
    assert mean.dims == ("rate",) and mean.sel(rate=1.0) == pytest.approx(80.6)
    assert float(low.sel(rate=1.0)) == pytest.approx(student(runs.epochs.values[1])[1])


def test_student_by_scipy():
    values = np.random.default_rng(0).normal(size=(3, 6))
    mean, low, high = student(values, 0.9)
    for row, *ours in zip(values, mean, low, high, strict=True):
        theirs = stats.ttest_1samp(row, 0.0).confidence_interval(0.9)
        assert ours == pytest.approx([row.mean(), theirs.low, theirs.high], rel=1e-12)
    np.testing.assert_allclose(student(values.T, 0.9, axis=0)[1], low)
    assert np.isnan(student([1.0])[1:]).all() and student([1.0])[0] == 1.0
    assert np.isnan(student([])).all() and np.isnan(student([1.0, np.nan])).all()


def test_failures_count_as_never():
    epochs = epochs_or_never([True, False, True, False, True], [10, 99, 20, 99, 30])
    np.testing.assert_array_equal(quantiles_with_failures(epochs, [0.2, 0.6, 0.8]), [10, 30, np.inf])


BAD = {
    "more than runs": (lambda: wilson([1, 5], 4), "as many successes as runs"),
    "negative": (lambda: wilson(-1, 4), "`successes`, got -1"),
    "NaN": (lambda: wilson(1, np.nan), "`runs`, got nan"),
    "a share": (lambda: wilson(0.5, 4), "`successes`, got 0.5"),
    "booleans": (lambda: wilson([True, False], 2), "`successes`, got booleans"),
    "text": (lambda: wilson("many", 2), "numbers in `successes`"),
    "nothing": (lambda: wilson(None, 2), "numbers in `successes`"),
    "shapes": (lambda: wilson([1, 2], [1, 2, 3]), r"shape \(2,\) and `runs` of shape \(3,\)"),
    "confidence": (lambda: wilson(1, 2, 95), "`confidence` between 0 and 1"),
    "student of texts": (lambda: student(["a"]), "numbers in `values`"),
    "student of a number": (lambda: student(3.0), "`axis`.*shape"),
    "student's axis": (lambda: student(xr.DataArray([1.0, 2.0], dims="seed"), axis="rate"), "the dimensions seed"),
    "swapped": (lambda: epochs_or_never([3, 4], [True, False]), "numbers in `epochs`"),
    "counts for booleans": (lambda: epochs_or_never([3, 4], [1, 2]), "booleans in `solved`, got int64"),
    "negative epochs": (lambda: epochs_or_never([True], [-1]), "`epochs` ≥ 0, got -1"),
    "shapes of epochs": (lambda: epochs_or_never([True, False], [1, 2, 3]), "shapes that fit"),
    "NaN epochs": (lambda: quantiles_with_failures([1.0, np.nan], 0.5), "without NaN"),
    "per cent": (lambda: quantiles_with_failures([1.0], 50), "from 0 to 1, got 50"),
    "no runs": (lambda: quantiles_with_failures(np.zeros((3, 0)), 0.5), "at least one run"),
}


@pytest.mark.parametrize(("call", "words"), BAD.values(), ids=BAD)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
