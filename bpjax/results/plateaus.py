"""Plateaus of error curves: onset, height, length, and whether the run left the plateau."""

from typing import Literal, NamedTuple

import numpy as np

from bpjax.util.checks import check_bound, check_choice, check_count, check_number


class Plateaus(NamedTuple):
    """The P plateaus of one or many error curves, ordered by run and within a run by onset."""

    run: np.ndarray  # (P,) which curve: index into the flattened leading axes, 0 for a single curve
    onset: np.ndarray  # (P,) first epoch on it, an index into the curve
    escape: np.ndarray  # (P,) first epoch after it; the number of epochs done if the run ended on it
    length: np.ndarray  # (P,) epochs on it, escape − onset
    height: np.ndarray  # (P,) error on it, the geometric mean over its epochs
    escaped: np.ndarray  # (P,) bool; False: the run ended on it, so the length is a lower bound (censored)
    shape: tuple[int, ...]  # leading axes of the curves, () for a single one


class EscapeTimes(NamedTuple):
    """When each run left its plateau: the arguments of `kaplan_meier`."""

    epochs: np.ndarray  # leading axes; epoch of the escape, or of the run's end; NaN without a plateau
    observed: np.ndarray  # leading axes; whether the run left it


def find_plateaus(
    error, low: float = 1e-3, high: float = 5e-3, window: int = 20, least_length: int = 50, goal: float = 0.0
) -> Plateaus:
    """Stretches of an error curve with hardly any learning.

    The speed of learning at epoch e is the relative decrease of the error per epoch, over the window around it:

        v(e) = [ln E(e − h) − ln E(e + h)] / 2h,      h = ⌈window / 2⌉, cut at the ends of the curve

    A plateau begins when v falls below `low` and ends when v exceeds `high`. With two thresholds, noise around one of
    them does not split a plateau. A rising error counts as no progress. Both ends are accurate to about h epochs.

    Args:
        error: (epochs,) or (..., epochs), ≥ 0, NaN after a run has stopped; ∞ also ends a curve.
        low: relative decrease per epoch below which a plateau begins.
        high: relative decrease per epoch above which it ends, ≥ `low`.
        window: epochs over which the decrease is measured; choose it longer than the noise, shorter than a descent.
        least_length: shorter stretches are ignored, also those cut short by the end of the run.
        goal: a stretch of smaller mean error is the final level of a solved run, not a plateau.

    Raises:
        ValueError: a curve without epochs, a negative error, NaN before the end, arguments out of bounds.
    """
    who = "find_plateaus"
    check_count(who, "window", window)
    check_count(who, "least_length", least_length)
    check_number(who, "low", low)
    check_number(who, "goal", goal, least=0.0)
    check_bound(who, "high", high, "low", low)
    curves, counts, shape = _check_curves(who, error)

    # log 0 would make the speed NaN; entries after the end count as the last epoch
    logs = np.log(np.maximum(curves, np.finfo(np.float64).tiny))
    runs, epochs = curves.shape
    epoch, half = np.arange(epochs), (window + 1) // 2
    before = np.maximum(epoch - half, 0)[None, :]
    after = np.minimum(epoch + half, counts[:, None] - 1)
    fall = logs[:, before[0]] - np.take_along_axis(logs, after, axis=1)
    speed = fall / np.maximum(after - before, 1)

    enters, leaves = speed < low, speed > high
    last = np.maximum.accumulate(np.where(enters | leaves, epoch, 0), axis=1)  # latest epoch with an event; 0 if none
    on = np.take_along_axis(enters, last, axis=1) & (epoch < counts[:, None])
    edges = np.diff(on.astype(np.int8), axis=1, prepend=0, append=0)  # column e: what changes at epoch e
    run, onset = np.nonzero(edges == 1)
    escape = np.nonzero(edges == -1)[1]  # row by row like the onsets, so the two pair up
    total = np.concatenate([np.zeros((runs, 1)), np.cumsum(np.where(epoch < counts[:, None], logs, 0), axis=1)], axis=1)
    length = escape - onset
    height = np.exp((total[run, escape] - total[run, onset]) / length)
    is_plateau = (length >= least_length) & (height >= goal)
    run, onset, escape, length, height = (column[is_plateau] for column in (run, onset, escape, length, height))
    return Plateaus(run, onset, escape, length, height, escaped=escape < counts[run], shape=shape)


def escape_times(plateaus: Plateaus, which: Literal["first", "last", "longest"] = "longest") -> EscapeTimes:
    """For each run the epoch at which it left its first, last or longest plateau, and whether it did.

    A run that ended on the plateau is not observed (censored): its number of epochs is a lower bound. A run without a
    plateau has epoch NaN; exclude it from a survival analysis by `epochs[~np.isnan(epochs)]`. Of two equally long
    plateaus the first is taken.

    Raises:
        ValueError: `which` is another word.
    """
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
    curves = np.asarray(error, dtype=np.float64)
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
