"""Figures of panels: a question as the title, small multiples as wide as the look allows, an answer below."""

import math
from collections.abc import Sequence

from bpjax.results.plots.look import current_look
from bpjax.results.plots.words import translate_figure

QUESTION, ANSWER, NAMES = "question", "answer", "direct label"
"""The marks (`gid`) of texts that `finish` places."""


def panels(count: int, least: float = 1.55, ratio: float = 0.8, columns: int | None = None, **options):
    """A figure of the look's width with `count` panels, as many beside each other as are at least `least` wide.

    Args:
        count: of panels.
        least: width of a panel in inches.
        ratio: height of a panel ÷ its width.
        columns: of panels, where they are fixed.
        **options: of Matplotlib's `subplots`, such as `sharex`.

    Returns:
        The figure, and the list of its `count` axes.
    """
    import matplotlib.pyplot as plt

    width = current_look().width
    columns = columns or max(1, min(count, int(width / least)))
    rows = math.ceil(count / columns)
    columns = math.ceil(count / rows)
    size = width, rows * (ratio * width / columns + 0.28)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def ask(figure, question: str, answer: str = "") -> None:
    """Give a figure its question as the title, and its answer in one sentence below; `finish` makes room for both."""
    size = current_look().font_size
    figure.text(0.01, 1, question, va="top", fontsize=size, fontweight="bold", gid=QUESTION).set_in_layout(False)
    if answer:
        figure.text(0.01, 0, answer, va="bottom", fontsize=size, gid=ANSWER).set_in_layout(False)


def name_lines(axis, names: Sequence[tuple[float, str, str]], x: float = 1.0) -> None:
    """Write names beside the ends of lines, instead of a legend; `finish` moves them apart.

    Args:
        axis: with the lines.
        names: (height of the line's end in the units of the axis, name, colour).
        x: where the names begin, as a share of the axis's width.
    """
    for y, name, colour in names:
        axis.annotate(
            name, (x, y), (3, 0), ("axes fraction", "data"), "offset points", color=colour, va="center",
            fontsize=0.9 * current_look().font_size, annotation_clip=False, gid=NAMES,
        )  # fmt: skip


def finish(figure) -> None:
    """Write out the numbers of logarithmic axes, translate a figure, wrap its question and answer, move names apart.

    Call it within `looking`, before the figure is saved.
    """
    look = current_look()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            plain_numbers(axis)
    translate_figure(figure, look.language, look.words)
    _place_texts(figure)
    named = [(axis, text) for axis in figure.axes for text in axis.texts if text.get_gid() == NAMES]
    if named:
        for axis, text in named:  # of a line that leaves the axis, at its edge: far outside the layout would collapse
            low, high = sorted(axis.get_ylim())
            text.xy = (text.xy[0], min(max(text.xy[1], low), high))
        figure.draw_without_rendering()
        for axis in figure.axes:
            _move_apart(axis, [text for text in axis.texts if text.get_gid() == NAMES])


def _place_texts(figure) -> None:
    """Wrap question and answer, make room for them and for legends outside the axes, and lay out the rest between."""
    width, height = figure.get_size_inches()
    above, below = 0.0, 0.0  # inches taken so far
    texts = {text.get_gid(): text for text in figure.texts if text.get_gid() in (QUESTION, ANSWER)}
    legends = [legend for legend in figure.legends if getattr(legend, "_outside_loc", None)]
    if not texts and not legends:
        return
    for text in texts.values():
        text.set_text(wrapped(text.get_text(), 0.98 * width, text.get_fontproperties()))
        lines = text.get_text().count("\n") + 1
        tall = (1.25 * lines + 0.4) * text.get_fontsize() / 72
        above, below = (above + tall, below) if text.get_gid() == QUESTION else (above, below + tall)
    places = []  # (legend, is at the top, inches between it and the edge, its height)
    for legend in legends:
        tall = legend.get_window_extent(figure.canvas.get_renderer()).height / figure.dpi
        is_upper = legend._outside_loc == "upper" or legend._loc in (1, 2, 9)
        places.append((legend, is_upper, above if is_upper else below, tall))
        above, below = (above + tall, below) if is_upper else (above, below + tall)
    total = height + above + below
    figure.set_size_inches(width, total)
    if QUESTION in texts:
        texts[QUESTION].set_y(1 - 0.03 / total)
    if ANSWER in texts:
        texts[ANSWER].set_y(0.05 / total)
    for legend, is_upper, gone, tall in places:
        low = 1 - (gone + tall) / total if is_upper else gone / total
        legend.set_in_layout(False)
        legend.set_bbox_to_anchor((0, low, 1, tall / total), figure.transFigure)
    figure.get_layout_engine().set(rect=(0, below / total, 1, 1 - (above + below) / total))


