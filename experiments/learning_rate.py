"""How does the learning rate decide whether, and how fast, a network learns?

The encyclopedia's claim: with too high a rate the minimum is missed, with too low a rate learning is needlessly slow.
Here it is put to real data, 1,197 handwritten digits (64-32-10, tanh, cross entropy), and to XOR (2-2-1, sigmoid,
½ Σ (t − o)²): plain gradient descent on the full batch at rates over four decades, many seeds each, all of them one
compiled program. Beside the answer stands what theory predicts: on a quadratic with the curvature measured at the
start, gradient descent diverges above 2/λ_max.

    python experiments/learning_rate.py              a table, a figure and a stored result in results/learning_rate
    python experiments/learning_rate.py --help       every number that can be changed
"""

import csv
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import xarray as xr
    from rich.console import Console
    from rich.table import Table
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp
from bpjax import plots
from bpjax.checks import check_count, check_number
from bpjax.experiment import check_precision, command, progress
from bpjax.outcomes import epochs_or_never, quantiles_with_failures, wilson
from bpjax.store import check_replaceable, write_record, written_aside
from bpjax.training import run_to_end


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    lowest_rate: float = 0.01
    """Smallest learning rate."""
    highest_rate: float = 100.0
    """Largest learning rate."""
    rates_per_decade: int = 4
    """Learning rates to a factor of ten, evenly spaced on the logarithmic axis."""
    seeds: int = 20
    """Initial weights to each rate on the digits; the same for every rate."""
    xor_seeds: int = 100
    """Initial weights to each rate on XOR."""
    digits_epochs: int = 200
    """Epochs at most on the digits."""
    xor_epochs: int = 3000
    """Epochs at most on XOR."""
    digits_goal: float = 0.2
    """Digits: solved when the mean cross entropy (nats a pattern) falls below this."""
    explosion: float = 10.0
    """Diverged when the error exceeds so many times that of the first epoch, or is not finite."""
    hidden: int = 32
    """Width of the hidden layer on the digits."""
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
        for name in ("rates_per_decade", "seeds", "xor_seeds", "digits_epochs", "xor_epochs", "hidden"):
            check_count("Config", name, getattr(self, name))
        check_count("Config", "seed", self.seed, least=0)
        check_precision(self.matmul_precision)
        check_replaceable(self.out)

    @property
    def rates(self) -> np.ndarray:
        """The learning rates, ascending."""
        decades = math.log10(self.highest_rate / self.lowest_rate)
        return np.geomspace(self.lowest_rate, self.highest_rate, max(2, round(decades * self.rates_per_decade) + 1))


class Problem(NamedTuple):
    """One of the two questions put to the learning rate."""

    name: str
    title: str
    network: bp.Layer
    loss: bp.Loss
    batch: tuple
    stops: tuple[bp.Stop, ...]
    epochs: int
    chunk: int
    seeds: int

    @property
    def rule(self) -> bp.Rule:
        """The gradient by hand."""
        return bp.backprop(self.network, self.loss)

    def start(self, key):
        """Fresh weights, or with a key for each seed and `jax.vmap` those of all."""
        return self.network.init(key, self.batch[0].shape[1:])[0]

    def training(self, rate) -> bp.Training:
        """Plain gradient descent at a rate that may be traced."""
        return bp.make_training(self.rule, optax.sgd(rate), self.stops, chunk=self.chunk)


def problems(config: Config) -> tuple[Problem, ...]:
    """The digits and XOR."""
    diverged = bp.diverged(config.explosion)
    digits = Problem(
        name="digits",
        title=f"digits, 64-{config.hidden}-10",
        network=bp.mlp((64, config.hidden, 10), bp.tanh),
        loss=bp.batch_mean(bp.softmax_cross_entropy),
        batch=bp.digits("train").present(None),
        stops=(diverged, bp.error_below(config.digits_goal)),
        epochs=config.digits_epochs,
        chunk=min(10, config.digits_epochs),
        seeds=config.seeds,
    )
    xor = Problem(
        name="xor",
        title="XOR, 2-2-1",
        network=bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, weights=bp.uniform(1.0), biases=bp.uniform(1.0)),
        loss=bp.squared_error,
        batch=bp.xor().present(None),
        stops=(diverged, bp.outputs_within(0.4)),
        epochs=config.xor_epochs,
        chunk=min(100, config.xor_epochs),
        seeds=config.xor_seeds,
    )
    return digits, xor


