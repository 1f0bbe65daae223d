"""Results on disk: datasets as Zarr, figures as PNG and SVG, rows of numbers as CSV."""

import csv
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from bpjax.results import plots
from bpjax.util.files import slug

matplotlib.use("Agg")  # figures go to files only; other backends need the main thread and a display


def read_zarr(path: Path) -> xr.Dataset:
    """A stored dataset, loaded into memory."""
    return xr.open_zarr(path, consolidated=False).load()


def write_zarr(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Write a dataset and return it as read back, so that tables and figures show what is stored."""
    dataset.to_zarr(path, mode="w", consolidated=False)
    return read_zarr(path)


def write_named(datasets: Mapping[str, xr.Dataset], folder: Path, part: str, prefix: str = "") -> None:
    """Write datasets by name, as `read_named` finds them again.

    Args:
        datasets: {name: dataset}.
        folder: to write into; several parts may share it.
        part: what the datasets belong to.
        prefix: of the names of the Zarr folders.
    """
    for place, (name, dataset) in enumerate(datasets.items()):
        write_zarr(dataset.assign_attrs(part=part, place=place, key=name), folder / f"{slug(prefix + name)}.zarr")


def read_named(folder: Path, part: str) -> dict[str, xr.Dataset]:
    """The datasets of a part by name, in the order in which they were written."""
    found = [read_zarr(path) for path in sorted(folder.glob("*.zarr")) if part_of(path) == part]
    return {one.attrs["key"]: one for one in sorted(found, key=lambda one: one.attrs["place"])}


def part_of(path: Path) -> str:
    """The part that a stored dataset belongs to; "" if it was not written by `write_named`."""
    return xr.open_zarr(path, consolidated=False).attrs.get("part", "")


RowType = typing.TypeVar("RowType")


def read_rows(path: Path, row_type: type[RowType]) -> list[RowType]:
    """Rows that `write_rows` wrote of a NamedTuple whose fields are numbers, texts or booleans."""
    kinds = typing.get_type_hints(row_type)
    readers = {int: int, float: float, str: str, bool: lambda text: text == "True"}
    with open(path, newline="", encoding="utf-8") as file:
        return [
            row_type(**{name: readers.get(kind, str)(row[name]) for name, kind in kinds.items()})
            for row in csv.DictReader(file)
        ]


def write_figure(figure: Figure, folder: Path, name: str, dpi: int = 100) -> None:
    """Write `name`.png and `name`.svg into `folder` and close the figure."""
    figure.set_dpi(dpi)  # the widths of texts depend on it
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
