"""Plateaus of error curves: onset, height, length, and whether the run left the plateau."""

from typing import Literal, NamedTuple

import numpy as np

from bpjax.util.checks import as_real_numbers, check_bound, check_choice, check_count, check_instance, check_number


class Plateaus(NamedTuple):
    """The P plateaus of one or many error curves, ordered by run and within a run by onset."""

    run: np.ndarray  # (P,) which curve: index into the flattened leading axes, 0 for a single curve
    onset: np.ndarray  # (P,) first epoch on it, an index into the curve
    escape: np.ndarray  # (P,) first epoch after it; the number of epochs done if the run ended on it
    length: np.ndarray  # (P,) epochs on it, escape − onset
    height: np.ndarray  # (P,) error on it, the geometric mean over its epochs
    escaped: np.ndarray  # (P,) bool; False: the run ended on it, so the length is a lower bound (censored)
    shape: tuple[int, ...]  # leading axes of the curves, () for a single one

    def __repr__(self) -> str:
        runs = int(np.prod(self.shape))
        of = f"{len(np.unique(self.run))} of {runs} runs" if runs != 1 else "1 run"
        if not len(self.run):
            return f"Plateaus(none in {runs} runs)" if runs != 1 else "Plateaus(none in 1 run)"
        length, height = np.median(self.length), np.median(self.height)
        left = int(np.sum(self.escaped))
        return f"Plateaus({len(self.run)} in {of}, {left} escaped, median length {length:g}, height {height:.3g})"


class EscapeTimes(NamedTuple):
    """When each run left its plateau: the arguments of `kaplan_meier`."""

    epochs: np.ndarray  # leading axes; epoch of the escape, or of the run's end; NaN without a plateau
    observed: np.ndarray  # leading axes; whether the run left it

    def __repr__(self) -> str:
        epochs = np.asarray(self.epochs, float)
        without = int(np.isnan(epochs).sum())
        return f"EscapeTimes({epochs.size} runs, {int(np.sum(self.observed))} escaped, {without} without a plateau)"


Unit = Literal["run", "epoch"]

_DEFAULTS = {"run": (0.1, 0.5, 0.05, 0.1), "epoch": (1e-3, 5e-3, 20, 50)}
"""`low`, `high`, `window` and `least_length` of each unit."""
_MOST_PROGRESS = 0.95
"""The share of a run's progress after which its time is up: what follows may be a final level of any length."""


