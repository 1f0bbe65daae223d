"""What does reverse mode cost, and what did it first serve for?

Reverse mode is older than its use for networks. This experiment runs what its inventors claimed for it:

- Linnainmaa (1970) forecast the rounding error of a computation from the derivatives by all intermediate values;
- Griewank (1989): a gradient costs a few times the function, whatever the number of inputs, on the Helmholtz energy of
  a mixture of up to 200 gases; by forward mode it costs n times as much;
- Griewank & Walther (2000): a sweep of l steps is reversed from s stored states with r l − C(s + r, s + 1) repeated
  steps, here by `bp.unroll(..., snapshots=s)`, its steps counted and its memory measured;
- sparse nets: the gradient costs what the edges cost, up to a million units;
- Werbos (1974): ordered derivatives, beside the direct ones; and the same gradient forward in time by real-time
  recurrent learning.

    python -m experiments.reverse_mode            run everything: about two minutes on two cores
    python -m experiments.reverse_mode --quick    smaller sizes: half a minute
    python -m experiments.reverse_mode --help     list all settings

Operations are counted in the program and are exact. Times are those of the processor, all threads together.

Writes one table to the terminal, and the figure (PNG, SVG), the findings and all numbers (CSV) to results/reverse_mode.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from bpjax.results.record import write_record
from bpjax.util.checks import check_count
from experiments.common.command import bare_table, command, progress
from experiments.common.config import StoredSettings
from experiments.common.findings import Finding, print_findings
from experiments.common.keep import keep
from experiments.common.stored import read_rows, write_figure, write_rows
from experiments.reverse_mode import (
    checkpointing,
    helmholtz,
    multiplications,
    ordered,
    rounding,
    rtrl,
    sparse_nets,
    tables,
)
from experiments.reverse_mode.figures import draw


@dataclass(frozen=True)
class Config(StoredSettings):
    """Settings of the experiment."""

    quick: bool = False
    """Smaller sizes, half a minute."""
    programs: int = 200
    """Random programs whose rounding errors are forecast; 40 with `quick`."""
    gases: int = 200
    """The largest mixture."""
    steps: int = 1000
    """Time steps of the recurrent net with checkpointing."""
    units: int = 1_000_000
    """Units in each layer of the largest sparse net; 30,000 with `quick`."""
    out: Path = Path("results/reverse_mode")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        super().check()
        check_count("Config", "programs", self.programs, least=8)
        check_count("Config", "gases", self.gases, least=20, most=1000)
        check_count("Config", "steps", self.steps, least=101, most=10_000)
        check_count("Config", "units", self.units, least=1000, most=4_000_000)

    @property
    def num_programs(self) -> int:
        """Random programs."""
        return min(self.programs, 40) if self.quick else self.programs

    @property
    def sizes(self) -> list[int]:
        """Mixtures whose operations are counted."""
        few = [n for n in (1, 2, 5, 10, 20, 50, 100) if n < self.gases]
        return [*few, self.gases] if self.quick else list(range(1, self.gases + 1))

    @property
    def timed_sizes(self) -> list[int]:
        """Mixtures whose times are measured."""
        return [n for n in ((10, 50) if self.quick else (1, 2, 5, 10, 20, 50, 100)) if n < self.gases] + [self.gases]

    @property
    def counted_runs(self) -> list[tuple[int, int]]:
        """(steps, snapshots) of the gradients that are counted while they run."""
        return [(56, 3)] if self.quick else list(checkpointing.PUBLISHED)

    @property
    def snapshots(self) -> list[int | None]:
        """Of the gradients whose memory is measured; None stores everything."""
        return [None, 3, 30] if self.quick else [None, 2, 3, 5, 10, 30, 100]

    @property
    def nets(self) -> list[tuple[int, int, bool]]:
        """(units, edges per unit, whether they are local) of the sparse nets."""
        if self.quick:
            return [(units, 2, is_local) for units in (1000, min(self.units, 30_000)) for is_local in (False, True)]
        sizes = [n for n in (1000, 10_000, 100_000) if n < self.units] + [self.units]
        both = [(units, 2, is_local) for units in sizes for is_local in (False, True)]
        return [*both, (min(self.units, 100_000), 8, False)]


class Results(NamedTuple):
    """What the experiment computed."""

    forecasts: list[rounding.Forecast]
    bounds: list[rounding.Bound]
    recurrence: list[rounding.Recurrence]
    costs: list[helmholtz.Costs]
    gradient_difference: float
    optimal: tuple[int, int]
    executed: list[checkpointing.Executed]
    memory: list[checkpointing.Memory]
    nets: list[sparse_nets.SparseCost]
    products: list[multiplications.Multiplications]
    example: list[ordered.Derivatives]
    derivatives: list[ordered.Derivatives]
    differences: dict[str, float]
    recurrent: list[rtrl.GradientCost]

    @property
    def findings(self) -> list[Finding]:
        """The rows of the table."""
        return [
            *tables.rounding_rows(self.forecasts, self.bounds, self.recurrence),
            *tables.helmholtz_rows(self.costs, self.gradient_difference),
            *tables.checkpoint_rows(self.optimal, self.executed, self.memory),
            *tables.sparse_rows(self.nets, self.products),
            *tables.werbos_rows(self.example, self.derivatives),
            *tables.rtrl_rows(self.differences, self.recurrent),
        ]


def run(config: Config, console: Console) -> Results:
    """Compute everything."""
    began = time.perf_counter()
    parts = [config.num_programs, len(config.sizes), len(config.counted_runs), len(config.snapshots), len(config.nets)]
    done = 0
    with progress(console, sum(parts)) as advance:

        def within(completed: int, doing: str = "", unit: str = "") -> None:
            advance(done + completed, doing, unit)

        forecasts, bounds = rounding.forecasts(config.seed, config.num_programs, within)
        known = rounding.recurrence()
        done += parts[0]
        costs = helmholtz.costs_of(config.sizes, config.timed_sizes, 5 if config.quick else 9, within)
        gradients = helmholtz.gradient_difference(10)
        done += parts[1]
        optimal, executed = checkpointing.optimal_cases(), []
        for steps, snapshots in config.counted_runs:
            within(len(executed), f"counting {steps} steps, {snapshots} snapshots", "programs")
            executed.append(checkpointing.executed(steps, snapshots))
        done += parts[2]
        memory = checkpointing.memories(config.steps, config.snapshots, within)
        done += parts[3]
        nets, products = sparse_nets.costs_of(config.nets, within), multiplications.dense_and_sparse()
        done += parts[4]
        within(0, "derivatives of both kinds")
        example, system = ordered.both_kinds(ordered.WERBOS), ordered.both_kinds(ordered.recurrent_system())
        differences, recurrent = rtrl.differences(seed=config.seed), rtrl.costs()
    console.print(f"computed in {time.perf_counter() - began:.0f} s, compilation included")
    return Results(
        forecasts, bounds, known, costs, gradients, optimal, executed, memory, nets, products, example, system,
        differences, recurrent,
    )  # fmt: skip


DRAWN = {
    "forecasts": rounding.Forecast, "costs": helmholtz.Costs, "memory": checkpointing.Memory,
    "nets": sparse_nets.SparseCost, "derivatives": ordered.Derivatives, "recurrent": rtrl.GradientCost,
}  # fmt: skip
"""{table: type of its rows} of the figure."""


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored numbers."""
    rows = [read_rows(folder / f"{name}.csv", row_type) for name, row_type in DRAWN.items()]
    return {"reverse_mode": functools.partial(draw, *rows)}


