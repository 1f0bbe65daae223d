"""Published dimensions and ours."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from experiments.common.findings import Finding, finding, number
from experiments.trainability_boundary.conditions import CONDITIONS
from experiments.trainability_boundary.control import exact_limit
from experiments.trainability_boundary.dimension import Dimension, boundary, dimension
from experiments.trainability_boundary.images import Image

PUBLISHED = 1.17, 1.98
"""Smallest and largest dimension over the six conditions."""
SOURCE = "arXiv:2402.06184"
CHOICE = (
    "The dimension depends on where one looks: the paper's images have 4096 × 4096 pixels and were chosen by hand, "
    "these are coarser, and each is the part of the one before that holds most of the boundary."
)


def dimension_finding(condition: str, images: list[Image]) -> Finding:
    """The dimension of one condition beside the range of all six."""
    found = dimension([image.converged for image in images])
    low, high = PUBLISHED
    agrees = bool(found.low <= high and found.high >= low) if np.isfinite(found.value) else False
    return Finding(
        "dimension", condition, f"{low} to {high}", number(found.value, 3),
        interval(found), f"95 %, {len(images)} images", agrees, SOURCE, "" if agrees else CHOICE,
    )  # fmt: skip


def interval(found: Dimension) -> str:
    """Its ends."""
    return f"{found.low:.2f} to {found.high:.2f}"


def control_findings(control: xr.Dataset) -> list[Finding]:
    """The ripple: one exact limit where f is smooth enough, and a fractal above the critical θ."""
    topic, rows = "control: one weight", []
    rates = 1 + 10**control.excess.values
    for theta in control.theta.values:
        bounded = control.bounded.sel(theta=theta).values
        cells = np.flatnonzero(boundary(bounded))
        if 0 < theta <= 0.5:
            at, exact = rates[cells[0]], exact_limit(theta)
            spacing = (rates[cells[0] + 1] - at) if len(cells) == 1 else 0.0
            rows.append(
                finding(topic, f"θ = {theta:g}: the largest rate that stays bounded", exact, at, spacing, digits=6,
                        certainty=f"±{spacing:.0e}", source="closed form")
            )  # fmt: skip
        if theta <= 1:
            rows.append(
                finding(topic, f"θ = {theta:g}: cells of the boundary", 1, len(cells), 0, certainty="exact",
                        source="closed form" if theta <= 0.5 else "arXiv:2406.13971")
            )  # fmt: skip
        elif theta >= 2:
            found = dimension([bounded])
            rows.append(
                Finding(topic, f"θ = {theta:g}: dimension", "above 0", number(found.value, 2), interval(found),
                        f"95 %, {len(rates)} rates", bool(found.low > 0), "arXiv:2406.13971")
            )  # fmt: skip
    return rows


def precision_findings(agreements: np.ndarray, images: list[Image]) -> list[Finding]:
    """How many pixels come out alike in float32 and float64, by zoom."""
    zooms = [images[0].window.width / image.window.width for image in images]
    return [
        Finding("in float32 as in float64", f"enlarged {zoom:.0f} times", "", f"{100 * share:.1f} %", "",
                f"trained in {image.dtype}", None)
        for zoom, share, image in zip(zooms, agreements, images, strict=True)
    ]  # fmt: skip


def findings_of(images: Mapping[str, list[Image]], control: xr.Dataset, agreements: np.ndarray) -> list[Finding]:
    """All rows.

    Args:
        images: by condition.
        control: of one weight.
        agreements: share of pixels alike in both precisions, for each image of the first condition.
    """
    first = next(iter(images))
    rows = [
        dimension_finding(condition.name, images[condition.name])
        for condition in CONDITIONS
        if condition.name in images
    ]
    return [*rows, *precision_findings(agreements, images[first]), *control_findings(control)]


def sentence(condition: str, images: list[Image]) -> str:
    """What the images of a condition show."""
    found = dimension([image.converged for image in images])
    enlarged = images[0].window.width / images[-1].window.width
    where = f"in {len(images)} images, the last enlarged {enlarged:,.0f} times"
    if not np.isfinite(found.value):
        return f"{condition}: no boundary {where}."
    return f"{condition}: the boundary has the box-counting dimension {found.value:.2f} ({interval(found)}) {where}."