def receipt(problem: Problem, key) -> bp.Report:
    """This network, this loss: the hand-written gradient against `jax.grad`. Stops the experiment where wrong."""
    oracle = bp.autodiff(problem.network, problem.loss)
    report = bp.compare(problem.rule, oracle, problem.start(key), problem.batch, timed=False, show=False)
    report.raise_if_wrong()
    return report


def sweep(problem: Problem, rates: np.ndarray, key, on_chunk: Callable) -> xr.Dataset:
    """Train every rate × seed in one compiled program, and measure the curvature where each seed starts."""
    keys = jax.random.split(key, problem.seeds)
    params = jax.vmap(problem.start)(keys)
    curvature = jax.jit(jax.vmap(lambda p, k: bp.largest_curvature(problem.rule, p, problem.batch, k)))(params, keys)

    rate, seed = (grid.ravel() for grid in np.meshgrid(rates, np.arange(problem.seeds), indexing="ij"))
    rate = jnp.asarray(rate, jnp.result_type(float))
    run = jax.jit(jax.vmap(lambda r, k, p: problem.training(r).init(k, p, problem.epochs)))(
        rate, keys[seed], jax.tree.map(lambda p: p[seed], params)
    )
    step = jax.jit(jax.vmap(lambda r, run: problem.training(r).advance(run, problem.batch)))
    run, history = run_to_end(lambda run: step(rate, run), run, on_chunk)

    reasons = np.array(problem.training(1.0).reasons)[np.asarray(run.reason)].reshape(len(rates), problem.seeds)
    epochs = np.asarray(run.epoch).reshape(reasons.shape)
    diverged = reasons == "diverged"
    solved = ~diverged & (reasons != "epoch limit")
    error = history.error.reshape(*reasons.shape, -1)
    return xr.Dataset(
        {
            "solved": (("learning_rate", "seed"), solved),
            "diverged": (("learning_rate", "seed"), diverged),
            "epochs": (("learning_rate", "seed"), epochs, {"long_name": "passes made, the last one included"}),
            "error": (("learning_rate", "seed", "epoch"), error.astype(np.float32)),
            "curvature": (("seed",), np.asarray(curvature), {"long_name": "largest Hessian eigenvalue at the start"}),
        },
        coords={
            "learning_rate": rates,
            "seed": np.arange(problem.seeds),
            "epoch": np.arange(1, error.shape[-1] + 1),
        },
        attrs={"title": problem.title, "loss": problem.loss.name, "epoch_limit": problem.epochs},
    )


class Row(NamedTuple):
    """One learning rate on one problem."""

    problem: str
    learning_rate: float
    over_limit: float  # learning rate divided by the median 2/λ_max
    runs: int
    solved: int
    interval: tuple[float, float]  # Wilson, 95 %
    diverged: int
    epochs: float  # median over all runs, ∞ where half or more did not reach the goal
    final_error: float  # median

    @property
    def unsolved(self) -> int:
        """Runs that neither reached the goal nor diverged."""
        return self.runs - self.solved - self.diverged


def rows_of(name: str, result: xr.Dataset) -> list[Row]:
    """The result in numbers, a row for each rate."""
    limit = float(np.median(2 / result.curvature))
    rows = []
    for rate in result.learning_rate.values:
        at = result.sel(learning_rate=rate)
        runs, solved = at.sizes["seed"], int(at.solved.sum())
        last = plots.carry_forward(at.error.values)[:, -1]
        rows.append(
            Row(
                name,
                float(rate),
                float(rate) / limit,
                runs,
                solved,
                wilson(solved, runs),
                int(at.diverged.sum()),
                float(quantiles_with_failures(epochs_or_never(at.solved, at.epochs), 0.5)),
                float(np.median(last)),
            )
        )
    return rows


