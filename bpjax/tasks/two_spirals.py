"""Two intertwined spirals to classify."""

import jax.numpy as jnp
import numpy as np

from bpjax.tasks.boolean import Levels, check_levels, in_levels
from bpjax.tasks.task import Task

POINTS = 97
"""Per spiral: three turns of 32 points, and one more."""


def two_spirals(target_levels: Levels = (0.0, 1.0)) -> Task:
    """To which of two spirals a point belongs: 194 points, x (194, 2), targets alternately 1 and 0.

        φᵢ = i π / 16,    rᵢ = 6.5 (104 − i) / 104,    i = 0 … 96
        x = (rᵢ sin φᵢ, rᵢ cos φᵢ): target 1           −x: target 0

    Three turns, from radius 6.5 inwards to 0.5: proposed by Wieland, first solved by Lang & Witbrock 1988,
    "Learning to tell two spirals apart", with `two_spirals_net`.

    Raises:
        ValueError: the levels are not two finite numbers, lower first.
    """
    levels, _ = check_levels("two_spirals", target_levels)
    i = np.arange(POINTS)
    angle, radius = i * np.pi / 16, 6.5 * (104 - i) / 104
    spiral = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    x = np.stack([spiral, -spiral], axis=1).reshape(-1, 2)
    bits = np.tile([[1], [0]], (POINTS, 1))

    def present(key=None):
        return jnp.asarray(x, jnp.result_type(float)), in_levels(bits, levels)

    return Task("two_spirals", (2,), (1,), present, (5, 5, 5))
