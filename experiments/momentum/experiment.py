"""What does the momentum term do?

The encyclopedia article on backpropagation: the change of a weight includes a share α of the previous change,
w ← w + α Δw − (1 − α) η ∂E/∂w, so that learning continues across flat plateaus and oscillates less in steep valleys.
α = 0 is plain gradient descent; with α = 1 the weights move on in a straight line. Other conventions are
α Δw − η ∂E/∂w (heavy ball) and a gradient taken ahead (Nesterov). This experiment maps the plane learning rate ×
momentum coefficient for the three conventions, in a quadratic ravine, on XOR and on an encoder. It then measures the
quantities that have closed forms: the limit of stability in ravines and at minima of networks, the rate of convergence
at the best setting, the effective learning rate η/(1 − α), and the cases α = 0 and α = 1.

    python -m experiments.momentum              run everything: about 45 seconds on two cores
    python -m experiments.momentum --quick      fewer rates and weights, the same figures: about half a minute
    python -m experiments.momentum --help       list all settings

Writes tables to the terminal, and figures (PNG, SVG, HTML), their numbers (CSV) and the sweeps (Zarr) to
results/momentum.
"""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import xarray as xr
from rich.console import Console

import bpjax as bp
from bpjax.results.record import write_record
from bpjax.util.checks import check_count, check_number
from experiments.common.command import command, print_totals, progress
from experiments.common.config import QuickSettings
from experiments.common.gradients import gradient_receipt
from experiments.common.keep import keep
from experiments.common.redraw import write_figures
from experiments.common.starts import first_start
from experiments.common.stored import read_zarr, write_rows, write_zarr
from experiments.momentum import ends, maps, networks, planes, ravines
from experiments.momentum.boundary import Boundary
from experiments.momentum.report import plane_sentences, plane_table, theory_table
from experiments.momentum.theory_figure import draw_theory


