"""What are the alternatives to backpropagation for assigning credit, and what do they cost?

The encyclopedia article on backpropagation ends with reasons why brains probably do not use it: symmetric weights,
exact derivatives, a teacher at every synapse, synchronized steps, a separate feedback phase, spikes. This experiment
tries rules that drop one of these requirements, on the same networks, initial weights, data and order of data: a
linear 30-20-10 network trained on-line, XOR, and handwritten digits with a 64-100-100-10 network. Tuning is equal:
every rule gets the same learning rates and as many starts. Reported are the best rate, by validation data (on XOR the
fastest), and the number of rates at which the rule learns at all. All other settings are those of
`bpjax/rules/registry.py` and were not tuned. Angles are between the update direction of a rule and the gradient of the
same batch, layer by layer.

It then repeats published results on these rules, as far as they need no downloaded data: statements about MNIST are
tested on the digits as orderings and angles.

    python -m experiments.learning_rules                   run everything: about four minutes on two cores
    python -m experiments.learning_rules --only coding     only backprop and the rules with "coding" in their name
    python -m experiments.learning_rules --help            list all settings

Writes tables to the terminal, and figures (PNG, SVG), their numbers (CSV) and the sweeps (Zarr) to
results/learning_rules.
"""

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import xarray as xr
from rich.console import Console

import bpjax as bp
from bpjax.results.record import write_record
from bpjax.rules.registry import RuleCase
from bpjax.util.checks import check_count
from bpjax.util.files import slug
from experiments.common.command import command, print_totals, progress
from experiments.common.config import StoredSettings
from experiments.common.gradients import quick_compilations
from experiments.common.keep import keep
from experiments.common.redraw import write_figures
from experiments.common.stored import read_zarr, write_rows, write_zarr
from experiments.common.threads import in_parallel
from experiments.learning_rules.cost import step_costs
from experiments.learning_rules.figures import draw_comparison, draw_published, draw_rates
from experiments.learning_rules.problems import Entry, Problem, digits, entry_of, linear, xor
from experiments.learning_rules.published import BACKPROP, Claim, claims, repeated
from experiments.learning_rules.tables import claims_table, left_out, problem_table
from experiments.learning_rules.tuning import Job, Summary, summary_of, tune_all


@dataclass(frozen=True)
class Config(StoredSettings):
    """Settings of the experiment; those of papers and rules are elsewhere."""

    linear_starts: int = 10
    """Initial weights for each rule and learning rate on the linear task."""
    xor_starts: int = 20
    """Initial weights for each rule and learning rate on XOR."""
    xor_epochs: int = 1000
    """Maximum number of epochs on XOR."""
    digits_starts: int = 4
    """Initial weights for each rule and learning rate on the digits."""
    digits_epochs: int = 8
    """Epochs on the digits."""
    published: bool = True
    """Whether to repeat the published results."""
    published_starts: int = 3
    """Initial weights for each published result, if the paper does not say."""
    feedback_epochs: int = 60
    """Epochs on the digits of the rules whose feedback weights learn."""
    spiking_epochs: int = 1000
    """Epochs of the spiking network."""
    cost_rounds: int = 3
    """Rounds of the time measurement; in each round every rule trains for one epoch."""
    only: str = ""
    """Only backprop and the rules whose name contains this text."""
    out: Path = Path("results/learning_rules")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        for name in ("linear_starts", "xor_starts", "digits_starts", "published_starts"):
            check_count("Config", name, getattr(self, name), least=2)
        for name in ("xor_epochs", "digits_epochs", "feedback_epochs", "spiking_epochs", "cost_rounds"):
            check_count("Config", name, getattr(self, name), least=2 if name == "digits_epochs" else 1)
        super().check()
        if not any(self.only.lower() in name for name in names_of_rules()):
            raise ValueError(
                f"`Config` expected `only` to be part of a rule's name, got {self.only!r}. Try 'feedback'."
            )

    @functools.cached_property
    def problems(self) -> list[Problem]:
        """The problems, the longest first; their data are drawn once."""
        return [
            digits(self.digits_starts, self.digits_epochs),
            linear(self.linear_starts, seed=self.seed),
            xor(self.xor_starts, self.xor_epochs),
        ]

    @property
    def rules(self) -> dict[str, RuleCase]:
        """The selected rules, always with backprop."""
        chosen = [name for name in names_of_rules() if name == BACKPROP or self.only.lower() in name.lower()]
        return {name: bp.rules.RULES[name] for name in chosen}


