"""Does momentum shorten flat plateaus, and which methods help a network to leave them?

The encyclopedia article on backpropagation says that momentum does. This depends on the convention of momentum. The
first part measures where theory is exact, on a flat stretch and at a saddle, from rest and with an initial velocity.
The second part compares methods on six plateaus of networks: XOR with all outputs at ½, a symmetric start, saturated
units, a minimum of a smaller network with one unit duplicated, a deep linear network, and a soft committee machine.
The methods are momentum in three conventions at the same learning rate, the learning rate η/(1 − α), flat-spot
elimination, error tolerance, weight noise, Rprop, Quickprop, and restarts after a quarter of the epochs. All start
from the same weights as plain gradient descent.

A run has left a plateau when its error falls below a level under the plateau's height, which is known in advance. Runs
that do not leave within the epoch limit are censored, not dropped: times are Kaplan-Meier medians with 95 % intervals,
compared with plain descent by the log-rank test at 5 % divided by the number of comparisons. No method was tuned to a
plateau.

    python -m experiments.plateau_escape              run everything: about 40 seconds on two cores
    python -m experiments.plateau_escape --quick      fewer weights and one committee: about half a minute
    python -m experiments.plateau_escape --only xor   only the plateaus with "xor" in their name
    python -m experiments.plateau_escape --help       list all settings

Writes tables to the terminal, and figures (PNG, SVG, HTML), their numbers (CSV) and the runs (Zarr) to
results/plateau_escape.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import xarray as xr
from rich.console import Console

from bpjax.results.page import sweep_page
from bpjax.results.record import write_record
from bpjax.util.checks import check_between, check_count, check_number
from bpjax.util.files import slug
from experiments.common.command import command, print_totals, progress
from experiments.common.config import QuickSettings
from experiments.common.gradients import gradient_receipt
from experiments.common.keep import keep
from experiments.common.redraw import write_figures
from experiments.common.stored import read_zarr, write_rows, write_zarr
from experiments.plateau_escape.escapes import Measured, Summary, measured, summaries_of
from experiments.plateau_escape.figures import draw_laws, draw_methods, draw_races, winners
from experiments.plateau_escape.laws import (
    FORMS,
    PUBLISHED_HEIGHTS,
    Height,
    Law,
    ball_laws,
    ball_paths,
    committee_curves,
    committee_heights,
    deep_linear_laws,
    mode_paths,
)
from experiments.plateau_escape.races import Method, methods, page_of, race
from experiments.plateau_escape.saddles import Prediction, predictions_of, saddle_of
from experiments.plateau_escape.starts import Plateau, example, names_of, plateaus
from experiments.plateau_escape.tables import (
    balls_table,
    heights_table,
    measured_table,
    modes_table,
    races_table,
    saddles_table,
    sentences,
)


@dataclass(frozen=True)
class Config(QuickSettings):
    """Settings of the experiment."""

    QUICK = {"seeds": 20, "samples": 200, "law_units": 2, "law_nets": 4}

    seeds: int = 100
    """Initial weights on each plateau, the same for every method."""
    momentum: float = 0.9
    """Momentum coefficient α of every form."""
    offset: float = 0.1
    """Flat-spot elimination: constant added to the derivative of every sigmoid unit."""
    tolerance: float = 0.1
    """Error tolerance: outputs closer to their target than this have zero error."""
    noise: float = 0.1
    """Weight noise: standard deviation of the noise added to every weight."""
    attempts: int = 4
    """Restarts: number of starts of a run, each with an equal share of the epochs."""
    samples: int = 400
    """Number of points of an error curve."""
    committee_inputs: int = 20
    """Inputs of the soft committee machine in the comparison of methods."""
    law_units: int = 4
    """The heights of plateaus are compared with theory for soft committee machines of 2 up to this many units."""
    law_nets: int = 8
    """Number of networks of each size in this comparison with theory."""
    law_inputs: int = 100
    """Inputs of these networks."""
    law_time: int = 200
    """Training examples of these networks per input."""
    only: str = ""
    """Only the plateaus whose name contains this text."""
    out: Path = Path("results/plateau_escape")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        check_between("Config", "momentum", self.momentum, 0.0, 1.0)
        for name in ("offset", "tolerance", "noise"):
            check_number("Config", name, getattr(self, name), above=0.0)
        for name in ("law_nets", "law_inputs", "law_time", "attempts", "samples"):
            check_count("Config", name, getattr(self, name), least={"samples": 10, "law_inputs": 4}.get(name, 1))
        check_count("Config", "seeds", self.seeds, least=2)
        check_count("Config", "law_units", self.law_units, least=2)
        if self.law_units > max(PUBLISHED_HEIGHTS):
            raise ValueError(f"`Config` expected `law_units` ≤ {max(PUBLISHED_HEIGHTS)}, got {self.law_units}.")
        check_count("Config", "committee_inputs", self.committee_inputs, least=2)
        super().check()
        if not names_of(self.only):
            raise ValueError(f"`Config` expected `only` to be part of a plateau's name, got {self.only!r}. Try 'xor'.")

    @property
    def plateaus(self) -> list[Plateau]:
        """The selected plateaus."""
        return plateaus(self.committee_inputs, self.only)

    @property
    def methods(self) -> tuple[Method, ...]:
        """All methods, those of the restarts last."""
        return methods(self.momentum, self.offset, self.tolerance, self.noise, self.attempts)


class Result(NamedTuple):
    """The datasets that are stored."""

    balls: xr.Dataset
    modes: xr.DataArray
    committee: xr.Dataset
    races: dict[str, xr.Dataset]  # by the name of the plateau


class Numbers(NamedTuple):
    """The numbers computed from a result."""

    laws: list[Law]
    heights: list[Height]
    summaries: list[Summary]
    measured: list[Measured]
    predictions: list[Prediction]


def run(config: Config, console: Console) -> Result:
    """Measure the cases with exact theory, then check the gradient of each plateau and run all methods on it."""
    key, began = jax.random.key(config.seed), time.perf_counter()
    with console.status("flat stretch, saddle, deep linear network and soft committee machines"):
        balls = ball_paths(sorted({0.5, 0.9, 0.99, config.momentum}))
        modes = mode_paths(config.momentum)
        committee_key = jax.random.fold_in(key, 100)
        size = config.law_units, config.law_nets, config.law_inputs
        committee = committee_curves(*size, 0.1, config.law_time, committee_key)
    races, chosen = {}, config.plateaus
    for index, plateau in enumerate(chosen):
        own = jax.random.fold_in(key, index)
        with console.status(f"{plateau.name}: comparing the gradient with jax.grad"):
            network, params, batch = example(plateau, own)
            report = gradient_receipt(network, plateau.loss, params, batch)
        console.print(f"[bold]{plateau.name}[/bold]  gradient receipt: {report.verdict}")
        total = config.seeds * len(config.methods)
        with progress(console, total) as advance:

            def on_progress(state, advance=advance):
                doing = "training" if state.epochs else "compiling"
                advance(state.done, doing, f"runs, {state.rate / 1e6:.2g} M epochs/s")

            races[plateau.name] = race(plateau, config, own, report, on_progress)
    epochs = sum(int(result.epochs.sum()) for result in races.values())
    runs = sum(result.solved.size for result in races.values())
    print_totals(console, runs, epochs, time.perf_counter() - began)
    return Result(balls, modes, committee, races)


def numbers_of(config: Config, result: Result) -> Numbers:
    """The comparison with theory, and the summaries of all methods."""
    names = {row.name for row in config.methods}
    level = 0.05 / (len(names) * len(config.plateaus))
    summaries, found, predictions = [], [], []
    for plateau in config.plateaus:
        summaries += summaries_of(result.races[plateau.name], plateau, config.methods, level)
        found.append(measured(result.races[plateau.name], plateau))
        if plateau.saddle is not None:
            predictions += predictions_of(plateau, saddle_of(plateau), summaries, config.momentum)
    laws = ball_laws(result.balls) + deep_linear_laws(result.modes)
    return Numbers(laws, committee_heights(result.committee), summaries, found, predictions)


def read(config: Config, folder: Path) -> Result:
    """The stored datasets."""
    balls, modes = (read_zarr(folder / f"{name}.zarr").assign_coords(form=list(FORMS)) for name in ("balls", "modes"))
    races = {plateau.name: read_zarr(folder / f"{slug(plateau.name)}.zarr") for plateau in config.plateaus}
    return Result(balls, modes.learnt, read_zarr(folder / "committee.zarr"), races)


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    result = read(config, folder)
    summaries, gain = numbers_of(config, result).summaries, 1 / (1 - config.momentum)
    return {
        "plateau_escape": functools.partial(draw_races, result.races, config.plateaus, config.methods, summaries, gain),
        "plateau_methods": functools.partial(draw_methods, config.plateaus, config.methods, summaries),
        "plateau_laws": functools.partial(draw_laws, *result[:3], config.momentum),
    }


def pages(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that writes it to a path}, from the stored results."""
    result = read(config, folder)
    answer = winners(config.plateaus, numbers_of(config, result).summaries)
    page = page_of(result.races, config.plateaus, config.methods, answer)
    return {"plateau_escape": functools.partial(sweep_page, page, x="plateau", y="method")}


