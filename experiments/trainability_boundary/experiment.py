"""How rough is the boundary between hyperparameters that let a network train and those that do not?

Too high a learning rate misses the minimum, says the encyclopedia article on backpropagation. Where does "too high"
begin? Sohl-Dickstein (arXiv:2402.06184) gave the two layers of a small network (16 inputs, 16 hidden units, one
output, 272 random examples) a learning rate each and drew the plane of both: blue where training converges, orange
where it does not. The boundary has structure at every scale, with box-counting dimensions from 1.17 to 1.98 over six
conditions. Here each pixel is one training of a sweep. The densest part of each image is enlarged, again and again.
One weight on a quadratic with a ripple (arXiv:2406.13971) is the control: its boundary is known exactly.

    python -m experiments.trainability_boundary            seven planes, enlarged: ten minutes on two cores
    python -m experiments.trainability_boundary --quick    coarse images of all planes: half a minute
    python -m experiments.trainability_boundary --conditions tanh --resolution 1024 --zooms 8
                                                           one plane, finer and deeper
    python -m experiments.trainability_boundary --help     list all settings

An image of 4096 × 4096 pixels is divided between machines that share a folder. Each runs

    python -m experiments.trainability_boundary --conditions tanh --resolution 4096 --zooms 0 --part 3/16

with its own number, from 0/16 to 15/16; the last one draws the image. An interrupted run continues where it ended.
Writes a table to the terminal, and figures (PNG, SVG), an HTML page to zoom into, the table (CSV) and the images (Zarr)
to results/trainability_boundary.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from rich.console import Console

from bpjax.results.record import write_record
from bpjax.sweeps.part import as_part
from bpjax.util.checks import check_choice, check_count
from bpjax.util.files import slug
from experiments.common.command import command, print_totals, progress
from experiments.common.config import QuickSettings
from experiments.common.findings import Finding, print_findings
from experiments.common.keep import keep
from experiments.common.stored import read_zarr, write_figure, write_rows, write_zarr
from experiments.trainability_boundary.conditions import CONDITIONS, Condition, Window
from experiments.trainability_boundary.control import control
from experiments.trainability_boundary.figures import draw_counts, draw_images
from experiments.trainability_boundary.images import Draw, Image, Incomplete, agreement, zoom
from experiments.trainability_boundary.tables import findings_of, sentence
from experiments.trainability_boundary.tiles import write_page

TITLE = "Which learning rates let this network train?"
THETAS = (0.0, 0.25, 0.5, 0.9, 2.0, 4.0, 10.0)
"""Of the control, in units of the critical value."""
EVERY = 4
"""One pixel of so many along each axis is trained in both precisions."""


@dataclass(frozen=True)
class Config(QuickSettings):
    """Settings of the experiment."""

    QUICK = {"resolution": 32, "zooms": 1, "rates": 1024}

    conditions: tuple[str, ...] = tuple(condition.name for condition in CONDITIONS)
    """What to train; all seven by default. Names of several words stand in quotes."""
    resolution: int = 128
    """Pixels along each side of an image; each is one training."""
    zooms: int = 2
    """Parts that are enlarged, each a part of the one before."""
    factor: int = 8
    """Width of an image over that of its enlarged part."""
    steps: int = 500
    """Of gradient descent."""
    rates: int = 8192
    """Learning rates of the control."""
    store: Path = Path("results/trainability_boundary_sweeps")
    """Folder of the sweeps; what is there is not trained again."""
    part: str = "whole"
    """Train this part of each image, such as 3/16, counted from 0/16 to 15/16; draw them if all parts are there."""
    out: Path = Path("results/trainability_boundary")

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        for name in self.conditions:
            check_choice("Config", "conditions", name, tuple(condition.name for condition in CONDITIONS))
        check_count("Config", "resolution", self.resolution, least=16)
        check_count("Config", "zooms", self.zooms, least=0)
        check_count("Config", "factor", self.factor, least=2, most=self.resolution // 4)
        check_count("Config", "steps", self.steps, least=20)
        check_count("Config", "rates", self.rates, least=64)
        if self.part != "whole":
            as_part("Config", "part", self.part)
        super().check()

    @property
    def chosen(self) -> list[Condition]:
        """The conditions, in the order of the paper."""
        return [condition for condition in CONDITIONS if condition.name in self.conditions]


class Result(NamedTuple):
    """What was computed."""

    images: dict[str, list[Image]]  # by condition
    control: xr.Dataset
    agreements: np.ndarray  # for each image of the first condition


def run(config: Config, console: Console) -> Result:
    """Train every pixel of every image, and the control."""
    resolution, zooms = config.resolution, config.zooms
    began, images = time.perf_counter(), {}
    runs = len(config.chosen) * (zooms + 1) * resolution**2
    with progress(console, runs) as advance:
        for condition in config.chosen:
            draw = Draw(condition, resolution, config.steps, config.seed, config.part)
            name = f"{slug(condition.name)}_{resolution}_{config.steps}_{config.factor}_{config.seed}"
            done = len(images) * (zooms + 1) * resolution**2

            def report(number: int, condition=condition, done=done):
                def on_progress(state) -> None:
                    advance(
                        done + number * resolution**2 + state.done,
                        f"{condition.name}, image {number + 1}",
                        "pixels",
                    )

                return on_progress

            images[condition.name] = zoom(draw, zooms, config.factor, config.store / name, report)
        first = config.chosen[0]
        draw = Draw(first, resolution, config.steps, config.seed)
        advance(runs, "both precisions, and the control", "pixels")
        agreements = np.array([agreement(draw, image, EVERY) for image in images[first.name]])
        known = control(THETAS, config.rates)
    print_totals(console, runs, None, time.perf_counter() - began)
    return Result(images, known, agreements)


def dataset(result: Result) -> xr.Dataset:
    """The images over (condition_zoom_up, condition_zoom_right), with their windows as attributes."""
    parts = {}
    for name, images in result.images.items():
        for number, image in enumerate(images):
            dims = f"{slug(name)}_{number}_up", f"{slug(name)}_{number}_right"
            window = dict(zip(Window._fields, image.window, strict=True))
            parts[f"{slug(name)}_{number}_converged"] = (dims, image.converged, window)
            parts[f"{slug(name)}_{number}_speed"] = (dims, image.speed.astype(np.float32), {"dtype": image.dtype})
    parts["bounded"] = (("theta", "excess"), result.control.bounded.values)
    coordinates = {"theta": result.control.theta.values, "excess": result.control.excess.values}
    return xr.Dataset(parts, coordinates, {"agreements": list(result.agreements)})


def result_of(stored: xr.Dataset, names: list[str]) -> Result:
    """What a stored dataset holds; `names` are those of the conditions."""
    images: dict[str, list[Image]] = {name: [] for name in names}
    for name, found in images.items():
        while f"{slug(name)}_{len(found)}_converged" in stored:
            converged, speed = (stored[f"{slug(name)}_{len(found)}_{part}"] for part in ("converged", "speed"))
            window = Window(**{side: converged.attrs[side] for side in Window._fields})
            found.append(Image(window, converged.values, speed.values, speed.attrs["dtype"]))
    return Result(images, stored[["bounded"]], np.array(stored.attrs["agreements"]))


def read(folder: Path) -> Result:
    """The stored images, control and agreements."""
    stored = read_zarr(folder / "images.zarr")
    names = [condition.name for condition in CONDITIONS if f"{slug(condition.name)}_0_converged" in stored]
    return result_of(stored, names)


def figures(config: Config, folder: Path) -> dict[str, Callable]:
    """{name: function that draws it}, from the stored results."""
    found = read(folder)
    return {
        "trainability_boundary": functools.partial(draw_images, found.images),
        "trainability_boundary_counts": functools.partial(draw_counts, found.images, found.control),
    }


def store(config: Config, folder: Path, result: Result) -> list[Finding]:
    """Write images, figures, page, table and record; returns the findings of what was stored."""
    write_zarr(dataset(result), folder / "images.zarr")
    stored = read(folder)
    findings = findings_of(stored.images, stored.control, stored.agreements)
    write_rows(folder / "trainability_boundary.csv", findings, ["verdict"])
    for name, draw in figures(config, folder).items():
        write_figure(draw(), folder, name, dpi=80)
    write_page(folder, TITLE, stored.images, {name: sentence(name, images) for name, images in stored.images.items()})
    write_record(folder, config, experiment="trainability_boundary")
    return findings


def show(config: Config, console: Console) -> None:
    """Run, store, and print the table that answers the question."""
    size = config.resolution
    console.print(
        f"{len(config.chosen)} planes, {config.zooms + 1} images each of {size} × {size} trainings, "
        f"{config.steps} steps long. The sweeps are kept in {config.store}."
    )
    try:
        result = run(config, console)
    except Incomplete as incomplete:
        missing, folder = incomplete.args
        console.print(f"Part {config.part} is done: {missing:,} pixels of {folder} are left to the other parts.")
        return
    with console.status("storing the result and drawing the figures"):
        config, findings = keep(config, store, result)
    console.print()
    print_findings(console, findings)
    if config.quick:
        console.print("A quick run: the images are too coarse to measure a dimension.")
    console.print(
        f"\nOpen {config.out}/index.html to zoom into the planes. Figures: {config.out}/trainability_boundary.png and "
        "trainability_boundary_counts.png (also as .svg), the table as CSV, the images as Zarr."
    )


main = functools.partial(command, "trainability_boundary", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, run, store and show."""
