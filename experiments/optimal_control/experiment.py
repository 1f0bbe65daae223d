"""Is optimal control backpropagation through time: do costates and gradients give the published best controls?

Kelley (1960) and Bryson (1961) found the best controls of a flight by following a gradient that is propagated backward
along the trajectory: backpropagation through time, with the costates λ(t) as error signals. Here that adjoint is
written by hand through the four stages of a Runge-Kutta step and compared with `jax.grad`. Gradient descent, momentum
and Newton's method then solve Zermelo's ship, the orbit raising of Bryson & Ho, two brachistochrones, Bryson's longest
range, and the closed forms of Bryson & Ho. Every value is computed with three numbers of steps and extrapolated to step
0. On linear systems dynamic programming gives the same gradient (Dreyfus 1962), and the gains of a pendulum's
controller follow their error gradient (Dreyfus 1973). Nothing was tuned to agree.

    python -m experiments.optimal_control           all problems: about a minute on two cores
    python -m experiments.optimal_control --quick   fewer steps: about half a minute
    python -m experiments.optimal_control --help    list all settings

Writes tables to the terminal, and figures (PNG, SVG), the table (CSV) and all trajectories (Zarr) to
results/optimal_control.
"""

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from rich.console import Console

from bpjax.results.record import write_record
from bpjax.util.checks import check_count
from experiments.common.command import command, progress
from experiments.common.config import StoredSettings
from experiments.common.findings import Finding, print_findings
from experiments.common.gradients import quick_compilations
from experiments.common.keep import keep
from experiments.common.stored import read_named, read_zarr, write_figure, write_named, write_rows, write_zarr
from experiments.common.threads import in_parallel, stop_if
from experiments.optimal_control import bounded, linear, problems, tables
from experiments.optimal_control.denham import bryson_denham
from experiments.optimal_control.dreyfus import adapt_gains, compare_dynamic_programming
from experiments.optimal_control.figures import draw_bounded, draw_dreyfus, draw_linear, draw_nonlinear
from experiments.optimal_control.receipt import receipt
from experiments.optimal_control.solve import solve, solve_from

QUICK_STEPS, QUICK_ITERATIONS = 20, 2000


@dataclass(frozen=True)
class Config(StoredSettings):
    """Settings of the experiment."""

    quick: bool = False
    """20, 40 and 80 steps, 2,000 iterations, one problem compared with `jax.grad`."""
    steps: int = 40
    """Steps of the coarsest trajectories; the others have twice and four times as many."""
    iterations: int = 4000
    """Iterations of gradient descent and momentum."""
    systems: int = 10
    """Random linear systems on which dynamic programming is compared with the adjoint."""
    out: Path = Path("results/optimal_control")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        check_count("Config", "steps", self.steps, least=10, most=1000)
        check_count("Config", "iterations", self.iterations, least=1000)
        check_count("Config", "systems", self.systems)
        super().check()

    @property
    def resolutions(self) -> tuple[int, int, int]:
        """The three numbers of steps."""
        coarse = QUICK_STEPS if self.quick else self.steps
        return coarse, 2 * coarse, 4 * coarse

    @property
    def epochs(self) -> int:
        """Iterations of descent, a multiple of 40."""
        return (QUICK_ITERATIONS if self.quick else self.iterations) // 40 * 40


class Result(NamedTuple):
    """What is stored."""

    solved: dict[str, xr.Dataset]  # by the name of the problem
    bounded: dict[str, xr.Dataset]  # by the name of the problem
    programming: xr.Dataset
    gains: xr.Dataset
    receipts: dict[str, float]  # by the name of the problem: relative difference from `jax.grad`


def jobs(config: Config) -> dict[str, Callable]:
    """{name: function of a stop event}, the longest first; each returns datasets by name, and receipts by name."""
    cases = linear.SOFT + linear.HARD

    def job(problem, names, finer: int = 1):
        steps = tuple(finer * count for count in config.resolutions)

        def work(stop):
            found = solve(problem, names, steps, config.epochs, stop)
            is_checked = not config.quick or problem.name == tables.ZERMELO
            return found, {problem.name: receipt(problem)} if is_checked else {}

        return work

    def longest_range(stop):
        problem = problems.longest_range()
        found, receipts = job(problem, [tables.RANGE])(stop)
        turning = solve_from(problem, problems.turning, tables.TURNING, config.resolutions, config.epochs, stop)
        return found | turning, receipts

    def bounds(stop):
        stop_if(stop)
        found = {
            tables.SATURATED: bounded.saturated(100, config.epochs, (500, 1000) if config.quick else (500, 1000, 2000)),
            tables.FUEL: bounded.least_fuel(40, config.epochs),
            tables.DENHAM: bryson_denham(config.epochs, (40,) if config.quick else (20, 40, 80)),
        }
        return found, {}

    def dreyfus(stop):
        rows = [compare_dynamic_programming(config.seed + index) for index in range(config.systems)]
        compared = xr.Dataset({name: ("system", np.array(values)) for name, values in _columns(rows).items()})
        return {"programming": compared, "gains": adapt_gains(config.epochs)}, {}

    return {
        "quadratic costs": job(linear.linear_problem("Quadratic costs", cases), [case.name for case in cases]),
        tables.ORBIT: job(problems.orbit(), [tables.ORBIT], 1 if config.quick else 2),
        "brachistochrones": job(problems.brachistochrones(), tables.SLIDES),
        tables.RANGE: longest_range,
        tables.ZERMELO: job(problems.zermelo(), [tables.ZERMELO]),
        "bounded controls and states": bounds,
        "dynamic programming and gains": dreyfus,
    }


