"""The results of the learning-rate experiment as numbers, tables and sentences."""

import math
from typing import NamedTuple

import numpy as np
import xarray as xr
from rich.table import Table
from scipy.stats import spearmanr

from bpjax.results.statistics import epochs_or_never, quantiles_with_failures, wilson
from experiments.common.command import bare_table
from experiments.learning_rate.problems import FIXED

SOLVED, SLOW, STUCK, DIVERGED = range(4)
KINDS = ("solved", "too slow", "stuck", "diverged")


class Row(NamedTuple):
    """One problem, rule and learning rate; for a variable rate, the initial one."""

    problem: str
    rule: str
    learning_rate: float
    over_limit: float  # learning rate divided by the median 2/λ_max
    runs: int
    solved: int
    low: float  # 95 % Wilson interval of the share solved
    high: float
    diverged: int
    stuck: int
    too_slow: int  # see `kinds`; 0 where the rate is variable
    median_epochs: float  # ∞ if half of the runs or more fail
    mean_epochs: float  # a failure counts as the epoch limit
    final_error: float  # median


def kinds(result: xr.Dataset) -> np.ndarray:
    """The outcome of each run, (rates, seeds) of indices into `KINDS`.

    With small steps all rates follow the same path, the gradient flow, for which epochs × rate is the elapsed time.
    Take the flow time at which the lowest successful rate solved a start. At a fixed rate, an unsolved run that ended
    before that time is too slow; one that went on longer is stuck. If no rate solved the start, the longest such time
    of the other starts is taken.
    """
    kind = np.where(result.solved, SOLVED, np.where(result.diverged, DIVERGED, STUCK))
    if result.attrs["rule"] == FIXED:
        solved = result.solved.transpose("learning_rate", "seed").values
        time = (result.learning_rate * result.epochs).transpose("learning_rate", "seed").values
        needed = np.where(solved.any(axis=0), np.take_along_axis(time, solved.argmax(axis=0)[None], axis=0)[0], np.nan)
        longest = np.nanmax(needed) if solved.any() else np.inf
        kind = np.where((kind == STUCK) & (time < np.where(np.isnan(needed), longest, needed)), SLOW, kind)
    return kind


def rows_of(result: xr.Dataset) -> list[Row]:
    """One row for each learning rate."""
    limit, most = float(np.median(result.limit)), result.attrs["epoch_limit"]
    rows = []
    for rate, kind in zip(result.learning_rate.values, kinds(result), strict=True):
        at = result.sel(learning_rate=rate)
        count = [int((kind == which).sum()) for which in range(len(KINDS))]
        rows.append(
            Row(
                result.attrs["name"],
                result.attrs["rule"],
                float(rate),
                float(rate) / limit,
                len(kind),
                count[SOLVED],
                *wilson(count[SOLVED], len(kind)),
                count[DIVERGED],
                count[STUCK],
                count[SLOW],
                float(quantiles_with_failures(epochs_or_never(at.solved, at.epochs), 0.5)),
                float(np.where(at.solved, at.epochs, most).mean()),
                float(np.median(np.nan_to_num(at.error, nan=np.inf))),
            )
        )
    return rows


def best_row(rows: list[Row]) -> Row | None:
    """The row with the lowest mean of epochs, a failure counted as the epoch limit; None if no run was solved."""
    solving = [row for row in rows if row.solved]
    return min(solving, key=lambda row: row.mean_epochs) if solving else None


def rate_table(results: list[xr.Dataset]) -> Table:
    """Every fixed rate on every problem: runs solved, median epochs to the goal, or the most frequent failure."""
    shown = bare_table("Runs solved, median epochs to the goal (failures count as ∞)")
    shown.add_column("rate", justify="right", no_wrap=True)
    columns = [rows_of(result) for result in results]
    for result in results:
        shown.add_column(result.attrs["problem"], justify="right", no_wrap=True)
    for rows in zip(*columns, strict=True):
        cells = []
        for row, column in zip(rows, columns, strict=True):
            words = f"{row.solved}/{row.runs}"
            words += f" {row.median_epochs:5.0f}" if math.isfinite(row.median_epochs) else f" {failure(row):>5}"
            cells.append(f"[bold green]{words}[/bold green]" if row is best_row(column) else words)
        shown.add_row(f"{rows[0].learning_rate:.3g}", *cells)
    return shown


