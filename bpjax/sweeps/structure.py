"""Structure as an axis: widths, depths, activations, optimizers, rules, losses, whatever changes the compiled program.

Each combination is a separate sweep with a separate compiled program. Two of them are in progress at a time: the next
program is compiled while the current one trains. Every combination uses the same key: run `seed=7` of all combinations
starts from the same random numbers, and where two networks have the same shapes, from the same weights.
"""

import inspect
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bpjax.sweeps.axes import RESERVED, SAMPLE, SEED, plan
from bpjax.sweeps.computation import trace
from bpjax.sweeps.join import join
from bpjax.sweeps.part import WHOLE, Part, part_of
from bpjax.sweeps.progress import Progress, all_progress, as_progress
from bpjax.sweeps.record_file import STORE
from bpjax.sweeps.structure_folder import Label, folder_of, label_text, prepare_folder
from bpjax.sweeps.sweep import check_key, sweep
from bpjax.training.trial import Trial
from bpjax.types import Key
from bpjax.util.call_text import is_function, shown
from bpjax.util.files import as_path
from bpjax.util.jax_settings import jax_settings, under

IN_PROGRESS = 2
"""Combinations in progress at a time: one trains while the next is compiled."""


def sweep_over(
    structure: Mapping[str, Any],
    make_trial: Callable[..., Callable[..., Trial]],
    axes: Mapping[str, Any],
    *,
    key: Key,
    store: str | Path | None = None,
    part: tuple[int, int] | str | None = None,
    progress: bool | Callable[[Progress], None] = False,
    **options,
):
    """`bp.sweep` for every combination of what changes the program; returns one `xarray.Dataset`.

        def make_trial(width, activation):
            network = bp.mlp((2, width, 1), activation, bp.sigmoid)
            rule = bp.backprop(network, bp.squared_error)

            def trial(key, learning_rate):
                params, _ = network.init(key, (2,))
                return bp.trial(rule, bp.momentum(learning_rate, 0.9), params, batch, key=key, epochs=500)

            return trial

        structure = {"width": [2, 4, 8], "activation": {"tanh": bp.tanh, "relu": bp.relu}}
        bp.sweep_over(structure, make_trial, {"learning_rate": [0.1, 1], "seed": range(50)}, key=key)

    Args:
        structure: the values of each argument of `make_trial`: a list of numbers or texts, or a dictionary
            {label: object} of anything else. Numbers, texts and labels become coordinates of the result.
        make_trial: called with one value for each name in `structure`; returns the trial of `bp.sweep`,
            (key, **hyperparameters) -> Trial.
        axes: of each sweep, as for `bp.sweep`.
        key: root of all random numbers, the same for all combinations.
        store: a folder for the results, with one stored sweep in it for each combination, called for example
            "width=2,activation=tanh". A call that was interrupted continues there, and a later call with more values
            adds to it. `bp.open_sweep(store)` returns what it holds.
        part: as for `bp.sweep`: a part of the blocks of every combination, in turn.
        progress: True for one bar over all combinations, or a function that is called with a `Progress`.
        **options: as for `bp.sweep`: `curves`, `layout`, `config`, `receipt`, `devices`.

    Returns:
        A dataset as `bp.sweep` returns it, with the dimensions of `structure` in front. Where combinations stop for
        different reasons, `reason` counts the joined list in its attribute `flag_meanings`. Where an outcome exists, or
        has an entry, in some combinations only, it is NaN in the others (−1 for integers). Of a part, a dictionary with
        what `bp.sweep` returns of each combination, by its name, such as "width=2,activation=tanh".

    Raises:
        ValueError: values that are no labels, names that do not fit `make_trial` or are taken, outcomes that cannot be
            joined, a store that holds something else; and whatever `bp.sweep` refuses, with the combination named.
        ModuleNotFoundError: xarray or zarr is missing; the message names the extra to install.
    """
    who = "sweep_over"
    check_key(key)
    progress = as_progress(who, progress)
    store = None if store is None else as_path(who, store, STORE)
    check_options(who, options)
    mine = part_of(who, part, store is not None)
    choices = labelled(who, structure)
    combinations = combine(who, choices, make_trial, axes)
    check_outcomes(who, choices, combinations, key)
    if store is not None:
        prepare_folder(store, choices)
    found = sweep_each(combinations, key, store, progress, options, mine)
    if mine is not None:
        return {one.name: result for one, result in zip(combinations, found, strict=True)}
    labels = {name: list(values) for name, values in choices.items()}
    return join(labels, dict(zip((tuple(one.labels.values()) for one in combinations), found, strict=True)))