def store(config: Config, folder: Path, results: Results) -> None:
    """Write the numbers, the figure and the record."""
    for name in (
        "forecasts", "bounds", "recurrence", "costs", "executed", "memory", "nets", "products", "derivatives",
        "recurrent", "findings",
    ):  # fmt: skip
        write_rows(folder / f"{name}.csv", getattr(results, name))
    write_figure(figures(config, folder)["reverse_mode"](), folder, "reverse_mode", dpi=80)
    write_record(folder, config, experiment="reverse_mode")


def derivatives_table(derivatives: list[ordered.Derivatives]):
    """Werbos' two kinds of derivative, value by value."""
    table = bare_table("E = ½ Σ (hₜ − dₜ)² of the recurrent unit hₜ = tanh aₜ, aₜ = w hₜ₋₁ + u xₜ")
    table.add_column("value")
    for column in ("", "direct ∂E/∂z", "ordered ∂⁺E/∂z", "total by jax.grad", "adjoint on the tape"):
        table.add_column(column, justify="right")
    for d in derivatives:
        table.add_row(d.name, *(f"{x:.6f}" for x in d[1:]))
    return table


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables that answer the question."""
    results = run(config, console)
    with console.status("storing the result and drawing the figure"):
        config, _ = keep(config, store, results)
    console.print()
    console.print(derivatives_table(results.derivatives))
    console.print()
    print_findings(console, results.findings, "Reverse mode: published numbers, closed forms and bounds beside ours")
    console.print(f"\nFigure: {config.out / 'reverse_mode.png'} (also as .svg), its numbers and the findings as CSV.")


main = functools.partial(command, "reverse_mode", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
