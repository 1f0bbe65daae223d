"""Equal tuning: every rule gets the same learning rates and starts; results are those of its best rate."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

import bpjax as bp
from bpjax.results.statistics import student
from experiments.common.threads import in_parallel, stop_if
from experiments.learning_rules.problems import Entry, Problem, trial_of

POINTS = 12
"""Number of steps of a training at which the angle is recorded."""
SHARE = 0.9
"""A learning rate is good if at least this share of the starts learn the problem."""


class Job(NamedTuple):
    """A sweep of a rule on a problem."""

    part: str  # name of the problem in the comparison, or of a published result
    problem: Problem
    entry: Entry
    recorded: bool = True  # whether the angle to the gradient is recorded
    receipt: bp.audit.Receipt | None = None


class Summary(NamedTuple):
    """A rule on a problem, at the learning rate chosen by validation; angles in degrees."""

    problem: str
    rule: str
    answers: str  # the objection to backpropagation that it answers
    rate: float
    mean: float  # of the measure on test data: accuracy, −normalised error, or −largest error
    low: float  # 95 % interval of that mean
    high: float
    learnt: int  # starts that learnt the problem at this rate
    starts: int
    steps: float  # median until learnt, a failure counts as ∞
    good_rates: int  # learning rates at which at least 90 % of the starts learnt it
    rates: int
    angles: tuple[tuple[float, ...], ...]  # at the start, the middle and the end: (layers of units), mean over starts

    @property
    def row(self) -> dict:
        """As one row of a CSV file."""
        named = self._asdict()
        for time, layers in zip(("start", "middle", "end"), named.pop("angles"), strict=True):
            named |= {f"angle_{time}_{layer + 1}": angle for layer, angle in enumerate(layers)}
        return named


def recorded_at(problem: Problem) -> tuple[int, ...]:
    """Steps at which the angle is recorded: geometrically spaced, and 0, the middle and the last step."""
    last = problem.steps * problem.epochs - 1
    spread = np.geomspace(1, last, POINTS - 2).round().astype(int)
    return tuple(sorted({0, last // 2, *spread.tolist()}))


def tune(job: Job, seed: int, on_run: Callable) -> xr.Dataset:
    """Sweep one rule over (learning_rate, start)."""
    problem, at = job.problem, recorded_at(job.problem) if job.recorded else ()
    result = bp.sweep(
        trial_of(problem, job.entry, at, seed),
        {"learning_rate": problem.rates, "start": range(problem.starts)},
        key=jax.random.key(seed),
        curves=range(1, problem.epochs + 1),
        layout="single",
        receipt=job.receipt,
        progress=on_run,
    )
    return result.rename(angle_0="step", angle_1="layer").assign_coords(step=list(at)) if at else result


def tune_all(jobs: list[Job], seed: int, on_job: Callable) -> list[xr.Dataset]:
    """Run all sweeps; calls `on_job(number of sweeps done, job)` after each."""
    done = itertools.count(1)

    def work(job, stop):
        found = tune(job, seed, lambda state: stop_if(stop))
        on_job(next(done), job)
        return found

    return in_parallel(work, jobs)


def steps_until_learnt(problem: Problem, result: xr.Dataset) -> xr.DataArray:
    """Updates until the problem was learnt, ∞ if it was not; over (learning_rate, start)."""
    if problem.stop is not None:
        return (result.epochs * problem.steps).where(result.solved, np.inf)
    below = result.curve <= problem.level
    first = result.epoch.isel(epoch=below.argmax("epoch"))
    return (first * problem.steps).where(below.any("epoch") & ~result.diverged, np.inf).drop_vars("epoch")


def best_rate(problem: Problem, result: xr.Dataset) -> int:
    """Index of the best learning rate: by validation data, or the fastest if runs stop early."""
    if problem.stop is not None:
        merit = -result.epochs.where(result.solved, problem.epochs).mean("start")
    else:
        merit = result.validation.where(~result.diverged, -np.inf).mean("start")
    return int(np.argmax(np.nan_to_num(merit.values, nan=-np.inf)))


def summary_of(problem: Problem, name: str, answers: str, result: xr.Dataset) -> Summary:
    """The numbers of a sweep.

    Args:
        problem: that was learnt.
        name: of the rule.
        answers: the objection that the rule answers.
        result: the sweep.
    """
    steps, best = steps_until_learnt(problem, result), best_rate(problem, result)
    mean, low, high = student(result.test.isel(learning_rate=best).values)
    at_best = result.isel(learning_rate=best)
    places = angle_places(at_best)
    with np.errstate(all="ignore"):
        angles = at_best.angle.mean("start").values
    return Summary(
        problem.name, name, answers, problem.rates[best], mean, low, high,
        learnt=int(np.isfinite(steps.isel(learning_rate=best)).sum()),
        starts=problem.starts,
        steps=float(np.median(steps.isel(learning_rate=best))),
        good_rates=int((xr.apply_ufunc(np.isfinite, steps).mean("start") >= SHARE).sum()),
        rates=len(problem.rates),
        angles=tuple(tuple(angles[place].tolist()) for place in places),
    )  # fmt: skip


def angle_places(run: xr.Dataset) -> tuple[int, int, int]:
    """Indices of start, middle and end in the recorded steps of the longest run, which may have stopped early."""
    reached = np.flatnonzero(np.isfinite(run.angle).any(("start", "layer")).values)
    if not len(reached):
        return 0, 0, 0
    steps = run.step.values[reached]
    middle = int(np.abs(steps - steps[-1] / 2).argmin())
    return int(reached[0]), int(reached[middle]), int(reached[-1])