class Combination(NamedTuple):
    """One program of a structure, and its sweep."""

    labels: dict[str, Label]
    trial: Callable[..., Any]
    axes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For people and folders: "width=2,activation=tanh"."""
        return ",".join(f"{name}={label_text(label)}" for name, label in self.labels.items())


def labelled(who: str, structure: Mapping[str, Any]) -> dict[str, dict[Label, Any]]:
    """{name: {label: value}} of a structure, or a `ValueError`."""
    if not isinstance(structure, Mapping) or not structure:
        raise ValueError(f'`{who}` expected `structure` such as {{"width": [2, 4, 8]}}, got {shown(structure)}.')
    return {name: labels_of(who, name, values) for name, values in structure.items()}


def labels_of(who: str, name: str, values) -> dict[Label, Any]:
    """{label: value} of one dimension of a structure, or a `ValueError`."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"`{who}` expected names of arguments of `make_trial` in `structure`, got {shown(name)}.")
    if isinstance(values, Mapping):
        pairs = [(as_label(label), value) for label, value in values.items()]
    elif np.iterable(values) and not isinstance(values, str | bytes | set | frozenset):
        pairs: list[tuple[Label | None, Any]] = [(label, label) for label in map(as_label, values)]
    else:
        pairs = []
    labels = [label for label, _ in pairs if label is not None]
    kinds = {str if isinstance(label, str) else bool if isinstance(label, bool) else float for label in labels}
    if not pairs or len(labels) < len(pairs) or len(kinds) > 1:
        raise ValueError(
            f"`{who}` expected `structure[{name!r}]` to be a list of numbers, a list of texts, or a dictionary "
            f'{{label: object}} such as {{"tanh": bp.tanh}}, with at least one entry, got {shown(values)}.'
        )
    if len(set(map(label_text, labels))) < len(labels):
        raise ValueError(f"`{who}` expected different values in `structure[{name!r}]`, got {shown(values)}.")
    return dict(zip(labels, (value for _, value in pairs), strict=True))


def as_label(value) -> Label | None:
    """A number, a boolean or a text as a Python object; None for anything else."""
    if isinstance(value, np.generic) or (hasattr(value, "shape") and value.shape == ()):
        value = np.asarray(value)[()].item()
    if isinstance(value, str):
        return value or None
    is_number = isinstance(value, int | float) and np.isfinite(value)
    return value if is_number else None


def combine(who: str, choices: dict, make_trial: Callable[..., Any], axes: Mapping) -> list[Combination]:
    """All combinations, the last name fastest, or a `ValueError`."""
    if not is_function(make_trial):
        raise ValueError(
            f"`{who}` expected `make_trial` to be a function of {', '.join(choices)}, got {shown(make_trial)}."
        )
    if not isinstance(axes, Mapping):
        raise ValueError(f"`{who}` expected `axes` such as {{'seed': range(20)}}, got {shown(axes)}.")
    if twice := [name for name in choices if name in axes]:
        raise ValueError(f"`{who}` expected a name in `structure` or in `axes`, got {', '.join(twice)} in both.")
    try:
        inspect.signature(make_trial).bind(**dict.fromkeys(choices))
    except TypeError as error:
        raise ValueError(
            f"`{who}` expected `make_trial` to take the names in `structure`, {', '.join(choices)}, as its arguments, "
            f"got {getattr(make_trial, '__name__', make_trial)!s}{inspect.signature(make_trial)} ({error})."
        ) from None
    axes = {name: list(axis) if isinstance(axis, Iterator) else axis for name, axis in axes.items()}
    combinations = []
    for labels in itertools.product(*choices.values()):
        named = dict(zip(choices, labels, strict=True))
        trial = make_trial(**{name: choices[name][label] for name, label in named.items()})
        if isinstance(trial, Trial) or not is_function(trial):
            raise ValueError(
                f"`{who}` expected `make_trial` to return a trial of `bp.sweep`, a function (key, **hyperparameters) "
                f"that returns `bp.trial(...)`, got {shown(trial)}."
            )
        combinations.append(Combination(named, trial, axes))
    return combinations


