"""Tables and sentences of the momentum experiment: measurements and closed forms."""

import math

from rich.table import Table

from experiments.common.command import bare_table
from experiments.momentum.ends import LAGGING, Lag
from experiments.momentum.forms import FORMS, NAMES
from experiments.momentum.planes import Cell, Row

LIMITS = {
    "heavy_ball": "2(1+α)", "convex": "2(1+α)/(1−α)", "nesterov": "2(1+α)/(1+2α)", "velocity": "2(1+α)",
}  # fmt: skip
RATES = {
    "gradient descent": "(κ−1)/(κ+1)", "heavy_ball": "(√κ−1)/(√κ+1)", "convex": "(√κ−1)/(√κ+1)",
    "nesterov": "1−2/√(3κ+1)",
}  # fmt: skip


def cell_words(cell: Cell | None, limit: int) -> tuple[str, str, str]:
    """Setting, epochs and share of a cell as text."""
    if cell is None:
        return "none", f"> {limit}", ""
    return f"{cell.rate:.3g}, {cell.momentum:.2f}", f"{cell.epochs:.0f}", f"{100 * cell.share:.0f} %"


def plane_table(rows: list[Row], titles: dict[str, str], limits: dict[str, int]) -> Table:
    """The fastest cell of each plane and the fastest cell without momentum.

    Args:
        rows: of all problems and forms.
        titles: {name of the problem: title}.
        limits: {name of the problem: maximum number of epochs}.
    """
    shown = bare_table("Epochs to the goal: median over all seeds, a failure counts as ∞")
    same = f"at η̂\nα {rows[0].momentum:.2g}"
    for column in ("", "α = 0\nη", "\nepochs", same, "best\nη, α", "\nepochs", "\ngain", "\nsolved", "\nbeyond"):
        shown.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for index, row in enumerate(rows):
        if index == 0 or rows[index - 1].problem != row.problem:
            shown.add_section()
            shown.add_row(f"[bold]{titles[row.problem].split(',')[0].split()[0]}[/bold]")
        plain, best = cell_words(row.plain, limits[row.problem]), cell_words(row.best, limits[row.problem])
        shown.add_row(
            f" {row.form}", plain[0].split(",")[0], plain[1],
            f"{row.same:.0f}" if math.isfinite(row.same) else "never", best[0], best[1],
            f"{row.gain:.2g} ×" if math.isfinite(row.gain) else "", best[2], f"{100 * row.beyond:.0f} %",
        )  # fmt: skip
    shown.caption = (
        "at η̂: with momentum at the effective rate of the fastest plain descent\n"
        "beyond: share of solved runs whose η is above the limit of stability with λ_max at the goal"
    )
    return shown


def theory_table(tables: dict[str, list]) -> Table:
    """Every closed form and its measurement."""
    shown = bare_table("Theory against measurement")
    for column in ("", "theory", "measured", ""):
        shown.add_column(column)
    for claim, expected, found, holds in theory_lines(tables):
        verdict = "" if holds is None else "agrees" if holds else "differs"
        shown.add_row(claim, expected, found, verdict, style={"differs": "red", "agrees": "green"}.get(verdict))
    return shown


def theory_lines(tables: dict[str, list]) -> list[tuple[str, str, str, bool | None]]:
    """(claim, theory, measured, whether they agree) of each line of the table; None if no agreement is claimed."""
    lines = []
    for place in dict.fromkeys(b.place for b in tables["boundaries"]):
        for form in FORMS:
            own = [b for b in tables["boundaries"] if b.place == place and b.form == form]
            if own:
                worst = max((b.difference for b in own), key=abs)
                missed = sum(b.reason.startswith("no boundary") for b in own)
                found = f"off by ≤ {abs(worst):.0e} ({len(own)} limits)" + (f", {missed} not found" if missed else "")
                lines.append((f"limit of η λ_max, {form}, {place}", LIMITS[form], found, abs(worst) < 1e-3))
    for precision in ("speeds", "float32"):
        for form in dict.fromkeys(speed.form for speed in tables[precision]):
            own = [speed for speed in tables[precision] if speed.form == form]
            off = max(abs((1 - speed.measured) / (1 - speed.predicted) - 1) for speed in own)
            powers = sorted({f"t^{abs(round(speed.power, 2)):g}" for speed in own})
            found = f"1−σ off by ≤ {off:.0e}, {' to '.join(powers[:: max(1, len(powers) - 1)])}"
            kappas = f"κ = {own[0].condition:g} to {own[-1].condition:g}"
            claim = f"convergence, {form}, {kappas}" + (", in float32" if precision == "float32" else "")
            lines.append((claim, RATES[form], found, None if precision == "float32" else off < 1e-3))
    for form in LAGGING:
        for alpha in dict.fromkeys(lag.momentum for lag in tables["lags"]):
            late: list[Lag] = [lag for lag in tables["lags"] if lag.form == form and lag.momentum == alpha]
            found = ", ".join(f"{lag.measured:.2f}" for lag in late)
            rates = ", ".join(f"{lag.effective_rate:g}" for lag in late)
            formula = "α²/(1−α)" if form == "nesterov" else "α/(1−α)"
            claim = f"epochs behind plain descent, {form}, α = {alpha:g}"
            slowest = min(late, key=lambda lag: lag.effective_rate)
            close = abs(slowest.measured / slowest.predicted - 1) < 0.05  # exact for a constant gradient
            lines.append((claim, f"{formula} = {late[0].predicted:.2f} as η̂ → 0", f"{found} (η̂ = {rates})", close))
    return [*lines, *((fact.claim, fact.expected, fact.found, fact.holds) for fact in tables["facts"])]


def plane_sentences(rows: list[Row]) -> list[str]:
    """The answer for each problem."""
    sentences = []
    for problem in dict.fromkeys(row.problem for row in rows):
        own = [row for row in rows if row.problem == problem]
        plain = own[0].plain
        if plain is None:
            sentences.append(f"{problem}: no rate without momentum solved half of its runs: allow more epochs.")
            continue
        gains = ", ".join(f"{NAMES[row.form]} {row.gain:.2g} ×" for row in own)
        most = ", ".join(f"{row.most:.2g}" for row in own)
        sentences.append(
            f"{problem}: plain descent needs {plain.epochs:.0f} epochs at its best rate {plain.rate:.3g}; "
            f"the best momentum is faster by {gains}. Half of the runs reach the goal at some rate up to α = {most}."
        )
    return sentences
