"""The tables and sentences of the plateau experiment."""

import math

from rich.table import Table

from experiments.common.command import bare_table
from experiments.plateau_escape.escapes import Measured, Summary
from experiments.plateau_escape.laws import FORMS, RATE, Height, Law
from experiments.plateau_escape.races import RESTART
from experiments.plateau_escape.saddles import Prediction
from experiments.plateau_escape.starts import Plateau


def plain_table(title: str, *columns: str, caption: str | None = None) -> Table:
    """A table without edges, with the first column left-aligned."""
    shown = bare_table(title, caption)
    for index, column in enumerate(columns):
        shown.add_column(column, justify="right" if index else "left")
    return shown


def number(x: float) -> str:
    """A number of epochs as text; "never" for ∞ and "-" for NaN."""
    return "never" if math.isinf(x) else "-" if math.isnan(x) else f"{x:.0f}"


def both(laws: list[Law], landscape: str, what: str, form: str, momentum: float) -> str:
    """Theory and measurement of one law as text.

    Args:
        laws: all of them.
        landscape: of the law, and so on: the fields of `Law`.
        what: which quantity.
        form: of momentum.
        momentum: coefficient α.
    """
    found = [law for law in laws if law[:4] == (landscape, form, momentum, what)]
    return "".join(f"{law.theory:.4g} {'=' if law.holds else '≠'} {law.measured:.4g}" for law in found)


def balls_table(laws: list[Law]) -> Table:
    """A flat stretch and a saddle, form by form."""
    shown = plain_table(
        f"Exact theory, η = {RATE:g}: steps by theory = measured (tolerance ±1; for the glide ±10⁻⁶)",
        "form", "α", "flat stretch\nfrom rest", "flat stretch\nwith velocity", "level ground\nglide",
        "saddle\nfrom rest",
    )  # fmt: skip
    columns = (("flat stretch", "steps from rest"), ("flat stretch", "steps with velocity"), ("level ground", "glide"))
    columns += (("saddle", "steps from rest"),)
    for form in FORMS:
        for alpha in sorted({law.momentum for law in laws if law.form == form and law.landscape == "saddle"}):
            cells = (both(laws, landscape, what, form, alpha) for landscape, what in columns)
            shown.add_row(form, f"{alpha:g}", *cells)
    return shown


def modes_table(laws: list[Law]) -> Table:
    """The deep linear network against Saxe's flow."""
    shown = plain_table(
        "Deep linear network: steps until a singular value s is half learnt, theory = (≠) measured",
        "form", "s", "Saxe's flow at the\neffective rate, ±2 %", "corrected for the momentum's\nmemory, ±5 %",
    )  # fmt: skip
    own = [law for law in laws if law.landscape == "deep linear net" and law.what.startswith("flow, s")]
    for law in own:
        s = law.what.split(" = ")[1]
        cells = (both(laws, law.landscape, f"{what}, s = {s}", law.form, law.momentum) for what in FLOWS)
        shown.add_row(law.form, s, *cells)
    return shown


FLOWS = "flow", "flow, corrected"


def heights_table(heights: list[Height]) -> Table:
    """Plateau heights of soft committee machines."""
    first = heights[0]
    shown = plain_table(
        f"Soft committee machines: height of the symmetric plateau (networks: N = {first.inputs}, {first.nets} each)",
        "K", "Saad & Solla\nη → 0", "closed form\nη → 0", f"fixed point\nη = {first.rate:g}", "flow,\nmeasured",
        "networks, measured\n95 %", "within 3 %\nof fixed point",
    )  # fmt: skip
    for h in heights:
        shown.add_row(
            str(h.units), f"{h.published:.4f}", f"{h.closed_form:.6f}", f"{h.fixed_point:.5f}", f"{h.integrated:.5f}",
            f"{h.simulated:.5f} [{h.low:.5f}, {h.high:.5f}]", "yes" if h.holds else "no",
        )  # fmt: skip
    return shown


def measured_table(found: list[Measured], chosen: list[Plateau]) -> Table:
    """The measured plateaus of plain descent."""
    shown = plain_table(
        "Plateaus on the error curves of plain descent (medians)",
        "plateau", "height\ntheory", "height\nmeasured", "runs with\na plateau", "onset", "length", "fast again\nat",
        "below the\nlevel at",
    )  # fmt: skip
    for m, plateau in zip(found, chosen, strict=True):
        times = (number(x) for x in (m.onset, m.length, m.escape, m.level))
        name = m.plateau + (" *" if plateau.unit_of_time != "epochs" else "")
        shown.add_row(name, f"{m.height:.4g}", f"{m.measured_height:.4g}", f"{m.found}/{m.runs}", *times)
    others = [plateau for plateau in chosen if plateau.unit_of_time != "epochs"]
    shown.caption = "times in epochs" + "".join(f"; * in {plateau.unit_of_time}" for plateau in others)
    return shown


