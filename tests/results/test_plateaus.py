"""Plateaus of constructed curves whose onsets and escapes are known."""

import numpy as np
import pytest

from bpjax.results import kaplan_meier, survival_quantile
from bpjax.results.plateaus import escape_times, find_plateaus


def per_epoch(error, **options):
    return find_plateaus(error, unit="epoch", **options)


def curve(*pieces, start=1.0):
    """A curve from pieces of (epochs, relative decrease per epoch)."""
    falls = np.concatenate([np.full(epochs, rate) for epochs, rate in pieces])
    return start * np.exp(-np.concatenate([[0.0], np.cumsum(falls)[:-1]]))


# 40 epochs down at 5 %, 200 flat, 60 down, 100 nearly flat, 40 down: flat from 40 to 240 and from 300 to 400
STEPS = curve((40, 0.05), (200, 0.0), (60, 0.05), (100, 1e-5), (40, 0.05))


def test_two_plateaus_of_a_staircase():
    """The window of 2 × 5 epochs: v < 10⁻³ once at most a ninth of an epoch's fall is inside; both ends to 5 epochs."""
    found = per_epoch(STEPS, window=10)
    assert found.shape == () and found.run.tolist() == [0, 0] and found.escaped.tolist() == [True, True]
    assert np.abs(found.onset - [40, 300]).max() <= 5
    assert np.abs(found.escape - [240, 400]).max() <= 5
    np.testing.assert_array_equal(found.length, found.escape - found.onset)
    np.testing.assert_allclose(found.height, [np.exp(-2), np.exp(-5)], rtol=0.02)


def test_a_plateau_by_hand():
    """Window 2, E = 8 8 8 8 4 2 1: v(e) = ln(E(e−1)/E(e+1))/2 is 0 0 0 ln2/2 ln2 ln2, and ln2 at the last epoch."""
    found = per_epoch([8.0, 8, 8, 8, 4, 2, 1], low=0.1, high=0.4, window=2, least_length=2)
    # v(3) = 0.35 is between low and high: still on the plateau
    assert (found.onset.tolist(), found.escape.tolist(), found.length.tolist()) == ([0], [4], [4])
    assert found.height[0] == pytest.approx(8) and found.escaped[0]
    assert per_epoch([8.0, 8, 8, 8, 4, 2, 1], low=0.1, high=0.3, window=2, least_length=2).escape.tolist() == [3]
    assert per_epoch([8.0, 8, 8, 8, 4, 2, 1], low=0.1, high=0.4, window=2, least_length=5).run.size == 0


def test_hysteresis_holds_a_plateau_together():
    """A slope of 0.003 in the middle, between the thresholds; with one threshold there are two plateaus."""
    error = curve((40, 0.05), (100, 0.0), (60, 0.003), (100, 0.0), (40, 0.05))
    assert per_epoch(error, window=10).run.size == 1
    assert per_epoch(error, high=1e-3, window=10).run.size == 2


def test_a_slope_between_the_thresholds_starts_no_plateau():
    assert per_epoch(curve((40, 0.05), (200, 0.003), (40, 0.05)), window=10).run.size == 0


def test_noise_and_a_rise_do_not_end_a_plateau():
    """1 % of noise per epoch over a window of 40 is 0.01√2/40, far below the thresholds. A rise is no progress."""
    rng = np.random.default_rng(1)
    error = STEPS * np.exp(0.01 * rng.normal(size=STEPS.shape))
    found = per_epoch(error, window=40)
    assert found.run.size == 2 and np.abs(found.onset - [40, 300]).max() <= 20
    rising = per_epoch(curve((40, 0.05), (200, -0.01), (40, 0.05)), window=10)
    assert rising.run.size == 1


def test_a_run_that_ends_on_its_plateau_is_censored():
    error = np.append(STEPS[:150], np.full(50, np.nan))
    found = per_epoch(error, window=10)
    assert found.escaped.tolist() == [False] and found.escape.tolist() == [150]
    assert np.abs(found.length - 110).max() <= 5
    diverged = per_epoch(np.append(STEPS[:150], np.inf), window=10)
    assert diverged.escaped.tolist() == [False] and diverged.escape.tolist() == [150]


def test_the_final_level_of_a_solved_run_is_not_a_plateau():
    error = curve((100, 0.05), (200, 0.0))
    assert per_epoch(error, window=10).run.size == 1
    assert per_epoch(error, window=10, goal=0.01).run.size == 0
    assert per_epoch(np.append(error, np.zeros(100)), window=10, goal=0.01).run.size == 0  # ln 0


def test_many_runs_at_once_equal_one_at_a_time():
    """(2, 3, epochs): `run` counts through the leading axes; 0 and 4 have two, 1 and 5 one, 2 and 3 none."""
    short = np.where(np.arange(len(STEPS)) < 150, STEPS, np.nan)
    falling = curve((len(STEPS), 0.02))
    curves = np.stack([STEPS, short, falling, falling, STEPS, short]).reshape(2, 3, -1)
    found = per_epoch(curves, window=10)
    assert found.run.tolist() == [0, 0, 1, 4, 4, 5] and found.shape == (2, 3)
    one = per_epoch(STEPS, window=10)
    np.testing.assert_array_equal(found.onset[found.run == 4], one.onset)
    np.testing.assert_allclose(found.height[found.run == 4], one.height, rtol=1e-13)


