"""The look of figures: width, size of the text, font, language, colour map, light or dark."""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import NamedTuple

from bpjax.results.plots.words import LANGUAGES
from bpjax.util.call_text import shown
from bpjax.util.checks import check_number

COLUMN = 3.5
"""Width of a column of a two-column journal, in inches."""
PAGE = 7.2
"""Width of both columns, in inches."""
DARK = {"ink": "#E8E8E8", "paper": "#14171A", "lines": "#8A9099"}
LIGHT = {"ink": "black", "paper": "white", "lines": "#B0B0B0"}


class Look(NamedTuple):
    """How figures are drawn; the defaults are those of a journal's column."""

    width: float = COLUMN  # inches
    font_size: float = 8.0  # points
    font: str = "DejaVu Sans"
    language: str = "en"
    words: Mapping[str, str] = MappingProxyType({})  # further translations, which come first
    colour_map: str = "cividis"
    dark: bool = False


WIDE = Look(width=PAGE)
_current: ContextVar[Look] = ContextVar("look", default=WIDE)  # noqa: B039  (a NamedTuple)


def current_look() -> Look:
    """The look in which figures are drawn now; outside `looking`, that of a page's width."""
    return _current.get()


@contextlib.contextmanager
def looking(look: Look) -> Iterator[None]:
    """Draw in this look while the `with` block runs; figures are made and saved inside it.

    Raises:
        ValueError: a width, size, font, language or colour map that cannot be drawn.
        ModuleNotFoundError: Matplotlib is missing; the message names the extra to install.
    """
    from bpjax.util.extras import require_extra

    with require_extra("Figures are drawn by Matplotlib"):
        import matplotlib
    check_look(look)
    token = _current.set(look)
    try:
        with matplotlib.rc_context(settings(look)):
            yield
    finally:
        _current.reset(token)


def check_look(look: Look) -> None:
    """Raise a `ValueError` for what cannot be drawn."""
    import matplotlib
    from matplotlib import font_manager

    check_number("Look", "width", look.width, least=1.5, most=40.0)
    check_number("Look", "font_size", look.font_size, least=3.0, most=40.0)
    if look.colour_map not in matplotlib.colormaps:
        raise ValueError(
            f"`Look` expected `colour_map` to be one of Matplotlib's, such as 'cividis' or 'viridis', "
            f"got {shown(look.colour_map)}."
        )
    if look.language not in LANGUAGES:
        raise ValueError(
            f"`Look` expected `language` to be one of {', '.join(LANGUAGES)}, got {shown(look.language)}. "
            "For another one pass a table of `words`."
        )
    families = {entry.name for entry in font_manager.fontManager.ttflist} | {"sans-serif", "serif", "monospace"}
    if look.font not in families:
        raise ValueError(f"`Look` expected `font` to be installed, got {shown(look.font)}. 'DejaVu Sans' always is.")


def settings(look: Look) -> dict:
    """Matplotlib's settings for a look: vector files with text as TrueType (PDF) or outlines (SVG)."""
    colours = DARK if look.dark else LIGHT
    inked = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor", "axes.titlecolor")
    lined = ("axes.edgecolor", "xtick.color", "ytick.color")
    size = look.font_size
    return {
        **dict.fromkeys(inked, colours["ink"]), **dict.fromkeys(lined, colours["lines"]),
        **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), colours["paper"]),
        **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize", "legend.fontsize"), size),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 0.9 * size),
        "font.family": [look.font, "DejaVu Sans"] if look.font != "DejaVu Sans" else [look.font],
        "axes.titlelocation": "left", "axes.titlepad": 3.0, "axes.labelpad": 2.0,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "lines.linewidth": 1.2,
        "lines.markersize": 3.5, "errorbar.capsize": 1.5, "grid.linewidth": 0.4, "hatch.linewidth": 0.5,
        "xtick.major.size": 2.5, "ytick.major.size": 2.5, "xtick.minor.size": 1.5, "ytick.minor.size": 1.5,
        "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
        "legend.frameon": False, "image.cmap": look.colour_map, "grid.color": colours["lines"],
        "figure.constrained_layout.w_pad": 0.03, "figure.constrained_layout.h_pad": 0.03,
        "pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "bpjax",
    }  # fmt: skip


def shades(values) -> list:
    """A colour of the colour map for each of n ascending values, from dark to light on a light background."""
    import matplotlib
    import numpy as np

    look = current_look()
    places = np.linspace(0.1, 0.8, max(len(values), 2))[: len(values)]
    return list(matplotlib.colormaps[look.colour_map](1 - places if look.dark else places))
