"""Maps of a result over two hyperparameters, with lines predicted by theory."""

import numpy as np

from bpjax.results.plots.colours import GREY, NEVER, THEORY, label_once, paper
from bpjax.results.plots.look import current_look

RANGES = {"momentum": (0.0, 1.0), "dropout": (0.0, 1.0), "decay": (0.0, 1.0)}
"""The values that a hyperparameter may take, where its cells would otherwise reach beyond them."""
Bounds = tuple[tuple[float, float], tuple[float, float]]
UNBOUNDED: Bounds = ((-np.inf, np.inf), (-np.inf, np.inf))


def outcome_map(axis, x, y, values, label, limits=None, scale="linear", bounds=UNBOUNDED):
    """A result over two hyperparameters as a coloured map with its colour bar. Returns the mesh.

    An axis is logarithmic if its values are spaced geometrically (see `is_geometric`). Cells without data (NaN) are
    hatched. Cells of ∞, such as a median time where most runs fail, are grey, with the legend entry "never".
    Without a label there is no colour bar.

    Args:
        axis: where to draw.
        x: (X,) values across, ascending, in the hyperparameter's units.
        y: (Y,) values upwards, ascending.
        values: (Y, X) the result; of a sweep, `result.transpose(y, x)`.
        label: what the colours mean, with units; "" to draw no colour bar.
        limits: the values at both ends of the colour scale; by default the smallest and the largest.
        scale: of the colours, "linear" or "log".
        bounds: ((low, high), (low, high)) of what is plotted across and upwards, which the cells do not leave: a
            momentum coefficient is in [0, 1).

    Raises:
        ValueError: the shapes do not fit, or an axis does not ascend.
    """
    x, y, values = (np.asarray(numbers, float) for numbers in (x, y, values))
    if values.shape != (len(y), len(x)):
        raise ValueError(
            f"`outcome_map` expected `values` of shape (len(y), len(x)) = {(len(y), len(x))}, got {values.shape}. "
            "Transpose it: rows are along y."
        )
    finite = values[np.isfinite(values)]
    low, high = limits if limits else (finite.min(), finite.max()) if finite.size else (1, 2)
    edges = cell_edges(x, *bounds[0]), cell_edges(y, *bounds[1])
    colours = current_look().colour_map
    mesh = axis.pcolormesh(*edges, np.ma.masked_invalid(values), cmap=colours, norm=scale, rasterized=True)
    mesh.set_clim(low, high)
    for holds, style, name in (
        (np.isposinf(values), {"facecolor": NEVER, "edgecolor": "none"}, "never"),
        (np.isnan(values), {"facecolor": paper(), "edgecolor": GREY, "hatch": "////"}, "no data"),
    ):
        for row, column in np.argwhere(holds):
            (left, right), (below, above) = edges[0][column : column + 2], edges[1][row : row + 2]
            corners = [left, right, right, left], [below, below, above, above]
            axis.fill(*corners, linewidth=0, label=label_once(axis, name), **style)
    axis.set_xscale("log" if is_geometric(x) else "linear")
    axis.set_yscale("log" if is_geometric(y) else "linear")
    axis.set_xlim(edges[0][[0, -1]])
    axis.set_ylim(edges[1][[0, -1]])
    if label:
        axis.figure.colorbar(mesh, ax=axis, label=label)
    return mesh


def range_of(name: str, attributes) -> tuple[float, float]:
    """The values that a hyperparameter may take: the attributes `valid_min` and `valid_max`, or those of its name."""
    low, high = RANGES.get(name, (-np.inf, np.inf))
    return float(attributes.get("valid_min", low)), float(attributes.get("valid_max", high))


def is_geometric(values) -> bool:
    """Whether positive values that span a factor of 4 or more are spaced more evenly by ratio than by difference."""
    values = np.asarray(values, float)
    if len(values) < 2 or values[0] <= 0 or values[-1] < 4 * values[0]:
        return False
    by_ratio, by_difference = np.diff(np.log(values)), np.diff(values)
    return bool(np.ptp(by_ratio) / by_ratio.mean() <= np.ptp(by_difference) / by_difference.mean())


def cell_edges(centres, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    """The n + 1 edges of cells around n ascending centres: midpoints, geometric ones for geometrically spaced centres.

    Args:
        centres: (n,) of the cells.
        low: the smallest possible value, which the first cell does not pass.
        high: the largest possible value, which the last cell does not pass.

    Raises:
        ValueError: the centres do not ascend.
    """
    centres = np.asarray(centres, float)
    if centres.ndim != 1 or not centres.size or not np.isfinite(centres).all() or (np.diff(centres) <= 0).any():
        raise ValueError(f"The axis of a map must ascend, got {centres.tolist()}. Sort the sweep along it first.")
    if len(centres) == 1:
        edges = centres[0] + np.array([-0.5, 0.5])
    else:
        middle = np.log(centres) if is_geometric(centres) else centres
        between = (middle[1:] + middle[:-1]) / 2
        edges = np.concatenate([[2 * middle[0] - between[0]], between, [2 * middle[-1] - between[-1]]])
        edges = np.exp(edges) if is_geometric(centres) else edges
    edges[0] = min(max(edges[0], low), centres[0])
    edges[-1] = max(min(edges[-1], high), centres[-1])
    return edges


def theory_line(axis, x, y, name, style="-", colour=THEORY):
    """A line predicted by theory, with a rim that makes it visible on any colour. Returns the line.

    The limits of the axis do not change. NaN interrupts the line.

    Args:
        axis: with the map.
        x: (n,) values across, in the units of the axis.
        y: (n,) values upwards.
        name: for the legend.
        style: Matplotlib's line style.
        colour: of the line.
    """
    from matplotlib import patheffects

    limits = axis.get_xlim(), axis.get_ylim()
    rim = [patheffects.withStroke(linewidth=2.6, foreground=paper())]
    (line,) = axis.plot(x, y, linestyle=style, color=colour, linewidth=1.2, label=name, path_effects=rim)
    axis.set(xlim=limits[0], ylim=limits[1])
    return line
