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

    python -m experiments.plateau_escape              run everything: about one minute on two cores
    python -m experiments.plateau_escape --only xor   only the plateaus with "xor" in their name
    python -m experiments.plateau_escape --help       list all settings

Writes tables to the terminal, and figures (PNG, SVG, HTML), their numbers (CSV) and the runs (Zarr) to
results/plateau_escape.
"""

import contextlib
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import xarray as xr
from rich.console import Console

from bpjax.results.page import sweep_page
from bpjax.results.record import write_record, written_aside
from bpjax.util.checks import check_between, check_count, check_number
from bpjax.util.files import slug
from experiments.common.command import command, print_totals, progress
from experiments.common.config import StoredSettings
from experiments.common.gradients import gradient_receipt
from experiments.common.stored import write_figure, write_rows, write_zarr
from experiments.plateau_escape.figures import draw_laws, draw_races
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
from experiments.plateau_escape.outcomes import Measured, Summary, measured, summaries_of
from experiments.plateau_escape.races import Device, devices, page_of, race
from experiments.plateau_escape.saddles import Prediction, predictions_of, saddle_of
from experiments.plateau_escape.starts import Plateau, example, plateaus
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
class Config(StoredSettings):
    """Every number of the experiment that does not make a plateau."""

    seeds: int = 100
    """Starts on each plateau, the same for every device."""
    momentum: float = 0.9
    """α of every form."""
    offset: float = 0.1
    """Flat-spot elimination: added to the derivative of every sigmoid unit."""
    tolerance: float = 0.1
    """Error tolerance: outputs closer to their target learn nothing."""
    noise: float = 0.1
    """Standard deviation of the noise on every weight."""
    attempts: int = 4
    """Starts that a run with restarts has, each for an equal share of the epochs."""
    samples: int = 400
    """Points of an error curve."""
    committee_inputs: int = 20
    """Inputs of the soft committee machines that are raced."""
    law_units: int = 4
    """Soft committee machines of 2 to so many units have the height of their plateau measured against theory."""
    law_nets: int = 8
    """How many of each."""
    law_inputs: int = 100
    """Their inputs."""
    law_time: int = 200
    """Examples they learn from, for each input."""
    only: str = ""
    """Only the plateaus whose name holds this text."""
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
        if not self.plateaus:
            raise ValueError(f"`Config` expected `only` to be part of a plateau's name, got {self.only!r}. Try 'xor'.")

    @property
    def plateaus(self) -> list[Plateau]:
        """The plateaus asked for."""
        return plateaus(self.committee_inputs, self.only)

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices, the fresh starts of restarts last."""
        return devices(self.momentum, self.offset, self.tolerance, self.noise, self.attempts)


class Result(NamedTuple):
    """What is stored."""

    balls: xr.Dataset
    modes: xr.DataArray
    committee: xr.Dataset
    races: dict[str, xr.Dataset]  # by the name of the plateau


class Numbers(NamedTuple):
    """The result in numbers."""

    laws: list[Law]
    heights: list[Height]
    summaries: list[Summary]
    measured: list[Measured]
    predictions: list[Prediction]


def run(config: Config, console: Console) -> Result:
    """Receipts, what theory knows, and the races, with their progress."""
    key, began = jax.random.key(config.seed), time.perf_counter()
    with console.status("balls, deep linear nets and soft committee machines against theory"):
        balls = ball_paths(sorted({0.5, 0.9, 0.99, config.momentum}))
        modes = mode_paths(config.momentum)
        committee_key = jax.random.fold_in(key, 100)
        size = config.law_units, config.law_nets, config.law_inputs
        committee = committee_curves(*size, 0.1, config.law_time, committee_key)
    races, chosen = {}, config.plateaus
    for index, plateau in enumerate(chosen):
        own = jax.random.fold_in(key, index)
        with console.status(f"{plateau.name}: holding the gradient against jax.grad"):
            network, params, batch = example(plateau, own)
            report = gradient_receipt(network, plateau.loss, params, batch)
        console.print(f"[bold]{plateau.name}[/bold]  gradient receipt: {report.verdict}")
        total = config.seeds * len(config.devices)
        with progress(console, total) as advance:

            def tell(state, advance=advance):
                advance(
                    state.done, "racing" if state.epochs else "compiling", f"runs, {state.rate / 1e6:.2g} M epochs/s"
                )

            races[plateau.name] = race(plateau, config, own, report, tell)
    epochs = sum(int(result.epochs.sum()) for result in races.values())
    runs = sum(result.solved.size for result in races.values())
    print_totals(console, runs, epochs, time.perf_counter() - began)
    return Result(balls, modes, committee, races)


def numbers_of(config: Config, result: Result) -> Numbers:
    """Laws, heights, and what became of the races."""
    names = {row.name for row in config.devices}
    level = 0.05 / (len(names) * len(config.plateaus))
    summaries, found, predictions = [], [], []
    for plateau in config.plateaus:
        summaries += summaries_of(result.races[plateau.name], plateau, config.devices, level)
        found.append(measured(result.races[plateau.name], plateau))
        if plateau.saddle is not None:
            predictions += predictions_of(plateau, saddle_of(plateau), summaries, config.momentum)
    laws = ball_laws(result.balls) + deep_linear_laws(result.modes)
    return Numbers(laws, committee_heights(result.committee), summaries, found, predictions)


def store(config: Config, result: Result) -> Numbers:
    """Write results, numbers, figures, page and record, all or nothing; returns the numbers of what is stored."""
    with written_aside(config.out) as folder:
        modes = result.modes.to_dataset(name="learnt")
        named = {"balls": result.balls.drop_vars("form"), "modes": modes.drop_vars("form")}  # Zarr has no words yet
        parts = {**named, "committee": result.committee}
        parts |= {slug(name): race for name, race in result.races.items()}
        stored = {name: write_zarr(part, folder / f"{name}.zarr") for name, part in parts.items()}
        races = {name: stored[slug(name)] for name in result.races}
        balls, modes = (stored[name].assign_coords(form=list(FORMS)) for name in named)
        result = Result(balls, modes.learnt, stored["committee"], races)
        numbers = numbers_of(config, result)
        write_rows(folder / "plateau_escape.csv", numbers.summaries, ["stuck"])
        write_rows(folder / "plateau_laws.csv", numbers.laws, ["holds"])
        write_rows(folder / "committee_heights.csv", numbers.heights, ["holds"])
        write_rows(folder / "plateaus_measured.csv", numbers.measured)
        if numbers.predictions:
            write_rows(folder / "saddles.csv", numbers.predictions, ["holds"])
        gain = 1 / (1 - config.momentum)
        for name, figure in (
            ("plateau_escape", draw_races(races, config.plateaus, config.devices, numbers.summaries, gain)),
            ("plateau_laws", draw_laws(*result[:3], config.momentum)),
        ):
            write_figure(figure, folder, name, dpi=90)
        with contextlib.suppress(ModuleNotFoundError):  # without Plotly there is everything but the page
            sweep_page(page_of(races, config.plateaus, config.devices), folder / "plateau_escape.html")
        write_record(folder, config, receipts={name: race.attrs["receipt"] for name, race in races.items()})
    return numbers


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables that answer the question."""
    result = run(config, console)
    with console.status("storing the result and drawing the figures"):
        numbers = store(config, result)
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
        f"\nFigures: {config.out}/plateau_escape.png and plateau_laws.png (and .svg), their numbers beside them "
        "as CSV, the runs to look around in as plateau_escape.html, the results as Zarr."
    )


main = functools.partial(command, "plateau_escape", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
