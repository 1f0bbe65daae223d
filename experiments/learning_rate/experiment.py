"""How does the learning rate decide whether, and how fast, a network learns?

The encyclopedia article on backpropagation claims: with too high a rate the minimum is missed, with too low a rate
learning is needlessly slow. This experiment tests the claim on 1,197 handwritten digits, XOR, an encoder and parity:

1. A map: gradient descent on the full batch at learning rates over four decades, with many initial weights for each
   rate. For comparison, a quadratic with the curvature of the start diverges above 2/λ_max.
2. Below that limit: weights that oscillate across a minimum, against the closed form (1 − ηλ)ᵗ.
3. Above it: the edge of stability, the curvature during training on the digits against 2/η (Cohen et al. 2021).
4. Variable rates, the bold driver (Vogl et al. 1988) and delta-bar-delta (Jacobs 1988), against the best fixed rate.

    python -m experiments.learning_rate              run everything: about 50 seconds on two cores
    python -m experiments.learning_rate --quick      fewer rates and weights, the same figures: about half a minute
    python -m experiments.learning_rate --only xor   one of digits, xor, encoder, parity
    python -m experiments.learning_rate --help       list all settings

Writes tables to the terminal, and figures (PNG, SVG, HTML), their numbers (CSV) and the sweeps (Zarr) to
results/learning_rate.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from rich.console import Console

from bpjax.results.record import write_record
from bpjax.util.checks import check_count, check_number
from experiments.common.command import command, print_totals, progress
from experiments.common.config import QuickSettings
from experiments.common.keep import keep
from experiments.common.redraw import write_figures
from experiments.common.stored import read_zarr, write_zarr
from experiments.common.threads import in_parallel, stop_if
from experiments.learning_rate.figures import edge_figure, main_figure, oscillation_figure, rule_figure
from experiments.learning_rate.numbers import oscillation_sentence, write_numbers
from experiments.learning_rate.pages import write_edge, write_map
from experiments.learning_rate.problems import FIXED, PROBLEMS, RULES, prepare, problems, train
from experiments.learning_rate.rows import (
    RULE_NOTE,
    answer,
    edge_table,
    limit_table,
    rate_table,
    rows_of,
    rule_sentence,
    rule_table,
)
from experiments.learning_rate.steep import edge, oscillation, saturation


@dataclass(frozen=True)
class Config(QuickSettings):
    """Settings of the experiment."""

    QUICK = {
        "rates_per_decade": 3, "seeds": 6, "small_seeds": 20, "parity_epochs": 3000, "squared_rates": (0.2, 0.5),
        "entropy_rates": (0.2, 1.0), "edge_seeds": 1, "squared_epochs": 400, "entropy_epochs": 100,
        "curvature_samples": 20,
    }  # fmt: skip

    lowest_rate: float = 0.01
    """Lowest learning rate."""
    highest_rate: float = 100.0
    """Highest learning rate."""
    rates_per_decade: int = 6
    """Learning rates per factor of ten, evenly spaced on a logarithmic axis. Variable rates start at one per decade."""
    seeds: int = 20
    """Initial weights for each rate on the digits; the same for every rate and rule."""
    small_seeds: int = 100
    """Initial weights for each rate on XOR, encoder and parity."""
    digits_epochs: int = 200
    """Maximum number of epochs on the digits."""
    xor_epochs: int = 3000
    """Maximum number of epochs on XOR."""
    encoder_epochs: int = 1500
    """Maximum number of epochs on the encoder."""
    parity_epochs: int = 6000
    """Maximum number of epochs on parity."""
    digits_goal: float = 0.2
    """Digits count as solved when the mean cross entropy (nats per example) falls below this."""
    explosion: float = 10.0
    """A run has diverged when its error exceeds this multiple of the first epoch's error, or is not finite."""
    hidden: int = 32
    """Width of the hidden layer on the digits."""
    oscillation_epochs: int = 60
    """Epochs of the oscillation across a minimum."""
    displacement: float = 0.1
    """Distance from its minimum at which the XOR network starts, along the direction of largest curvature."""
    squared_rates: tuple[float, ...] = (0.2, 0.4, 0.5, 0.7)
    """Learning rates at the edge of stability, squared error."""
    entropy_rates: tuple[float, ...] = (0.2, 0.6, 1.0, 1.8)
    """Learning rates at the edge of stability, cross entropy."""
    edge_seeds: int = 2
    """Initial weights for each rate at the edge of stability."""
    squared_epochs: int = 2000
    """Epochs at the edge of stability, squared error."""
    entropy_epochs: int = 200
    """Epochs at the edge of stability, cross entropy."""
    curvature_samples: int = 50
    """How many times the curvature is measured during training."""
    only: str = ""
    """Train only on this problem: digits, xor, encoder or parity. Empty for all."""
    out: Path = Path("results/learning_rate")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        check_number("Config", "lowest_rate", self.lowest_rate, above=0.0)
        check_number("Config", "highest_rate", self.highest_rate, above=self.lowest_rate)
        check_number("Config", "digits_goal", self.digits_goal, above=0.0)
        check_number("Config", "explosion", self.explosion, above=1.0)
        check_number("Config", "displacement", self.displacement, above=0.0)
        for name in ("squared_rates", "entropy_rates"):
            for rate in getattr(self, name):
                check_number("Config", name, rate, above=0.0)
            if len(set(getattr(self, name))) != len(getattr(self, name)) or not getattr(self, name):
                raise ValueError(f"`Config` expected `{name}` to be distinct rates, at least one.")
        for field in fields(self):
            if field.type is int and field.name != "seed":
                check_count("Config", field.name, getattr(self, field.name))
        if self.curvature_samples > min(self.squared_epochs, self.entropy_epochs):
            raise ValueError(
                "`Config` expected `curvature_samples` ≤ the epochs at the edge of stability, "
                f"got {self.curvature_samples}."
            )
        if self.only not in ("", *PROBLEMS):
            raise ValueError(f"`Config` expected `only` to be one of {', '.join(PROBLEMS)}, got {self.only!r}.")
        super().check()

    @property
    def rates(self) -> np.ndarray:
        """The learning rates, ascending."""
        decades = math.log10(self.highest_rate / self.lowest_rate)
        return np.geomspace(self.lowest_rate, self.highest_rate, max(2, round(decades * self.rates_per_decade) + 1))

    def rates_of(self, rule: str) -> np.ndarray:
        """The learning rates of a rule: all of them for the fixed rate, one per decade for variable rates."""
        return self.rates if rule == FIXED else self.rates[:: self.rates_per_decade]

    @property
    def edges(self) -> dict[str, tuple[tuple[float, ...], int]]:
        """{loss: (learning rates, epochs)} at the edge of stability."""
        return {
            "squared error": (self.squared_rates, self.squared_epochs),
            "cross entropy": (self.entropy_rates, self.entropy_epochs),
        }