def failure(row: Row) -> str:
    """The most frequent failure, abbreviated for the table."""
    words = {"slow": row.too_slow, "stuck": row.stuck, "div.": row.diverged}
    return max(words, key=lambda word: words[word])


def rule_table(results: list[xr.Dataset]) -> Table:
    """Variable rates against the best fixed rate."""
    shown = bare_table("Variable rates against the best fixed rate, each at its best initial rate")
    for column in ("problem", "rule", "rate", "solved, 95 %", "median", "mean*", "good"):
        shown.add_column(column, justify="left" if column in ("problem", "rule") else "right", no_wrap=True)
    fixed = {r.attrs["name"]: best_row(rows_of(r)) for r in results if r.attrs["rule"] == FIXED}
    last = ""
    for result in results:
        rows, name = rows_of(result), result.attrs["problem"]
        best, goal = best_row(rows), fixed[result.attrs["name"]]
        good = sum(goal is not None and as_good(row, goal) for row in rows)
        cells = ["", "", "", ""]
        if best is not None:
            interval = f"{100 * best.low:.0f}-{100 * best.high:.0f} %"
            cells = [f"{best.learning_rate:.3g}", f"{best.solved}/{best.runs} {interval:>8}"]
            cells += [f"{best.median_epochs:.0f}" if math.isfinite(best.median_epochs) else "never"]
            cells += [f"{best.mean_epochs:.0f}"]
        if name != last and last:
            shown.add_section()
        shown.add_row("" if name == last else name, result.attrs["rule"], *cells, f"{good}/{len(rows)}")
        last = name
    return shown


def as_good(row: Row, best: Row) -> bool:
    """Whether a rate solves at least 0.9 times as many runs as the best fixed rate, in at most twice its epochs."""
    return row.solved >= 0.9 * best.solved and row.mean_epochs <= 2 * best.mean_epochs


RULE_NOTE = (
    "* mean epochs, a failure counted as the epoch limit. Good: how many of the rates tried solve at least 0.9 times "
    "as many runs as the best fixed rate, which is known only after trying them all, in at most twice its mean epochs."
)


def rule_sentence(results: list[xr.Dataset]) -> str:
    """The variable rates on all problems: mean epochs, and how many initial rates work."""
    words = []
    fixed = {r.attrs["name"]: rows_of(r) for r in results if r.attrs["rule"] == FIXED}
    for rule in dict.fromkeys(r.attrs["rule"] for r in results if r.attrs["rule"] != FIXED):
        ratios, good, tried = [], 0, 0
        for result in (r for r in results if r.attrs["rule"] == rule):
            own, goal = rows_of(result), best_row(fixed[result.attrs["name"]])
            best = best_row(own)
            tried += len(own)
            if goal is not None:
                good += sum(as_good(row, goal) for row in own)
                ratios.append("-" if best is None else f"{best.mean_epochs / goal.mean_epochs:.2f}")
        words.append(f"{rule}: {', '.join(ratios)} times the mean of the best fixed rate, {good}/{tried} rates good")
    good = sum(as_good(row, goal) for rows in fixed.values() if (goal := best_row(rows)) for row in rows)
    return f"{'; '.join(words)}; fixed rates: {good}/{sum(map(len, fixed.values()))}."


class LimitSummary(NamedTuple):
    """The classical limit of each start, 2/λ_max, against the outcomes of its runs."""

    limit: float  # median over the starts
    lowest: float
    highest: float
    fastest: float  # the fastest rate divided by the median limit; NaN if no run was solved
    reach: np.ndarray  # (3,) quartiles of the highest rate that solves a start, divided by its own limit
    correlation: float  # Spearman correlation of that rate and the limit over the starts
    diverged_below: tuple[int, int]  # diverged runs, and all runs, at rates below their limit
    solved_above: tuple[int, int]  # solved runs, and all runs, at rates above their limit