def find_plateaus(
    error,
    low: float | None = None,
    high: float | None = None,
    window: float | None = None,
    least_length: float | None = None,
    goal: float = 0.0,
    unit: Unit = "run",
) -> Plateaus:
    """Stretches of an error curve with hardly any learning, compared with the rest of the same run.

    The speed of learning at epoch e is the relative decrease of the error per epoch, from the h epochs before e to the
    h epochs after it:

        v(e) = [⟨ln E⟩ before − ⟨ln E⟩ after] / (h + 1),      h = ⌈window / 2⌉

    In the first and the last h epochs it is that of the nearest whole window.

    A plateau begins when v falls below a lower threshold and ends when v exceeds a higher one. With two thresholds,
    noise around one of them does not split a plateau. A rising error counts as no progress. Both ends are accurate to
    about h epochs.

    In the unit "run" all numbers are relative to the run. With L = ln E(0) / min E its progress in all, and T the first
    epoch with 95 % of it, the thresholds are `low` and `high` times the run's mean speed 0.95 L / T, and window and
    least length are shares of T. So a trajectory that is traversed c times as fast, as by a momentum coefficient
    1 − 1/c or a higher learning rate, has the same plateaus with all times divided by c, whatever final level follows.
    A run whose error has not fallen by a factor e in all has the mean speed 1 / (all its epochs).

    In the unit "epoch" they are decreases per epoch and numbers of epochs. These thresholds do not follow the speed of
    a run: a fast one has shorter or no plateaus at the same errors. Use them within one optimizer and one learning
    rate.

    Args:
        error: (epochs,) or (..., epochs), ≥ 0, NaN after a run has stopped; ∞ also ends a curve.
        low: speed below which a plateau begins; 0.1, or 0.001 per epoch.
        high: speed above which it ends, ≥ `low`; 0.5, or 0.005 per epoch.
        window: over which the decrease is measured; 0.05, or 20 epochs. Choose it longer than the noise, shorter than a
            descent.
        least_length: shorter stretches are ignored, also those cut short by the end of the run; 0.1, or 50 epochs.
        goal: a stretch of smaller mean error is the final level of a solved run, not a plateau. Progress below it does
            not count.
        unit: of the four numbers, "run" or "epoch".

    Raises:
        ValueError: a curve without epochs, a negative error, NaN before the end, arguments out of bounds.
    """
    who = "find_plateaus"
    given = _check_thresholds(who, unit, low, high, window, least_length)
    check_number(who, "goal", goal, least=0.0)
    goal = float(goal)
    curves, counts, shape = _check_curves(who, error)
    logs = _logs(curves, counts)
    slow, fast, widths, shortest = _per_epoch(given, unit, logs, counts, goal)
    epoch = np.arange(curves.shape[1])
    speed = _speed(logs, counts, np.ceil(widths / 2).astype(int))
    enters, leaves = speed < slow[:, None], speed > fast[:, None]
    last = np.maximum.accumulate(np.where(enters | leaves, epoch, 0), axis=1)  # latest epoch with an event; 0 if none
    on = np.take_along_axis(enters, last, axis=1) & (epoch < counts[:, None])
    edges = np.diff(on.astype(np.int8), axis=1, prepend=0, append=0)  # column e: what changes at epoch e
    run, onset = np.nonzero(edges == 1)
    escape = np.nonzero(edges == -1)[1]  # row by row like the onsets, so the two pair up
    total = np.cumsum(np.where(epoch < counts[:, None], logs, 0), axis=1)
    total = np.concatenate([np.zeros((len(curves), 1)), total], axis=1)
    length = escape - onset
    height = np.exp((total[run, escape] - total[run, onset]) / length)
    is_plateau = (length >= shortest[run]) & (height >= goal)
    run, onset, escape, length, height = (column[is_plateau] for column in (run, onset, escape, length, height))
    return Plateaus(run, onset, escape, length, height, escaped=escape < counts[run], shape=shape)


def _check_thresholds(who, unit, *given) -> tuple:
    """(low, high, window, least_length) in this unit, with the defaults filled in."""
    check_choice(who, "unit", unit, _DEFAULTS)
    low, high, window, least_length = (
        default if value is None else value for value, default in zip(given, _DEFAULTS[unit], strict=True)
    )
    check_number(who, "low", low)
    check_number(who, "high", high)
    check_bound(who, "high", high, "low", low)
    for name, value in (("window", window), ("least_length", least_length)):
        if unit == "epoch":
            check_count(who, name, value)
            continue
        check_number(who, name, value, above=0.0)
        if float(value) >= 1:
            raise ValueError(
                f"`{who}` expected `{name}` below 1, a share of the run's time, got {value!r}. "
                'Pass `unit="epoch"` for thresholds per epoch and numbers of epochs.'
            )
    return low, high, window, least_length


def _logs(curves, counts) -> np.ndarray:
    """ln E, with an error of 0 as the smallest positive error of its run: ln 0 would make the speed infinite."""
    is_positive = (curves > 0) & (np.arange(curves.shape[1]) < counts[:, None])
    least = np.min(curves, axis=1, initial=np.inf, where=is_positive, keepdims=True)
    return np.log(np.maximum(curves, np.where(np.isfinite(least), least, 1.0)))


