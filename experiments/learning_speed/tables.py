"""The table and the sentences of the learning-speed experiment."""

import numpy as np
from rich.table import Table

from experiments.common.command import add_heading, bare_table
from experiments.learning_speed.row import Summary


def table(summaries: list[Summary]) -> Table:
    """Our results and the published ones, grouped by problem, in two lines per row to fit 80 columns."""
    shown = bare_table()
    for column in ("rule", "ours\n95 % of mean", "median", "failed", "paper", "verdict"):
        right = column in ("median", "failed")
        shown.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=right or column.startswith("ours"),
            min_width=6 if column != "rule" else 18,
        )
    problem = ""
    for s in summaries:
        if s.problem != problem:
            problem = s.problem
            add_heading(shown, problem)
        paper = "" if s.published is None else f"{s.published:g}"
        paper += "" if s.published_deviation is None else f" ± {s.published_deviation:g}"
        source = s.source.split()[0].strip(",") if paper else ""
        source += "" if s.published_restarts is None else f"\n{s.published_restarts:g} % restart"
        mean, deviation, low, high = (f"{x:.{0 if x >= 100 else 1}f}" for x in (s.mean, s.deviation, s.low, s.high))
        shown.add_row(
            f"{s.rule}\n {s.numbers}",
            f"{mean} ± {deviation}\n{low} to {high}" if np.isfinite(s.low) else "",
            f"{s.median:.0f}" if np.isfinite(s.median) else "never",
            f"{s.failures}/{s.trials}" + (f"\n{s.restarts} restarts" if s.restarts else ""),
            f"{paper}\n{source}",
            s.verdict if paper else "",
            style={"agrees": "green"}.get(s.verdict, "" if paper else "dim"),
        )
    return shown


def growth_sentences(summaries: list[Summary]) -> list[str]:
    """Sentences on whether the epochs of the tight encoders grow as log n."""
    tight = [s for s in summaries if s.problem == "tight encoders" and np.isfinite(s.mean)]
    groups = {
        numbers: [s for s in tight if s.numbers == numbers] for numbers in dict.fromkeys(s.numbers for s in tight)
    }
    lines = {f"tight encoders, {numbers}": [(s.rule, s.mean) for s in own] for numbers, own in groups.items()}
    if groups:
        lines["the paper"] = [(s.rule, s.published or np.nan) for s in next(iter(groups.values()))]
    sentences = []
    for name, points in lines.items():
        if len(points) > 2:
            sizes = np.log2([int(rule.split("-")[0]) for rule, _ in points])
            means = np.array([mean for _, mean in points])
            slope, intercept = np.polyfit(sizes, means, 1)
            explained = np.corrcoef(sizes, means)[0, 1] ** 2
            sentences.append(f"Mean epochs, {name}: {intercept:.1f} + {slope:.1f} log₂ n, R² {explained:.2f}.")
    return sentences