@dataclass(frozen=True)
class Config(QuickSettings):
    """Settings of the experiment."""

    QUICK = {
        "rates": 11, "momenta": 10, "xor_seeds": 9, "encoder_seeds": 3, "conditions": (10.0, 100.0),
        "boundary_momenta": (0.0, 0.5, 0.9), "network_momenta": (0.0, 0.9), "minima": 1, "rest_seeds": 4,
        "effective_rates": (0.3, 0.003), "lag_momenta": (0.9,),
    }  # fmt: skip

    rates: int = 21
    """Number of learning rates of each plane, evenly spaced on a logarithmic axis."""
    momenta: int = 20
    """Number of momentum coefficients of each plane, evenly spaced from 0."""
    highest_momentum: float = 0.95
    """Largest momentum coefficient of the planes, below 1."""
    ravine: float = 100.0
    """Condition number κ of the ravine with a plane; its curvatures go from 1 down to 1/κ."""
    ravine_rates: tuple[float, float] = (0.05, 100.0)
    """Lowest and highest learning rate in the ravine."""
    ravine_goal: float = 1e-6
    """The ravine counts as solved when the error falls below this multiple of the initial error."""
    ravine_epochs: int = 2000
    """Maximum number of epochs in the ravine."""
    xor_rates: tuple[float, float] = (0.1, 300.0)
    """Lowest and highest learning rate on XOR."""
    xor_seeds: int = 50
    """Initial weights for each cell on XOR."""
    xor_epochs: int = 2000
    """Maximum number of epochs on XOR."""
    encoder_inputs: int = 10
    """Number of inputs and of outputs of the encoder."""
    encoder_hidden: int = 5
    """Hidden units of the encoder."""
    encoder_rates: tuple[float, float] = (0.02, 30.0)
    """Lowest and highest learning rate on the encoder."""
    encoder_seeds: int = 10
    """Initial weights for each cell on the encoder."""
    encoder_epochs: int = 500
    """Maximum number of epochs on the encoder."""
    conditions: tuple[float, ...] = (10.0, 100.0, 1000.0, 10000.0)
    """Condition numbers of the ravines that are compared with the closed forms."""
    boundary_momenta: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9, 0.95)
    """Momentum coefficients at which the limit of stability is measured in the ravines."""
    network_momenta: tuple[float, ...] = (0.0, 0.5, 0.9)
    """Momentum coefficients at which the limit of stability is measured at minima of networks."""
    digits: int = 4
    """The limit of stability is bisected to a relative precision of 10^-digits."""
    bisection_steps: int = 100_000
    """Maximum steps at one learning rate in the ravines; a rate still undecided then is taken as the limit."""
    network_steps: int = 50_000
    """Maximum steps at one learning rate at minima of networks."""
    most_steps: int = 20_000
    """Maximum steps of a run that measures a rate of convergence."""
    minima: int = 3
    """Number of different minima of each network."""
    rest_seeds: int = 12
    """Number of networks trained to find the minima."""
    rest: float = 1e-9
    """A network is at a minimum when the norm of its gradient is below this."""
    rest_rate: float = 0.3
    """Learning rate (heavy ball) of the search for minima."""
    rest_momentum: float = 0.9
    """Momentum coefficient of the search for minima."""
    rest_epochs: int = 20_000
    """Maximum number of epochs of the search for minima."""
    decay: float = 0.003
    """Weight decay of the networks, which makes their minima strict."""
    push: float = 1e-6
    """Distance by which weights are moved from a minimum, along the direction of largest curvature."""
    hidden: int = 32
    """Width of the hidden layer on the digits."""
    effective_rates: tuple[float, ...] = (0.3, 0.03, 0.003, 0.0003)
    """Effective learning rates on the digits."""
    lag_momenta: tuple[float, ...] = (0.5, 0.9)
    """Momentum coefficients on the digits."""
    lag_epochs: int = 100
    """Epochs on the digits."""
    end_rate: float = 2.0
    """Learning rate on XOR at α = 0 and α = 1."""
    end_steps: int = 1000
    """Steps on XOR at α = 0 and α = 1; the bitwise comparison takes a tenth of them."""
    frictionless_steps: int = 10_000
    """Steps of heavy ball at α = 1 in the ravine."""
    out: Path = Path("results/momentum")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        for name in ("rates", "momenta"):
            check_count("Config", name, getattr(self, name), least=2)
        for name in COUNTS:
            check_count("Config", name, getattr(self, name))
        check_count("Config", "encoder_inputs", self.encoder_inputs, least=2)
        check_count("Config", "lag_epochs", self.lag_epochs, least=20)
        check_number("Config", "highest_momentum", self.highest_momentum, above=0.0, most=MOST)
        for name in ("ravine_goal", "rest", "rest_rate", "decay", "push", "end_rate"):
            check_number("Config", name, getattr(self, name), above=0.0)
        check_number("Config", "rest_momentum", self.rest_momentum, least=0.0, most=MOST)
        for name in ("ravine_rates", "xor_rates", "encoder_rates"):
            low, high = getattr(self, name)
            check_number("Config", f"{name}[0]", low, above=0.0)
            check_number("Config", f"{name}[1]", high, above=low)
        for name in ("conditions", "effective_rates", "boundary_momenta", "network_momenta", "lag_momenta"):
            self.check_several(name)
        check_number("Config", "ravine", self.ravine, above=1.0)
        super().check()

    def check_several(self, name: str) -> None:
        """Raise a `ValueError` unless `name` holds distinct numbers within their bounds, at least one."""
        numbers = getattr(self, name)
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"`Config` expected distinct numbers in `{name}`, at least one, got {numbers}.")
        for number in numbers:
            if name.endswith("momenta"):
                bound: dict[str, Any] = {"above": 0.0} if name == "lag_momenta" else {"least": 0.0}
                check_number("Config", name, number, most=MOST, **bound)
            else:
                check_number("Config", name, number, above=1.0 if name == "conditions" else 0.0)


MOST = 0.99
"""Largest momentum coefficient allowed: the closed forms need α < 1, and transients grow as (1 + α)/(1 − α)."""
COUNTS = (
    "ravine_epochs", "xor_seeds", "xor_epochs", "encoder_hidden", "encoder_seeds", "encoder_epochs", "digits",
    "bisection_steps", "network_steps", "most_steps", "minima", "rest_seeds", "rest_epochs", "hidden",
    "end_steps", "frictionless_steps",
)  # fmt: skip


ROWS = {"boundaries": Boundary, "speeds": ravines.Speed, "float32": ravines.Speed, "lags": ends.Lag, "facts": ends.Fact}
"""{table: type of its rows}."""


def run_planes(config: Config, key, console: Console) -> dict[str, xr.Dataset]:
    """Check the gradient of each problem, then sweep its plane in every form."""
    results = {}
    for index, problem in enumerate(planes.problems(config)):
        own = jax.random.fold_in(key, index)
        with console.status(f"{problem.title}: comparing the gradient with jax.grad"):
            params = first_start(problem.network, own, problem.batch[0].shape[1:])
            report = gradient_receipt(problem.network, bp.squared_error, params, problem.batch)
        console.print(f"[bold]{problem.title}[/bold]  gradient receipt: {report.verdict}")
        runs = len(planes.PLANES) * len(problem.rates) * len(problem.momenta) * problem.seeds
        began = time.perf_counter()
        with progress(console, runs) as advance:

            def on_progress(state, advance=advance):
                doing = "training" if state.done else "compiling"
                advance(state.done, doing, f"runs, {state.rate / 1e6:.1f} M epochs/s")

            results[problem.name] = planes.measure(problem, own, report, on_progress)
        print_totals(console, runs, int(results[problem.name].epochs.sum()), time.perf_counter() - began)
    return results