def limit_summary(result: xr.Dataset) -> LimitSummary:
    """Compare 2/λ_max at the starts with the outcomes of a sweep over fixed rates."""
    rates, limits, best = result.learning_rate.values, result.limit.values, best_row(rows_of(result))
    solved = result.solved.transpose("learning_rate", "seed").values
    diverged = result.diverged.transpose("learning_rate", "seed").values
    above, any_solved = rates[:, None] > limits, solved.any(axis=0)
    highest = np.where(solved, rates[:, None], 0.0).max(axis=0)[any_solved]
    own, correlation = limits[any_solved], np.nan
    if len(own) > 2 and np.ptp(highest) > 0:
        correlation = float(spearmanr(highest, own)[0])  # type: ignore[arg-type]
    return LimitSummary(
        float(np.median(limits)),
        float(limits.min()),
        float(limits.max()),
        best.over_limit if best is not None else np.nan,
        np.quantile(highest / own, [0.25, 0.5, 0.75]) if len(own) else np.full(3, np.nan),
        correlation,
        (int((diverged & ~above).sum()), int((~above).sum())),
        (int((solved & above).sum()), int(above.sum())),
    )


def limit_table(results: list[xr.Dataset]) -> Table:
    """How well 2/λ_max at the start predicts the outcomes."""
    shown = bare_table("The limit 2/λ_max at each start, and learning rates divided by it")
    columns = ("problem", "2/λ_max\n(range)", "fastest\nrate", "highest solving\n(quartiles)", "rank\ncorr.")
    for column in (*columns, "diverged\nbelow", "solved\nabove"):
        shown.add_column(column, justify="left" if column == "problem" else "right", no_wrap=True)
    for result in results:
        h = limit_summary(result)
        low, middle, high = h.reach
        shown.add_row(
            result.attrs["problem"].split(",")[0],
            f"{h.limit:.2g} ({h.lowest:.2g}-{h.highest:.2g})",
            f"{h.fastest:.2f}",
            f"{middle:.2g} ({low:.2g}-{high:.2g})",
            f"{h.correlation:.2f}",
            "{}/{}".format(*h.diverged_below),
            "{}/{}".format(*h.solved_above),
        )
    return shown


def edge_table(rows: list[dict]) -> Table:
    """The sharpness during training; see `steep.saturation`."""
    shown = bare_table("Edge of stability on the digits: sharpness λ_max during training")
    for column in ("loss", "η", "2/η", "start", "peak", "last quarter", "÷ 2/η", "diverged"):
        shown.add_column(column, justify="left" if column == "loss" else "right", no_wrap=True)
    for row in rows:
        numbers = [f"{row[name]:.2f}" for name in ("limit", "start", "peak", "late")]
        ratio, diverged = f"{row['late'] / row['limit']:.2f}", f"{row['diverged']}/{row['runs']}"
        shown.add_row(row["loss"], f"{row['rate']:.3g}", *numbers, ratio, diverged)
    return shown


def answer(rows: list[Row]) -> str:
    """What the fixed rates of one problem say about the claim."""
    best = best_row(rows)
    if best is None:
        return "No rate reached the goal: allow more epochs."
    words = f"Fastest at rate {best.learning_rate:.3g}, {best.over_limit:.2g} times the classical limit: "
    words += f"{best.mean_epochs:.0f} epochs on average, {best.solved}/{best.runs} solved."
    slow = [row for row in rows if row.learning_rate < best.learning_rate and 2 * row.too_slow > row.runs]
    higher = [row for row in rows if row.learning_rate > best.learning_rate]
    missing = next((row for row in higher if 2 * row.solved < best.solved), None)
    if slow:
        words += f" Too low: up to {slow[-1].learning_rate:.3g}, most runs do not reach the goal in time."
    if missing is not None:
        words += f" Too high: from {missing.learning_rate:.3g} on ({missing.over_limit:.2g} times the limit), fewer "
        words += f"than half as many are solved; {sum_of(higher, missing, 'diverged')} runs diverge from there on and "
        words += f"{sum_of(higher, missing, 'stuck')} get stuck."
    return words


def sum_of(rows: list[Row], first: Row, field: str) -> int:
    """The sum of `field` over the rows from `first` on."""
    return sum(getattr(row, field) for row in rows if row.learning_rate >= first.learning_rate)
