"""The colours of an image: blue where training converges, orange where it does not, darker where it takes long."""

import numpy as np
from matplotlib import colormaps

CONVERGES, DIVERGES = "Blues", "Oranges"
LIGHTEST, DARKEST = 0.25, 0.95
"""Of the colour maps, which begin with white."""


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value among all, from 0 to 1."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return order / max(1, len(values) - 1)


def colours_of(converged: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """(R, R, 3) uint8 colours; within each of the two sets, colours are spread evenly over the pixels.

    Args:
        converged: (R, R) bool.
        speed: (R, R), as `training.make_trial` stores it.
    """
    colours = np.empty((*converged.shape, 3))
    for inside, name in ((True, CONVERGES), (False, DIVERGES)):
        chosen = converged == inside
        shades = LIGHTEST + (DARKEST - LIGHTEST) * ranks(np.abs(speed[chosen]))
        colours[chosen] = colormaps[name](shades)[:, :3]
    return np.round(255 * colours).astype(np.uint8)
