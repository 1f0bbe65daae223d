"""An HTML page to zoom into the images, with their pixels in tiles beside it.

A tile is a PNG of at most 256 × 256 pixels. Each image has levels: level 0 holds every pixel, each further level every
second pixel of the one before, until one tile holds all. The page loads the tiles in sight, at the level that fits.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from bpjax.results import page_frame
from bpjax.util.files import slug
from experiments.trainability_boundary.colours import colours_of
from experiments.trainability_boundary.conditions import CONDITIONS
from experiments.trainability_boundary.images import Image

SIDE = 256
"""Pixels along the side of a tile."""


def write_page(folder: Path, title: str, images: Mapping[str, list[Image]], answers: Mapping[str, str]) -> None:
    """Write `index.html` and the tiles into `folder`.

    Args:
        folder: to write into.
        title: of the page.
        images: by condition.
        answers: a sentence for each condition.
    """
    conditions = []
    for condition in CONDITIONS:
        if condition.name not in images:
            continue
        drawn = []
        for number, image in enumerate(images[condition.name]):
            name = f"{slug(condition.name)}_{number}"
            levels = write_tiles(folder / "tiles" / name, colours_of(image.converged, image.speed))
            drawn.append({"folder": f"tiles/{name}", "window": list(image.window), "sizes": levels})
        conditions.append(
            {"name": condition.name, "axes": condition.axes, "answer": answers[condition.name], "images": drawn}
        )
    template = files("experiments.trainability_boundary").joinpath("page.html").read_text(encoding="utf-8")
    data = {"side": SIDE, "conditions": conditions}
    page_frame.write_page(folder / "index.html", title, template, data, images="'self' file: data:")


def write_tiles(folder: Path, colours: np.ndarray) -> list[int]:
    """Write an image as `level/row_column.png`, rows from the top; returns the side of each level in pixels.

    Args:
        folder: of the image.
        colours: (R, R, 3) uint8, rows upwards.
    """
    sizes = []
    for level, pixels in enumerate(levels_of(colours[::-1])):
        (folder / str(level)).mkdir(parents=True)
        sizes.append(len(pixels))
        for row in range(0, len(pixels), SIDE):
            for column in range(0, len(pixels), SIDE):
                path = folder / str(level) / f"{row // SIDE}_{column // SIDE}.png"
                imsave(path, np.ascontiguousarray(pixels[row : row + SIDE, column : column + SIDE]))
    return sizes


def levels_of(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The image, and every second pixel of the one before, until a tile holds all."""
    yield pixels
    while len(pixels) > SIDE:
        pixels = pixels[::2, ::2]
        yield pixels