def table(title: str, limit: int, rows: list[Row]) -> Table:
    """The answer for one problem."""
    shown = Table(title=title, title_justify="left", caption_justify="left")
    for column in (
        "rate",
        "rate ÷ 2/λ_max",
        "solved",
        "95 % Wilson",
        "diverged",
        "neither",
        "epochs, median",
        "error, median",
    ):
        shown.add_column(column, justify="right")
    best = best_row(rows)
    for row in rows:
        epochs = f"{row.epochs:.0f}" if math.isfinite(row.epochs) else f"> {limit}"
        shown.add_row(
            f"{row.learning_rate:.3g}",
            f"{row.over_limit:.2f}",
            f"{row.solved}/{row.runs}",
            f"{100 * row.interval[0]:.0f}-{100 * row.interval[1]:.0f} %",
            str(row.diverged),
            str(row.unsolved),
            epochs,
            f"{row.final_error:.3g}",
            style="bold green" if row is best else None,
        )
    return shown


def best_row(rows: list[Row]) -> Row | None:
    """The rate with the fewest epochs to the goal, of those where more than half of the runs reach it."""
    reaching = [row for row in rows if math.isfinite(row.epochs)]
    return min(reaching, key=lambda row: row.epochs) if reaching else None


def answer(rows: list[Row]) -> str:
    """What one problem says about the claim, in a sentence or two."""
    best = best_row(rows)
    if best is None:
        return "No rate reached the goal in more than half of its runs: allow more epochs."
    slower = [row for row in rows if row.learning_rate < best.learning_rate]
    higher = [row for row in rows if row.learning_rate > best.learning_rate]
    crawling = [row for row in slower if not math.isfinite(row.epochs)]
    missing = [row for row in higher if not math.isfinite(row.epochs)]
    words = f"Fastest at rate {best.learning_rate:.3g}: {best.epochs:.0f} epochs, {best.solved}/{best.runs} solved"
    words += f", {best.over_limit:.1f} times the classical limit." if best.over_limit >= 1 else "."
    if crawling:
        words += f" Too low: at {crawling[-1].learning_rate:.3g} and below, most runs are not there in time."
    if missing:
        first, diverging = missing[0], sum(row.diverged for row in missing)
        stuck = sum(row.unsolved for row in missing)
        words += f" Too high: from {first.learning_rate:.3g} on, most runs miss the minimum"
        words += f" ({diverging} diverge, {stuck} stay stuck)."
    return words


def draw(results: dict[str, xr.Dataset]):
    """The figure: a row for each problem, from stored results."""
    figure, axes = plt.subplots(len(results), 3, figsize=(13, 4.3 * len(results)), layout="constrained", squeeze=False)
    for (curves, shares, epochs), (name, result) in zip(axes, results.items(), strict=True):
        rows, rates, runs = rows_of(name, result), result.learning_rate.values, result.sizes["seed"]
        for rate, colour, word in shown_rates(rows):
            error = result.error.sel(learning_rate=rate).values
            plots.error_curves(curves, error, colour, f"{word}, η = {rate:.3g}")
        unit = "nats a pattern" if "cross entropy" in result.attrs["loss"] else "½ Σ (t − o)²"
        title = f"{result.attrs['title']}: median run, middle half"
        curves.set(xlabel="epoch (after a run has stopped, its last error)", ylabel=f"error ({unit})", title=title)

        outcomes = (("solved", "o", plots.BLUE), ("diverged", "s", plots.RED))
        for outcome, marker, colour in outcomes:
            counts = [getattr(row, outcome) for row in rows]
            low, high = zip(*(wilson(count, runs) for count in counts), strict=True)
            share = [count / runs for count in counts]
            plots.proportion(shares, rates, share, low, high, colour, f"{outcome}, 95 % Wilson", marker)
        shares.set(xlabel="learning rate η", ylabel=f"runs of {runs} (%)", ylim=(-5, 105), title="Who gets there")

        times = epochs_or_never(result.solved, result.epochs)
        plots.epochs_to_goal(epochs, rates, times, plots.BLUE, "median, failures count as never")
        epochs.axhline(result.attrs["epoch_limit"], color=plots.GREY, linewidth=0.8, linestyle=":", label="epoch limit")
        epochs.set(xlabel="learning rate η", ylabel="epochs to the goal", yscale="log", title="How fast")
        for axis in (shares, epochs):
            axis.set(xscale="log", xlim=(rates[0] / 1.4, rates[-1] * 1.4))
            plots.classical_limit(axis, 2 / result.curvature.values)
            plots.region(axis, rates, [row.diverged > runs / 2 for row in rows], plots.RED, "most runs diverge")
        for axis in (curves, shares, epochs):
            plots.legend_below(axis)
    return figure