def run_theory(config: Config, key, console: Console) -> dict[str, Any]:
    """Measure the quantities that have closed forms."""
    with console.status("bisecting the limit of stability in ravines"):
        boundaries = ravines.ravine_boundaries(config, key)
    with jax.enable_x64(True):
        for index, name in enumerate(networks.tasks(config)):
            own = jax.random.fold_in(key, index)
            with console.status(f"{name}: training to a minimum, then bisecting"):
                minima = networks.find_minima(name, config, own)
                boundaries += networks.network_boundaries(config, minima, own)
            console.print(
                f"{name}: {minima.converged} of {minima.tried} networks reached a minimum, "
                f"{len(minima.curvature)} different minima, gradient ≤ {minima.gradient.max():.0e}, λ_max "
                + ", ".join(f"{value:.4g}" for value in minima.curvature)
            )
    with console.status("measuring rates of convergence in ravines"):
        forms = ("gradient descent", "heavy_ball", "convex", "nesterov")
        speeds = [speed for form in forms for speed in ravines.ravine_speeds(config, form)]
        single = ravines.ravine_speeds(config, "heavy_ball", x64=False)
    # float64, because the lowest rate changes the weights very little
    with console.status("digits: the effective rate"), jax.enable_x64(True):
        curves = ends.digits_curves(config, key)
    with console.status("α = 0 and α = 1"):
        facts = ends.end_facts(config, key)
    return {"boundaries": boundaries, "speeds": speeds, "float32": single, "lags": ends.lags(curves),
            "facts": [*ends.equal_curves(curves), *facts], "curves": curves}  # fmt: skip


def read(config: Config, folder: Path) -> tuple[dict[str, xr.Dataset], dict[str, list], xr.Dataset]:
    """The stored planes, tables and curves."""
    stored = {problem.name: read_zarr(folder / f"{problem.name}.zarr") for problem in planes.problems(config)}
    text = json.loads((folder / "theory.json").read_text())
    tables = {name: [ROWS[name](**row) for row in rows] for name, rows in text.items()}
    return stored, tables, read_zarr(folder / "digits.zarr")


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    stored, tables, curves = read(config, folder)
    problems = planes.problems(config)
    return {
        "momentum": functools.partial(maps.draw, stored, problems),
        "momentum_maps": functools.partial(maps.draw_all, stored, problems),
        "momentum_solved": functools.partial(maps.draw_all, stored, problems, shares=True),
        "momentum_theory": functools.partial(draw_theory, tables, curves),
    }


def pages(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that writes it to a path}, from the stored results."""
    return maps.pages_of(read(config, folder)[0])


def store(config: Config, folder: Path, results: dict[str, xr.Dataset], found: dict[str, Any]):
    """Write results, numbers, figures, pages and record; returns planes and tables as read back."""
    for name, result in results.items():
        write_zarr(result, folder / f"{name}.zarr")
    write_zarr(found["curves"], folder / "digits.zarr")
    text = {name: [row._asdict() for row in rows] for name, rows in found.items() if name != "curves"}
    (folder / "theory.json").write_text(json.dumps(text, indent=1, default=float) + "\n")
    stored, tables, _ = read(config, folder)
    write_figures(folder, figures(config, folder))
    write_rows(folder / "momentum.csv", planes.cells(stored))
    for name, rows in tables.items():
        write_rows(folder / f"momentum_{name}.csv", rows)
    for name, write in pages(config, folder).items():
        write(folder / f"{name}.html")
    receipts = {name: result.attrs["receipt"] for name, result in stored.items()}
    write_record(folder, config, experiment="momentum", receipts=receipts)
    return stored, tables


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables that answer the question."""
    key = jax.random.key(config.seed)
    began = time.perf_counter()
    results = run_planes(config, jax.random.fold_in(key, 0), console)
    found = run_theory(config, jax.random.fold_in(key, 1), console)
    with console.status("storing the result and drawing the figures"):
        config, (stored, tables) = keep(config, store, results, found)
    rows = [row for name, result in stored.items() for row in planes.rows_of(name, result)]
    limits = {name: result.attrs["epoch_limit"] for name, result in stored.items()}
    console.print()
    console.print(plane_table(rows, {name: result.attrs["title"] for name, result in stored.items()}, limits))
    console.print()
    console.print(theory_table(tables))
    console.print()
    for sentence in plane_sentences(rows):
        console.print(sentence)
    pages = f"{config.out}/{rows[0].problem}_{rows[0].form}.html"
    console.print(
        f"\nFigures: {config.out / 'momentum.png'}, momentum_maps.png, momentum_solved.png and momentum_theory.png "
        f"(and .svg), their numbers as CSV, planes as Zarr and as interactive pages ({pages} and others). "
        f"{time.perf_counter() - began:.0f} s."
    )


main = functools.partial(command, "momentum", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