def races_table(summaries: list[Summary], chosen: list[Plateau]) -> Table:
    """Method × plateau: median escape time, runs that do not leave, and the comparison with plain descent."""
    shown = plain_table(
        "Escape times (Kaplan-Meier median, epochs), from the same starts",
        "method", "median", "95 %", "stuck", "diverged", "faster by", "verdict (log-rank)",
        caption="stuck: not left within the epoch limit, diverged runs included",
    )  # fmt: skip
    for plateau in chosen:
        shown.add_section()
        shown.add_row(f"[bold]{plateau.name}[/bold]", "", "", "", "", "", f"limit {plateau.limit}")
        for s in (s for s in summaries if s.plateau == plateau.name):
            speed = "-" if not s.speed > 0 else f"{s.speed:.3g} ×"
            interval = f"{number(s.low)} - {number(s.high)}" if math.isfinite(s.median) else ""
            stuck, diverged = (f"{100 * x:.0f} %" if x else "" for x in (s.stuck, s.diverged / s.runs))
            shown.add_row(s.method, number(s.median), interval, stuck, diverged, speed, s.verdict)
    return shown


def saddles_table(predictions: list[Prediction]) -> Table:
    """Escape times from known saddles, predicted from their curvature."""
    shown = plain_table(
        "Plateaus that are saddles: median epochs predicted from the curvature = (≠) measured, ±10 %",
        "method", "ηλ ÷ limit of\nstability", "theory", "", "measured",
    )  # fmt: skip
    for name in dict.fromkeys(p.plateau for p in predictions):
        shown.add_section()
        shown.add_row(f"[bold]{name}[/bold]")
        for p in (p for p in predictions if p.plateau == name):
            sign = "=" if p.holds else "≠"
            shown.add_row(p.method, f"{p.stability:.2f}", number(p.theory), sign, number(p.measured))
    return shown


def sentences(laws: list[Law], summaries: list[Summary], predictions: list[Prediction], momentum: float) -> list[str]:
    """The answer."""
    balls = [law for law in laws if law.landscape != "deep linear net"]
    held = [p for p in predictions if p.holds]
    found = {(s.plateau, s.method): s for s in summaries}
    names = list(dict.fromkeys(s.plateau for s in summaries))
    verdicts = [found[name, "convex"].verdict for name in names]
    gains, lags = (
        span([found[n, "heavy ball"].speed for n in names], ".1f"),
        span([found[n, "convex"].later for n in names], ".0f"),
    )
    said = [
        f"Flat stretch and saddle: {sum(law.holds for law in balls)} of {len(balls)} predictions hold"
        + (f"; for saddles of networks {len(held)} of {len(predictions)}." if predictions else "."),
        f"Heavy ball leaves {gains} times faster than plain descent (theory, for plateaus that are long compared with "
        f"the memory of momentum: {1 / (1 - momentum):.3g}). The convex form of the encyclopedia article at the same η "
        f"leaves {lags} epochs later from the same start (median; theory for a constant slope: "
        f"{momentum / (1 - momentum):.3g}, and the same once more for each factor e by which the velocity grows); by "
        f"the log-rank test it is faster on {verdicts.count('faster')} and slower on {verdicts.count('slower')} of "
        f"{len(names)} plateaus.",
    ]
    if not verdicts.count("faster"):
        said.append("So the article is right for heavy ball, and for its own form only with an initial velocity.")
    for method in ("larger rate", "Nesterov", RESTART):
        failed = [name for name in names if math.isinf(found[name, method].median)]
        exploded = [name for name in failed if 2 * found[name, method].diverged > found[name, method].runs]
        if failed:
            diverge = f"; most diverge on {', '.join(exploded)}" if exploded else ""
            said.append(f"{method.capitalize()}: most runs never leave on {', '.join(failed)}{diverge}.")
    best = {
        n: max((s for s in summaries if s.plateau == n), key=lambda s: s.speed if s.speed > 0 else 0) for n in names
    }
    said.append("Fastest: " + "; ".join(f"{name} {s.method}, {s.speed:.3g} ×" for name, s in best.items()) + ".")
    return said


def span(values: list[float], spec: str) -> str:
    """The range of some numbers as text, NaN left out."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    low, high = format(min(known), spec), format(max(known), spec)
    return low if low == high else f"{low} to {high}"
