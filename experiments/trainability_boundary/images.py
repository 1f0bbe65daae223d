"""Images of a plane: one sweep an image, one run a pixel, each image a part of the one before."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

import bpjax as bp
from experiments.trainability_boundary.conditions import Condition, Window, problem_of
from experiments.trainability_boundary.dimension import boundary, densest
from experiments.trainability_boundary.training import make_trial


class Image(NamedTuple):
    """Pixels of a window; rows upwards, columns to the right."""

    window: Window
    converged: np.ndarray  # (R, R) bool
    speed: np.ndarray  # (R, R): the sum of the errors, or minus the sum of their inverses
    dtype: str  # of the trainings

    @property
    def resolution(self) -> int:
        """R, pixels along a side."""
        return len(self.converged)

    def densest_window(self, factor: int) -> Window:
        """The window of 1/factor of the width whose boundary has most cells."""
        side = max(1, self.resolution // factor)
        row, column = densest(boundary(self.converged), side)
        right, up = self.window.width / (self.resolution - 1), self.window.height / (self.resolution - 1)
        left, bottom = self.window.left + column * right, self.window.bottom + row * up
        return Window(left, left + side * right, bottom, bottom + side * up)


class Incomplete(Exception):
    """Pixels of an image are left to other processes: their number, and the store."""


class Draw(NamedTuple):
    """How images are made."""

    condition: Condition
    resolution: int
    steps: int
    seed: int
    part: str = "whole"  # as in `bp.sweep`, of each sweep with a store

    def sweep(
        self, window: Window, dtype: str, store: Path | None = None, every: int = 1, progress=False
    ) -> xr.Dataset:
        """Train the pixels of a window.

        Args:
            window: of the plane.
            dtype: float32 or float64.
            store: a folder for the sweep, which continues there after an interruption.
            every: train one pixel of so many along each axis.
            progress: as in `bp.sweep`.
        """
        with jax.enable_x64(dtype == "float64"):
            trial = make_trial(self.condition, problem_of(self.condition, self.steps, self.seed), self.steps)
            axes = {
                "up": np.linspace(window.bottom, window.top, self.resolution)[::every],
                "right": np.linspace(window.left, window.right, self.resolution)[::every],
            }
            key, part = jax.random.key(self.seed), "whole" if store is None else self.part
            return bp.sweep(trial, axes, key=key, store=store, part=part, progress=progress)

    def image(self, window: Window, dtype: str, store: Path, progress) -> Image:
        """The image of a window; arguments as for `sweep`.

        Raises:
            Incomplete: this process computes a part, and others have not ended.
        """
        result = self.sweep(window, dtype, store, progress=progress)
        if self.part != "whole":
            result = bp.open_sweep(store)
            if result.attrs["missing"]:
                raise Incomplete(result.attrs["missing"], store)
        return Image(window, result.converged.values, result.speed.values, dtype)


def zoom(draw: Draw, zooms: int, factor: int, folder: Path, progress: Callable) -> list[Image]:
    """The image of the condition's window in float32, and of parts of it in float64, each a part of the one before.

    At the boundary a run amplifies rounding errors, so that parts look different in float32 (see `agreement`).

    Args:
        draw: how images are made.
        zooms: how many parts.
        factor: width of an image over that of the next.
        folder: for the stores of the sweeps.
        progress: (number of the image) -> what `bp.sweep` takes as `progress`.
    """
    images, window, dtype = [], draw.condition.window, "float32"
    for number in range(zooms + 1):
        images.append(draw.image(window, dtype, folder / str(number), progress(number)))
        window, dtype = images[-1].densest_window(factor), "float64"
    return images


def agreement(draw: Draw, image: Image, every: int) -> float:
    """The share of pixels that come out alike in float32 and float64, of one in `every` along each axis."""
    other = "float64" if image.dtype == "float32" else "float32"
    there = draw.sweep(image.window, other, every=every).converged.values
    return float((there == image.converged[::every, ::every]).mean())