def test_escape_times():
    """The first plateau is the longer one; run 1 ended on its only one."""
    short = np.where(np.arange(len(STEPS)) < 150, STEPS, np.nan)
    falling = curve((len(STEPS), 0.02))
    found = per_epoch(np.stack([STEPS, short, falling]), window=10)
    ends = {"first": found.escape[0], "last": found.escape[1], "longest": found.escape[0]}
    assert ends["first"] < ends["last"]
    for which, end in ends.items():
        times = escape_times(found, which)
        np.testing.assert_array_equal(times.epochs, [end, 150, np.nan])
        assert times.observed.tolist() == [True, False, False]
    assert escape_times(per_epoch(STEPS, window=10)).epochs.shape == ()
    later = per_epoch(curve((40, 0.05), (80, 0.0), (60, 0.05), (120, 0.0), (40, 0.05)), window=10)
    assert escape_times(later, "longest").epochs == later.escape[1] > escape_times(later, "first").epochs


# --- Relative to the run ---------------------------------------------------------------------------------------------


def slowed(error, times):
    """The same trajectory traversed `times` times as slowly."""
    epochs = np.arange(times * (len(error) - 1) + 1) / times
    return np.exp(np.interp(epochs, np.arange(len(error)), np.log(error)))


def test_the_thresholds_by_hand():
    """L = 2 + 3 + 0.001 + 1.95 (the last epoch does not fall), 95 % of it at epoch T = 433: ln E(433) = −6.601.

    The mean speed is 0.95 L / T = 0.01525, so a plateau begins below 0.001525 and ends above 0.00762, with h = 11.
    Flat from 40 to 240: v at onset averages over 11 epochs on each side, of which k falling ones give k²/2 of their
    fall: (0.05 k²/2 / 11) / 12 < 0.001525 for k ≤ 2, and > 0.00762 for k ≥ 7: from 49 to 236.
    """
    found = find_plateaus(STEPS)
    assert np.abs(found.onset - [49, 309]).max() <= 1 and np.abs(found.escape - [236, 396]).max() <= 1
    np.testing.assert_allclose(found.height, [np.exp(-2), np.exp(-5)], rtol=0.01)


@pytest.mark.parametrize("times", [2, 5, 40])
def test_a_slower_trajectory_has_the_same_plateaus_on_a_longer_scale(times):
    fast, slow = find_plateaus(STEPS), find_plateaus(slowed(STEPS, times))
    assert slow.run.size == 2 and slow.escaped.all()
    for name in ("onset", "escape"):
        assert np.abs(getattr(slow, name) / times - getattr(fast, name)).max() <= 2.5  # of 440: windows are rounded
    np.testing.assert_allclose(slow.height, fast.height, rtol=1e-2)
    assert per_epoch(slowed(STEPS, 40)).run.size != 2  # the descents are slower than the threshold per epoch


def test_what_follows_the_descent_does_not_change_the_plateaus():
    """A final level of any length: runs of one budget that are solved early or late are treated alike."""
    alone = find_plateaus(STEPS)
    for epochs in (100, 10_000):
        found = find_plateaus(np.append(STEPS, np.full(epochs, STEPS[-1])))
        assert np.abs(found.onset[:2] - alone.onset).max() <= 2 and np.abs(found.escape[:2] - alone.escape).max() <= 2
        assert found.run.size == 3 and not found.escaped[2]
        assert find_plateaus(np.append(STEPS, np.full(epochs, STEPS[-1])), goal=1.1 * STEPS[-1]).run.size == 2


def test_runs_without_progress_are_one_plateau_and_steady_ones_none():
    rng = np.random.default_rng(0)
    for error in (np.ones(500), np.exp(0.01 * rng.normal(size=500)), np.exp(-1e-4 * np.arange(500))):
        found = find_plateaus(error)
        assert found.onset.tolist() == [0] and found.escape.tolist() == [500] and not found.escaped[0]
    for error in (np.exp(-0.01 * np.arange(500)), 1 / np.arange(1, 500), np.zeros(500) + 0.5 ** np.arange(500)):
        assert find_plateaus(error).run.size == 0


def test_errors_of_zero_do_not_count_as_infinite_progress():
    error = np.append(STEPS, np.zeros(50))
    np.testing.assert_array_equal(find_plateaus(error).escape[:2], find_plateaus(STEPS).escape)


GROWTH, STOP = 3.0, 1e-6  # the strength s of a deep linear net, and the error at which its runs stop


def descent(u, rate, momentum, epochs):
    """Error curves ½(s − w²)² of two equal weights in series from w² = u, by gradient descent or the heavy ball."""
    w, v, errors = np.sqrt(u), np.zeros_like(u), []
    for _ in range(epochs):
        errors.append(0.5 * (GROWTH - w * w) ** 2)
        v = momentum * v + rate * (GROWTH - w * w) * w
        w = w + v
    curves = np.stack(errors, axis=1)
    return np.where(np.cumsum(curves < STOP, axis=1) > 1, np.nan, curves)