def run(config: Config, console: Console) -> dict[str, list[xr.Dataset]]:
    """Receipts, then every sweep under one progress bar; results by part: "sweeps", "oscillations", "edges"."""
    root, began = jax.random.key(config.seed), time.perf_counter()
    keys = {name: jax.random.fold_in(root, index) for index, name in enumerate(PROBLEMS)}
    chosen = [problem for problem in problems(config) if config.only in ("", problem.name)]
    with console.status("comparing the gradients with jax.grad, measuring the curvature"):
        ready = in_parallel(lambda problem, stop: prepare(problem, keys[problem.name]), chosen, WORKERS)
    for prepared in ready:
        console.print(f"[bold]{prepared.problem.title}[/bold]  gradient receipt: {prepared.verdict}", soft_wrap=True)
    trainings = sum(p.seeds * len(config.rates_of(rule)) for p in chosen for rule in RULES)
    total = trainings + config.edge_seeds * sum(len(rates) for rates, _ in config.edges.values())
    with progress(console, total) as advance:
        done: dict[str, int] = {}

        def report(what: str, stop: threading.Event, state) -> None:
            stop_if(stop)
            done[what] = state.done
            advance(sum(done.values()), what, "runs")

        def oscillate(stop):
            return oscillation(jax.random.fold_in(root, 200), config.oscillation_epochs, config.displacement)

        def at_edge(loss: str, rates, epochs: int, key, stop):
            on_progress = partial(report, f"edge of stability, {loss}", stop)
            sizes = config.hidden, rates, config.edge_seeds, epochs, config.curvature_samples
            return edge(loss, *sizes, key, on_progress)

        def sweep(prepared, rule: str, stop):
            on_progress = partial(report, f"{prepared.problem.title}, {rule}", stop)
            return train(prepared, rule, config.rates_of(rule), on_progress)

        edges = [
            partial(at_edge, loss, rates, epochs, jax.random.fold_in(root, 100 + index))
            for index, (loss, (rates, epochs)) in enumerate(config.edges.items())
        ]
        sweeps = [partial(sweep, prepared, rule) for prepared, rule in itertools.product(ready, RULES)]
        work = [oscillate, *edges, *sweeps]
        oscillations, *others = in_parallel(lambda task, stop: task(stop), work, WORKERS)
    epochs = sum(int(result.epochs.sum()) for result in others)
    print_totals(console, total, epochs, time.perf_counter() - began)
    return {"sweeps": others[len(edges) :], "oscillations": oscillations, "edges": others[: len(edges)]}


