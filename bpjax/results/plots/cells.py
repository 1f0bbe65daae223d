"""What the figures of a sweep show: its axes, and the statistics of each cell."""

from typing import NamedTuple

import numpy as np

from bpjax.results.plots.maps import range_of
from bpjax.results.statistics import median_interval, wilson
from bpjax.util.call_text import shown

RUNS = ("seed", "trial", "start")
"""Dimensions that repeat a setting; every other one is a hyperparameter."""
SAMPLE, EPOCH = "sample", "epoch"
MOST_PANELS = 12


class Cells(NamedTuple):
    """The runs of a sweep by setting: arrays over (panel, y, x, run), an axis that the sweep lacks has size 1."""

    x: np.ndarray | None  # (X,) values across
    y: np.ndarray | None  # (Y,) values upwards
    panels: list[str]  # what each panel holds fixed, "" if there is one
    names: tuple[str, str]  # labels of x and y
    bounds: tuple  # of both, see `outcome_map`
    solved: np.ndarray  # (P, Y, X, R) bool
    diverged: np.ndarray  # (P, Y, X, R) bool
    epochs: np.ndarray  # (P, Y, X, R)
    present: np.ndarray  # (P, Y, X, R) bool, False where the run is missing
    curve: np.ndarray | None  # (P, Y, X, R, T) error, if it was stored
    at: np.ndarray  # (T,) epochs of the curve
    title: str

    @property
    def settings(self) -> list[tuple[int, int, int]]:
        """The index (panel, y, x) of every cell."""
        return list(np.ndindex(*self.solved.shape[:3]))

    def share(self, cell) -> tuple[int, int, float, float]:
        """Runs that reach the goal, all runs, and the ends of Wilson's 95 % interval of the share."""
        there = self.present[cell]
        count, runs = int(self.solved[cell][there].sum()), int(there.sum())
        return count, runs, *wilson(count, runs)

    def median(self, cell) -> tuple[float, float, float]:
        """Median epochs to the goal with its 95 % interval, a failure counted as ∞; NaN without runs."""
        there = self.present[cell]
        if not there.any():
            return np.nan, np.nan, np.nan
        return median_interval(np.where(self.solved[cell], self.epochs[cell], np.inf)[there])

    def named(self, cell) -> str:
        """The setting of a cell in words."""
        panel, row, column = cell
        parts = [self.panels[panel]] if self.panels[panel] else []
        parts += [f"{self.names[0]} {self.x[column]:.3g}"] if self.x is not None else []
        parts += [f"{self.names[1]} {self.y[row]:.3g}"] if self.y is not None else []
        return ", ".join(parts)

    @property
    def fastest(self) -> tuple[int, int, int]:
        """The cell with the fewest median epochs; of equal ones, that with the most solved runs."""
        return min(self.settings, key=lambda cell: (self.median(cell)[0], -self.share(cell)[0]))


