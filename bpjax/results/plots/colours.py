"""What plots share: colours that are safe for colour-blind readers (Okabe & Ito 2008), and legends."""

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#7F7F7F"


def label_once(axis, label):
    """`label`, or if the axis already has it, a label that the legend omits."""
    return f"_{label}" if label in axis.get_legend_handles_labels()[1] else label


def legend_below(axis, columns: int = 2):
    """A legend below the axis, where it covers no data."""
    return axis.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, frameon=False)
