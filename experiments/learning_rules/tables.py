"""The tables of the learning-rules experiment."""

import math

from rich.table import Table

from experiments.common.command import add_heading, bare_table
from experiments.learning_rules.problems import Problem
from experiments.learning_rules.published import Claim
from experiments.learning_rules.tuning import Summary


def problem_table(problem: Problem, summaries: list[Summary], costs: dict[str, float]) -> Table:
    """A row for each rule, grouped by objection, with a line of angles for each layer.

    Args:
        problem: the problem.
        summaries: of all rules on it.
        costs: {rule: time of a step ÷ that of backprop}, may be empty.
    """
    title, measured = TITLES[problem.name]
    shown = bare_table(title)
    shown.add_column("rule", max_width=26)
    for column in ("η", measured, "steps", "rates\nfit", "angle °: start\nmiddle, end", *["time"] * bool(costs)):
        shown.add_column(column, justify="right", no_wrap=True)
    group = ""
    for s in summaries:
        if s.answers != group:
            group = s.answers
            add_heading(shown, group)
        steps = f"{s.steps:.0f}" if math.isfinite(s.steps) else "never"
        own = [f"{costs[s.rule]:.2f} ×"] if s.rule in costs else []
        shown.add_row(
            s.rule,
            f"{s.rate:.1g}" if s.rate < 5 else f"{s.rate:.0f}",
            result_of(s),
            steps,
            f"{s.good_rates}/{s.rates}",
            "\n".join(angles_of(s)),
            *own,
        )
    return shown


TITLES = {
    "digits": ("Digits, 64-100-100-10; a line of angles for each layer; time ÷ backprop", "accuracy\n95 %"),
    "linear": ("Linear task, 30-20-10, on-line; error ÷ error of output 0", "error"),
    "XOR": ("XOR, 2-4-1, until every output is within 0.4", "solved"),
}


def result_of(s: Summary) -> str:
    """The result of a rule as text: accuracy, normalised error, or number of successful runs."""
    if s.problem == "XOR":
        return f"{s.learnt}/{s.starts}"
    if s.problem == "linear":
        return f"{-s.mean:.2g}"
    failed = f"\n{s.starts - s.learnt}/{s.starts} too slow" if s.learnt < s.starts else ""
    return f"{s.mean:.3f} ±{s.high - s.mean:.3f}{failed}"


def angles_of(s: Summary) -> list[str]:
    """For each layer, input side first: degrees at the start, the middle and the end."""
    return [
        " ".join(f"{a:3.0f}" if math.isfinite(a) else "  -" for a in layer) for layer in zip(*s.angles, strict=True)
    ]


def left_out(reasons: dict[str, str]) -> list[str]:
    """Lines on the rules that do not apply, with the reason."""
    return [f"Not applicable: {name}. {reason}" for name, reason in reasons.items()]


def claims_table(claims: list[Claim]) -> Table:
    """Published results, and whether they hold here."""
    shown = bare_table("Published results")
    for column in ("source", "statement", "found here", "holds"):
        shown.add_column(column)
    for claim in claims:
        style = "green" if claim.verdict == "yes" else ""
        shown.add_row(claim.source, claim.statement, claim.found, claim.verdict, style=style)
    return shown