def cells_of(result, x: str | None = None, y: str | None = None) -> Cells:
    """Arrange a sweep for drawing.

    Args:
        result: an `xarray.Dataset` with `solved` and `epochs`, as `bp.sweep` returns it.
        x: the hyperparameter across; by default `learning_rate`, or the first one with several numbers.
        y: the hyperparameter upwards; by default the next one.

    Raises:
        ValueError: the dataset is not that of a sweep, `x` or `y` are none of its axes, or it has too many axes.
    """
    missing = [name for name in ("solved", "epochs") if name not in result]
    if missing:
        raise ValueError(
            "expected the dataset of a sweep, with `solved` and `epochs`, "
            f"but it lacks {' and '.join(missing)}. It has "
            f"{', '.join(map(str, result.data_vars)) or 'no variables'}."
        )
    if not result.solved.size:
        raise ValueError("expected a sweep with runs, got one without.")
    if SAMPLE in result.solved.dims:
        raise ValueError(
            "expected a sweep over a grid, but this one has randomly drawn settings (`sample`). Use its page: "
            "`bpjax.results.page.sweep_page(result, path)`."
        )
    kept = [str(dim) for dim in result.solved.dims if dim not in RUNS and result.sizes[dim] > 1]
    result = result.isel({dim: 0 for dim in result.solved.dims if dim not in RUNS and result.sizes[dim] == 1})
    numeric = [dim for dim in kept if np.issubdtype(result[dim].dtype, np.number)]
    x, y = _axes(numeric, kept, x, y)
    rest = [dim for dim in kept if dim not in (x, y)]
    panels = int(np.prod([result.sizes[dim] for dim in rest]))
    if panels > MOST_PANELS:
        raise ValueError(
            f"expected at most {MOST_PANELS} panels beside {x} and {y}, got {panels} settings of {', '.join(rest)}. "
            f"Select some: `--select {rest[0]}={np.ravel(result[rest[0]].values)[0]}`."
        )
    return _arranged(result.sortby([axis for axis in (x, y) if axis]), x, y, rest)


def _axes(numeric: list[str], kept: list[str], x: str | None, y: str | None) -> tuple[str | None, str | None]:
    """The axes of the figures, with defaults filled in."""
    for option, axis in (("x", x), ("y", y)):
        if axis is not None and axis not in numeric:
            raise ValueError(
                f"expected `--{option}` to be one of the axes with several numbers, "
                f"{', '.join(numeric) or 'of which there is none'}, got {shown(axis)}."
            )
    if x is not None and x == y:
        raise ValueError(f"expected two different axes, got {x} twice.")
    ordered = sorted(numeric, key=lambda name: name != "learning_rate")
    x = x or next((name for name in ordered if name != y), None)
    return x, y or next((name for name in ordered if name != x), None)


def _arranged(result, x: str | None, y: str | None, rest: list[str]) -> Cells:
    runs = [str(dim) for dim in result.solved.dims if dim in RUNS]
    order = [*rest, *([y] if y else []), *([x] if x else []), *runs]
    shape = (-1, result.sizes[y] if y else 1, result.sizes[x] if x else 1)
    shape += (int(np.prod([result.sizes[dim] for dim in runs])),)

    def array(name, *more):
        values = result[name].transpose(*order, *more).values
        return values.reshape(-1, *shape[1:], *values.shape[len(order) :])

    def label(axis):
        if axis is None:
            return ""
        text = str(result[axis].attrs.get("long_name", axis.replace("_", " ")))
        return f"{text} ({result[axis].attrs['units']})" if result[axis].attrs.get("units") else text

    def bounds(axis):
        return range_of(axis, result[axis].attrs) if axis else (-np.inf, np.inf)

    names = [""]
    for dim in rest:
        names = [f"{head}, {_named(result, dim, v)}".strip(", ") for head in names for v in result[dim].values]
    has_curve = "curve" in result and EPOCH in result.curve.dims and set(order) <= set(result.curve.dims)
    solved = array("solved").astype(bool)
    return Cells(
        None if x is None else result[x].values.astype(float),
        None if y is None else result[y].values.astype(float),
        names,
        (label(x), label(y)),
        (bounds(x), bounds(y)),
        solved,
        array("diverged").astype(bool) if "diverged" in result else np.zeros(solved.shape, bool),
        array("epochs").astype(float),
        array("reason") >= 0 if "reason" in result else np.ones(solved.shape, bool),
        array("curve", EPOCH) if has_curve else None,
        result[EPOCH].values if has_curve else np.zeros(0),
        str(result.attrs.get("title", "")),
    )


def _named(result, dim: str, value) -> str:
    """A value of an axis in words: a text by itself, a number with the name of its axis."""
    if not np.issubdtype(np.asarray(value).dtype, np.number):
        return str(value)
    return f"{result[dim].attrs.get('long_name', dim.replace('_', ' '))} {value:.4g}"
