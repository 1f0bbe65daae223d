"""The tables and sentences of the plateau experiment."""

import math

from rich.table import Table

from experiments.common.command import bare_table
from experiments.plateau_escape.laws import FORMS, RATE, Height, Law
from experiments.plateau_escape.outcomes import Measured, Summary
from experiments.plateau_escape.races import RESTART
from experiments.plateau_escape.saddles import Prediction
from experiments.plateau_escape.starts import Plateau


def plain_table(title: str, *columns: str, caption: str | None = None) -> Table:
    """A table without edges, first column to the left."""
    shown = bare_table(title, caption)
    for index, column in enumerate(columns):
        shown.add_column(column, justify="right" if index else "left")
    return shown


def number(x: float) -> str:
    """A number of epochs, or that there is none."""
    return "never" if math.isinf(x) else "-" if math.isnan(x) else f"{x:.0f}"


def both(laws: list[Law], landscape: str, what: str, form: str, momentum: float) -> str:
    """Theory and measured of one law."""
    found = [law for law in laws if law[:4] == (landscape, form, momentum, what)]
    return "".join(f"{law.theory:.4g} {'=' if law.holds else '≠'} {law.measured:.4g}" for law in found)


def balls_table(laws: list[Law]) -> Table:
    """A flat stretch and a saddle, form by form."""
    shown = plain_table(
        f"A ball where all is known, η = {RATE:g}: steps by theory = measured (±1; the glide ±10⁻⁶)",
        "form", "α", "flat stretch\nfrom rest", "flat stretch\nwith speed", "level ground\nglide", "saddle\nfrom rest",
    )  # fmt: skip
    columns = (("flat stretch", "steps from rest"), ("flat stretch", "steps with speed"), ("level ground", "glide"))
    columns += (("saddle", "steps from rest"),)
    for form in FORMS:
        for alpha in sorted({law.momentum for law in laws if law.form == form and law.landscape == "saddle"}):
            cells = (both(laws, landscape, what, form, alpha) for landscape, what in columns)
            shown.add_row(form, f"{alpha:g}", *cells)
    return shown


def modes_table(laws: list[Law]) -> Table:
    """The deep linear network against Saxe's flow."""
    shown = plain_table(
        "Deep linear net: steps until a singular value s is half learnt, by theory = (≠) measured",
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
        f"Soft committee machines: height of the symmetric plateau (nets: N = {first.inputs}, {first.nets} each)",
        "K", "Saad & Solla\nη → 0", "closed form\nη → 0", f"fixed point\nη = {first.rate:g}", "flow,\nmeasured",
        "nets, measured\n95 %", "within 3 %\nof fixed point",
    )  # fmt: skip
    for h in heights:
        shown.add_row(
            str(h.units), f"{h.published:.4f}", f"{h.closed_form:.6f}", f"{h.fixed_point:.5f}", f"{h.integrated:.5f}",
            f"{h.simulated:.5f} [{h.low:.5f}, {h.high:.5f}]", "yes" if h.holds else "no",
        )  # fmt: skip
    return shown


def measured_table(found: list[Measured], chosen: list[Plateau]) -> Table:
    """The plateaus as plain descent meets them."""
    shown = plain_table(
        "The plateaus as plain descent meets them, found on its error curves (medians)",
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
    """Device × plateau: when half of the runs have left, who never does, and the verdict against plain descent."""
    shown = plain_table(
        "Who leaves when (Kaplan-Meier median, epochs), from the same starts",
        "device", "median", "95 %", "stuck", "diverged", "sooner by", "verdict (log-rank)",
        caption="stuck: not off it by the limit, diverged ones included",
    )  # fmt: skip
    for plateau in chosen:
        shown.add_section()
        shown.add_row(f"[bold]{plateau.name}[/bold]", "", "", "", "", "", f"limit {plateau.limit}")
        for s in (s for s in summaries if s.plateau == plateau.name):
            speed = "-" if not s.speed > 0 else f"{s.speed:.3g} ×"
            interval = f"{number(s.low)} - {number(s.high)}" if math.isfinite(s.median) else ""
            stuck, diverged = (f"{100 * x:.0f} %" if x else "" for x in (s.stuck, s.diverged / s.runs))
            shown.add_row(s.device, number(s.median), interval, stuck, diverged, speed, s.verdict)
    return shown


def saddles_table(predictions: list[Prediction]) -> Table:
    """Momentum on the plateaus that are known saddles, by their curvature."""
    shown = plain_table(
        "Plateaus that are saddles: median epochs by the curvature there = (≠) measured, ±10 %",
        "device", "ηλ ÷ limit of\nstability", "theory", "", "measured",
    )  # fmt: skip
    for name in dict.fromkeys(p.plateau for p in predictions):
        shown.add_section()
        shown.add_row(f"[bold]{name}[/bold]")
        for p in (p for p in predictions if p.plateau == name):
            sign = "=" if p.holds else "≠"
            shown.add_row(p.device, f"{p.stability:.2f}", number(p.theory), sign, number(p.measured))
    return shown


def sentences(laws: list[Law], summaries: list[Summary], predictions: list[Prediction], momentum: float) -> list[str]:
    """The answer."""
    balls = [law for law in laws if law.landscape != "deep linear net"]
    kept = [p for p in predictions if p.holds]
    found = {(s.plateau, s.device): s for s in summaries}
    names = list(dict.fromkeys(s.plateau for s in summaries))
    verdicts = [found[name, "convex"].verdict for name in names]
    gains, lags = (
        span([found[n, "heavy ball"].speed for n in names], ".1f"),
        span([found[n, "convex"].later for n in names], ".0f"),
    )
    said = [
        f"A ball: {sum(law.holds for law in balls)} of {len(balls)} predictions hold"
        + (f"; on saddles of networks {len(kept)} of {len(predictions)}." if predictions else "."),
        f"Heavy ball leaves {gains} times sooner than plain descent (theory, where the plateau is long beside the "
        f"momentum's memory: {1 / (1 - momentum):.3g}). The article's convex form at the same η leaves {lags} epochs "
        f"later from the same start, in the median (theory of a constant slope: {momentum / (1 - momentum):.3g}, and "
        f"about as much again for each e by which the speed grows); by the log-rank test it is faster on "
        f"{verdicts.count('faster')} and slower on {verdicts.count('slower')} of {len(names)} plateaus.",
    ]
    if not verdicts.count("faster"):
        said.append(
            "So what the article says is true of heavy ball, and of its own form only where the ball has speed."
        )
    for device in ("larger rate", "Nesterov", RESTART):
        lost = [name for name in names if math.isinf(found[name, device].median)]
        exploded = [name for name in lost if 2 * found[name, device].diverged > found[name, device].runs]
        if lost:
            diverge = f"; most diverge on {', '.join(exploded)}" if exploded else ""
            said.append(f"{device.capitalize()}: most runs never leave on {', '.join(lost)}{diverge}.")
    best = {
        n: max((s for s in summaries if s.plateau == n), key=lambda s: s.speed if s.speed > 0 else 0) for n in names
    }
    said.append("Fastest: " + "; ".join(f"{name} {s.device}, {s.speed:.3g} ×" for name, s in best.items()) + ".")
    return said


def span(values: list[float], spec: str) -> str:
    """The smallest to the largest of some numbers, NaN left out."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    low, high = format(min(known), spec), format(max(known), spec)
    return low if low == high else f"{low} to {high}"