def check_options(who: str, options: dict) -> None:
    """Raise a `ValueError` for a keyword that `bp.sweep` does not have; make `curves` readable more than once."""
    known = inspect.signature(sweep).parameters
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"`{who}` expected the options of `bp.sweep`, got the unknown {', '.join(unknown)}.")
    if isinstance(options.get("curves"), Iterator):
        options["curves"] = list(options["curves"])


def check_outcomes(who: str, choices: dict, combinations: list[Combination], key: Key) -> tuple[tuple[str, ...], ...]:
    """Trace all trials before any is trained; returns their reasons.

    Raises:
        ValueError: a trial that `bp.sweep` refuses, an outcome named like a dimension, or outcomes of one name with
            different numbers of axes.
    """
    seen: dict[str, tuple[int, str]] = {}
    reasons = []
    for one in combinations:
        with naming(one):
            computation, _ = trace(one.trial, plan(one.trial, one.axes, key), key)
        reasons.append(computation.reasons)
        for name, shape in computation.variables(()).items():
            rank, where = seen.setdefault(name, (len(shape.shape), one.name))
            if rank != len(shape.shape):
                raise ValueError(
                    f"`{who}` expected the outcome `{name}` with one number of axes, got {rank} where {where} and "
                    f"{len(shape.shape)} where {one.name}. Give them different names, or flatten them."
                )
    if taken := [name for name in choices if name in (*RESERVED, SEED, SAMPLE) or name in seen]:
        raise ValueError(
            f"`{who}` expected other names in `structure` than {', '.join(taken)}: its result has variables or "
            "dimensions of that name."
        )
    return tuple(reasons)


class Cancelled(Exception):
    """Raised inside a sweep whose result nobody waits for any more."""


def sweep_each(
    combinations: Sequence[Combination],
    key: Key,
    store: str | Path | None,
    progress,
    options: Mapping[str, Any],
    part: Part | None = None,
) -> list:
    """The results of one sweep per combination, `IN_PROGRESS` of them at a time.

    If one fails, or at Ctrl-C, the others end at their next report; what they have stored is kept.

    Args:
        combinations: trials and axes.
        key: root of all random numbers.
        store: the folder in which each combination has one, or None.
        progress: as for `sweep_over`.
        options: for `sweep`.
        part: which this process computes; the first block of each combination belongs to another part than that of the
            combination before it.
    """
    settings, cancelled = jax_settings(), threading.Event()

    with all_progress(progress, len(combinations)) as report:

        def one(index: int):
            def show(state: Progress) -> None:
                if cancelled.is_set():
                    raise Cancelled
                report(index, state)

            at = combinations[index]
            folder = None if store is None else folder_of(store, at.labels)
            mine = WHOLE if part is None else ((part.index - index) % part.count, part.count)
            with under(settings), naming(at):
                return sweep(at.trial, at.axes, key=key, store=folder, part=mine, progress=show, **options)

        with ThreadPoolExecutor(IN_PROGRESS) as threads:
            working = [threads.submit(one, index) for index in range(len(combinations))]
            try:
                wait(working, return_when=FIRST_EXCEPTION)
            finally:
                cancelled.set()
                for worker in working:
                    worker.cancel()
    raise_first(working)
    return [worker.result() for worker in working]


def raise_first(working: list[Future]) -> None:
    """Raise the error that made the others stop, if there is one."""
    errors = [worker.exception() for worker in working if not worker.cancelled()]
    for error in errors:
        if error is not None and not isinstance(error, Cancelled):
            raise error


@contextmanager
def naming(combination: Combination) -> Iterator[None]:
    """Adds to an error the combination in which it was raised."""
    try:
        yield
    except Cancelled:
        raise
    except Exception as error:
        error.add_note(f"in the combination {combination.name}")
        raise
