"""Findings of an experiment: numbers that others published beside the same numbers computed here."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from bpjax.results.statistics import wilson
from experiments.common.command import add_heading, bare_table


class Finding(NamedTuple):
    """One published number or closed form, and ours.

    A number is given as text with the digits that are known: `"5.4641016"`, `"0.0273"`, `"2 of hundreds"`.
    """

    topic: str  # the heading that the row stands under, such as the problem
    quantity: str  # what the number is, with its unit
    published: str  # empty if the source gives none
    ours: str
    difference: str  # such as "3e-9", "+0.4 %", or an interval that contains the published number
    certainty: str  # how sure ours is: "exact", "12 digits", "95 % of 200 starts"
    agrees: bool | None  # None if there is nothing to agree with
    source: str = ""  # paper and page, or "closed form"
    note: str = ""  # why ours differs, as far as it is known

    @property
    def verdict(self) -> str:
        """`agrees`, `differs`, or nothing."""
        return "" if self.agrees is None else "agrees" if self.agrees else "differs"


def number(value: float, digits: int = 8) -> str:
    """A number with this many significant digits, without an exponent where that is readable."""
    return f"{value:.{digits}g}"


def finding(
    topic: str, quantity: str, published: float, ours: float, tolerance: float, *,
    digits: int = 8, certainty: str = "", source: str = "", note: str = "",
) -> Finding:  # fmt: skip
    """A number that agrees if it is within `tolerance` of the published one.

    Args:
        topic: heading of the row.
        quantity: what the number is, with its unit.
        published: the number of the source.
        ours: the number computed here.
        tolerance: largest absolute difference that counts as agreement.
        digits: significant digits shown.
        certainty: how sure ours is.
        source: paper and page, or "closed form".
        note: why ours differs.
    """
    difference = ours - published
    return Finding(
        topic, quantity, number(published, digits), number(ours, digits), f"{difference:.0e}" if difference else "0",
        certainty, bool(abs(difference) <= tolerance), source, note,
    )  # fmt: skip


def share(
    topic: str, quantity: str, successes: int, runs: int, published: tuple[int, int] | None = None, *,
    source: str = "", note: str = "",
) -> Finding:  # fmt: skip
    """A share of runs with its 95 % interval (Wilson); it agrees if it overlaps the interval of the published share.

    Args:
        topic: heading of the row.
        quantity: what the runs have in common.
        successes: of ours.
        runs: all of ours.
        published: (successes, runs) of the source; None if it gives none.
        source: paper and page.
        note: why ours differs.
    """
    low, high = wilson(successes, runs)
    agrees = None
    if published is not None:
        least, most = wilson(*published)
        agrees = bool(least <= high and low <= most)
    return Finding(
        topic, quantity, "" if published is None else f"{published[0]}/{published[1]}", f"{successes}/{runs}",
        f"{100 * low:.0f} to {100 * high:.0f} %", "95 % interval", agrees, source, note if agrees is False else "",
    )  # fmt: skip


def one_run(
    topic: str, quantity: str, published: float, solved: np.ndarray, epochs: np.ndarray, *,
    source: str = "", note: str = "",
) -> Finding:  # fmt: skip
    """The published epochs of a single run; they agree if they lie within the middle 95 % of our solved runs.

    Args:
        topic: heading of the row.
        quantity: what was learnt.
        published: epochs of the run.
        solved: (runs,) which of ours succeeded.
        epochs: (runs,) of ours.
        source: paper and page.
        note: why ours differs.
    """
    solved, epochs = np.ravel(solved), np.ravel(epochs)
    n, successes = int(solved.sum()), epochs[solved]
    if n < 2:
        return Finding(
            topic, quantity, number(published, 4), "none solved", "", f"{len(solved)} starts", False, source, note
        )
    low, middle, high = np.quantile(successes, [0.025, 0.5, 0.975])
    agrees = bool(low <= published <= high)
    return Finding(
        topic, quantity, number(published, 4), f"median {middle:.0f}", f"{low:.0f} to {high:.0f}",
        f"95 % of {n} runs", agrees, source, note if agrees is False else "",
    )  # fmt: skip


def findings_table(findings: Sequence[Finding], title: str | None = None) -> Table:
    """The findings grouped by topic, within 80 columns; source and certainty stand below the quantity."""
    shown = bare_table(title)
    shown.add_column("quantity", ratio=1)
    for column, width in (("published", 13), ("ours", 17), ("difference", 13)):
        shown.add_column(column, justify="right", max_width=width)
    shown.add_column("", no_wrap=True)
    topic = ""
    for row in findings:
        if row.topic != topic:
            topic = row.topic
            add_heading(shown, topic)
        below = "; ".join(part for part in (row.source, row.certainty) if part)
        quantity = row.quantity + (f"\n[dim]({below})[/dim]" if below else "")
        verdict = {True: "[green]agrees[/green]", False: "[yellow]differs[/yellow]", None: ""}[row.agrees]
        shown.add_row(quantity, row.published or "–", row.ours, row.difference, verdict)
    return shown


def print_findings(console: Console, findings: Sequence[Finding], title: str | None = None) -> None:
    """Print the table, the reason of each difference, and how many numbers agree."""
    console.print(findings_table(findings, title))
    console.print()
    notes: dict[str, list[str]] = {}
    for row in findings:
        if row.note:
            notes.setdefault(row.note, []).append(f"{row.topic}, {row.quantity}")
    for note, names in notes.items():
        console.print(f"{'; '.join(names)}: {note}")
    counts = Counter(row.verdict for row in findings)
    compared = counts["agrees"] + counts["differs"]
    console.print(f"{counts['agrees']} of {compared} published numbers agree, {counts['differs']} differ.")
