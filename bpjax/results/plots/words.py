"""The words of figures in other languages: a table, applied to a figure after it has been drawn.

A figure is drawn in English. `translated` then looks every text up in a table: the whole text, or a template with `{}`
for each number or name in it, or its lines and the parts between commas. What the table lacks stays English. Numbers
get the decimal sign of the language.
"""

import functools
import re
from collections.abc import Mapping

from bpjax.results.plots.german import GERMAN

LANGUAGES: dict[str, Mapping[str, str]] = {"en": {}, "de": GERMAN}
"""{code of the language: {English: translation}}."""
DECIMAL = {"en": ".", "de": ","}
THOUSANDS = {"en": ",", "de": "\N{NARROW NO-BREAK SPACE}"}


def translated(text: str, language: str, more: Mapping[str, str]) -> str:
    """A text of a figure in another language.

    Args:
        text: in English.
        language: a key of `LANGUAGES`.
        more: further translations, which come first.
    """
    table = {**LANGUAGES[language], **more}
    if not text.strip() or not table:
        return text
    return _look_up(text, tuple(table.items()), language)


def _look_up(text: str, entries: tuple, language: str) -> str:
    table = dict(entries)
    if text in table:
        return table[text]
    for pattern, translation in _templates(entries):
        if match := pattern.fullmatch(text):
            return translation.format(*(_look_up(part, entries, language) for part in match.groups()))
    for between in ("\n", "; ", ": ", ", "):
        if between in text:
            return between.join(_look_up(part, entries, language) for part in text.split(between))
    return text if "$" in text else localised(text, language)


def localised(text: str, language: str) -> str:
    """The numbers in a text with the decimal sign of the language."""
    if language not in DECIMAL or DECIMAL[language] == ".":
        return text
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", THOUSANDS[language], text)
    return re.sub(r"(?<=\d)\.(?=\d)", DECIMAL[language], text)


@functools.cache
def _templates(entries: tuple) -> list[tuple[re.Pattern, str]]:
    """The entries with `{}` as patterns, the longest first."""
    templates = [(key, value) for key, value in entries if "{}" in key]
    templates.sort(key=lambda entry: -len(entry[0]))
    return [(re.compile(re.escape(key).replace(r"\{\}", "(.+?)")), value) for key, value in templates]


def translate_figure(figure, language: str, more: Mapping[str, str]) -> None:
    """Translate every text of a figure and the labels of its ticks, in place.

    Args:
        figure: of Matplotlib, drawn in English.
        language: a key of `LANGUAGES`.
        more: further translations, which come first.
    """
    from matplotlib.text import Text

    if language == "en" and not more:
        return

    def say(text: str) -> str:
        return translated(text, language, more)

    ticks = set()
    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            ticks |= {id(label) for label in axis.get_ticklabels(which="both")}
            _translate_ticks(axis, say)
    for text in figure.findobj(Text):
        if id(text) not in ticks:
            text.set_text(say(text.get_text()))


def _translate_ticks(axis, say) -> None:
    """Pass what the formatters of an axis say through `say`."""
    from matplotlib.ticker import Formatter

    class Translated(Formatter):
        """The text of another formatter, translated."""

        def __init__(self, inner):
            self.inner = inner

        def __call__(self, value, pos=None):
            return say(self.inner(value, pos))

        def format_ticks(self, values):
            return [say(text) for text in self.inner.format_ticks(values)]

        def set_locs(self, locs):
            self.inner.set_locs(locs)

        def get_offset(self):
            return self.inner.get_offset()

    axis.set_major_formatter(Translated(axis.get_major_formatter()))
    axis.set_minor_formatter(Translated(axis.get_minor_formatter()))
