"""The boundary of a set of pixels, and its box-counting dimension.

A cell between 2 × 2 pixels belongs to the boundary if they are not all alike. N(s) is the number of boxes of s × s
cells that hold a cell of the boundary. Where the boundary has the dimension D, N(s) ∝ s⁻ᴰ, so that every pair of box
sizes gives an estimate of D:

    D(s) = log₂ N(s) − log₂ N(2s)

The estimate is the median over all sizes and images, as in arXiv:2402.06184.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SAMPLES = 2000
"""Of the bootstrap."""


class Dimension(NamedTuple):
    """The median of the estimates, and the interval that holds it with 95 %."""

    value: float
    low: float
    high: float


def boundary(inside: np.ndarray) -> np.ndarray:
    """Cells between neighbours that differ: (R, ...) bool to (R − 1, ...) bool, along every axis."""
    some, every = np.asarray(inside, bool), np.asarray(inside, bool)
    for axis in range(np.ndim(inside)):
        low, high = (np.arange(some.shape[axis] - 1) + step for step in (0, 1))
        some = some.take(low, axis) | some.take(high, axis)
        every = every.take(low, axis) & every.take(high, axis)
    return some & ~every


def box_counts(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box sizes 1, 2, 4, ... to an eighth of the side, and the number of boxes of each size that hold a cell.

    Args:
        cells: (C, ...) bool, as many along every axis.
    """
    sizes, counts = [], []
    size, side = 1, len(cells) + 1
    while size == 1 or 8 * size <= side:
        sizes.append(size)
        counts.append(int(cells.sum()))
        cells = np.pad(cells, [(0, length % 2) for length in cells.shape])
        for axis in range(cells.ndim):
            length = cells.shape[axis]
            cells = cells.take(range(0, length, 2), axis) | cells.take(range(1, length, 2), axis)
        size *= 2
    return np.array(sizes), np.array(counts)


def estimates(inside: np.ndarray) -> np.ndarray:
    """D(s) of an image at every pair of sizes; none where there is no boundary."""
    counts = box_counts(boundary(inside))[1].astype(float)
    return -np.diff(np.log2(counts)) if counts[0] else np.empty(0)


def dimension(images: Sequence[np.ndarray], seed: int = 0) -> Dimension:
    """The median of D(s) over sizes and images; its interval comes from drawing images, and sizes of each, again.

    Args:
        images: (R, ...) bool each, whether a pixel belongs to the set.
        seed: of the bootstrap.
    """
    by_image = [found for found in map(estimates, images) if len(found)]
    if not by_image:
        return Dimension(np.nan, np.nan, np.nan)
    draw, medians = np.random.default_rng(seed), np.empty(SAMPLES)
    for sample in range(SAMPLES):
        images_again = (by_image[i] for i in draw.integers(0, len(by_image), len(by_image)))
        medians[sample] = np.median(
            np.concatenate([found[draw.integers(0, len(found), len(found))] for found in images_again])
        )
    low, high = np.quantile(medians, [0.025, 0.975])
    return Dimension(float(np.median(np.concatenate(by_image))), float(low), float(high))


def densest(cells: np.ndarray, side: int) -> tuple[int, int]:
    """First row and column of the square of `side` cells that holds most cells of the boundary.

    Args:
        cells: (C, C) bool.
        side: of the square.
    """
    sums = np.pad(cells.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    held = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    row, column = np.unravel_index(np.argmax(held), held.shape)
    return int(row), int(column)
