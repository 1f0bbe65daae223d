"""Which internal representations does backpropagation find, and how often?

Rumelhart, Hinton & Williams showed in 1986 (Nature; PDP, chapter 8) that hidden units come to represent what a problem
needs. Their papers report single runs. This experiment trains every network from many initial weights and counts: the
share of starts that solve the problem, the solutions that they find, and the local minima that they end in.

Shares stand with their 95 % interval (Wilson). A published share agrees if its interval overlaps ours; a published
number of sweeps of a single run agrees if it lies within the middle 95 % of our solved runs. All examples are presented
at once, their errors are summed, and weights and biases start from the same uniform distribution. Learning rates that
the papers do not report were taken from public re-runs or chosen before the first run; nothing was tuned to agree.

    python -m experiments.internal_representations               run everything: one to two minutes on two cores
    python -m experiments.internal_representations --only xor    only the problems with "xor" in their name
    python -m experiments.internal_representations --quick       four problems, few starts: about half a minute
    python -m experiments.internal_representations --help        list all settings

Writes one table to the terminal, and the figures (PNG, SVG), the table (CSV) and the trained networks (Zarr) to
results/internal_representations.
"""

import functools
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console

from bpjax.results.record import write_record
from bpjax.util.checks import check_count
from experiments.common.command import command, print_totals, progress
from experiments.common.config import StoredSettings
from experiments.common.findings import Finding, print_findings
from experiments.common.keep import keep
from experiments.common.stored import read_named, write_figure, write_named, write_rows
from experiments.common.threads import in_parallel, stop_if
from experiments.internal_representations.problem import WIDTH, Problem, Sweeps
from experiments.internal_representations.problems import PROBLEMS, QUICK


@dataclass(frozen=True)
class Config(StoredSettings):
    """Settings of the experiment; those of the networks stand with their problems."""

    seeds: int = 200
    """Initial weights of each network; expensive problems use fewer."""
    quick: bool = False
    """At most 20 initial weights of each network, and without `only` four of the nine problems."""
    only: str = ""
    """Only the problems whose name contains this text."""
    out: Path = Path("results/internal_representations")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        check_count("Config", "seeds", self.seeds, least=2)
        super().check()
        if not self.problems:
            names = ", ".join(problem.name for problem in PROBLEMS)
            raise ValueError(f"`Config` expected `only` to be part of one of {names}, got {self.only!r}.")

    def starts(self, most: int | None = None, quick: int = 20) -> int:
        """The number of initial weights of a network.

        Args:
            most: for an expensive problem, the most of a whole run.
            quick: the most of a quick run.
        """
        limits = (self.seeds, most, quick if self.quick else None)
        return min(limit for limit in limits if limit is not None)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The selected problems."""
        offered = QUICK if self.quick and not self.only else PROBLEMS
        return tuple(problem for problem in offered if self.only.lower() in problem.name.lower())


def run(config: Config, console: Console) -> dict[str, Sweeps]:
    """Run the selected problems, several at a time; returns their sweeps by the name of the problem."""
    began, finished = time.perf_counter(), []
    with progress(console, len(config.problems)) as advance:

        def solve(problem: Problem, stop) -> Sweeps:
            def say(doing):
                stop_if(stop)
                advance(len(finished), f"{problem.name}, {doing}", "problems")

            key = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(problem.name.encode()))
            sweeps = problem.run(config, key, say)
            finished.append(problem.name)
            return sweeps

        results = in_parallel(solve, config.problems[::-1])[::-1]  # the last ones take longest
        advance(len(finished), "done", "problems")
    sweeps = [sweep for of_problem in results for sweep in of_problem.values() if "epochs" in sweep]
    epochs, trainings = (sum(int(number) for number in numbers) for numbers in zip(
        *((sweep.epochs.sum(), sweep.epochs.size) for sweep in sweeps), strict=True
    ))  # fmt: skip
    print_totals(console, trainings, epochs, time.perf_counter() - began)
    return {problem.name: sweeps for problem, sweeps in zip(config.problems, results, strict=True)}


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    drawn = [problem for problem in config.problems if problem.draw is not None]
    stored = {problem.name: read_named(folder, problem.name) for problem in drawn}
    parts = {name: [problem for problem in drawn if problem.figure == name] for name in [p.figure for p in drawn]}
    return {name: functools.partial(draw, own, stored) for name, own in parts.items()}


def store(config: Config, folder: Path, results: dict[str, Sweeps]) -> list[Finding]:
    """Write sweeps, table, figures and record; returns the findings of what was stored."""
    for name, sweeps in results.items():
        write_named(sweeps, folder, name, f"{name} ")
    stored = {problem.name: read_named(folder, problem.name) for problem in config.problems}
    findings = [row for problem in config.problems for row in problem.findings(stored[problem.name])]
    write_rows(folder / "internal_representations.csv", findings, ["verdict"])
    for name, drawn in figures(config, folder).items():
        write_figure(drawn(), folder, name)
    receipts = {
        f"{name}, {key}": sweep.attrs["receipt"]
        for name, sweeps in stored.items()
        for key, sweep in sweeps.items()
        if "receipt" in sweep.attrs
    }
    write_record(folder, config, experiment="internal_representations", receipts=receipts)
    return findings


def draw(problems: list[Problem], stored: Mapping[str, Sweeps]):
    """A figure with the problems below each other.

    Args:
        problems: that are drawn.
        stored: their sweeps.
    """
    heights = [problem.height for problem in problems]
    figure = plt.figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(problems), 1, height_ratios=heights), object))
    for problem, part in zip(problems, parts, strict=True):
        if problem.draw is not None:
            problem.draw(stored[problem.name], part)
    return figure


def show(config: Config, console: Console) -> None:
    """Run, store, and print the table that answers the question."""
    results = run(config, console)
    with console.status("storing the results and drawing the figures"):
        config, findings = keep(config, store, results)
    console.print()
    print_findings(console, findings)
    figures = dict.fromkeys(f"{problem.figure}.png" for problem in config.problems if problem.draw)
    console.print(
        f"\nFigures: {', '.join(figures)} (also as .svg) in {config.out}, the table as CSV, the networks as Zarr."
    )


main = functools.partial(command, "internal_representations", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