def shown_rates(rows: list[Row]):
    """Three rates that tell the story: too low, the fastest, and too high, with colours and words."""
    best = best_row(rows) or rows[len(rows) // 2]
    too_low = rows[0]
    too_high = next((r for r in rows if r.learning_rate > best.learning_rate and not math.isfinite(r.epochs)), rows[-1])
    chosen = ((too_low, plots.ORANGE, "too low"), (best, plots.BLUE, "fastest"), (too_high, plots.RED, "too high"))
    return [(row.learning_rate, colour, word) for row, colour, word in chosen]


def write_numbers(path: Path, rows: list[Row]) -> None:
    """The figure's numbers as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(row._replace(interval="-".join(f"{bound:.4f}" for bound in row.interval)) for row in rows)


def run(config: Config, console: Console) -> dict[str, xr.Dataset]:
    """Receipts, sweeps and their progress bar; returns a result for each problem."""
    results = {}
    for index, problem in enumerate(problems(config)):
        key = jax.random.fold_in(jax.random.key(config.seed), index)
        with console.status(f"{problem.title}: holding the gradient against jax.grad"):
            report = receipt(problem, key)
        console.print(f"[bold]{problem.title}[/bold]  gradient receipt: {report.verdict}")
        runs = len(config.rates) * problem.seeds
        start = time.perf_counter()
        with progress(console, problem.epochs) as advance:

            def on_chunk(run, advance=advance, runs=runs):
                advance(int(run.epoch.max()), done=f"epochs, {int((run.reason > 0).sum())}/{runs} runs done")

            results[problem.name] = sweep(problem, config.rates, key, on_chunk)
            advance(problem.epochs, "trained", "epochs")
        seconds = time.perf_counter() - start
        total = int(results[problem.name].epochs.sum())
        console.print(f"  {runs:,} trainings, {total:,} epochs in {seconds:.1f} s, compilation included")
        results[problem.name].attrs["receipt"] = json.dumps(report.to_dict())
    return results


def store(config: Config, results: dict[str, xr.Dataset]) -> tuple[dict[str, xr.Dataset], list[Row]]:
    """Write results, numbers, figure and record, all or nothing; returns what is stored, read back."""
    with written_aside(config.out) as folder:
        for name, result in results.items():
            result.to_zarr(folder / f"{name}.zarr", mode="w", consolidated=False)
        stored = {name: xr.open_zarr(folder / f"{name}.zarr", consolidated=False).load() for name in results}
        rows = [row for name, result in stored.items() for row in rows_of(name, result)]
        write_numbers(folder / "learning_rate.csv", rows)
        figure = draw(stored)
        figure.savefig(folder / "learning_rate.png", dpi=120)
        figure.savefig(folder / "learning_rate.svg")
        plt.close(figure)
        write_record(folder, config, receipts={n: json.loads(r.attrs["receipt"])["verdict"] for n, r in stored.items()})
    return stored, rows


def show(config: Config, console: Console) -> None:
    """Run, store, and print the table that answers the question."""
    results = run(config, console)
    with console.status("storing the result and drawing the figure"):
        stored, rows = store(config, results)
    for name, result in stored.items():
        own = [row for row in rows if row.problem == name]
        console.print()
        console.print(table(result.attrs["title"], result.attrs["epoch_limit"], own))
        console.print(answer(own))
    figure = config.out / "learning_rate.png"
    console.print(f"\nFigure: {figure} (and .svg), its numbers beside it as CSV, the result as Zarr.")


def main(arguments: list[str] | None = None) -> int:
    """Parse the flags, run and show; returns the exit status."""
    return command("learning_rate", Config, __doc__, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