def names_of_rules() -> list[str]:
    """All rules of the registry except `autodiff`, which computes the same as backprop."""
    return [name for name in bp.rules.RULES if name != "autodiff"]


class Result(NamedTuple):
    """The datasets that are stored, and what is recorded beside them."""

    compared: dict[str, dict[str, xr.Dataset]]  # by problem and rule
    left_out: dict[str, dict[str, str]]  # by problem and rule: the reason
    published: dict[str, dict[str, xr.Dataset]]  # by published result and rule
    costs: dict[str, float]  # by rule: time of a step on the digits ÷ that of backprop


class Numbers(NamedTuple):
    """The numbers computed from a result."""

    summaries: list[Summary]
    claims: list[Claim]


# --- Run -------------------------------------------------------------------------------------------------------------


def receipt_of(name: str, case: RuleCase, seed: int) -> bp.audit.Receipt:
    """The receipt of a rule on the small network of the registry.

    Raises:
        ValueError: the registry calls the rule exact, and it is not the gradient.
    """
    key_params, key_x, key_labels, key_rule = jax.random.split(jax.random.key(seed), 4)
    params, out_shape = case.network.init(key_params, case.in_shape)
    x = jax.random.normal(key_x, (6, *case.in_shape))
    labels = jax.random.randint(key_labels, (6, *out_shape[:-1]), 0, out_shape[-1])
    rule = case.make(case.network, case.loss)
    target = jax.nn.one_hot(labels, out_shape[-1])
    found = bp.receipt(rule, params, (x, target), key=key_rule, steps=3, show=False)
    if case.exact and not found.exact:
        raise ValueError(f"{name} is not the gradient: relative error {found.error:.1e}. Nothing was trained.")
    return found


def receipts_of(rules: dict[str, RuleCase], seed: int, on_receipt: Callable) -> dict[str, bp.audit.Receipt]:
    """The receipts of all rules, several at a time; calls `on_receipt(name)` after each."""

    def work(name, _):
        found = receipt_of(name, rules[name], seed)
        on_receipt(name)
        return found

    with quick_compilations():  # hundreds of small programs that run once
        return dict(zip(rules, in_parallel(work, rules), strict=True))


def entries_of(
    rules: dict[str, RuleCase], problems: list[Problem]
) -> tuple[dict[str, dict[str, Entry]], dict[str, dict[str, str]]]:
    """The entries, and the reasons why rules do not apply; both by problem and rule."""
    entries: dict[str, dict[str, Entry]] = {problem.name: {} for problem in problems}
    reasons: dict[str, dict[str, str]] = {problem.name: {} for problem in problems}
    for problem in problems:
        for name, case in rules.items():
            made = entry_of(name, case, problem)
            if isinstance(made, str):
                reasons[problem.name][name] = made
            else:
                entries[problem.name][name] = made
    return entries, reasons


def run(config: Config, console: Console) -> Result:
    """Run the receipts, the comparison, the published results and the time measurement."""
    began, rules, problems = time.perf_counter(), config.rules, config.problems
    entries, reasons = entries_of(rules, problems)
    tried = {name: case for name, case in rules.items() if any(name in own for own in entries.values())}
    with progress(console, len(tried)) as advance:
        done = itertools.count(1)
        receipts = receipts_of(tried, config.seed, lambda name: advance(next(done), name, "receipts"))
    repeats = []
    if config.published:
        repeats = repeated(config.published_starts, config.feedback_epochs, config.spiking_epochs)
    jobs = repeats + [
        Job(problem.name, problem, entry, receipt=receipts[name])
        for problem in problems
        for name, entry in entries[problem.name].items()
    ]
    with progress(console, len(jobs)) as advance:
        found = tune_all(jobs, config.seed, lambda n, job: advance(n, job.entry.name, "sweeps"))
    parts: dict[str, dict[str, xr.Dataset]] = {}
    for job, result in zip(jobs, found, strict=True):
        parts.setdefault(job.part, {})[job.entry.name] = result
    with console.status("measuring the time of a step of each rule"):
        costs = step_costs(problems[0], list(entries[problems[0].name].values()), config.cost_rounds)
    trainings = sum(result.diverged.size for result in found)
    print_totals(console, trainings, None, time.perf_counter() - began)
    compared = {problem.name: parts.pop(problem.name) for problem in problems}
    return Result(compared, reasons, parts, costs)


