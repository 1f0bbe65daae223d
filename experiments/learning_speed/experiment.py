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

    python -m experiments.learning_speed                 run everything: about two minutes on two cores
    python -m experiments.learning_speed --only xor      only the rows with "xor" in their name
    python -m experiments.learning_speed --help          list all settings

Writes tables to the terminal, and the figure (PNG, SVG), its numbers (CSV) and the trials (Zarr) to
results/learning_speed.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from rich.console import Console

import bpjax as bp
from bpjax.results.record import write_record
from bpjax.util.checks import check_count
from experiments.common.command import command, print_totals, progress
from experiments.common.config import StoredSettings
from experiments.common.keep import keep
from experiments.common.mirror_weights import RATIOS, weight_ratios
from experiments.common.stored import write_figure, write_rows, write_zarr
from experiments.learning_speed.published import NATURE, Row, Summary, rows, summary_of
from experiments.learning_speed.tables import draw, growth_sentences, table
from experiments.scikit_learn_curves.experiment import curves, verdict


@dataclass(frozen=True)
class Config(StoredSettings):
    """Settings of the experiment; those of the papers are in `published.py`."""

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


class Trials(NamedTuple):
    """The outcome of the trials of a row; arrays (trials,)."""

    epochs: np.ndarray  # in total, including those before restarts
    solved: np.ndarray
    restarts: np.ndarray
    params: bp.types.Params  # final weights, with a leading axis for the trials


def repeat(row: Row, trials: int, key, on_chunk: Callable) -> Trials:
    """Train the network of a row from many initial weights in one compiled program.

    Args:
        row: problem, network and optimizer.
        trials: number of trials.
        key: for the initial weights.
        on_chunk: called with the runs after each chunk of epochs.
    """
    chunk = min(row.limit, 100)
    rule = bp.backprop(row.network, row.loss)
    training = bp.training.make_training(rule, row.optimizer, (row.stop,), chunk=chunk)
    kind = row.stop._replace(watch=())
    advance_all = compiled(row.network, row.loss, bp.optimizers.static_part(row.optimizer), kind, chunk)

    def advance(run):
        return advance_all(run, row.batch)

    def start(key):
        return row.network.init(key, row.batch[0].shape[1:])[0]

    def begin(key):
        weights_key, run_key = jax.random.split(key)
        return training.init(run_key, start(weights_key), row.limit)

    keys = jax.random.split(key, trials)
    run, _ = bp.training.run_to_end(advance, jax.jit(jax.vmap(begin))(keys), on_chunk)
    restarts = np.zeros(trials, int)
    restart = jax.jit(jax.vmap(lambda run, key: bp.training.restart_unsolved(training, start, run, key, row.limit)))
    for attempt in range(1, row.restarts + 1):
        run, restarted = restart(run, jax.vmap(jax.random.fold_in, (0, None))(keys, attempt))
        if not restarted.any():
            break
        restarts += np.asarray(restarted)
        run, _ = bp.training.run_to_end(advance, run, on_chunk)
    solved = np.asarray(run.reason) == training.reasons.index(row.stop.reason)
    return Trials(np.asarray(run.epoch), solved, restarts, run.state.params)


@functools.cache
def compiled(network: bp.Layer, loss: bp.losses.Loss, update, stop: bp.training.Stop, chunk: int) -> Callable:
    """(runs, batch) -> (runs, history): one program for all rows that differ only in hyperparameters.

    Args:
        network: of the rows.
        loss: of the rows.
        update: the static part of the optimizer.
        stop: the stopping criterion without its hyperparameters.
        chunk: epochs of a call.
    """
    training = bp.training.make_training(bp.backprop(network, loss), update, (stop,), chunk=chunk)
    return jax.jit(jax.vmap(training.advance, in_axes=(0, None)))


def run(config: Config, console: Console) -> xr.Dataset:
    """Run every row; returns a dataset over (row, trial)."""
    chosen, results, ratios = config.rows, [], {}
    began = time.perf_counter()
    with progress(console, len(chosen)) as advance:
        for index, row in enumerate(chosen):

            def on_chunk(run, index=index, row=row):
                advance(index, f"{row.name}: epoch {int(run.epoch.max())}", "rows")

            advance(index, row.name, "rows")
            trials = repeat(row, config.trials, jax.random.fold_in(jax.random.key(config.seed), index), on_chunk)
            results.append(trials)
            if row.published is not None and row.published.source == NATURE:
                names = Counter(weight_ratios(trials.params[0].w[trials.solved]))
                ratios = {name: names[name] for name in (*RATIOS, "others")}
        advance(len(chosen), "trained", "rows")
    total = sum(int(trials.epochs.sum()) for trials in results)
    print_totals(console, len(chosen) * config.trials, total, time.perf_counter() - began)
    return xr.Dataset(
        {
            name: (("row", "trial"), np.stack([getattr(trials, name) for trials in results]))
            for name in ("epochs", "solved", "restarts")
        },
        attrs={
            "rows": [row.name for row in chosen],
            "ratios": ", ".join(f"{count} {name}" for name, count in ratios.items()),
        },
    )


def store(config: Config, folder: Path, result: xr.Dataset) -> tuple[xr.Dataset, list[Summary]]:
    """Write the result, its numbers, the figure and the record; returns the result as read back."""
    stored = write_zarr(result, folder / "learning_speed.zarr")
    summaries = [
        summary_of(row, *(stored.isel(row=i)[name].values for name in ("epochs", "solved", "restarts")))
        for i, row in enumerate(config.rows)
    ]
    noted = [s._asdict() | {"note": row.note} for s, row in zip(summaries, config.rows, strict=True)]
    write_rows(folder / "learning_speed.csv", noted)
    write_figure(draw(stored, config.rows), folder, "learning_speed", dpi=110)
    write_record(folder, config)
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
    if not config.only:
        with console.status("training digits here and in scikit-learn"):
            results = curves()
        for curve in results:
            console.print(f"scikit-learn's digits, {verdict(curve)} Largest difference {curve.difference:.1e}.")
    verdicts = Counter(s.verdict.split(":")[0] for s in summaries if s.published is not None)
    console.print("Published values: " + "; ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()) + ".")
    figure = config.out / "learning_speed.png"
    console.print(f"\nFigure: {figure} (also as .svg), its numbers as CSV, the trials as Zarr.")


main = functools.partial(command, "learning_speed", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
