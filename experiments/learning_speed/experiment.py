"""How fast do optimizers learn, and can the published learning speeds be reproduced?

The encyclopedia article on backpropagation names the learning rate, the momentum term, variable learning rates and
Quickprop. The original papers compared such methods on encoders, XOR, symmetry and parity, with 10 to 100 trials each.
This experiment repeats every row of those tables with hundreds of trials (`published.py` holds the rows and the
protocol). It reports the mean and standard deviation of the successful trials, the median of all trials with failures
counted as ∞, failures, restarts, and a 95 % interval of the mean.

The verdict is "agrees" if the means differ by at most 3 standard errors of their difference (with our deviation where
the paper reports none), or, for a single published run, if it lies within the middle 95 % of our successful runs. This
is a weak test where the paper's deviation is large or its trials are few. Where the results differ, the reason is given
below the table, as far as it is known. Nothing was tuned to agree, except that the tight encoders were also run with
ε = 1 after ε = 2 had failed.

    python -m experiments.learning_speed                 run everything: about half a minute on two cores
    python -m experiments.learning_speed --quick         a tenth of the trials, without scikit-learn: about 20 seconds
    python -m experiments.learning_speed --only xor      only the rows with "xor" in their name
    python -m experiments.learning_speed --help          list all settings

Writes tables to the terminal, and the figure (PNG, SVG), its numbers (CSV) and the trials (Zarr) to
results/learning_speed.
"""

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from rich.console import Console

import bpjax as bp
from bpjax.results.record import write_record
from bpjax.util.checks import check_count
from experiments.common.command import command, print_totals, progress
from experiments.common.config import QuickSettings
from experiments.common.keep import keep
from experiments.common.mirror_weights import RATIOS, weight_ratios
from experiments.common.redraw import write_figures
from experiments.common.stored import read_zarr, write_rows, write_zarr
from experiments.common.threads import in_parallel, stop_if
from experiments.learning_speed.figures import draw_medians, draw_published
from experiments.learning_speed.published import rows
from experiments.learning_speed.row import Row, Summary, summary_of
from experiments.learning_speed.tables import growth_sentences, table
from experiments.scikit_learn_curves.experiment import curves, verdict


@dataclass(frozen=True)
class Config(QuickSettings):
    """Settings of the experiment; those of the papers are in `published.py`."""

    QUICK = {"trials": 20}

    trials: int = 200
    """Trials of each row, each with different initial weights."""
    only: str = ""
    """Only the rows whose problem or rule contains this text."""
    out: Path = Path("results/learning_speed")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        check_count("Config", "trials", self.trials, least=2)
        super().check()
        if not self.rows:
            raise ValueError(f"`Config` expected `only` to be part of a row's name, got {self.only!r}. Try 'encoder'.")

    @property
    def rows(self) -> list[Row]:
        """The selected rows."""
        return [row for row in rows() if self.only.lower() in row.name.lower()]


def repeat(row: Row, trials: int, key, on_progress: Callable | bool = False) -> xr.Dataset:
    """Train the network of a row from many initial weights; (trial,) epochs, solved and restarts.

    A trial that fails begins again with new weights, as often as the row allows; all starts are trained, and the ones
    after the first success are dropped. The epochs of a trial are those of its starts together (Fahlman 1988).

    Args:
        row: problem, network and optimizer.
        trials: number of trials.
        key: for the initial weights.
        on_progress: called with the state of the sweep, see `bp.sweep`.
    """
    rule = bp.backprop(row.network, row.loss)

    def trial(key, start, **values):
        weights_key, run_key = jax.random.split(jax.random.fold_in(key, start))
        params, _ = row.network.init(weights_key, row.batch[0].shape[1:])
        return bp.trial(
            rule, row.optimizer.factory(**values), params, row.batch, key=run_key, epochs=row.limit, stops=row.stop,
            outcome=row.outcome,
        )  # fmt: skip

    axes = {"start": range(row.restarts + 1), "seed": range(trials)}
    axes |= {name: [value] for name, value in row.optimizer.values.items()}
    result = bp.sweep(trial, axes, key=key, progress=on_progress)
    result = result.isel(dict.fromkeys(row.optimizer.values, 0)).rename(seed="trial").transpose("start", "trial", ...)
    return first_success(result, row.restarts)


def first_success(starts: xr.Dataset, most: int) -> xr.Dataset:
    """Trials (trial,) from starts (start, trial): up to the first that succeeded, or `most` restarts."""
    restarts = xr.where(starts.solved.any("start"), starts.solved.argmax("start"), most)
    counted = starts.epochs.where(np.arange(starts.sizes["start"])[:, None] <= restarts.values, 0)
    last = starts.isel(start=restarts)
    return last.assign(epochs=counted.sum("start"), restarts=restarts).drop_vars("start", errors="ignore")


