"""Does a FIR network trained by temporal backpropagation win the time-series competition of 1993 again?

The encyclopedia article on backpropagation names Wan's victory in the Santa Fe competition: forecast 100 values of a
laser's intensity after the first 1,000 (series A). His network has the units [1 12 12 1], filters of [25 5 5]
coefficients and 1,105 parameters. It learns to forecast the next value, changes its weights at every time step with
μ = 1e-4 for 1,000 epochs, and then iterates on its own output. The competition reports a single network. This
experiment trains it from many starts, and beside it the same network with ten times the rate and with Adam, a network
on a plain delay line, an LSTM, and a linear autoregression. It also holds temporal backpropagation against the exact
gradient.

The error is the NMSE, the mean squared error over the variance of the 100 values. Nothing was tuned: the rates are
Wan's, ten times Wan's, and 0.01 for Adam. All is computed in float64.

    python -m experiments.time_series            run everything: about three minutes on two cores
    python -m experiments.time_series --quick    few starts and epochs, to see that it works: under 30 seconds
    python -m experiments.time_series --help     list all settings

The series is part of the package reservoirpy: pip install 'bpjax[time-series]'. Writes one table to the terminal, and
the figures (PNG, SVG), the table (CSV) and the forecasts (Zarr) to results/time_series.
"""

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from rich.console import Console

from bpjax.results.record import write_record
from bpjax.util.checks import check_count, check_number
from bpjax.util.files import slug
from experiments.common.command import command, print_totals, progress
from experiments.common.config import StoredSettings
from experiments.common.findings import Finding, print_findings
from experiments.common.keep import keep
from experiments.common.stored import read_zarr, write_figure, write_rows, write_zarr
from experiments.common.threads import in_parallel, stop_if
from experiments.time_series.edge import edge_of
from experiments.time_series.figures import draw_errors, draw_forecasts
from experiments.time_series.laser import laser
from experiments.time_series.models import LAGS, autoregression, models
from experiments.time_series.tables import findings_of
from experiments.time_series.trainings import CHECKPOINTS, Trained, Training, train

QUICK = 4, 40
"""Starts and epochs of a quick run."""


@dataclass(frozen=True)
class Config(StoredSettings):
    """Settings of the experiment; Wan's are the defaults."""

    starts: int = 24
    """Initial weights of each network."""
    epochs: int = 1000
    """Passes over the training values."""
    learning_rate: float = 1e-4
    """μ of temporal backpropagation."""
    quick: bool = False
    """4 starts and 40 epochs: the numbers say nothing about the protocol."""
    out: Path = Path("results/time_series")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        check_count("Config", "starts", self.starts, least=2)
        check_count("Config", "epochs", self.epochs, least=CHECKPOINTS)
        check_number("Config", "learning_rate", self.learning_rate, above=0.0)
        super().check()

    @property
    def size(self) -> tuple[int, int]:
        """Starts and epochs."""
        return (min(self.starts, QUICK[0]), min(self.epochs, QUICK[1])) if self.quick else (self.starts, self.epochs)

    @property
    def trainings(self) -> list[Training]:
        """What is compared, Wan's network first."""
        fir, delay_line, lstm = models().values()
        rates = self.learning_rate, 10 * self.learning_rate
        return [Training(fir, rates), Training(fir), Training(delay_line, rates), Training(lstm, fewer=3)]

    @property
    def labels(self) -> list[str]:
        """Of all rows of the comparison."""
        return [label for training in self.trainings for label in training.labels]


def run(config: Config, console: Console) -> xr.Dataset:
    """Train everything; returns the forecasts over (start, step), in units of the intensity."""
    series, began = laser(), time.perf_counter()
    trainings, size = config.trainings, config.size
    with jax.enable_x64(True), progress(console, len(config.labels) * size[1]) as advance:
        known, future = (jnp.asarray(series.standardized(part)) for part in series)
        key, done = jax.random.key(config.seed), [0] * len(trainings)

        def work(index: int, stop: threading.Event) -> list[Trained]:
            def say(completed: int) -> None:
                stop_if(stop)
                done[index] = completed
                advance(sum(done), "training", "epochs")

            return train(trainings[index], known, future, key, size, say)

        longest_first = [0, 3, 2, 1]
        by_training = dict(zip(longest_first, in_parallel(work, longest_first), strict=True))
        results = [result for index in range(len(trainings)) for result in by_training[index]]
        edge = edge_of(known, key, config.learning_rate)
        linear = autoregression(np.asarray(known), np.asarray(future), LAGS)
    runs = sum(len(result.one_step) for result in results)
    print_totals(console, runs, runs * size[1], time.perf_counter() - began)
    parts: dict[str, Any] = {"known": ("time", series.known), "future": ("step", series.future)}
    for name, forecast in zip(("linear_one_step", "linear_iterated"), linear, strict=True):
        parts[name] = ("step", series.intensity(forecast))
    for label, result in zip(config.labels, results, strict=True):
        name = slug(label)
        start = f"{name}_start"
        parts[f"{name}_training_mse"] = (("epoch", start), result.training_mse)
        parts[f"{name}_one_step"] = ((start, "step"), series.intensity(result.one_step))
        parts[f"{name}_iterated"] = (("epoch", start, "step"), series.intensity(result.iterated))
        parts[f"{name}_rehearsal"] = ((start, "step"), series.intensity(result.rehearsal))
    sizes = {f"{slug(label)}_parameters": row.model.parameters for row in trainings for label in row.labels}
    return xr.Dataset(parts, {"epoch": results[0].epochs}, edge._asdict() | sizes)


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    stored = read_zarr(folder / "time_series.zarr")
    return {
        "time_series": functools.partial(draw_forecasts, stored, config.labels),
        "time_series_errors": functools.partial(draw_errors, stored, config.labels),
    }


def store(config: Config, folder: Path, result: xr.Dataset) -> list[Finding]:
    """Write forecasts, table, figures and record; returns the findings of what was stored."""
    stored = write_zarr(result, folder / "time_series.zarr")
    findings = findings_of(stored, config.labels)
    write_rows(folder / "time_series.csv", findings, ["verdict"])
    for name, draw in figures(config, folder).items():
        write_figure(draw(), folder, name, dpi=90)
    write_record(folder, config, experiment="time_series")
    return findings


def show(config: Config, console: Console) -> None:
    """Run, store, and print the table that answers the question."""
    result = run(config, console)
    with console.status("storing the result and drawing the figures"):
        config, findings = keep(config, store, result)
    console.print()
    print_findings(console, findings)
    if config.quick:
        console.print("A quick run: these starts and epochs are too few to be compared with the competition.")
    console.print(
        f"\nFigures: {config.out}/time_series.png and time_series_errors.png (also as .svg), the table as CSV, the "
        "forecasts as Zarr."
    )


main = functools.partial(command, "time_series", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