def _columns(rows):
    return {name: [getattr(row, name) for row in rows] for name in rows[0]._fields}


def run(config: Config, console: Console) -> Result:
    """Solve all problems in float64, two at a time."""
    began, lock = time.perf_counter(), threading.Lock()
    with jax.enable_x64(True), quick_compilations():
        work = jobs(config)
        with progress(console, len(work)) as advance:
            done = []

            def one(name, stop):
                found = work[name](stop)
                with lock:
                    done.append(name)
                    advance(len(done), f"solved: {name}", "groups of problems")
                return found

            parts = in_parallel(one, work)
    found = {name: here for datasets, _ in parts for name, here in datasets.items()}
    receipts = {name: value for _, values in parts for name, value in values.items()}
    programming, gains = found.pop("programming"), found.pop("gains")
    limited = {name: found.pop(name) for name in (tables.SATURATED, tables.FUEL, tables.DENHAM)}
    console.print(f"{len(found) + len(limited)} problems in {time.perf_counter() - began:.0f} s, compilation included")
    return Result(found, limited, programming, gains, receipts)


def findings_of(result: Result) -> list[Finding]:
    """All rows of the table."""
    found = result.solved
    return [
        tables.receipt_row(result.receipts),
        *tables.ship_rows(found[tables.ZERMELO]),
        *tables.orbit_rows(found[tables.ORBIT]),
        *tables.slide_rows(found),
        *tables.range_rows(found),
        *tables.linear_rows(found),
        *tables.bounded_rows(result.bounded),
        *tables.dreyfus_rows(result.programming, result.gains),
    ]


def read(folder: Path, receipts: dict[str, float]) -> Result:
    """The stored datasets, with the receipts of their gradients."""
    solved, bounded = read_named(folder, "solved"), read_named(folder, "bounded")
    return Result(solved, bounded, read_zarr(folder / "programming.zarr"), read_zarr(folder / "gains.zarr"), receipts)


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    found = read(folder, {})
    return {
        "optimal_control": functools.partial(draw_nonlinear, found.solved),
        "quadratic_cost": functools.partial(draw_linear, found.solved),
        "bounded": functools.partial(draw_bounded, found.bounded),
        "dreyfus": functools.partial(draw_dreyfus, found.solved, found.gains),
    }


def store(config: Config, folder: Path, result: Result) -> tuple[list[Finding], Result]:
    """Write trajectories, table, figures and record; returns the rows computed from what is stored."""
    write_named(result.solved, folder, "solved")
    write_named(result.bounded, folder, "bounded")
    write_zarr(result.programming, folder / "programming.zarr")
    write_zarr(result.gains, folder / "gains.zarr")
    result = read(folder, result.receipts)
    rows = findings_of(result)
    write_rows(folder / "findings.csv", rows, ["verdict"])
    for name, draw in figures(config, folder).items():
        write_figure(draw(), folder, name, dpi=75)
    write_record(
        folder,
        config,
        experiment="optimal_control",
        receipts={name: f"{value:.1e}" for name, value in result.receipts.items()},
    )
    return rows, result


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables."""
    result = run(config, console)
    with console.status("storing the result and drawing the figures"):
        config, (rows, result) = keep(config, store, result)
    console.print()
    console.print(tables.methods_table(result.solved | result.bounded))
    console.print()
    print_findings(console, rows, "Optimal control: published values and ours")
    console.print(
        f"\nFigures: {config.out}/optimal_control.png, quadratic_cost.png, bounded.png and dreyfus.png (also as .svg), "
        "the table as findings.csv, the trajectories as Zarr."
    )


main = functools.partial(command, "optimal_control", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
