"""Survival curves against tables computed by hand."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from bpjax.results.survival import kaplan_meier, log_rank, restricted_mean, survival_quantile

# Six runs: events at 1, 3, 3, 6; one run stopped at 2, one at 8.
#     t    at risk  events   S                        Greenwood Σ d/(n(n−d))
#     1    6        1        5/6                      1/30
#     2    5        0        5/6                      1/30
#     3    4        2        5/6 · 1/2 = 5/12         1/30 + 2/8 = 17/60
#     6    2        1        5/24                     17/60 + 1/2 = 47/60
#     8    1        0        5/24                     47/60
DURATIONS = np.array([3.0, 1.0, 8.0, 3.0, 2.0, 6.0])
OBSERVED = np.array([True, True, False, True, False, True])
S = np.array([1, 5 / 6, 5 / 6, 5 / 12, 5 / 24, 5 / 24])
GREENWOOD = np.array([1 / 30, 1 / 30, 17 / 60, 47 / 60, 47 / 60])
Z = 1.959963984540054


def test_kaplan_meier_table():
    curve = kaplan_meier(DURATIONS, OBSERVED)
    np.testing.assert_array_equal(curve.times, [0, 1, 2, 3, 6, 8])
    np.testing.assert_allclose(curve.survival, S, rtol=1e-14)
    np.testing.assert_array_equal(curve.at_risk, [6, 6, 5, 4, 2, 1])
    np.testing.assert_array_equal(curve.events, [0, 1, 0, 2, 1, 0])
    assert curve.confidence == 0.95


def test_intervals_are_greenwoods_log_log_intervals():
    """S^exp(±z √V/ln S): at t = 1 that is 0.273 to 0.975."""
    curve = kaplan_meier(DURATIONS, OBSERVED)
    half = Z * np.sqrt(GREENWOOD) / np.abs(np.log(S[1:]))
    np.testing.assert_allclose(curve.low, np.append(1, S[1:] ** np.exp(half)), rtol=1e-9)
    np.testing.assert_allclose(curve.high, np.append(1, S[1:] ** np.exp(-half)), rtol=1e-9)
    assert (curve.low[1], curve.high[1]) == pytest.approx((0.273, 0.975), abs=5e-4)
    wider = kaplan_meier(DURATIONS, OBSERVED, confidence=0.99)
    assert (wider.low[1:] < curve.low[1:]).all() and (wider.high[1:] > curve.high[1:]).all()


def test_the_interval_is_defined_where_the_curve_is_one_or_zero():
    """A run stopped before any event, and a curve that comes down to 0: 0 to the last upper end."""
    curve = kaplan_meier([1.0, 2.0, 3.0], np.array([False, True, True]))
    np.testing.assert_allclose(curve.survival, [1, 1, 0.5, 0], rtol=1e-14)
    np.testing.assert_array_equal(curve.low[[0, 1, 3]], [1, 1, 0])
    np.testing.assert_array_equal(curve.high[[0, 1]], [1, 1])
    assert curve.high[3] == curve.high[2] < 1
    at_once = kaplan_meier([4.0, 4.0], np.array([True, True]))
    assert at_once.survival.tolist() == [1, 0] and at_once.high.tolist() == [1, 1]
    never = kaplan_meier([4.0, 5.0], np.array([False, False]))
    assert never.survival.tolist() == [1, 1, 1] == never.low.tolist() == never.high.tolist()


def test_median_and_quantiles():
    """S falls to 5/12 ≤ ½ at 3. Its lower end is below ½ from 1 on; the upper one, 0.766, 0.557 and 0.557, never is."""
    curve = kaplan_meier(DURATIONS, OBSERVED)
    assert survival_quantile(curve) == (3, 1, np.inf)
    assert survival_quantile(curve, 1 / 6).value == 1  # reached exactly, S = 5/6, whatever is rounded
    assert survival_quantile(curve, 0.17).value == 3
    assert survival_quantile(curve, 0.9).value == np.inf
    many = kaplan_meier(np.repeat([1.0, 2, 3, 4], 25), np.ones(100, bool))
    assert survival_quantile(many) == (2, 2, 3)  # 0.5 ± 0.1 at 2: from below ½ at 2 to below ½ at 3


def test_a_share_that_is_reached_exactly_counts():
    """The k-th event of n runs, the last censored, is the quantile k/n, however the product of 1 − 1/nᵢ is rounded."""
    for n in range(2, 40):
        curve = kaplan_meier(np.arange(1.0, n + 1), np.arange(n) < n - 1)
        assert [survival_quantile(curve, k / n).value for k in range(1, n)] == list(range(1, n))


def test_restricted_mean():
    """To 5: 1 + 2 · 5/6 + 2 · 5/12 = 3.5. From 1 on 2.5, from 3 on 5/6: var = 2.5²/30 + (5/6)² · 2/8 = 0.381944."""
    curve = kaplan_meier(DURATIONS, OBSERVED)
    mean = restricted_mean(curve, 5.0)
    assert mean.value == pytest.approx(3.5, rel=1e-14)
    assert mean.high - mean.value == pytest.approx(Z * np.sqrt(2.5**2 / 30 + (5 / 6) ** 2 / 4), rel=1e-9)
    assert mean.value - mean.low == pytest.approx(mean.high - mean.value)
    # to 8, the last time: 3 · 5/12 + 2 · 5/24 more than to 3
    assert restricted_mean(curve, 8.0).value == pytest.approx(1 + 5 / 3 + 5 / 4 + 5 / 12, rel=1e-14)
    assert restricted_mean(curve, 0.5) == (0.5, 0.5, 0.5)


def test_restricted_mean_without_censoring_is_the_mean():
    """And its variance that of the mean, with N for N − 1, for any horizon beyond the last event."""
    durations = np.array([1.0, 2.0, 2.0, 5.0, 9.0])
    curve = kaplan_meier(durations, np.ones(5, bool))
    mean = restricted_mean(curve, 20.0)
    assert mean.value == pytest.approx(durations.mean(), rel=1e-14)
    assert mean.value - mean.low == pytest.approx(Z * durations.std() / np.sqrt(5), rel=1e-9)


def test_log_rank_by_hand():
    """First: events at 1, 3, one stopped at 4. Second: events at 2, 5, one stopped at 5.

    t  n₁ n   d  dᵢ₁ expected  V
    1  3  6   1  1   1/2       1/4
    2  2  5   1  0   2/5       6/25
    3  2  4   1  1   1/2       1/4
    5  0  2   1  0   0         0        O − E = 2 − 1.4, V = 0.74, χ² = 0.36/0.74
    """
    result = log_rank([1.0, 3.0, 4.0], np.array([True, True, False]), [2.0, 5.0, 5.0], np.array([True, True, False]))
    assert result.statistic == pytest.approx(0.36 / 0.74, rel=1e-12)
    assert not result.first_is_slower
    assert 0.48 < result.p_value < 0.49  # χ² = 0.4865 with one degree of freedom: 0.4855


def test_log_rank_distinguishes_fast_from_slow():
    rng = np.random.default_rng(4)
    fast, slow = np.ceil(rng.exponential(100, 200)), np.ceil(rng.exponential(200, 200))
    watched = 300.0
    args = [(np.minimum(t, watched), t <= watched) for t in (slow, fast)]
    result = log_rank(*args[0], *args[1])
    assert result.p_value < 1e-6 and result.first_is_slower
    same = log_rank(*args[0], *args[0])
    assert same.statistic == pytest.approx(0, abs=1e-20) and same.p_value == pytest.approx(1)


YES = np.array([True, True])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kaplan_meier([1.0, 2.0], np.array([True])), "of one shape"),
        (lambda: kaplan_meier([[1.0, 2.0]], YES[None]), "Flatten leading axes"),
        (lambda: kaplan_meier([1.0, np.nan], YES), "got nan.*exclude runs"),
        (lambda: kaplan_meier([1.0, np.inf], YES), "got inf"),
        (lambda: kaplan_meier([0.0, 1.0], YES), "> 0, got 0"),
        (lambda: kaplan_meier([1.0, 2.0], np.array([1, 0])), "expected booleans"),
        (lambda: kaplan_meier([1.0, True], YES), "array of real numbers"),
        (lambda: kaplan_meier([1.0, 2.0], jax.random.key(0)), "expected booleans in `observed`"),
        (lambda: kaplan_meier([1.0, 2.0], YES, confidence=95), "between 0 and 1"),
        (lambda: survival_quantile(kaplan_meier([1.0, 2.0], YES), 1.0), "between 0 and 1"),
        (lambda: restricted_mean(kaplan_meier([1.0, 2.0], ~YES), 3.0), "≤ 2"),
        (lambda: log_rank([1.0, 2.0], ~YES, [1.0, 2.0], ~YES), "at least one event"),
    ],
)
def test_bad_input_is_reported(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_missing_extra_is_named():
    code = """
import sys
import numpy as np
from bpjax.results.survival import kaplan_meier
from bpjax.theory import symmetric_plateau
sys.modules["scipy.stats"] = sys.modules["scipy.integrate"] = None
for call in (lambda: kaplan_meier([1.0], np.array([True])), lambda: symmetric_plateau(2)):
    try:
        call()
    except ModuleNotFoundError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
    assert result.stdout.count("pip install 'bpjax[experiments]'") == 2, result.stderr


def test_the_repr_of_a_curve_is_short():
    """Of 4 runs two have the event at 3 and 5, so S = ½ from 5 on; with one event of 4 it stays at ¾."""
    curve = kaplan_meier([3.0, 5.0, 7.0, 8.0], np.array([True, True, False, False]))
    assert repr(curve) == "SurvivalCurve(4 runs, 2 events, median 5, up to 8)"
    few = kaplan_meier([3.0, 5.0, 7.0, 8.0], np.array([True, False, False, False]))
    assert repr(few) == "SurvivalCurve(4 runs, 1 events, median not reached, up to 8)"