def store(config: Config, folder: Path, result: Result) -> Numbers:
    """Write results, numbers, figures, page and record; returns the numbers of what was stored."""
    parts = {"balls": result.balls.drop_vars("form"), "committee": result.committee}  # Zarr has no string coordinates
    parts |= {"modes": result.modes.to_dataset(name="learnt").drop_vars("form")}
    parts |= {slug(name): race for name, race in result.races.items()}
    for name, part in parts.items():
        write_zarr(part, folder / f"{name}.zarr")
    found = read(config, folder)
    numbers = numbers_of(config, found)
    write_rows(folder / "plateau_escape.csv", numbers.summaries, ["stuck"])
    write_rows(folder / "plateau_laws.csv", numbers.laws, ["holds"])
    write_rows(folder / "committee_heights.csv", numbers.heights, ["holds"])
    write_rows(folder / "plateaus_measured.csv", numbers.measured)
    if numbers.predictions:
        write_rows(folder / "saddles.csv", numbers.predictions, ["holds"])
    write_figures(folder, figures(config, folder))
    for name, write in pages(config, folder).items():
        write(folder / f"{name}.html")
    receipts = {name: race.attrs["receipt"] for name, race in found.races.items()}
    write_record(folder, config, experiment="plateau_escape", receipts=receipts)
    return numbers


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables that answer the question."""
    result = run(config, console)
    with console.status("storing the result and drawing the figures"):
        config, numbers = keep(config, store, result)
    for table in (
        balls_table(numbers.laws), modes_table(numbers.laws), heights_table(numbers.heights),
        measured_table(numbers.measured, config.plateaus), races_table(numbers.summaries, config.plateaus),
        *([saddles_table(numbers.predictions)] if numbers.predictions else []),
    ):  # fmt: skip
        console.print()
        console.print(table)
    console.print()
    for sentence in sentences(numbers.laws, numbers.summaries, numbers.predictions, config.momentum):
        console.print(sentence)
    console.print(
        f"\nFigures: {config.out}/plateau_escape.png, plateau_methods.png and plateau_laws.png (and .svg), their "
        "numbers as CSV, the runs as an interactive page, plateau_escape.html, the results as Zarr."
    )


main = functools.partial(command, "plateau_escape", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
