"""The tables of the learning-rules experiment."""

import math

from learning_rules_problems import Problem
from learning_rules_published import Claim
from learning_rules_tuning import Summary
from rich import box
from rich.table import Table


def problem_table(problem: Problem, summaries: list[Summary], costs: dict[str, float]) -> Table:
    """A row for each rule, by the objection it answers; a line of angles for each layer of units."""
    measured = {"digits": "accuracy", "linear": "error", "XOR": "largest error"}[problem.name]
    shown = Table(
        title=TITLES[problem.name], title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    shown.add_column("rule", max_width=21)
    for column in ("η", f"{measured}\n95 %", "steps\nfailed", "rates\nfit", "° to the gradient\nstart, middle, end"):
        shown.add_column(column, justify="right", no_wrap=True)
    if costs:
        shown.add_column("time\na step", justify="right", no_wrap=True)
    group = ""
    for s in summaries:
        if s.answers != group:
            group = s.answers
            shown.add_section()
            shown.add_row(f"[bold]{group}[/bold]")
        own = [f"{costs[s.rule]:.2f} ×"] if s.rule in costs else []
        shown.add_row(
            s.rule, f"{s.rate:.2g}", f"{number(s.mean)}\n{number(s.low)} - {number(s.high)}", steps_of(s),
            f"{s.good_rates}/{s.rates}", "\n".join(angles_of(s)), *own,
        )  # fmt: skip
    return shown


TITLES = {
    "digits": "Digits, 64-100-100-10, one line of angles a layer",
    "linear": "Linear task, 30-20-10, on-line",
    "XOR": "XOR, 2-4-1, until every output is within 0.4",
}


def number(x: float) -> str:
    """An accuracy or an error; errors are stored with their sign changed, so that more is better."""
    x = abs(x) if x < 0 else x
    if not math.isfinite(x):
        return "-"
    return f"{x:.3f}" if x == 0 or 0.001 <= x < 10 else f"{x:.0e}"


def steps_of(s: Summary) -> str:
    """Median of the steps until learnt, and how many starts failed."""
    failed = s.starts - s.learnt
    return (f"{s.steps:.0f}" if math.isfinite(s.steps) else "never") + (f"\n{failed}/{s.starts}" if failed else "")


def angles_of(s: Summary) -> list[str]:
    """For each layer of units, input side first: degrees at the start, the middle and the end."""
    return [
        " ".join(f"{a:3.0f}" if math.isfinite(a) else "  -" for a in layer) for layer in zip(*s.angles, strict=True)
    ]


def left_out(reasons: dict[str, str]) -> list[str]:
    """Which rules could not be tried, and why."""
    return [f"Not tried: {name}. {reason}" for name, reason in reasons.items()]


def claims_table(claims: list[Claim]) -> Table:
    """Published statements, and whether they hold here."""
    shown = Table(
        title="Published statements", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for column in ("source", "statement", "found", "holds"):
        shown.add_column(column)
    for claim in claims:
        shown.add_row(
            claim.source, claim.says, claim.found, "yes" if claim.holds else "no", style="green" if claim.holds else ""
        )
    return shown
