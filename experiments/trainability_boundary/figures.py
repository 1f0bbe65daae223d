"""Figures of the trainability boundary."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.patches import Rectangle

from bpjax.results import plots
from experiments.trainability_boundary.colours import colours_of
from experiments.trainability_boundary.conditions import CONDITIONS
from experiments.trainability_boundary.dimension import boundary, box_counts
from experiments.trainability_boundary.images import Image


def draw_images(images: Mapping[str, list[Image]]):
    """A row for each condition: its first image, then the enlarged parts."""
    chosen = [condition for condition in CONDITIONS if condition.name in images]
    columns = max(len(images[condition.name]) for condition in chosen)
    figure, axes = plt.subplots(
        len(chosen), columns, figsize=(2.6 * columns + 0.6, 2.75 * len(chosen)), squeeze=False, layout="constrained"
    )
    for row, condition in zip(axes, chosen, strict=True):
        for axis in row[len(images[condition.name]) :]:
            axis.axis("off")
        shown = images[condition.name]
        for place, (axis, image) in enumerate(zip(row, shown, strict=False)):
            draw_image(axis, image)
            enlarged = shown[0].window.width / image.window.width
            axis.set_title(condition.name if place == 0 else f"{enlarged:,.0f} times larger", fontsize=9, loc="left")
            if place + 1 < len(shown):
                mark(axis, shown[place + 1])
        row[0].set(xlabel=f"log₁₀ of {condition.axes[0]}", ylabel=f"log₁₀ of {condition.axes[1]}")
        row[0].xaxis.label.set_size(7)
        row[0].yaxis.label.set_size(7)
    figure.suptitle("Training converges (blue) or not (orange); darker: it takes longer to show", fontsize=10)
    return figure


def draw_image(axis, image: Image) -> None:
    """One image, with its window as coordinates."""
    window = image.window
    axis.imshow(
        colours_of(image.converged, image.speed),
        origin="lower",
        extent=tuple(window),
        aspect="auto",
        interpolation="nearest",
    )
    axis.set_xticks([window.left, window.right], [f"{value:.6g}" for value in (window.left, window.right)])
    axis.set_yticks([window.bottom, window.top], [f"{value:.6g}" for value in (window.bottom, window.top)])
    axis.tick_params(labelsize=7, length=2)
    axis.get_xticklabels()[0].set_horizontalalignment("left")
    axis.get_xticklabels()[1].set_horizontalalignment("right")


def mark(axis, part: Image) -> None:
    """A frame around the part that the next image shows."""
    window = part.window
    axis.add_patch(
        Rectangle(
            (window.left, window.bottom), window.width, window.height, fill=False, edgecolor=plots.ink(), linewidth=1
        )
    )


def draw_counts(images: Mapping[str, list[Image]], control: xr.Dataset):
    """Boxes that hold boundary against their size, and the control with one weight."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(images)))
    for colour, (name, shown) in zip(colours, images.items(), strict=True):
        for place, image in enumerate(shown):
            sizes, counts = box_counts(boundary(image.converged))
            left.loglog(sizes, counts, "o-", ms=3, lw=1, color=colour, label=name if place == 0 else None)
    sizes = np.array([1.0, 16.0])
    for slope, style in ((1, ":"), (2, "--")):
        left.loglog(sizes, 2e4 * sizes**-slope, style, color=plots.GREY, label=f"dimension {slope}")
    left.set(xlabel="side of a box (cells)", ylabel="boxes that hold boundary")
    left.legend(fontsize=7, frameon=False)
    bounded, excess = control.bounded.values, control.excess.values
    right.imshow(
        bounded, aspect="auto", interpolation="nearest", cmap="PuOr", vmin=-0.4, vmax=1.4, origin="lower",
        extent=(excess[0], excess[-1], -0.5, len(bounded) - 0.5),
    )  # fmt: skip
    right.set_yticks(range(len(bounded)), [f"{theta:g}" for theta in control.theta.values])
    right.set(xlabel="log₁₀ (η − 1)", ylabel="θ, in units of 1 / (2π²)")
    right.set_title("one weight: bounded (purple) or not (orange)", fontsize=9, loc="left")
    return figure
