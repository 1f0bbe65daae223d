"""Results on disk: datasets as Zarr, figures as PNG and SVG, rows of numbers as CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from bpjax.results import plots

matplotlib.use("Agg")  # figures go to files only; other backends need the main thread and a display


def read_zarr(path: Path) -> xr.Dataset:
    """A stored dataset, loaded into memory."""
    return xr.open_zarr(path, consolidated=False).load()


def write_zarr(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Write a dataset and return it as read back, so that tables and figures show what is stored."""
    dataset.to_zarr(path, mode="w", consolidated=False)
    return read_zarr(path)


def write_figure(figure: Figure, folder: Path, name: str, dpi: int = 100) -> None:
    """Write `name`.png and `name`.svg into `folder` and close the figure."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is done: PNG and SVG need not repeat it
    figure.savefig(folder / f"{name}.png", dpi=dpi)
    figure.savefig(folder / f"{name}.svg")
    plt.close(figure)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any] | tuple], properties: Sequence[str] = ()) -> None:
    """Write rows as CSV, one line each; a field that a row lacks is empty.

    Args:
        path: of the file.
        rows: dictionaries, or NamedTuples of one type.
        properties: names of properties of the NamedTuples that become further columns.
    """
    records = [
        dict(row) if isinstance(row, Mapping) else row._asdict() | {name: getattr(row, name) for name in properties}  # type: ignore[attr-defined]
        for row in rows
    ]
    names = dict.fromkeys(name for record in records for name in record)
    plots.write_csv(path, {name: [record.get(name) for record in records] for name in names})
