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
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

import bpjax as bp
from bpjax.results import plots
from bpjax.results.record import write_record, written_aside
from bpjax.results.statistics import epochs_or_never
from bpjax.util.checks import check_count
from experiments.common.command import bare_table, command, print_totals, progress
from experiments.common.config import StoredSettings
from experiments.common.stored import write_figure, write_rows, write_zarr
from experiments.learning_speed.published import NATURE, Row, Summary, rows, summary_of
from experiments.scikit_learn_curves.experiment import curves, verdict


@dataclass(frozen=True)
class Config(StoredSettings):
    """Every number of the experiment that is not a paper's."""

    trials: int = 200
    """Trials of each row, each from its own initial weights."""
    only: str = ""
    """Only the rows whose problem or rule holds this text."""
    out: Path = Path("results/learning_speed")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        check_count("Config", "trials", self.trials, least=2)
        super().check()
        if not self.rows:
            raise ValueError(f"`Config` expected `only` to be part of a row's name, got {self.only!r}. Try 'encoder'.")

    @property
    def rows(self) -> list[Row]:
        """The rows asked for."""
        return [row for row in rows() if self.only.lower() in row.name.lower()]


class Trials(NamedTuple):
    """What became of the trials of a row; arrays (trials,)."""

    epochs: np.ndarray  # spent, those before restarts included
    solved: np.ndarray
    restarts: np.ndarray
    params: bp.types.Params  # final weights, with a leading axis


def repeat(row: Row, trials: int, key, on_chunk: Callable) -> Trials:
    """Train a row's network from many initial weights, all in one compiled program."""
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
    """(runs, batch) -> (runs, history): one program for all rows that differ in numbers alone."""
    training = bp.training.make_training(bp.backprop(network, loss), update, (stop,), chunk=chunk)
    return jax.jit(jax.vmap(training.advance, in_axes=(0, None)))


def weight_patterns(network_params, solved: np.ndarray) -> dict[str, int]:
    """How the solved symmetry nets weigh their three mirror pairs: counts of 1:2:4, of 2:3:4, and of others.

    An example counts when all three ratios of |w|, in the mean over mirror images and hidden units, are within 15 %.
    """
    w = np.asarray(network_params[0].w)[solved]  # (runs, 6, 2)
    pairs = np.sort((np.abs(w[:, :3]) + np.abs(w[:, :2:-1])) / 2, axis=1)
    ratios = (pairs / pairs[:, :1]).mean(axis=2)
    counts = {}
    for name, example in (("1:2:4", (1, 2, 4)), ("2:3:4", (1, 1.5, 2))):
        counts[name] = int((np.abs(ratios / np.array(example) - 1) < 0.15).all(axis=1).sum())
    return {**counts, "others": len(w) - sum(counts.values())}


def run(config: Config, console: Console) -> xr.Dataset:
    """Every row, with a progress bar; a dataset over (row, trial)."""
    chosen, results, examples = config.rows, [], {}
    began = time.perf_counter()
    with progress(console, len(chosen)) as advance:
        for index, row in enumerate(chosen):

            def on_chunk(run, index=index, row=row):
                advance(index, f"{row.name}: epoch {int(run.epoch.max())}", "rows")

            advance(index, row.name, "rows")
            trials = repeat(row, config.trials, jax.random.fold_in(jax.random.key(config.seed), index), on_chunk)
            results.append(trials)
            if row.published is not None and row.published.source == NATURE:
                examples = weight_patterns(trials.params, trials.solved)
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
            "examples": ", ".join(f"{count} {name}" for name, count in examples.items()),
        },
    )