WORKERS = 2
"""Rows at a time: one compiles, on one core, while the other trains."""


def run(config: Config, console: Console) -> xr.Dataset:
    """Run every row; returns a dataset over (row, trial)."""
    chosen, root, began = config.rows, jax.random.key(config.seed), time.perf_counter()
    keys = jax.vmap(jax.random.fold_in, (None, 0))(root, np.arange(len(chosen), dtype=np.uint32))
    done: dict[int, int] = {}
    with progress(console, sum(config.trials * (row.restarts + 1) for row in chosen)) as advance:

        def work(index: int, stop: threading.Event) -> xr.Dataset:
            def on_progress(state) -> None:
                stop_if(stop)
                done[index] = state.done
                advance(sum(done.values()), chosen[index].name, "runs")

            return repeat(chosen[index], config.trials, keys[index], on_progress)

        results = in_parallel(work, range(len(chosen)), WORKERS)
    ratios: dict[str, int] = {}
    for trials in results:
        if "hidden_weights" in trials:
            names = Counter(weight_ratios(trials.hidden_weights.values[trials.solved.values]))
            ratios = {name: names[name] for name in (*RATIOS, "others")}
    total = sum(int(trials.epochs.sum()) for trials in results)
    print_totals(console, len(chosen) * config.trials, total, time.perf_counter() - began)
    return xr.Dataset(
        {
            name: (("row", "trial"), np.stack([trials[name].values for trials in results]))
            for name in ("epochs", "solved", "restarts")
        },
        attrs={
            "rows": [row.name for row in chosen],
            "ratios": ", ".join(f"{count} {name}" for name, count in ratios.items()),
        },
    )


def read(config: Config, folder: Path) -> tuple[xr.Dataset, list[Summary]]:
    """The stored trials, and the numbers of each row."""
    stored = read_zarr(folder / "learning_speed.zarr")
    return stored, [
        summary_of(row, *(stored.isel(row=i)[name].values for name in ("epochs", "solved", "restarts")))
        for i, row in enumerate(config.rows)
    ]


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored result."""
    stored, summaries = read(config, folder)
    drawn = {"learning_speed_medians": functools.partial(draw_medians, stored, config.rows, summaries)}
    if any(row.published for row in config.rows):
        drawn = {"learning_speed": functools.partial(draw_published, stored, config.rows, summaries)} | drawn
    return drawn


def store(config: Config, folder: Path, result: xr.Dataset) -> tuple[xr.Dataset, list[Summary]]:
    """Write the result, its numbers, the figures and the record; returns the result as read back."""
    write_zarr(result, folder / "learning_speed.zarr")
    stored, summaries = read(config, folder)
    noted = [s._asdict() | {"note": row.note} for s, row in zip(summaries, config.rows, strict=True)]
    write_rows(folder / "learning_speed.csv", noted)
    write_figures(folder, figures(config, folder))
    write_record(folder, config, experiment="learning_speed")
    return stored, summaries


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables that answer the question."""
    result = run(config, console)
    with console.status("storing the result and drawing the figure"):
        config, (stored, summaries) = keep(config, store, result)
    console.print()
    console.print(table(summaries))
    console.print()
    notes: dict[str, list[str]] = {}
    for row, summary in zip(config.rows, summaries, strict=True):
        if row.note and not summary.verdict.endswith("agrees"):
            notes.setdefault(row.note, []).append(f"{row.problem} {row.rule}, {row.numbers}")
    for note, names in notes.items():
        console.print(f"{'; '.join(names)}: {note}")
    for sentence in growth_sentences(summaries):
        console.print(sentence)
    if stored.attrs["ratios"]:
        ratios = stored.attrs["ratios"]
        console.print(f"Symmetry, at the end of training: weight ratios of the mirror pairs {ratios} (within 15 %).")
    if not (config.only or config.quick):
        with console.status("training digits here and in scikit-learn"):
            results = curves()
        for curve in results:
            console.print(f"scikit-learn's digits, {verdict(curve)} Largest difference {curve.difference:.1e}.")
    verdicts = Counter(s.verdict.split(":")[0] for s in summaries if s.published is not None)
    console.print("Published values: " + "; ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()) + ".")
    figure = config.out / "learning_speed.png"
    console.print(
        f"\nFigures: {figure} and learning_speed_medians.png (also as .svg), their numbers as CSV, the trials as Zarr."
    )


main = functools.partial(command, "learning_speed", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