def exact_escape(u, high):
    """When the gradient flow leaves the saddle at 0, in units of rate × epochs.

    u = w² follows du/dt = 2u(s − u), so u reaches a value after t(u) = ln[u (s − u₀) / (u₀ (s − u))] / 2s, and the
    speed −d ln E/dt is 4u. 95 % of the progress L = ln E₀/E is made where s − u = (s − u₀) e^(−0.95 L / 2).
    """

    def time(at):
        return np.log(at * (GROWTH - u) / (u * (GROWTH - at))) / (2 * GROWTH)

    progress = np.log(0.5 * (GROWTH - u) ** 2 / STOP)
    late = GROWTH - (GROWTH - u) * np.exp(-0.95 * progress / 2)
    mean_speed = 0.95 * progress / time(late)
    return time(high * mean_speed / 4)


@pytest.mark.parametrize(("momentum", "rate"), [(0.0, 1e-3), (0.9, 1e-4), (0.9, 1e-3)])
def test_escapes_from_a_saddle_are_those_of_the_flow(momentum, rate):
    """60 runs, all found, at the times of the closed form with and without momentum.

    Near the saddle the weights grow by z per epoch, z² − (1 + α + ηs) z + α = 0, where the flow has ηs / (1 − α) for
    ln z. The heavy ball starts from rest, which costs it 1/(1 − α) to 2/(1 − α) epochs more.
    """
    u = 10 ** np.random.default_rng(0).uniform(-6, -2, 60)
    speed = rate / (1 - momentum)
    b = 1 + momentum + rate * GROWTH
    growth = np.log((b + np.sqrt(b * b - 4 * momentum)) / 2)
    exact = exact_escape(u, 0.5) * GROWTH / growth
    escape = escape_times(find_plateaus(descent(u, rate, momentum, int(8 / speed) + 100)))
    assert escape.observed.all()
    late = escape.epochs - exact
    assert -3 < late.min() and late.max() < (3 if momentum == 0 else 2 / (1 - momentum))
    median = survival_quantile(kaplan_meier(escape.epochs, escape.observed)).value
    assert median == pytest.approx(np.sort(exact)[29], abs=20)


def test_thresholds_per_epoch_lose_the_plateaus_of_fast_runs():
    """The bias: the runs with short plateaus are missing, so the median of the rest is too late."""
    u = 10 ** np.random.default_rng(0).uniform(-6, -2, 60)
    curves = descent(u, 1e-3, 0.97, 800)
    relative, absolute = escape_times(find_plateaus(curves)), escape_times(per_epoch(curves))
    assert relative.observed.sum() == 60 and np.isnan(absolute.epochs).sum() > 5
    missing = np.isnan(absolute.epochs)
    assert np.median(relative.epochs[missing]) < np.median(relative.epochs[~missing])


def test_the_repr_is_short():
    short = np.where(np.arange(len(STEPS)) < 150, STEPS, np.nan)
    found = find_plateaus(np.stack([STEPS, short, STEPS[::-1] * 0 + STEPS]))
    assert repr(found).startswith("Plateaus(5 in 3 of 3 runs, 4 escaped, median length ") and len(repr(found)) < 120
    assert repr(find_plateaus(np.exp(-0.01 * np.arange(500)))) == "Plateaus(none in 1 run)"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: find_plateaus(1.0), "error curve"),
        (lambda: find_plateaus(np.ones((3, 0))), "error curve"),
        (lambda: find_plateaus([[1.0, 1.0], [1.0, -1.0]]), "≥ 0, got -1"),
        (lambda: find_plateaus([[1.0, 1.0, 1.0], [1.0, np.nan, 1.0]]), "run 1"),
        (lambda: find_plateaus([[1.0, 1.0], [np.nan, np.nan]]), "run 1"),
        (lambda: find_plateaus([[1.0, 1.0], [np.nan, 1.0]]), "run 1"),
        (lambda: find_plateaus([1.0, 1.0], low=0.2, high=0.1), "`high` ≥ `low`"),
        (lambda: find_plateaus([1.0, 1.0], window=0), "`window`"),
        (lambda: find_plateaus([1.0, 1.0], window=20), '`window` below 1, a share.*unit="epoch"'),
        (lambda: find_plateaus([1.0, 1.0], least_length=-0.1), "`least_length`"),
        (lambda: per_epoch([1.0, 1.0], window=0), "`window`"),
        (lambda: per_epoch([1.0, 1.0], least_length=0.5), "`least_length`"),
        (lambda: find_plateaus([1.0, 1.0], unit="second"), "run, epoch, got 'second'"),
        (lambda: find_plateaus("abc"), "error curve"),
        (lambda: find_plateaus([1.0, 1j]), "error curve"),
        (lambda: find_plateaus([1.0, 1.0], goal=-1.0), "`goal`"),
        (lambda: escape_times(find_plateaus(STEPS), "shortest"), "longest, got 'shortest'"),
    ],
)
def test_bad_input_is_reported(call, words):
    with pytest.raises(ValueError, match=words):
        call()
