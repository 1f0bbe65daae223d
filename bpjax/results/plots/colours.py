"""The colours of all figures and pages, each with one meaning, and legends.

The colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart. A figure takes a colour by its
meaning; what this table gives no meaning is drawn in `GREY`, or in `BLUE` where it is what the figure asks
about. Values along a scale, such as epochs or learning rates, come from the colour map of the look (`shades`).
"""

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#606060"
SKY, LIGHT = "#56B4E9", "#D0D0D0"

SUBJECT = BLUE
"""What the figure asks about, measured here: a rule, a method, our trials."""
VARIANT = SKY
"""A second form of the subject, such as the convex form of momentum."""
THEORY = GREEN
"""A closed form, a limit or a prediction."""
PUBLISHED = PURPLE
"""A number or a protocol of a paper."""
STUCK = ORANGE
"""Runs that end without the goal: the epoch limit, a local minimum."""
DIVERGED = RED
"""Runs whose error explodes."""
NEVER = LIGHT
"""Cells in which most runs never reach the goal, or are too slow for it."""
CONTEXT = GREY
"""What the subject is compared with: other curves, limits, guides."""

MEANINGS = {
    "ink": "the baseline: plain gradient descent, backpropagation, medians; black, or white on a dark background",
    SUBJECT: "what the figure asks about, measured here",
    VARIANT: "a second form of it",
    THEORY: "a closed form, a limit or a prediction",
    PUBLISHED: "published by others",
    STUCK: "runs that end without the goal",
    DIVERGED: "runs that diverge",
    NEVER: "cells in which most runs never reach the goal, or are too slow for it",
    CONTEXT: "what the subject is compared with",
}
"""{colour: meaning} over all figures. No two meanings share a colour."""


def ink() -> str:
    """The colour of text and of the baseline: black, or nearly white on a dark background."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def paper() -> str:
    """The colour of the background."""
    import matplotlib

    return matplotlib.rcParams["axes.facecolor"]


def label_once(axis, label):
    """`label`, or if the axis already has it, a label that the legend omits."""
    return f"_{label}" if label in axis.get_legend_handles_labels()[1] else label


def legend_below(axis, columns: int = 2):
    """A legend below the axis, where it covers no data."""
    return axis.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, frameon=False)
