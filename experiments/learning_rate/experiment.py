"""How does the learning rate decide whether, and how fast, a network learns?

The encyclopedia's claim: with too high a rate the minimum is missed, with too low a rate learning is needlessly slow.
Here it is put to real data, 1,197 handwritten digits, and to XOR, an encoder and parity, in four parts:

1. A map: plain gradient descent on the full batch at rates over four decades, many initial weights each. Beside every
   start stands what theory predicts of a quadratic with its curvature: divergence above 2/λ_max.
2. Below that limit: weights that jump from side to side across a minimum, against the closed form (1 − ηλ)ᵗ.
3. Beyond it: the edge of stability, curvature along the training of digits against 2/η (Cohen et al. 2021).
4. A rate that varies, the bold driver (Vogl et al. 1988) and delta-bar-delta (Jacobs 1988), against the best fixed one.

    python -m experiments.learning_rate              tables, figures and stored results in results/learning_rate
    python -m experiments.learning_rate --help       every number that can be changed
"""

import itertools
import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import xarray as xr
    from rich.console import Console
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")

import jax
import numpy as np

from bpjax.results.record import check_replaceable, write_record, written_aside
from bpjax.util.checks import check_count, check_number
from bpjax.util.jax_settings import jax_settings, under
from experiments.common.command import check_precision, command, progress
from experiments.learning_rate.figures import (
    edge_figure,
    main_figure,
    oscillation_figure,
    oscillation_sentence,
    pages,
    rule_figure,
    write_numbers,
)
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
class Config:
    """Every number of the experiment."""

    lowest_rate: float = 0.01
    """Smallest learning rate."""
    highest_rate: float = 100.0
    """Largest learning rate."""
    rates_per_decade: int = 6
    """Learning rates to a factor of ten, evenly spaced on the logarithmic axis; variable rates start at one of them."""
    seeds: int = 20
    """Initial weights to each rate on the digits; the same for every rate and rule."""
    small_seeds: int = 100
    """Initial weights to each rate on XOR, encoder and parity."""
    digits_epochs: int = 200
    """Epochs at most on the digits."""
    xor_epochs: int = 3000
    """Epochs at most on XOR."""
    encoder_epochs: int = 1500
    """Epochs at most on the encoder."""
    parity_epochs: int = 6000
    """Epochs at most on parity."""
    digits_goal: float = 0.2
    """Digits: solved when the mean cross entropy (nats an example) falls below this."""
    explosion: float = 10.0
    """Diverged when the error exceeds so many times that of the first epoch, or is not finite."""
    hidden: int = 32
    """Width of the hidden layer on the digits."""
    jump_epochs: int = 60
    """Epochs of the jumps across a minimum."""
    displacement: float = 0.1
    """How far from its minimum the XOR network sets out, along the steepest direction."""
    squared_rates: tuple[float, ...] = (0.2, 0.4, 0.5, 0.7)
    """Learning rates at the edge of stability, squared error."""
    entropy_rates: tuple[float, ...] = (0.2, 0.6, 1.0, 1.8)
    """Learning rates at the edge of stability, cross entropy."""
    edge_seeds: int = 2
    """Initial weights to each of these."""
    squared_epochs: int = 2000
    """Epochs at the edge, squared error."""
    entropy_epochs: int = 200
    """Epochs at the edge, cross entropy."""
    looks: int = 50
    """How often the curvature is measured on the way."""
    only: str = ""
    """One of digits, xor, encoder and parity, to train on it alone; empty for all."""
    seed: int = 0
    """Root of all random numbers."""
    matmul_precision: str = "highest"
    """Precision of matrix products, as `jax.default_matmul_precision` takes it."""
    out: Path = Path("results/learning_rate")
    """Folder for the result; replaced when the run is complete."""

    def check(self) -> None:
        """Raise a `ValueError` where a number makes no sense."""
        check_number("Config", "lowest_rate", self.lowest_rate, above=0.0)
        check_number("Config", "highest_rate", self.highest_rate, above=self.lowest_rate)
        check_number("Config", "digits_goal", self.digits_goal, above=0.0)
        check_number("Config", "explosion", self.explosion, above=1.0)
        check_number("Config", "displacement", self.displacement, above=0.0)
        for name in ("squared_rates", "entropy_rates"):
            for rate in getattr(self, name):
                check_number("Config", name, rate, above=0.0)
            if len(set(getattr(self, name))) != len(getattr(self, name)) or not getattr(self, name):
                raise ValueError(f"`Config` expected `{name}` to be different rates, at least one.")
        for field in fields(self):
            if field.type is int and field.name != "seed":
                check_count("Config", field.name, getattr(self, field.name))
        if self.looks > min(self.squared_epochs, self.entropy_epochs):
            raise ValueError(f"`Config` expected `looks` ≤ the epochs at the edge of stability, got {self.looks}.")
        check_count("Config", "seed", self.seed, least=0)
        if self.only not in ("", *PROBLEMS):
            raise ValueError(f"`Config` expected `only` to be one of {', '.join(PROBLEMS)}, got {self.only!r}.")
        check_precision(self.matmul_precision)
        check_replaceable(self.out)

    @property
    def rates(self) -> np.ndarray:
        """The learning rates, ascending."""
        decades = math.log10(self.highest_rate / self.lowest_rate)
        return np.geomspace(self.lowest_rate, self.highest_rate, max(2, round(decades * self.rates_per_decade) + 1))

    def rates_of(self, rule: str) -> np.ndarray:
        """The learning rates of a rule: all of them fixed, one to a decade where they vary by themselves."""
        return self.rates if rule == FIXED else self.rates[:: self.rates_per_decade]

    @property
    def edges(self) -> dict[str, tuple[tuple[float, ...], int]]:
        """Loss, and its rates and epochs, at the edge of stability."""
        return {
            "squared error": (self.squared_rates, self.squared_epochs),
            "cross entropy": (self.entropy_rates, self.entropy_epochs),
        }