def summaries_of(config: Config, compared: dict[str, dict[str, xr.Dataset]]) -> list[Summary]:
    """A summary for each problem and rule."""
    return [
        summary_of(problem, name, config.rules[name].answers, found)
        for problem in config.problems
        for name, found in compared.get(problem.name, {}).items()
    ]


def numbers_of(config: Config, result: Result) -> Numbers:
    """Summaries of the comparison, and the published results."""
    summaries = summaries_of(config, result.compared)
    held = claims(result.published, summaries, result.compared["digits"]) if result.published else []
    return Numbers(summaries, held)


# --- Store and show --------------------------------------------------------------------------------------------------


def write_runs(folder: Path, runs: dict[str, dict[str, xr.Dataset]]) -> None:
    """Write the sweeps."""
    for part, by_rule in runs.items():
        for name, sweep in by_rule.items():
            write_zarr(sweep.assign_attrs(rule=name), folder / slug(part) / f"{slug(name)}.zarr")


def read_runs(folder: Path, parts: list[str]) -> dict[str, dict[str, xr.Dataset]]:
    """The stored sweeps of these parts, by part and rule; the rules in the order of the registry."""
    order = {name: index for index, name in enumerate(names_of_rules())}
    found: dict[str, dict[str, xr.Dataset]] = {}
    for part in parts:
        sweeps = [read_zarr(path) for path in sorted((folder / slug(part)).glob("*.zarr"))]
        by_rule = {sweep.attrs["rule"]: sweep for sweep in sweeps}
        found[part] = {name: by_rule[name] for name in sorted(by_rule, key=lambda name: order.get(name, len(order)))}
    return {part: by_rule for part, by_rule in found.items() if by_rule}


def read(config: Config, folder: Path) -> tuple[dict, dict]:
    """The stored sweeps of the comparison and of the published results."""
    parts = dict.fromkeys(job.part for job in repeated(config.published_starts, 1, 1)) if config.published else []
    compared = read_runs(folder, [problem.name for problem in config.problems])
    return compared, read_runs(folder / "published", list(parts))


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    compared, published = read(config, folder)
    summaries = summaries_of(config, compared)
    drawn = {
        "learning_rules": functools.partial(draw_comparison, compared["digits"], summaries),
        "learning_rules_rates": functools.partial(draw_rates, compared["digits"], summaries),
    }
    return drawn | ({"learning_rules_published": functools.partial(draw_published, published)} if published else {})


def store(config: Config, folder: Path, result: Result) -> tuple[Result, Numbers]:
    """Write results, numbers, figures and record; returns the result as read back."""
    write_runs(folder, result.compared)
    write_runs(folder / "published", result.published)
    compared, published = read(config, folder)
    result = result._replace(compared=compared, published=published)
    numbers = numbers_of(config, result)
    write_rows(folder / "learning_rules.csv", [s.row for s in numbers.summaries])
    if result.published:
        write_rows(folder / "published.csv", numbers.claims)
    write_figures(folder, figures(config, folder))
    receipts = {name: sweep.attrs["receipt"] for by_rule in compared.values() for name, sweep in by_rule.items()}
    more = {"receipts": receipts, "left_out": result.left_out, "costs": result.costs}
    write_record(folder, config, experiment="learning_rules", **more)
    return result, numbers


def show(config: Config, console: Console) -> None:
    """Run, store, and print the tables that answer the question."""
    result = run(config, console)
    with console.status("storing the result and drawing the figures"):
        config, (result, numbers) = keep(config, store, result)
    for problem in config.problems:
        console.print()
        costs = result.costs if problem.name == "digits" else {}
        console.print(problem_table(problem, [s for s in numbers.summaries if s.problem == problem.name], costs))
        for line in left_out(result.left_out[problem.name]):
            console.print(line)
    if numbers.claims:
        console.print()
        console.print(claims_table(numbers.claims))
    console.print(
        f"\nFigures: {config.out}/learning_rules*.png (also as .svg), their numbers as CSV, the sweeps as Zarr, "
        "receipts in record.json."
    )


main = functools.partial(command, "learning_rules", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
