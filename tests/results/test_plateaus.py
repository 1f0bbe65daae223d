"""Plateaus of constructed curves whose onsets and escapes are known."""

import numpy as np
import pytest

from bpjax.results.plateaus import escape_times, find_plateaus


def curve(*pieces, start=1.0):
    """A curve from pieces of (epochs, relative decrease per epoch)."""
    falls = np.concatenate([np.full(epochs, rate) for epochs, rate in pieces])
    return start * np.exp(-np.concatenate([[0.0], np.cumsum(falls)[:-1]]))


# 40 epochs down at 5 %, 200 flat, 60 down, 100 nearly flat, 40 down: flat from 40 to 240 and from 300 to 400
STEPS = curve((40, 0.05), (200, 0.0), (60, 0.05), (100, 1e-5), (40, 0.05))


def test_two_plateaus_of_a_staircase():
    """The window of 2 × 5 epochs: v < 10⁻³ once at most a ninth of an epoch's fall is inside; both ends to 5 epochs."""
    found = find_plateaus(STEPS, window=10)
    assert found.shape == () and found.run.tolist() == [0, 0] and found.escaped.tolist() == [True, True]
    assert np.abs(found.onset - [40, 300]).max() <= 5
    assert np.abs(found.escape - [240, 400]).max() <= 5
    np.testing.assert_array_equal(found.length, found.escape - found.onset)
    np.testing.assert_allclose(found.height, [np.exp(-2), np.exp(-5)], rtol=0.02)


def test_a_plateau_by_hand():
    """Window 2, E = 8 8 8 8 4 2 1: v(e) = ln(E(e−1)/E(e+1))/2 is 0 0 0 ln2/2 ln2 ln2, and ln2 at the last epoch."""
    found = find_plateaus([8.0, 8, 8, 8, 4, 2, 1], low=0.1, high=0.4, window=2, least_length=2)
    # v(3) = 0.35 is between low and high: still on the plateau
    assert (found.onset.tolist(), found.escape.tolist(), found.length.tolist()) == ([0], [4], [4])
    assert found.height[0] == pytest.approx(8) and found.escaped[0]
    assert find_plateaus([8.0, 8, 8, 8, 4, 2, 1], low=0.1, high=0.3, window=2, least_length=2).escape.tolist() == [3]
    assert find_plateaus([8.0, 8, 8, 8, 4, 2, 1], low=0.1, high=0.4, window=2, least_length=5).run.size == 0


def test_hysteresis_holds_a_plateau_together():
    """A slope of 0.003 in the middle, between the thresholds; with one threshold there are two plateaus."""
    error = curve((40, 0.05), (100, 0.0), (60, 0.003), (100, 0.0), (40, 0.05))
    assert find_plateaus(error, window=10).run.size == 1
    assert find_plateaus(error, high=1e-3, window=10).run.size == 2


def test_a_slope_between_the_thresholds_starts_no_plateau():
    assert find_plateaus(curve((40, 0.05), (200, 0.003), (40, 0.05)), window=10).run.size == 0


def test_noise_and_a_rise_do_not_end_a_plateau():
    """1 % of noise per epoch over a window of 40 is 0.01√2/40, far below the thresholds. A rise is no progress."""
    rng = np.random.default_rng(1)
    error = STEPS * np.exp(0.01 * rng.normal(size=STEPS.shape))
    found = find_plateaus(error, window=40)
    assert found.run.size == 2 and np.abs(found.onset - [40, 300]).max() <= 20
    rising = find_plateaus(curve((40, 0.05), (200, -0.01), (40, 0.05)), window=10)
    assert rising.run.size == 1


def test_a_run_that_ends_on_its_plateau_is_censored():
    error = np.append(STEPS[:150], np.full(50, np.nan))
    found = find_plateaus(error, window=10)
    assert found.escaped.tolist() == [False] and found.escape.tolist() == [150]
    assert np.abs(found.length - 110).max() <= 5
    diverged = find_plateaus(np.append(STEPS[:150], np.inf), window=10)
    assert diverged.escaped.tolist() == [False] and diverged.escape.tolist() == [150]


def test_the_final_level_of_a_solved_run_is_not_a_plateau():
    error = curve((100, 0.05), (200, 0.0))
    assert find_plateaus(error, window=10).run.size == 1
    assert find_plateaus(error, window=10, goal=0.01).run.size == 0
    assert find_plateaus(np.append(error, np.zeros(100)), window=10, goal=0.01).run.size == 0  # ln 0


def test_many_runs_at_once_equal_one_at_a_time():
    """(2, 3, epochs): `run` counts through the leading axes; 0 and 4 have two, 1 and 5 one, 2 and 3 none."""
    short = np.where(np.arange(len(STEPS)) < 150, STEPS, np.nan)
    falling = curve((len(STEPS), 0.02))
    curves = np.stack([STEPS, short, falling, falling, STEPS, short]).reshape(2, 3, -1)
    found = find_plateaus(curves, window=10)
    assert found.run.tolist() == [0, 0, 1, 4, 4, 5] and found.shape == (2, 3)
    one = find_plateaus(STEPS, window=10)
    np.testing.assert_array_equal(found.onset[found.run == 4], one.onset)
    np.testing.assert_allclose(found.height[found.run == 4], one.height, rtol=1e-13)


def test_escape_times():
    """The first plateau is the longer one; run 1 ended on its only one."""
    short = np.where(np.arange(len(STEPS)) < 150, STEPS, np.nan)
    falling = curve((len(STEPS), 0.02))
    found = find_plateaus(np.stack([STEPS, short, falling]), window=10)
    ends = {"first": found.escape[0], "last": found.escape[1], "longest": found.escape[0]}
    assert ends["first"] < ends["last"]
    for which, end in ends.items():
        times = escape_times(found, which)
        np.testing.assert_array_equal(times.epochs, [end, 150, np.nan])
        assert times.observed.tolist() == [True, False, False]
    assert escape_times(find_plateaus(STEPS, window=10)).epochs.shape == ()
    later = find_plateaus(curve((40, 0.05), (80, 0.0), (60, 0.05), (120, 0.0), (40, 0.05)), window=10)
    assert escape_times(later, "longest").epochs == later.escape[1] > escape_times(later, "first").epochs


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: find_plateaus(1.0), "error curve"),
        (lambda: find_plateaus(np.ones((3, 0))), "error curve"),
        (lambda: find_plateaus([[1.0, 1.0], [1.0, -1.0]]), "≥ 0, got -1"),
        (lambda: find_plateaus([[1.0, 1.0, 1.0], [1.0, np.nan, 1.0]]), "run 1"),
        (lambda: find_plateaus([[1.0, 1.0], [np.nan, np.nan]]), "run 1"),
        (lambda: find_plateaus([[1.0, 1.0], [np.nan, 1.0]]), "run 1"),
        (lambda: find_plateaus([1.0, 1.0], low=0.01, high=0.001), "`high` ≥ `low`"),
        (lambda: find_plateaus([1.0, 1.0], window=0), "`window`"),
        (lambda: find_plateaus([1.0, 1.0], least_length=0), "`least_length`"),
        (lambda: find_plateaus([1.0, 1.0], goal=-1.0), "`goal`"),
        (lambda: escape_times(find_plateaus(STEPS), "shortest"), "longest, got 'shortest'"),
    ],
)
def test_bad_input_is_reported(call, words):
    with pytest.raises(ValueError, match=words):
        call()
