"""Tune each choice on some seeds, test it on others: what the comparisons of `bpjax.sweeps.comparison` share."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np

from bpjax.results.comparison import Comparison, compared
from bpjax.sweeps.axes import SEED, as_values
from bpjax.sweeps.join import join
from bpjax.sweeps.part import WHOLE
from bpjax.sweeps.progress import Progress, as_progress, progress_bar
from bpjax.sweeps.record_file import STORE
from bpjax.sweeps.structure import Combination, check_options, check_outcomes, combine, labels_of, sweep_each
from bpjax.sweeps.structure_folder import prepare_folder
from bpjax.sweeps.sweep import check_key
from bpjax.training.trial import FAILURES
from bpjax.util.call_text import shown
from bpjax.util.checks import check_between, check_count
from bpjax.util.files import as_path

RATE, PHASE = "learning_rate", "phase"
TUNED_PART = 4
"""Of how many seeds one is for tuning."""


def compare(
    who: str, dimension: str, choices: Mapping, make_trial: Callable, rates, seeds, key, /,
    *, tuning_seeds=None, horizon=None, confidence=0.95, store=None, progress=False, **options,
) -> Comparison:  # fmt: skip
    """See `compare_choices`; `who` is the function that the user has called."""
    check_key(key)
    progress = as_progress(who, progress)
    store = None if store is None else as_path(who, store, STORE)
    check_between(who, "confidence", confidence, 0, 1)
    if horizon is not None:
        check_count(who, "horizon", horizon)
    check_options(who, options)
    if options.pop("part", None) not in (None, WHOLE):
        raise ValueError(
            f"`{who}` expected no `part`: a rate is selected on all of its runs. Sweep in parts by `bp.sweep_over`."
        )
    rates = np.sort(as_values(who, RATE, rates if np.iterable(rates) else [rates]))
    if not rates[0] > 0:
        raise ValueError(f"`{who}` expected learning rates above 0 in `rates`, got {rates[0]:g}.")
    tuning, test = split_seeds(who, seeds, tuning_seeds)
    labels = {dimension: labels_of(who, dimension, choices)}
    sweeps = combine(who, labels, lambda **choice: make_trial(choice[dimension]), {RATE: rates.tolist(), SEED: tuning})
    names = [one.labels[dimension] for one in sweeps]
    for name, reasons in zip(names, check_outcomes(who, labels, sweeps, key), strict=True):
        check_can_succeed(who, name, reasons)
    if store is not None:
        prepare_folder(store, {PHASE: {"tuning": None}, **labels})
    runs = len(sweeps) * len(rates) * len(tuning), len(sweeps) * len(test)

    with progress_bar() if progress is True else nullcontext(progress or None) as show:

        def swept(phase: int, axes: list[dict]):
            named = [
                Combination({PHASE: ("tuning", "test")[phase], **one.labels}, one.trial, axis)
                for one, axis in zip(sweeps, axes, strict=True)
            ]
            return sweep_each(named, key, store, after(show, sum(runs[:phase]), sum(runs)), options)

        tuned = swept(0, [{RATE: rates.tolist(), SEED: tuning}] * len(sweeps))
        selected = [best_rate(result) for result in tuned]
        tested = swept(1, [{RATE: [rate], SEED: test} for rate in selected])

    here = {dimension: names}
    joined = join(here, {(n,): result.isel({RATE: 0}, drop=True) for n, result in zip(names, tested, strict=True)})
    joined = joined.assign_coords({RATE: (dimension, selected)})
    of_tuning = join(here, {(name,): result for name, result in zip(names, tuned, strict=True)})
    return compared(dimension, of_tuning, joined, horizon, confidence)


def best_rate(result) -> float:
    """The rate with the most successes; among equals that of the fewest epochs to success, then the lowest."""
    solved = result.solved.transpose(RATE, SEED).values
    epochs = result.epochs.transpose(RATE, SEED).values
    order = np.lexsort((result[RATE].values, np.where(solved, epochs, 0).sum(axis=1), -solved.sum(axis=1)))
    return float(result[RATE].values[order[0]])


def split_seeds(who: str, seeds, tuning_seeds) -> tuple[list[int], list[int]]:
    """Seeds for tuning and for the test, which have none in common, or a `ValueError`."""
    listed = seeds_of(who, "seeds", seeds)
    if tuning_seeds is not None:
        tuning = seeds_of(who, "tuning_seeds", tuning_seeds)
        if both := sorted(set(listed) & set(tuning)):
            raise ValueError(
                f"`{who}` expected `tuning_seeds` and `seeds` without a common seed, got {both[0]} in both: a rate "
                "that is selected and tested on one seed looks better than it is."
            )
        return tuning, listed
    if len(listed) < 2:
        raise ValueError(
            f"`{who}` expected `seeds` with at least 2 seeds, one to tune on and one to test on, got {shown(seeds)}."
        )
    return listed[::TUNED_PART], [seed for index, seed in enumerate(listed) if index % TUNED_PART]


def seeds_of(who: str, name: str, seeds) -> list[int]:
    """Seeds as a list of different integers ≥ 0; a number means so many from 0 on."""
    if not np.iterable(seeds):
        check_count(who, name, seeds)
        return list(range(seeds))
    if isinstance(seeds, str | bytes):
        raise ValueError(f"`{who}` expected `{name}` to be a number of seeds or a list of seeds, got {shown(seeds)}.")
    return as_values(who, SEED, list(seeds)).tolist()


def check_can_succeed(who: str, name, reasons: tuple[str, ...]) -> None:
    """Raise a `ValueError` for a trial whose runs cannot succeed."""
    if all(reason in ("running", *FAILURES) for reason in reasons):
        raise ValueError(
            f"`{who}` expected a trial whose runs can succeed, such as `bp.trial(..., stops=bp.outputs_within(0.4))` "
            f"or `stops=bp.error_below(0.01)`, got {name!r}, whose runs stop for {', '.join(reasons[1:])} alone."
        )


def after(show: Callable[[Progress], None] | None, done: int, runs: int) -> Callable[[Progress], None] | bool:
    """`show` for a phase that follows `done` of all `runs`."""
    if show is None:
        return False
    return lambda state: show(state._replace(done=state.done + done, runs=runs))
