"""Plots of results: each function takes a Matplotlib axis and data, draws, and returns the artist.

The colours are safe for colour-blind readers (Okabe & Ito 2008). No global style is changed.
"""

from bpjax.results.plots.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, label_once, legend_below
from bpjax.results.plots.comparison import comparison_figure
from bpjax.results.plots.maps import cell_edges, is_geometric, outcome_map, theory_line
from bpjax.results.plots.numbers import write_csv
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
from bpjax.results.plots.weights import hinton

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RED",
    "alternating",
    "carry_forward",
    "cell_edges",
    "classical_limit",
    "comparison_figure",
    "distribution",
    "epochs_to_goal",
    "error_curves",
    "hinton",
    "is_geometric",
    "label_once",
    "legend_below",
    "outcome_map",
    "proportion",
    "published",
    "region",
    "sharpness",
    "survival_curve",
    "theory_line",
    "write_csv",
]
