"""Plots of results: each function takes a Matplotlib axis and data, draws, and returns the artist.

The colours are safe for colour-blind readers (Okabe & Ito 2008), and each has one meaning (`MEANINGS`). Figures are
drawn in a `Look` (`with looking(Look(width=3.5, dark=True)):`), which sets width, text, language and colour map while
the block runs; no global style is changed.
"""

from bpjax.results.plots.colours import (
    BLUE,
    CONTEXT,
    DIVERGED,
    GREEN,
    GREY,
    MEANINGS,
    NEVER,
    ORANGE,
    PUBLISHED,
    PURPLE,
    RED,
    STUCK,
    SUBJECT,
    THEORY,
    VARIANT,
    ink,
    label_once,
    legend_below,
    paper,
)
from bpjax.results.plots.comparison import comparison_figure
from bpjax.results.plots.look import Look, current_look, looking, shades
from bpjax.results.plots.maps import cell_edges, is_geometric, outcome_map, theory_line
from bpjax.results.plots.numbers import write_csv
from bpjax.results.plots.panels import ask, bare, finish, name_lines, panels
from bpjax.results.plots.rates import classical_limit, epochs_to_goal, proportion, region
from bpjax.results.plots.runs import (
    alternating,
    carry_forward,
    distribution,
    error_curves,
    published,
    sharpness,
    survival_curve,
)
from bpjax.results.plots.sweep import sweep_figures
from bpjax.results.plots.weights import hinton

__all__ = [
    "BLUE",
    "CONTEXT",
    "DIVERGED",
    "GREEN",
    "GREY",
    "Look",
    "MEANINGS",
    "NEVER",
    "ORANGE",
    "PUBLISHED",
    "PURPLE",
    "RED",
    "STUCK",
    "SUBJECT",
    "THEORY",
    "VARIANT",
    "alternating",
    "ask",
    "bare",
    "carry_forward",
    "cell_edges",
    "classical_limit",
    "comparison_figure",
    "current_look",
    "distribution",
    "epochs_to_goal",
    "error_curves",
    "finish",
    "hinton",
    "ink",
    "is_geometric",
    "label_once",
    "legend_below",
    "looking",
    "name_lines",
    "outcome_map",
    "panels",
    "paper",
    "proportion",
    "published",
    "region",
    "shades",
    "sharpness",
    "survival_curve",
    "sweep_figures",
    "theory_line",
    "write_csv",
]