def _move_apart(axis, names: list) -> None:
    """Shift names up and down until none covers another."""
    if not names:
        return
    points = 72 / axis.figure.dpi
    wanted = sorted((axis.transData.transform((axis.get_xlim()[0], text.xy[1]))[1] * points, i)
                    for i, text in enumerate(names))  # fmt: skip
    tall = [1.12 * names[i].get_fontsize() * (1 + names[i].get_text().count("\n")) for _, i in wanted]
    bottom, top = (edge * points for edge in axis.get_window_extent().intervaly)
    places = [min(max(place, bottom), top) for place, _ in wanted]
    for _ in range(200):
        moved = False
        for k in range(len(places) - 1):
            gap = (tall[k] + tall[k + 1]) / 2 - (places[k + 1] - places[k])
            if gap > 0.05:
                places[k], places[k + 1], moved = places[k] - gap / 2, places[k + 1] + gap / 2, True
        if not moved:
            break
    for k, height in enumerate(tall):  # within the axis, as far as they fit
        places[k] = max(places[k], bottom if k == 0 else places[k - 1] + (tall[k - 1] + height) / 2)
    for k in reversed(range(len(places))):
        above = top if k == len(places) - 1 else places[k + 1] - (tall[k] + tall[k + 1]) / 2
        places[k] = min(places[k], above)
    for place, (at, i) in zip(places, wanted, strict=True):
        names[i].set_position((3, place - at))


def wrapped(text: str, width: float, font) -> str:
    """A text broken into lines of at most `width` inches; a font as Matplotlib's `FontProperties`."""
    from matplotlib.textpath import TextToPath

    measure = TextToPath()

    def wide(line: str) -> float:
        return measure.get_text_width_height_descent(line or " ", font, False)[0] / 72

    lines = [""]
    for word in (
        text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" \N{MULTIPLICATION SIGN}", "\N{NO-BREAK SPACE}×").split(" ")
    ):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and wide(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def plain_numbers(axis) -> None:
    """Label a logarithmic axis with 500 and 2,000 where Matplotlib would write powers of ten within few decades.

    Args:
        axis: `axes.xaxis` or `axes.yaxis`; without effect where it is not logarithmic or has other labels.
    """
    from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, NullFormatter

    if axis.get_scale() != "log" or not isinstance(axis.get_major_formatter(), LogFormatter):
        return
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else math.inf
    if decades > 5 or low < 1e-4 or high > 2e6:
        axis.set_minor_formatter(NullFormatter())
        return
    is_x = axis.axis_name == "x"
    extent = axis.axes.get_position()
    inches = (extent.width if is_x else 2 * extent.height) * axis.figure.get_size_inches()[0 if is_x else 1]
    labels = inches / (0.5 * current_look().font_size / 8)  # as many as have room
    choices = ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
    subs = next((subs for subs in choices if decades * len(subs) <= labels), (1.0,))
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def bare(axis) -> None:
    """Take ticks and frame from an axis that holds text or a table only."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