def table(summaries: list[Summary]) -> Table:
    """Ours beside the papers', problem by problem, two lines a row to fit 80 columns; "anew": restarts."""
    shown = bare_table()
    for column in ("rule", "ours\n95 % of mean", "median", "failed", "paper", "verdict"):
        right = column in ("median", "failed")
        shown.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=right or column.startswith("ours"),
            min_width=6 if column != "rule" else 18,
        )
    problem = ""
    for s in summaries:
        if s.problem != problem:
            problem = s.problem
            shown.add_section()
            shown.add_row(f"[bold]{problem}[/bold]")
        paper = "" if s.published is None else f"{s.published:g}"
        paper += "" if s.published_deviation is None else f" ± {s.published_deviation:g}"
        source = s.source.split()[0].strip(",") if paper else ""
        source += "" if s.published_restarts is None else f"\n{s.published_restarts:g} % anew"
        mean, deviation, low, high = (f"{x:.{0 if x >= 100 else 1}f}" for x in (s.mean, s.deviation, s.low, s.high))
        shown.add_row(
            f"{s.rule}\n {s.numbers}",
            f"{mean} ± {deviation}\n{low} to {high}" if np.isfinite(s.low) else "",
            f"{s.median:.0f}" if np.isfinite(s.median) else "never",
            f"{s.failures}/{s.trials}" + (f"\n{s.restarts} anew" if s.restarts else ""),
            f"{paper}\n{source}",
            s.verdict if paper else "",
            style={"agrees": "green"}.get(s.verdict, "" if paper else "dim"),
        )
    return shown


def growth_sentences(summaries: list[Summary]) -> list[str]:
    """Whether the epochs of the tight encoders grow as log n."""
    tight = [s for s in summaries if s.problem == "tight encoders" and np.isfinite(s.mean)]
    groups = {
        numbers: [s for s in tight if s.numbers == numbers] for numbers in dict.fromkeys(s.numbers for s in tight)
    }
    lines = {f"tight encoders, {numbers}": [(s.rule, s.mean) for s in own] for numbers, own in groups.items()}
    if groups:
        lines["the paper's"] = [(s.rule, s.published or np.nan) for s in next(iter(groups.values()))]
    sentences = []
    for name, points in lines.items():
        if len(points) > 2:
            sizes = np.log2([int(rule.split("-")[0]) for rule, _ in points])
            means = np.array([mean for _, mean in points])
            slope, intercept = np.polyfit(sizes, means, 1)
            explained = np.corrcoef(sizes, means)[0, 1] ** 2
            sentences.append(f"Mean epochs, {name}: {intercept:.1f} + {slope:.1f} log₂ n, R² {explained:.2f}.")
    return sentences


def draw(result: xr.Dataset, chosen: list[Row]):
    """Every trial of every row, problem under problem on one axis, from a stored result."""
    figure, axis = plt.subplots(figsize=(10.5, 1.5 + 0.3 * len(chosen)), layout="constrained")
    place, problem, labels = -1.0, "", {}
    for i, row in enumerate(chosen):
        if row.problem != problem:
            problem, place = row.problem, place + 1.25
            labels[place] = problem
        place += 1
        labels[place] = f"{row.rule}  {row.numbers}"
        at = result.isel(row=i)
        plots.distribution(axis, place, epochs_or_never(at.solved.values, at.epochs.values), plots.BLUE)
        if row.published is not None:
            plots.published(axis, place, row.published.mean, row.published.deviation, plots.RED)
    axis.set_yticks(list(labels), list(labels.values()), fontsize=8)
    problems = {row.problem for row in chosen}
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in problems else "normal")
    axis.set(xscale="log", ylim=(place + 0.7, -0.7), xlabel="epochs to success")
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", which="both", alpha=0.25)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    return figure


def store(config: Config, result: xr.Dataset) -> tuple[xr.Dataset, list[Summary]]:
    """Write the result, its numbers, the figure and the record, all or nothing; returns what is stored, read back."""
    with written_aside(config.out) as folder:
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
        stored, summaries = store(config, result)
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
    if stored.attrs["examples"]:
        console.print(f"Symmetry, when just solved: mirror pairs weigh {stored.attrs['examples']} (within 15 %).")
    if not config.only:
        with console.status("training digits here and in scikit-learn"):
            results = curves()
        for curve in results:
            console.print(f"scikit-learn's digits, {verdict(curve)} Largest difference {curve.difference:.1e}.")
    verdicts = Counter(s.verdict.split(":")[0] for s in summaries if s.published is not None)
    console.print("Published figures: " + "; ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()) + ".")
    figure = config.out / "learning_speed.png"
    console.print(f"\nFigure: {figure} (and .svg), its numbers beside it as CSV, the result as Zarr.")


main = functools.partial(command, "learning_speed", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
