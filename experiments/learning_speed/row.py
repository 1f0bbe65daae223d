"""A row of the tables: an optimizer on a problem, what a paper reports of it, and the numbers of our trials."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import optax

import bpjax as bp
from bpjax.results.statistics import epochs_or_never, quantiles_with_failures, student
from bpjax.training.trial import OutcomeFunction


class Published(NamedTuple):
    """The result that a paper reports."""

    source: str
    mean: float  # epochs
    deviation: float | None = None  # None if not reported
    trials: int = 10  # of the mean; 10, the smallest number in these papers, if not reported
    restarts: float | None = None  # per 100 trials


class Tuned(NamedTuple):
    """An optimizer with its hyperparameters: rows that differ in these alone share one compiled program."""

    factory: Callable[..., optax.GradientTransformation]
    values: dict[str, float]


def tuned(factory: Callable[..., optax.GradientTransformation], **values: float) -> Tuned:
    """A `Tuned` from the call of its factory."""
    return Tuned(factory, values)


class Row(NamedTuple):
    """One optimizer on one problem."""

    problem: str
    rule: str
    numbers: str
    network: bp.Layer
    batch: tuple
    optimizer: Tuned
    published: Published | None = None
    loss: bp.losses.Loss = bp.squared_error
    stop: bp.training.Stop = bp.outputs_within(0.4)
    limit: int = 1000  # epochs of a trial, or of each start of a trial with restarts
    restarts: int = 0  # maximum number
    note: str = ""  # possible reason of a difference, as far as known
    outcome: OutcomeFunction | None = None  # what else to store of a trial

    @property
    def name(self) -> str:
        """Problem, optimizer and parameters in one line."""
        return f"{self.problem}, {self.rule}, {self.numbers}"


class Summary(NamedTuple):
    """The numbers of a row, ours and the published ones."""

    problem: str
    rule: str
    numbers: str
    mean: float  # of the successful trials
    deviation: float
    low: float  # 95 % interval of the mean (Student)
    high: float
    median: float  # of all trials, ∞ if half failed
    trials: int
    failures: int
    restarts: int
    published: float | None
    published_deviation: float | None
    published_restarts: float | None  # per 100 trials
    source: str
    verdict: str


def summary_of(row: Row, epochs: np.ndarray, solved: np.ndarray, restarts: np.ndarray) -> Summary:
    """The numbers of a row, and whether they agree with the paper.

    Args:
        row: the row.
        epochs: of each trial.
        solved: whether each trial succeeded.
        restarts: of each trial.
    """
    successes = epochs[solved].astype(float)
    n = len(successes)
    mean, least, most = student(successes)
    deviation = float(successes.std(ddof=1)) if n > 1 else np.nan
    times = epochs_or_never(solved, epochs)
    median = float(quantiles_with_failures(times, 0.5))
    paper = row.published
    if paper is None:
        verdict = "no published value"
    elif n < 2:
        verdict = "ours fail"
    elif paper.trials == 1:
        low, high = quantiles_with_failures(successes, [0.025, 0.975])
        verdict = "agrees" if low <= paper.mean <= high else f"differs: {mean / paper.mean:.2f} ×"
    else:
        theirs = deviation if paper.deviation is None else paper.deviation
        allowed = 3 * np.sqrt(theirs**2 / paper.trials + deviation**2 / n)
        verdict = "agrees" if abs(mean - paper.mean) <= allowed else f"differs: {mean / paper.mean:.2f} ×"
    failures = len(epochs) - n
    if verdict == "agrees" and failures > 0.1 * len(epochs):
        verdict = "agrees, but for failures"
    return Summary(
        row.problem, row.rule, row.numbers, mean, deviation, least, most, median, len(epochs), failures,
        int(restarts.sum()), paper.mean if paper else None, paper.deviation if paper else None,
        paper.restarts if paper else None, paper.source if paper else "", verdict,
    )  # fmt: skip
