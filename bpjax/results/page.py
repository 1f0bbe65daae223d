"""A sweep as an interactive HTML page: a map, and beside it the runs and error curves of the selected cell.

The page is a single file with its data inside and plots drawn by a few hundred lines of JavaScript. It makes no
network requests, so it can be sent, archived with a paper, or opened offline in ten years.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bpjax.results.page_cells import fastest_sentence, maps
from bpjax.results.page_frame import asset, packed, packed_counts, packed_logarithms, write_page
from bpjax.results.plots import cell_edges, is_geometric
from bpjax.results.plots.maps import range_of
from bpjax.util.call_text import shown

if TYPE_CHECKING:
    import xarray as xr

SEED, SAMPLE, EPOCH = "seed", "sample", "epoch"
VARIABLES = ("reason", "solved", "diverged", "epochs", "error")
MOST_CURVE_VALUES = 240_000
"""Values of error curves on one page, 2.7 bytes each. Further curves are omitted, and the page says so."""
MOST_CURVE_EPOCHS = 200
"""Epochs of each curve that are kept when there are too many values."""


def sweep_page(
    result: "xr.Dataset",
    path: str | Path,
    x: str | None = None,
    y: str | None = None,
    title: str | None = None,
    lines: Mapping | None = None,
) -> Path:
    """Write a sweep as one self-contained HTML page; returns its path.

    The map shows one of four quantities: the runs that solved the task (%), the median epochs to the goal with failures
    counted as never, the runs that diverged (%), or the median final error. Pointing at a cell, or moving with the
    arrow keys, shows its runs, 95 % intervals, and their error curves; a click or Enter pins it. An axis is logarithmic
    if its values are spaced geometrically; an axis of texts, such as names of optimizers, is in the given order. If the
    sweep has a dimension `sample` instead of a grid, each sample is a dot.

    Args:
        result: a sweep with `reason` (codes, named by `flag_values` and `flag_meanings`), `solved`, `diverged`,
            `epochs`, `error` over its axes and `seed`, and maybe `curve` with one more dimension, `epoch`. Labels come
            from `long_name` and `units` of coordinates and `error`, where given, and the ends of cells from `valid_min`
            and `valid_max`. The attribute `answer` is the sentence below the title; by default the fastest cell.
        path: of the HTML file, which is replaced only when the new one is complete.
        x: the hyperparameter of the horizontal axis; by default the first one.
        y: the hyperparameter of the vertical axis, or "seed"; by default the second one, or "seed".
        title: of the page, best a question; by default the result's attribute `title`.
        lines: theory to draw over the map: for each name (x, y), two arrays of one length in the units of the axes.

    Raises:
        ValueError: variables are missing, `x` or `y` are unknown, a hyperparameter is left over, a line is not a pair
            of arrays, or `path` cannot be written.
    """
    title = str(result.attrs.get("title", "Which settings reach the goal, and how fast?")) if title is None else title
    return write_page(path, title, asset("sweep.html"), page_data(result, x, y, lines or {}))


def page_data(result: "xr.Dataset", x: str | None, y: str | None, lines: Mapping) -> dict:
    """The data of the page, for JSON: arrays in base64 (see `packed`), cells in C order of (y, x).

    Args:
        result: a sweep.
        x: as for `sweep_page`.
        y: as for `sweep_page`.
        lines: as for `sweep_page`.

    Raises:
        ValueError: see `sweep_page`.
    """
    x, y = chosen_axes(result, x, y)
    sampled = SAMPLE in result.solved.dims
    if not sampled:
        numeric = [axis for axis in (x, y) if np.issubdtype(result[axis].dtype, np.number)]
        check_ascends(result, *numeric)
        result = result.sortby(numeric)
    if not result.solved.size:
        raise ValueError("`sweep_page` expected a result with runs, got one without. Select at least one of each axis.")
    cells = [SAMPLE] if sampled else [y, x]
    inner = [dim for dim in result.solved.dims if dim not in cells]  # [seed], or [] if it is an axis or missing
    runs = {name: result[name].transpose(*cells, *inner).values for name in VARIABLES}
    runs = {name: values.reshape(*values.shape[: len(cells)], -1) for name, values in runs.items()}
    shown_maps, axes = (
        maps(runs, result.error.attrs.get("units")),
        (axis_data(result, x, sampled), axis_data(result, y, sampled)),
    )
    curves, notes = embedded_curves(result, [*cells, *inner], runs["solved"].shape)
    return {
        "sampled": sampled,
        "shape": list(runs["solved"].shape),
        "x": axes[0],
        "y": axes[1],
        "seed_upwards": y == SEED,
        "seeds": result[SEED].values.tolist() if inner and SEED in result.coords else None,
        "answer": str(result.attrs.get("answer", fastest_sentence(runs, axes, sampled))),
        "maps": shown_maps,
        "meanings": meanings(result.reason),
        "reason": packed(runs["reason"], "i1"),
        "epochs": packed_counts(runs["epochs"]),
        "error": packed(runs["error"], "f4"),
        "curves": curves,
        "lines": [line_data(str(name), line) for name, line in lines.items()],
        "notes": notes,
    }


def chosen_axes(result, x: str | None, y: str | None) -> tuple[str, str]:
    """The axes of the map, with defaults filled in, or a `ValueError` that lists the possible ones."""
    if missing := [name for name in VARIABLES if name not in result]:
        raise ValueError(
            f"`sweep_page` needs the variables {', '.join(VARIABLES)}, but the result lacks {', '.join(missing)}. "
            "Pass the result of a sweep."
        )
    dims = [str(dim) for dim in result.solved.dims]
    if different := [name for name in VARIABLES if set(result[name].dims) != set(dims)]:
        raise ValueError(f"`sweep_page` expected every variable over {dims}, but {', '.join(different)} is not.")
    if SAMPLE in dims:
        choices = [str(name) for name, values in result.coords.items() if values.dims == (SAMPLE,) and name != SAMPLE]
    else:
        choices = [dim for dim in dims if dim != SEED]
    first, second, *_ = [*choices, SEED, SEED]
    if x is None:
        x = next((name for name in choices if name != y), first)
    if y is None:
        y = next((name for name in choices if name != x), second)
    for name, axis in (("x", x), ("y", y)):
        if axis not in choices and not (name == "y" and axis == SEED and SEED in dims and SAMPLE not in dims):
            raise ValueError(f"`sweep_page` cannot use {axis!r} as `{name}`: the result varies {', '.join(choices)}.")
        if SAMPLE in dims and not np.issubdtype(result[axis].dtype, np.number):
            raise ValueError(
                f"`sweep_page` expected numbers along `{axis}`, got {result[axis].dtype}. Select one value."
            )
    if x == y:
        raise ValueError(f"`sweep_page` expected two different axes, got {shown(x)} twice.")
    if SAMPLE not in dims and (rest := [dim for dim in dims if dim not in (x, y, SEED)]):
        one = result[rest[0]].values.flat[0]
        raise ValueError(
            f"A map has two hyperparameters, {x} and {y}, but the result also varies {', '.join(rest)}. "
            f"Select one value: `result.sel({rest[0]}={one!s})`, or choose other `x` and `y`."
        )
    return x, y


def check_ascends(result, *axes: str) -> None:
    """Raise a `ValueError` if an axis of a grid is empty, or a value on it is repeated or not finite."""
    for axis in axes:
        values = result[axis].values
        if not values.size or not np.isfinite(values).all() or len(np.unique(values)) < values.size:
            raise ValueError(f"`sweep_page` expected different, finite values along `{axis}`, got {values.tolist()}.")


def axis_data(result, name: str, sampled: bool) -> dict:
    """Label, values, range and scale of an axis, and for a grid the edges of its cells; or its words."""
    label = str(result[name].attrs.get("long_name", name.replace("_", " ")))
    if units := result[name].attrs.get("units"):
        label += f" ({units})"
    if not np.issubdtype(result[name].dtype, np.number):
        words = [str(word) for word in result[name].values]
        edges = (np.arange(len(words) + 1) - 0.5).tolist()
        return {"label": label, "log": False, "ends": [edges[0], edges[-1]], "words": words,
                "values": list(range(len(words))), "edges": edges}  # fmt: skip
    values = np.asarray(result[name].values, float)
    log = name != SEED and is_geometric(np.unique(values))
    bounds = range_of(name, result[name].attrs)
    edges = cell_edges(values, *bounds) if not sampled else cell_edges(padded(values, log))
    if name == SEED:
        edges = np.concatenate([[values[0] - 0.5], (values[1:] + values[:-1]) / 2, [values[-1] + 0.5]])
    ends = [float(edges[0]), float(edges[-1])]
    return {"label": label, "log": log, "ends": ends, "values": values.tolist()} | (
        {} if sampled else {"edges": edges.tolist()}
    )


def padded(values: np.ndarray, log: bool) -> np.ndarray:
    """Cell centres that leave a margin around scattered values."""
    low, high = values.min(), values.max()
    if low == high:
        return np.array([low])
    return np.geomspace(low, high, 13) if log else np.linspace(low, high, 13)


def meanings(reason) -> dict[str, str]:
    """The words for the codes of `reason`, from its CF attributes; "code 7" for a code without a word."""
    values = np.atleast_1d(reason.attrs.get("flag_values", [])).tolist()
    words = [word.replace("_", " ") for word in str(reason.attrs.get("flag_meanings", "")).split()]
    named = dict(zip(values, words, strict=False))
    return {str(code): named.get(code, f"code {code}") for code in np.unique(reason.values).tolist()}


def embedded_curves(result, dims: list, shape: tuple) -> tuple[dict | None, list[str]]:
    """Error curves (cells, runs, epochs) within the limit of `MOST_CURVE_VALUES`, and notes on what was omitted.

    Each cell keeps as many of its first runs as fit. If not even one fits, curves keep fewer epochs.

    Args:
        result: a sweep.
        dims: dimensions of the cells, then of the runs.
        shape: their sizes.
    """
    if "curve" not in result or EPOCH not in result["curve"].dims or not result.sizes[EPOCH]:
        return None, ["This sweep stored no error curves."]
    curves = result["curve"].transpose(*dims, EPOCH)
    epochs, cells, runs = result[EPOCH].values, int(np.prod(shape[:-1])), shape[-1]
    notes = []
    if cells * runs * len(epochs) > MOST_CURVE_VALUES:
        most = max(2, min(len(epochs), MOST_CURVE_EPOCHS, MOST_CURVE_VALUES // cells))
        kept = np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))
        if len(kept) < len(epochs):
            notes.append(f"Error curves are shown at {len(kept)} of their {len(epochs)} epochs.")
        curves, epochs = curves.isel({EPOCH: kept}), epochs[kept]
        fitting = min(runs, max(1, MOST_CURVE_VALUES // (cells * len(epochs))))
        if fitting < runs:
            notes.append(f"Error curves are those of the first {fitting} of {runs} runs in each cell.")
            curves, runs = curves.isel({SEED: slice(fitting)}), fitting
    return {"epochs": epochs.tolist(), "runs": runs, "values": packed_logarithms(curves.values)}, notes


def line_data(name: str, line) -> dict:
    """A line for the page; values that are not finite interrupt it."""
    try:
        x, y = (np.asarray(numbers, float) for numbers in line)
    except (TypeError, ValueError):
        x, y = np.zeros(0), np.zeros(1)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"`sweep_page` expected the line {name!r} as (x, y), two arrays of one length.")
    drawn = [[float(v) if np.isfinite(v) else None for v in numbers] for numbers in (x, y)]
    return {"name": name, "x": drawn[0], "y": drawn[1]}
