"""How do surrogate derivatives and resets change what a spiking network learns?

Each pixel of a digit (scikit-learn's, 8 × 8) sends one spike, the earlier the brighter. Two layers of leaky
integrate-and-fire units and a leaky integrator for each class are trained by backpropagation through time, with six
surrogate derivatives, six resets, and once with rates in place of latencies, from several starts each. Three questions:

- which accuracy, and how often do the units of each layer fire;
- in which layer does a deep network fall silent, depending on its initial weights;
- how far is the direction of each surrogate gradient from the exact derivative of the spike times, which is checked
  against their differences.

    python -m experiments.spiking_digits            everything: about a minute on two cores
    python -m experiments.spiking_digits --quick    fewer starts and epochs: a minute on two cores
    python -m experiments.spiking_digits --help     list all settings

Writes three tables to the terminal, and the figure (PNG, SVG) and the numbers (CSV) to results/spiking_digits. Beside
snnTorch and spyx: `scripts/benchmark_spiking.py`.
"""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from rich.console import Console

from bpjax.results.record import write_record
from bpjax.util.checks import check_count
from experiments.common.command import command, print_totals, progress
from experiments.common.config import QuickSettings
from experiments.common.keep import keep
from experiments.common.stored import write_figure, write_rows
from experiments.spiking_digits.exact import Angle, angles, problem
from experiments.spiking_digits.figures import draw
from experiments.spiking_digits.networks import VARIANTS
from experiments.spiking_digits.tables import (
    accuracy_table,
    angle_rows,
    angle_table,
    rows,
    silence_rows,
    silence_table,
    silent_sentences,
)
from experiments.spiking_digits.training import Trained, silence, train

GAINS = (0.5, 1.0, 2.0, 3.0, 6.0)
"""Standard deviations of the initial weights of the deep network, times √D."""


@dataclass(frozen=True)
class Config(QuickSettings):
    """Settings of the experiment."""

    QUICK: ClassVar[Mapping[str, Any]] = {"starts": 3, "epochs": 3, "networks": 8}

    hidden: tuple[int, ...] = (40, 48)
    """Units in each spiking layer."""
    steps: int = 16
    """Time steps of a digit."""
    epochs: int = 8
    """Passes over the training digits."""
    starts: int = 5
    """Initial weights of each kind of network."""
    depth: int = 6
    """Layers of the deep network that may fall silent."""
    networks: int = 20
    """Random networks whose spike times are differentiated."""
    out: Path = Path("results/spiking_digits")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        super().check()
        for name in ("epochs", "depth"):
            check_count("Config", name, getattr(self, name))
        check_count("Config", "steps", self.steps, least=4)
        check_count("Config", "starts", self.starts, least=2)
        check_count("Config", "networks", self.networks, least=2)
        for features in self.hidden:
            check_count("Config", "hidden", features)


class Result(NamedTuple):
    """What was computed."""

    trained: list[Trained]  # for each of VARIANTS
    silence: dict[float, np.ndarray]  # by gain, the rates of the layers
    angles: list[Angle]
    differences: np.ndarray  # for each random network, exact gradients against differences


def run(config: Config, console: Console) -> Result:
    """Train every kind of network, and differentiate spike times."""
    began, trained = time.perf_counter(), []
    with progress(console, len(VARIANTS) + 2) as advance:
        for variant in VARIANTS:
            advance(len(trained), variant.name, "kinds of network")
            trained.append(
                train(variant, config.hidden, config.steps, config.epochs, config.starts, config.seed)
            )  # fmt: skip
        advance(len(VARIANTS), "silent layers", "kinds of network")
        quiet = {gain: silence(config.steps, config.depth, gain, config.seed) for gain in GAINS}
        advance(len(VARIANTS) + 1, "exact spike times", "kinds of network")
        problems = [problem(config.seed + number) for number in range(config.networks)]
        found = angles(problems)
    trainings = len(VARIANTS) * config.starts
    print_totals(console, trainings, trainings * config.epochs, time.perf_counter() - began)
    return Result(trained, quiet, found, np.array([p.difference for p in problems]))


def store(config: Config, folder: Path, result: Result) -> None:
    """Write the numbers, the figure and the record."""
    write_rows(folder / "accuracy.csv", rows(VARIANTS, result.trained))
    write_rows(folder / "silence.csv", silence_rows(result.silence))
    write_rows(folder / "angles.csv", angle_rows(result.angles))
    write_figure(draw(VARIANTS, result.trained, result.silence, result.angles), folder, "spiking_digits", dpi=90)
    write_record(folder, config)


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables that answer the question."""
    result = run(config, console)
    with console.status("storing the result and drawing the figure"):
        config, _ = keep(config, store, result)
    console.print()
    console.print(accuracy_table(VARIANTS, result.trained))
    console.print()
    console.print(silence_table(result.silence))
    for line in silent_sentences(result.silence):
        console.print(line)
    console.print()
    console.print(angle_table(result.angles, result.differences))
    console.print(f"\nFigure: {config.out}/spiking_digits.png (also .svg); the numbers as CSV beside it.")


main = functools.partial(command, "spiking_digits", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
