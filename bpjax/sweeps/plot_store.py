"""Find out what a stored result is, and which figures can be drawn from it."""

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import bpjax
from bpjax.results.plots.sweep import sweep_figures
from bpjax.results.seal import FORMAT, MARK, damage
from bpjax.sweeps.record_file import COPY
from bpjax.sweeps.stored import open_sweep
from bpjax.sweeps.structure_folder import dimensions
from bpjax.util.extras import require_extra


class Drawable(NamedTuple):
    """What can be drawn from a stored result."""

    what: str  # such as "a sweep of 600 runs"
    figures: dict[str, Callable]  # {name: function without arguments that draws it in the current look}
    pages: dict[str, Callable]  # {name: function that writes an HTML page to a path}


def drawable(store: str, x: str | None = None, y: str | None = None, select: Iterable[str] = ()) -> Drawable:
    """What can be drawn from a stored result.

    Args:
        store: the folder of an experiment's result, of a stored sweep, or a saved dataset (Zarr or NetCDF).
        x: of a sweep, the hyperparameter across.
        y: of a sweep, the hyperparameter upwards.
        select: of a sweep, "name=value" for each axis of which one value is drawn.

    Raises:
        ValueError: nothing is there, it is no result, it is damaged, or the options do not fit it.
        ModuleNotFoundError: a package is missing; the message names the extra to install.
    """
    path = Path(store)
    if not path.exists():
        raise ValueError(f"{store} does not exist. Name the folder of a stored result.")
    record = result_record(path)
    if record is not None:
        if x or y or list(select):
            raise ValueError("`--x`, `--y` and `--select` are for sweeps; the figures of an experiment are fixed.")
        return of_experiment(path, record)
    result = selected(read_dataset(path), select)
    runs = int(np.prod([result.sizes[dim] for dim in result.solved.dims])) if "solved" in result else 0
    return Drawable(f"a sweep of {runs:,} runs", sweep_figures(result, x, y), {"sweep": page_writer(result, x, y)})


def result_record(path: Path) -> dict | None:
    """The record of an experiment's result; None where the folder holds none."""
    try:
        record = json.loads((path / MARK).read_text(encoding="utf-8"))
        return record if record["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def of_experiment(folder: Path, record: dict) -> Drawable:
    """The figures of an experiment, drawn by its code in `experiments/`."""
    name = str(record.get("experiment", ""))
    if not re.fullmatch(r"[a-z_]+", name):
        raise ValueError(
            f"{folder} does not say which experiment wrote it: versions before 0.3 did not note it. Run the experiment "
            "again."
        )
    if reason := damage(folder):
        raise ValueError(f"{folder} is damaged: {reason}. Run `python -m experiments.{name}` again.")
    root = Path(bpjax.__file__).parents[1]
    if not (root / "experiments" / name / "experiment.py").exists():
        raise ValueError(
            f"{folder} is a result of the experiment {name}, whose figures are drawn by its code, which is not "
            "installed with bpjax. Use bpjax from a checkout of its repository."
        )
    if str(root) not in sys.path:
        sys.path.append(str(root))
    with require_extra("Figures of experiments are drawn by Matplotlib from results in Zarr"):
        redraw = importlib.import_module("experiments.common.redraw")
    try:
        return Drawable(f"a result of the experiment {name}", *redraw.figures_and_pages(name, folder, record))
    except (OSError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{folder} cannot be drawn by this version of {name} ({error}). Run it again.") from error


def read_dataset(path: Path):
    """The dataset of a stored sweep, of a Zarr folder or of a NetCDF file."""
    with require_extra("Datasets are read by xarray and zarr"):
        import xarray as xr
        import zarr  # noqa: F401
    if path.is_file():
        return _read(path, xr.load_dataset)
    if (path / MARK).exists() or (path / COPY).exists() or dimensions(path) is not None:
        return open_sweep(path).load()
    if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata")):
        return _read(path, lambda folder: xr.open_zarr(folder, consolidated=is_consolidated(folder)).load())
    raise ValueError(
        f"{path} holds no stored result: neither {MARK}, as experiments and sweeps write it, nor a Zarr dataset."
    )


def is_consolidated(folder: Path) -> bool:
    """Whether the metadata of all arrays of a Zarr folder are in one file."""
    try:
        return "consolidated_metadata" in json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return (folder / ".zmetadata").exists()


def _read(path: Path, reader: Callable):
    try:
        return reader(path)
    except Exception as error:  # xarray's backends raise whatever theirs raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be read as a dataset ({reason:.120}).") from error


def selected(result, select: Iterable[str]):
    """The part of a dataset with one value of some axes."""
    for text in select:
        name, given, value = text.partition("=")
        if not given or name not in result.dims:
            raise ValueError(
                f"expected `--select` NAME=VALUE with one of {', '.join(map(str, result.dims))}, got {text!r}."
            )
        values = result[name].values
        same = values.astype(str) == value
        if np.issubdtype(values.dtype, np.number):
            try:
                same = np.isclose(values, float(value), rtol=1e-3)
            except ValueError:
                pass
        if not same.any():
            raise ValueError(f"expected `--select {name}=` one of {', '.join(map(str, values[:8]))}, got {value!r}.")
        result = result.isel({name: int(np.flatnonzero(same)[0])})
    return result


def page_writer(result, x: str | None, y: str | None) -> Callable:
    """A function that writes the page of a sweep to a path."""

    def write(path: Path) -> None:
        from bpjax.results.page import sweep_page

        sweep_page(result, path, x=x, y=y)

    return write
