"""Weights and hidden codes as Hinton diagrams."""

import numpy as np

from bpjax.results.plots.colours import BLUE, RED, paper


def hinton(axis, weights, largest=None, rows=None, columns=None):
    """A Hinton diagram: one square per weight, its area proportional to |w|, filled if w > 0 and hollow if w < 0.

        side = 0.92 √(|w| / largest)               in units of a cell

    Row 0 is at the top. NaN, such as a connection that does not exist, leaves its cell empty; so does 0.

    Args:
        axis: where to draw.
        weights: (R, C) weights, or outputs of units.
        largest: the |w| whose square fills its cell, and above which squares do not grow; by default the largest |w|.
        rows: R labels, from the top.
        columns: C labels, from the left.

    Returns:
        The squares, in the order of the weights, as a Matplotlib collection.

    Raises:
        ValueError: `weights` are not a matrix of real numbers or one is infinite, `largest` is not positive, or the
            labels are of another number.

    As in the figures of Rumelhart, Hinton & Williams (Nature 1986).
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    try:
        w = np.asarray(weights, float)
    except (TypeError, ValueError):
        raise ValueError(f"`hinton` expected `weights` (R, C) of numbers, got {weights!r:.60}.") from None
    if w.ndim != 2 or not w.size:
        raise ValueError(f"`hinton` expected `weights` of shape (R, C), got {w.shape}. Reshape them, or pick a layer.")
    if np.isinf(w).any():
        raise ValueError("`hinton` expected finite `weights`, got an infinite one. Pass NaN for no weight.")
    magnitude = np.nan_to_num(np.abs(w))
    largest = (magnitude.max() or 1.0) if largest is None else float(largest)
    if not (np.isfinite(largest) and largest > 0):
        raise ValueError(f"`hinton` expected `largest` > 0, got {largest:g}.")
    for name, labels, count in (("rows", rows, w.shape[0]), ("columns", columns, w.shape[1])):
        if labels is not None and len(labels) != count:
            raise ValueError(f"`hinton` expected {count} labels in `{name}`, got {len(labels)}.")

    sides = 0.92 * np.sqrt(np.minimum(magnitude / largest, 1))
    drawn = [(row, column, float(sides[row, column])) for row, column in np.argwhere(sides > 0).tolist()]
    colours = [BLUE if w[row, column] > 0 else RED for row, column, _ in drawn]
    squares = PatchCollection(
        [Rectangle((column - side / 2, row - side / 2), side, side) for row, column, side in drawn],
        facecolors=[paper() if colour == RED else colour for colour in colours],
        edgecolors=colours,
        linewidths=1.2,
    )
    axis.add_collection(squares)
    axis.set(
        xlim=(-0.5, w.shape[1] - 0.5), ylim=(w.shape[0] - 0.5, -0.5), aspect="equal", facecolor=(0.5, 0.5, 0.5, 0.1)
    )
    axis.set_xticks(range(w.shape[1]) if columns is not None else [], columns if columns is not None else [])
    axis.set_yticks(range(w.shape[0]) if rows is not None else [], rows if rows is not None else [])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return squares