def run(config: Config, console: Console) -> dict[str, list[xr.Dataset]]:
    """Receipts, then every sweep under one progress bar; results by part: "sweeps", "jumps", "edges"."""
    root, start = jax.random.key(config.seed), time.perf_counter()
    keys = {name: jax.random.fold_in(root, index) for index, name in enumerate(PROBLEMS)}
    chosen = [problem for problem in problems(config) if config.only in ("", problem.name)]
    with console.status("holding the gradients against jax.grad, measuring the curvature"):
        ready = side_by_side([partial(prepare, problem, keys[problem.name]) for problem in chosen])
    for one in ready:
        console.print(f"[bold]{one.problem.title}[/bold]  gradient receipt: {one.verdict}", soft_wrap=True)
    trainings = sum(p.seeds * len(config.rates_of(rule)) for p in chosen for rule in RULES)
    total = trainings + config.edge_seeds * sum(len(rates) for rates, _ in config.edges.values())
    with progress(console, total) as advance:
        done: dict[str, int] = {}

        def tell(what: str, state) -> None:
            if stopped.is_set():
                raise RuntimeError("The sweep was interrupted.")
            done[what] = state.done
            advance(sum(done.values()), what, "runs")

        work: list[Callable] = [
            partial(oscillation, jax.random.fold_in(root, 200), config.jump_epochs, config.displacement)
        ]
        for index, (name, (rates, epochs)) in enumerate(config.edges.items()):
            numbers = (
                config.hidden,
                rates,
                config.edge_seeds,
                epochs,
                config.looks,
                jax.random.fold_in(root, 100 + index),
            )
            work.append(partial(edge, name, *numbers, partial(tell, f"edge of stability, {name}")))
        for one, rule in itertools.product(ready, RULES):
            what = partial(tell, f"{one.problem.title}, {rule}")
            work.append(partial(train, one, rule, config.rates_of(rule), what))
        jumps, *others = side_by_side(work)
    edges, sweeps = others[: len(config.edges)], others[len(config.edges) :]
    epochs = sum(int(result.epochs.sum()) for result in others)
    seconds = time.perf_counter() - start
    console.print(f"  {total:,} trainings, {epochs:,} epochs in {seconds:.0f} s, compilation included")
    return {"sweeps": sweeps, "jumps": jumps, "edges": edges}


stopped = threading.Event()
"""Set when the experiment is interrupted: sweeps in other threads hear of it at their next word."""


def side_by_side(work: list[Callable]) -> list:
    """What the functions return, two at a time: one compiles, on one core, while the other trains."""
    settings, results = jax_settings(), [None] * len(work)

    def do(index: int) -> None:
        with under(settings):
            results[index] = work[index]()

    stopped.clear()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(do, index) for index in range(len(work))]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def store(config: Config, results: dict[str, list[xr.Dataset]]) -> dict[str, list[xr.Dataset]]:
    """Write results, numbers, figures, pages and record, all or nothing; returns what is stored, read back."""
    with written_aside(config.out) as folder:
        stored = {}
        for part, datasets in results.items():
            stored[part] = []
            for index, result in enumerate(datasets):
                path = folder / f"{part}_{index}.zarr"
                result.to_zarr(path, mode="w", consolidated=False)
                stored[part].append(xr.open_zarr(path, consolidated=False).load())
        write_numbers(folder, stored["sweeps"], stored["jumps"], stored["edges"])
        figures = {
            "learning_rate": main_figure(stored["sweeps"]),
            "learning_rate_variable": rule_figure(stored["sweeps"]),
            "learning_rate_oscillation": oscillation_figure(stored["jumps"]),
            "learning_rate_edge": edge_figure(stored["edges"]),
        }
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=100)
            figure.savefig(folder / f"{name}.svg")
            plt.close(figure)
        if find_spec("plotly") is not None:
            pages(folder, stored["sweeps"])
        receipts = {result.attrs["name"]: result.attrs["receipt"] for result in stored["sweeps"]}
        write_record(folder, config, receipts=receipts)
    return stored


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables and sentences that answer the question."""
    results = run(config, console)
    with console.status("storing the results and drawing the figures"):
        stored = store(config, results)
    fixed = [result for result in stored["sweeps"] if result.attrs["rule"] == FIXED]
    console.print()
    console.print(rate_table(fixed))
    for result in fixed:
        console.print(f"{result.attrs['problem']}: {answer(rows_of(result))}")
    console.print()
    console.print(limit_table(fixed))
    console.print()
    console.print(rule_table(stored["sweeps"]))
    console.print(RULE_NOTE)
    console.print(rule_sentence(stored["sweeps"]))
    console.print()
    for result in stored["jumps"]:
        console.print(oscillation_sentence(result))
    console.print()
    console.print(edge_table([row for result in stored["edges"] for row in saturation(result)]))
    figure = config.out / "learning_rate.png"
    page = "a page of each map to point at (.html)" if find_spec("plotly") else "no pages: plotly is not installed"
    console.print(
        f"\nFigures: {figure} (and _variable, _oscillation, _edge; .svg too), their numbers beside them as CSV, the "
        f"results as Zarr, {page}."
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse the flags, run and show; returns the exit status."""
    return command("learning_rate", Config, __doc__, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
