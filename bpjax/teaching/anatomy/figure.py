"""The anatomy of a batch as one figure."""

import numpy as np

from bpjax.results.plots.colours import GREY, ORANGE
from bpjax.teaching.anatomy.findings import percent
from bpjax.util.extras import require_extra

MANY = 40
"""Beyond this number of examples or units there are no labels for each."""


def figure(anatomy):
    """Three panels: gradients and angles of the examples, states of the units, pulls on the weights."""
    with require_extra("The figure of `anatomy` is drawn by Matplotlib"):
        from matplotlib.figure import Figure
    made = Figure(figsize=(12, 4.2), layout="constrained")
    first, second, third = made.subplots(1, 3, width_ratios=(1, 1, 1.1))
    gradients(first, anatomy)
    units(second, anatomy)
    weights(third, anatomy)
    return made


def gradients(axis, anatomy) -> None:
    """One point per example: how large its gradient is, and whether it agrees with that of the batch."""
    angle, norm = anatomy.angle, anatomy.gradient_norm
    known = np.isfinite(angle)
    axis.axvspan(90, 180, color=GREY, alpha=0.15, lw=0)
    axis.axvline(90, color=GREY, lw=0.8)
    axis.scatter(angle[known], norm[known], color="#333333", s=24, alpha=0.8, zorder=3)
    if known.sum() <= MANY:
        for n in np.flatnonzero(known):
            axis.annotate(str(n + 1), (angle[n], norm[n]), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.text(178, 0, "against\nthe batch", ha="right", va="bottom", fontsize=8, color="#555555")
    axis.set(xlim=(0, 180), xticks=range(0, 181, 30), ylim=(0, max(float(norm.max()) * 1.15, 1e-12)))
    axis.set(xlabel="angle to the gradient of the batch (degrees)", ylabel="norm of the gradient of the example")
    axis.set_title("Examples: size and direction of their gradients", fontsize=10)


def units(axis, anatomy) -> None:
    """One row per unit, one column per example: active, saturated or dead."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    axis.set_title("Units: saturated and dead", fontsize=10)
    if not anatomy.states:
        axis.text(0.5, 0.5, "no elementwise activations", ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    rows, labels = [], []
    for place, states in zip(anatomy.activations, anatomy.states, strict=True):
        dead, saturated = (over_positions(values) for values in states)
        rows.append((2 * dead + 1 * (saturated & ~dead)).T)
        labels += [f"{place.number}.{unit + 1}" for unit in range(dead.shape[1])]
    image = np.concatenate(rows)
    colours = ListedColormap(["#EAF2F8", ORANGE, "black"])
    axis.imshow(image, cmap=colours, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    grid(axis, image.shape)
    axis.set(xlabel="example", ylabel="unit, as layer.unit")
    examples(axis, image.shape[1])
    if len(labels) <= MANY:
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
    names = ("active", "saturated", "dead")
    handles = [Patch(facecolor=colours(k), edgecolor=GREY, label=name) for k, name in enumerate(names)]
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False, fontsize=8)


def weights(axis, anatomy) -> None:
    """One row per weight, one column per example: which way the example pulls it."""
    if not anatomy.opposed:
        axis.text(0.5, 0.5, "no weight is pulled apart", ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    pulls = anatomy.pulls.T
    largest = np.abs(pulls).max(axis=1, keepdims=True)
    image = pulls / np.where(largest > 0, largest, 1)
    drawn = axis.imshow(image, cmap="PRGn", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    grid(axis, image.shape)
    names = [f"{name} ({percent(share)})" for name, share in zip(anatomy.opposed, anatomy.cancelled, strict=True)]
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_xlabel("example")
    examples(axis, image.shape[1])
    axis.set_title("Weights pulled apart most (share that cancels)", fontsize=10)
    bar = axis.figure.colorbar(drawn, ax=axis, ticks=(-1, 0, 1), fraction=0.05, pad=0.02)
    bar.ax.set_yticklabels(["down", "0", "up"], fontsize=8)
    bar.set_label("pull, in units of the largest of the weight", fontsize=8)


def over_positions(states) -> np.ndarray:
    """(N, H): a unit of an image or a sequence counts where it is so at every position."""
    states = np.asarray(states)
    return np.all(states.reshape(len(states), -1, states.shape[-1]), axis=1)


def examples(axis, count: int) -> None:
    """Ticks for the examples, counted from 1."""
    places = range(count) if count <= 12 else np.unique(np.linspace(0, count - 1, 6).astype(int))
    axis.set_xticks(list(places), [str(place + 1) for place in places], fontsize=8)


def grid(axis, shape) -> None:
    """White lines between cells, where they are few."""
    if max(shape) <= MANY:
        axis.set_xticks(np.arange(-0.5, shape[1]), minor=True)
        axis.set_yticks(np.arange(-0.5, shape[0]), minor=True)
        axis.grid(which="minor", color="white", lw=1)
        axis.tick_params(which="minor", length=0)