def _per_epoch(given, unit, logs, counts, goal) -> tuple:
    """The four numbers of each run (runs,), as decreases per epoch and as epochs."""
    ones = np.ones(len(logs))
    if unit == "epoch":
        return tuple(value * ones for value in given)
    epoch = np.arange(logs.shape[1])
    floored = np.maximum(logs, np.log(goal)) if goal > 0 else logs
    best = np.minimum.accumulate(np.where(epoch < counts[:, None], floored, np.inf), axis=1)
    progress = best[:, :1] - best
    most = _MOST_PROGRESS * progress[:, -1]
    time = np.maximum((progress >= most[:, None]).argmax(axis=1), 1)
    has_learnt = progress[:, -1] >= 1
    time = np.where(has_learnt, time, counts)
    speed = np.where(has_learnt, most, 1.0) / time
    low, high, window, least_length = given
    return low * speed, high * speed, window * time, least_length * time


def _speed(logs, counts, half) -> np.ndarray:
    """v(e) of each run, with the half window of each run (runs,)."""
    epoch = np.arange(logs.shape[1])
    ends = counts[:, None]
    sums = np.concatenate([np.zeros((len(logs), 1)), np.cumsum(np.where(epoch < ends, logs, 0.0), axis=1)], axis=1)

    def mean(first, last):
        """Mean of ln E over the epochs first … last, and the middle of them."""
        total = np.take_along_axis(sums, last + 1, axis=1) - np.take_along_axis(sums, first, axis=1)
        return total / (last + 1 - first), (first + last) / 2

    half = np.minimum(half, (counts - 1) // 2)[:, None]
    now = np.clip(epoch, half, ends - 1 - half)  # in the first and last h epochs the speed is that of the nearest e
    before, when_before = mean(now - half, np.maximum(now - 1, now - half))
    after, when_after = mean(np.minimum(now + 1, now + half), now + half)
    return (before - after) / np.maximum(when_after - when_before, 0.5)


def escape_times(plateaus: Plateaus, which: Literal["first", "last", "longest"] = "longest") -> EscapeTimes:
    """For each run the epoch at which it left its first, last or longest plateau, and whether it did.

    A run that ended on the plateau is not observed (censored): its number of epochs is a lower bound. A run without a
    plateau has epoch NaN; exclude it from a survival analysis by `epochs[~np.isnan(epochs)]`. Of two equally long
    plateaus the first is taken.

    Raises:
        ValueError: `which` is another word.
    """
    check_instance("escape_times", "plateaus", plateaus, Plateaus, "bp.results.find_plateaus(error)")
    ranks = {"first": plateaus.onset, "last": -plateaus.onset, "longest": -plateaus.length}
    check_choice("escape_times", "which", which, ranks)
    order = np.lexsort((plateaus.onset, ranks[which], plateaus.run))
    run, first = np.unique(plateaus.run[order], return_index=True)
    chosen = order[first]
    epochs = np.full(int(np.prod(plateaus.shape)), np.nan)
    observed = np.zeros(epochs.shape, bool)
    epochs[run], observed[run] = plateaus.escape[chosen], plateaus.escaped[chosen]
    return EscapeTimes(epochs.reshape(plateaus.shape), observed.reshape(plateaus.shape))


def _check_curves(who, error):
    """The curves as (runs, epochs), the number of epochs of each (runs,), and the leading shape."""
    curves = as_real_numbers(who, "error curve", error)
    if curves.ndim == 0 or curves.size == 0:
        raise ValueError(f"`{who}` expected an error curve, (epochs,) or (..., epochs), got shape {curves.shape}.")
    shape, curves = curves.shape[:-1], curves.reshape(-1, curves.shape[-1])
    finite = np.isfinite(curves)
    counts = finite.sum(axis=1)
    if (counts == 0).any() or not np.array_equal(finite, np.arange(curves.shape[1]) < counts[:, None]):
        odd = int(np.argmax((counts == 0) | (finite[:, 1:] & ~finite[:, :-1]).any(axis=1)))
        raise ValueError(
            f"`{who}` expected finite errors from the first epoch on and NaN only after a run has stopped, "
            f"got others in run {odd}. Pass curves as `fit` returns them."
        )
    if (curves[finite] < 0).any():
        raise ValueError(f"`{who}` expected errors ≥ 0, got {curves[finite].min():g}: a relative decrease needs them.")
    return np.where(finite, curves, 1.0), counts, shape
