"""Does momentum carry the ball over flat plateaus, and what gets a network off them?

The encyclopedia says that it does. There are several conventions of momentum, and it is true of some. First where all
is known, a flat stretch and a saddle: steps counted, against closed forms, from rest and arriving with speed. Then on
six plateaus of networks (XOR's, where all outputs are ½; a symmetric start; saturated units; a minimum of a smaller
net with a unit duplicated; a deep linear net; a soft committee machine) every device is raced against plain descent
from the same starts: momentum in three conventions at the same learning rate, the rate η/(1 − α), flat-spot
elimination, error tolerance, weight noise, Rprop, Quickprop, and beginning anew after a quarter of the epochs.

A run has left when its error falls below a level under the plateau's height, which is known beforehand. Runs that have
not by the limit are censored, not dropped: times are Kaplan-Meier medians with 95 % intervals, compared with plain
descent by the log-rank test at 5 % divided by the number of comparisons. No device's numbers were tuned to a plateau.

    python -m experiments.plateau_escape              tables, figures and a stored result in results/plateau_escape
    python -m experiments.plateau_escape --only xor   one plateau
    python -m experiments.plateau_escape --help       every number that can be changed
"""

import contextlib
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import xarray as xr
    from rich.console import Console

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
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")

import jax

import bpjax as bp
from bpjax.results.page import sweep_page
from bpjax.results.record import check_replaceable, write_record, written_aside
from bpjax.util.checks import check_between, check_count, check_number
from bpjax.util.files import slug
from experiments.common.command import check_precision, command, progress


@dataclass(frozen=True)
class Config:
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
    seed: int = 0
    """Root of all random numbers."""
    matmul_precision: str = "highest"
    """Precision of matrix products, as `jax.default_matmul_precision` takes it."""
    out: Path = Path("results/plateau_escape")
    """Folder for the result; replaced when the run is complete."""

    def check(self) -> None:
        """Raise a `ValueError` where a number makes no sense."""
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
        check_count("Config", "seed", self.seed, least=0)
        check_precision(self.matmul_precision)
        check_replaceable(self.out)
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


def receipt(plateau: Plateau, key) -> bp.gradcheck.Report:
    """This network, this loss: the hand-written gradient against `jax.grad`. Stops the experiment where wrong."""
    network, params, batch = example(plateau, key)
    oracle = bp.autodiff(network, plateau.loss)
    report = bp.compare(bp.backprop(network, plateau.loss), oracle, params, batch, timed=False, show=False)
    report.raise_if_wrong()
    return report


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
            report = receipt(plateau, own)
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
    seconds = time.perf_counter() - began
    console.print(
        f"{runs:,} trainings, {epochs:,} epochs in {seconds:.0f} s, theory, receipts and compilation included"
    )
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


def write_rows(path: Path, rows: list, **properties) -> None:
    """NamedTuples as CSV, with properties of theirs as further columns."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*rows[0]._fields, *properties))
        writer.writerows((*row, *(getattr(row, name) for name in properties.values())) for row in rows)


def store(config: Config, result: Result) -> Numbers:
    """Write results, numbers, figures, page and record, all or nothing; returns the numbers of what is stored."""
    with written_aside(config.out) as folder:
        modes = result.modes.to_dataset(name="learnt")
        named = {"balls": result.balls.drop_vars("form"), "modes": modes.drop_vars("form")}  # Zarr has no words yet
        parts = {**named, "committee": result.committee}
        parts |= {slug(name): race for name, race in result.races.items()}
        stored = {}
        for name, part in parts.items():
            part.to_zarr(folder / f"{name}.zarr", mode="w", consolidated=False)
            stored[name] = xr.open_zarr(folder / f"{name}.zarr", consolidated=False).load()
        races = {name: stored[slug(name)] for name in result.races}
        balls, modes = (stored[name].assign_coords(form=list(FORMS)) for name in named)
        result = Result(balls, modes.learnt, stored["committee"], races)
        numbers = numbers_of(config, result)
        write_rows(folder / "plateau_escape.csv", numbers.summaries, stuck="stuck")
        write_rows(folder / "plateau_laws.csv", numbers.laws, holds="holds")
        write_rows(folder / "committee_heights.csv", numbers.heights, holds="holds")
        write_rows(folder / "plateaus_measured.csv", numbers.measured)
        if numbers.predictions:
            write_rows(folder / "saddles.csv", numbers.predictions, holds="holds")
        gain = 1 / (1 - config.momentum)
        for name, figure in (
            ("plateau_escape", draw_races(races, config.plateaus, config.devices, numbers.summaries, gain)),
            ("plateau_laws", draw_laws(*result[:3], config.momentum)),
        ):
            figure.savefig(folder / f"{name}.png", dpi=90)
            figure.savefig(folder / f"{name}.svg")
            plt.close(figure)
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


def main(arguments: list[str] | None = None) -> int:
    """Parse the flags, run and show; returns the exit status."""
    return command("plateau_escape", Config, __doc__, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