WORKERS = 2
"""Sweeps at a time: one compiles, on one core, while the other trains."""


def stored(folder: Path, part: str) -> list[xr.Dataset]:
    """The stored results of a part: "sweeps", "oscillations", "edges"."""
    found = sorted(folder.glob(f"{part}_*.zarr"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [read_zarr(path) for path in found]


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    sweeps, oscillations, edges = (stored(folder, part) for part in ("sweeps", "oscillations", "edges"))
    return {
        "learning_rate": partial(main_figure, sweeps),
        "learning_rate_variable": partial(rule_figure, sweeps),
        "learning_rate_oscillation": partial(oscillation_figure, oscillations),
        "learning_rate_edge": partial(edge_figure, edges),
    }


def pages(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that writes it to a path}, from the stored results."""
    maps = {f"learning_rate_{result.attrs['name']}": partial(write_map, result=result)
            for result in stored(folder, "sweeps") if result.attrs["rule"] == FIXED}  # fmt: skip
    return maps | {"learning_rate_edge": partial(write_edge, results=stored(folder, "edges"))}


def store(config: Config, folder: Path, results: dict[str, list[xr.Dataset]]) -> dict[str, list[xr.Dataset]]:
    """Write results, numbers, figures, pages and record; returns the results as read back."""
    for part, datasets in results.items():
        for index, result in enumerate(datasets):
            write_zarr(result, folder / f"{part}_{index}.zarr")
    found = {part: stored(folder, part) for part in results}
    write_numbers(folder, found["sweeps"], found["oscillations"], found["edges"])
    write_figures(folder, figures(config, folder))
    for name, write in pages(config, folder).items():
        write(folder / f"{name}.html")
    receipts = {result.attrs["name"]: result.attrs["receipt"] for result in found["sweeps"]}
    write_record(folder, config, experiment="learning_rate", receipts=receipts)
    return found


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables and sentences that answer the question."""
    results = run(config, console)
    with console.status("storing the results and drawing the figures"):
        config, found = keep(config, store, results)
    fixed = [result for result in found["sweeps"] if result.attrs["rule"] == FIXED]
    console.print()
    console.print(rate_table(fixed))
    for result in fixed:
        console.print(f"{result.attrs['problem']}: {answer(rows_of(result))}")
    console.print()
    console.print(limit_table(fixed))
    console.print()
    console.print(rule_table(found["sweeps"]))
    console.print(RULE_NOTE)
    console.print(rule_sentence(found["sweeps"]))
    console.print()
    for result in found["oscillations"]:
        console.print(oscillation_sentence(result))
    console.print()
    console.print(edge_table([row for result in found["edges"] for row in saturation(result)]))
    figure = config.out / "learning_rate.png"
    console.print(
        f"\nFigures: {figure} (and _variable, _oscillation, _edge; also as .svg), their numbers as CSV, the results "
        "as Zarr, an interactive page of each map and of the edge of stability (.html)."
    )


main = partial(command, "learning_rate", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
