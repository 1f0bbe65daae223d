"""The pages of the learning-rate experiment: a map for each problem, and the edge of stability."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import xarray as xr

from bpjax.results.page import sweep_page
from bpjax.results.page_frame import packed, write_page
from experiments.learning_rate.figures import edge_answer
from experiments.learning_rate.rows import answer, rows_of
from experiments.learning_rate.steep import saturation


def write_map(path: Path, result: xr.Dataset) -> None:
    """A page of learning rate × start, the starts sorted by 2/λ_max, with the line of 2/λ_max."""
    ordered = result.sortby("limit")
    places = np.arange(ordered.sizes["seed"])
    name = {"long_name": "initial weights, largest curvature first"}
    ordered = ordered.assign_coords(seed=("seed", places, name))
    ordered.learning_rate.attrs.setdefault("long_name", "learning rate η")
    ordered.attrs["answer"] = answer(rows_of(result)).split(" Too ")[0]
    title = f"Which learning rates solve {result.attrs['problem']}, and from which starts?"
    lines = {"2/λ_max at the start": (ordered.limit.values, places)}
    sweep_page(ordered, path, y="seed", title=title, lines=lines)


def write_edge(path: Path, results: list[xr.Dataset]) -> None:
    """The page of the edge of stability: sharpness against 2/η, and the error, rate by rate."""
    template = files("experiments.learning_rate").joinpath("edge.html").read_text(encoding="utf-8")
    write_page(path, "Does training go on at the edge of stability?", template, edge_data(results))


def edge_data(results: list[xr.Dataset]) -> dict:
    """The data of the page: for each loss arrays (rates, epochs) of median and range over the starts."""
    losses = []
    for result in results:
        rows = saturation(result)
        losses.append(
            {
                "name": result.attrs["title"],
                "rates": result.learning_rate.values.tolist(),
                "epochs": result.epoch.values.tolist(),
                "starts": result.sizes["seed"],
                "diverged": [row["diverged"] for row in rows],
                "sharpness": median_and_range(result.sharpness),
                "error": median_and_range(result.error),
            }
        )
    return {"losses": losses, "answer": edge_answer(results)}


def median_and_range(values: xr.DataArray) -> dict:
    """{part: packed (rates, epochs)}; NaN where a start has no value."""
    raw = values.transpose("learning_rate", "seed", "epoch").values
    known = np.where(np.isfinite(raw), raw, np.nan)
    parts = {"low": known.min(axis=1), "middle": np.median(known, axis=1), "high": known.max(axis=1)}
    return {name: packed(part, "f4") for name, part in parts.items()}
